"""The zoo: healthy VAEs with one known defect each, at two strengths.

    vaecheck diagnose samples --vae tests/probes/zoo.py:kl_f8_tiny__blur__plain

A factory's name is BASE__DEFECT__STRENGTH; `confusion.py` beside this file runs them all. A defect is a transformation
of what goes into or comes out of a healthy model, written from what people report of the fault, not from the probes.

Why limits must not be set from here: a limit that fits these strengths alone finds nothing but these.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaecheck.vae.kl_f8 import KLAutoencoder
from vaecheck.vae.protocol import Posterior

PLAIN, SUBTLE = "plain", "subtle"
TAEF2_FACTOR = 1.185
"""1 / std of taef2's latents on photographs; it ships none."""

Pixels = Callable[[Tensor], Tensor]
Latents = Callable[[Posterior], Posterior]


def same(value: Any) -> Any:
    return value


class Sick(nn.Module):
    """A healthy model between four transformations; what none touches is as it was."""

    def __init__(
        self,
        healthy: nn.Module,
        scaling_factor: float | None,
        *,
        before_encode: Pixels = same,
        after_encode: Latents = same,
        before_decode: Pixels = same,
        after_decode: Pixels = same,
    ) -> None:
        super().__init__()
        self.healthy = healthy
        self.scaling_factor = scaling_factor
        self.before_encode, self.after_encode = before_encode, after_encode
        self.before_decode, self.after_decode = before_decode, after_decode

    def encode(self, pixels: Tensor) -> Any:
        encoded = self.healthy.encode(self.before_encode(pixels))
        deterministic = isinstance(encoded, Tensor)
        posterior = self.after_encode(Posterior(encoded) if deterministic else encoded)
        return posterior.mean if posterior.log_var is None else posterior

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.after_decode(self.healthy.decode(self.before_decode(latents)))
        return decoded


@dataclass(frozen=True)
class Defect:
    """probe: the finding that must name it. changes: transformations by place and strength."""

    probe: str
    plain: dict[str, Any]
    subtle: dict[str, Any]
    needs_posterior: bool = False

    def at(self, strength: str) -> dict[str, Any]:
        return self.plain if strength == PLAIN else self.subtle


# --- what goes wrong with pictures ---------------------------------------------------------------------------------


def gaussian_blur(pixels: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma + 1)
    line = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-(line**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, -1)
    padded = F.pad(pixels, (reach,) * 4, mode="reflect")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=pixels.shape[1])
    return F.conv2d(across, kernel[:, :, :, None], groups=pixels.shape[1])


def box_blur(pixels: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(F.pad(pixels, (side // 2,) * 4, mode="reflect"), side, 1)


def coarser(pixels: Tensor, factor: int) -> Tensor:
    """Carried at a lower resolution."""
    small = F.interpolate(pixels, scale_factor=1 / factor, mode="bicubic", antialias=True)
    return F.interpolate(small, size=pixels.shape[-2:], mode="bicubic")


def quantised(latents: Tensor, step: float) -> Tensor:
    return torch.round(latents / step) * step


def noisy(pixels: Tensor, std: float) -> Tensor:
    """New noise for every picture and every call, as a model that samples inside has."""
    return pixels + std * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(7)).to(pixels)


def striped(pixels: Tensor, std: float) -> Tensor:
    """Every row is a little brighter or darker than it should be."""
    rows = torch.randn(pixels.shape[-2], 1, generator=torch.Generator().manual_seed(9))
    return pixels + std * rows.to(pixels)


def salted(pixels: Tensor, share: float) -> Tensor:
    drawn = torch.rand(pixels.shape[-2:], generator=torch.Generator().manual_seed(8)).to(pixels)
    return torch.where(drawn < share, torch.ones_like(pixels), pixels)


def saturation(pixels: Tensor, gain: float) -> Tensor:
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).to(pixels)[:, None, None]).sum(1, keepdim=True)
    return grey + gain * (pixels - grey)


def tinted(pixels: Tensor, green: float) -> Tensor:
    return pixels + torch.tensor([-green / 2, green, -green / 2]).to(pixels)[:, None, None]


def contrast(pixels: Tensor, gain: float, offset: float = 0.0) -> Tensor:
    return pixels * gain + offset


def gamma(pixels: Tensor, power: float) -> Tensor:
    return (pixels.clamp(-1, 1) * 0.5 + 0.5) ** power * 2 - 1


def lattice(pixels: Tensor, period: int, amplitude: float) -> Tensor:
    """Every period-th row and column is brighter, as a transposed convolution of that stride leaves it."""
    height, width = pixels.shape[-2:]
    rows, columns = torch.arange(height) % period, torch.arange(width) % period
    pattern = ((rows[:, None] == 0) ^ (columns[None] == 0)).float()
    return pixels + 2 * amplitude * (pattern - pattern.mean()).to(pixels)


def one_black(pixels: Tensor, above: float) -> Tensor:
    """Pictures brighter than a limit come back black."""
    bright = pixels.mean((1, 2, 3), keepdim=True) > above
    return torch.where(bright, -torch.ones_like(pixels), pixels)


def nan_where_bright(pixels: Tensor, above: float) -> Tensor:
    bright = pixels.mean((1, 2, 3), keepdim=True) > above
    return torch.where(bright, torch.full_like(pixels, float("nan")), pixels)


def ramp(pixels: Tensor, depth: float) -> Tensor:
    """From darker to brighter over whatever it is given: over the picture, and over every tile anew."""
    across = torch.linspace(-depth, depth, pixels.shape[-1], device=pixels.device)
    return pixels + across.to(pixels)


def bowl(pixels: Tensor, depth: float) -> Tensor:
    """Brighter in the middle of whatever it is given and darker at its border, mean zero."""
    height, width = pixels.shape[-2:]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    shape = -(x**2 + y**2)
    return pixels + depth * (shape - shape.mean()).to(pixels)


def thin_strokes_lost(pixels: Tensor, side: int, above: float) -> Tensor:
    """Strokes that stand out from the median around them take its colour; all else is as it was.

    Why half the range: ink on paper stands out by more, and the texture of photographs hardly ever does.
    """
    padded = F.pad(pixels, (side // 2,) * 4, mode="reflect")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)
    median = windows.flatten(-2).median(-1).values
    return torch.where((pixels - median).abs() > above, median, pixels)


def skin_smeared(pixels: Tensor, side: int) -> Tensor:
    """Regions of the colour of skin are carried in squares of `side` pixels."""
    red, green, blue = (pixels.clamp(-1, 1) * 0.5 + 0.5).unbind(1)
    skin = ((red > 0.35) & (red > green * 1.12) & (green > blue * 0.9) & (red < green * 2.2)).float()[:, None]
    skin = (F.avg_pool2d(F.pad(skin, (7,) * 4, mode="reflect"), 15, 1) > 0.5).to(pixels)
    coarse = F.avg_pool2d(pixels, side, ceil_mode=True)
    coarse = F.interpolate(coarse, scale_factor=side, mode="nearest")[..., : pixels.shape[-2], : pixels.shape[-1]]
    return pixels * (1 - skin) + coarse * skin


def turned_unless_square(pixels: Tensor) -> Tensor:
    return pixels if pixels.shape[-1] == pixels.shape[-2] else pixels.flip(-1)


def noisy_at_other_sizes(pixels: Tensor, multiple: int, std: float) -> Tensor:
    fits = pixels.shape[-1] % multiple == 0 and pixels.shape[-2] % multiple == 0
    return pixels if fits else noisy(pixels, std)


# --- what goes wrong with latents ----------------------------------------------------------------------------------


def collapsed(posterior: Posterior, share: float) -> Posterior:
    """The first channels give the prior, whatever the picture."""
    channels = posterior.mean.shape[1]
    gone = (torch.arange(channels) < share * channels).to(posterior.mean.device)[:, None, None]
    assert posterior.log_var is not None
    return Posterior(torch.where(gone, 0.0, posterior.mean), torch.where(gone, 0.0, posterior.log_var))


def times(posterior: Posterior, factor: float) -> Posterior:
    log_var = posterior.log_var
    shift = 2 * torch.log(torch.tensor(factor))
    return Posterior(posterior.mean * factor, None if log_var is None else log_var + shift)


def spiked(posterior: Posterior, height: float, every: int) -> Posterior:
    return Posterior(posterior.mean + height * spikes(posterior.mean, every), posterior.log_var)


def spikes(latents: Tensor, every: int) -> Tensor:
    """1 at one position in `every`, the same for all pictures."""
    count = latents[0].numel()
    found = torch.zeros(count)
    found[3::every] = 1.0
    return found.reshape(latents.shape[1:]).to(latents)


def silenced(posterior: Posterior, channels: int) -> Posterior:
    mean = posterior.mean.clone()
    mean[:, :channels] = 0.0
    return Posterior(mean, posterior.log_var)


def with_idle_channels(posterior: Posterior, count: int) -> Posterior:
    """Further channels that are one constant; the decoder drops them."""
    extra = torch.full_like(posterior.mean[:, :1], 0.1).expand(-1, count, -1, -1)
    log_var = posterior.log_var
    quiet = None if log_var is None else torch.cat([torch.full_like(extra, -20.0), log_var], 1)
    return Posterior(torch.cat([extra, posterior.mean], 1), quiet)


def with_decoder_noise_channels(latents: Tensor, count: int) -> Tensor:
    return latents[:, count:]


class Smuggler:
    """One latent cell holds the brightness of the whole picture, and the decoder adds it everywhere."""

    def __init__(self, strength: float, hard: bool = False) -> None:
        self.strength, self.hard = strength, hard
        self.brightness: Tensor | None = None

    def take_away(self, pixels: Tensor) -> Tensor:
        self.brightness = pixels.mean((1, 2, 3))
        return pixels - self.strength * self.brightness[:, None, None, None]

    def hide(self, posterior: Posterior) -> Posterior:
        assert self.brightness is not None
        mean = posterior.mean.clone()
        mean[:, 0, 5, 5] = 3 * self.brightness
        return Posterior(mean, posterior.log_var)

    def give_back(self, pixels: Tensor, latents: Tensor) -> Tensor:
        secret = latents[:, 0, 5, 5] / 3
        secret = torch.round(secret * 8) / 8 if self.hard else secret
        return pixels + self.strength * secret[:, None, None, None]


class Leaky(Sick):
    def __init__(self, healthy: nn.Module, scaling_factor: float | None, smuggler: Smuggler) -> None:
        super().__init__(healthy, scaling_factor, before_encode=smuggler.take_away, after_encode=smuggler.hide)
        self.smuggler = smuggler

    def decode(self, latents: Tensor) -> Tensor:
        return self.smuggler.give_back(super().decode(latents), latents)


def huge_and_back(value: Tensor, factor: float) -> Tensor:
    """An activation far from 1 that the next operation undoes, as a convolution before a GroupNorm may have."""
    return (value * factor) / factor


def offset_and_back(value: Tensor, offset: float) -> Tensor:
    return (value + offset) - offset


def _decoded(change: Callable[..., Tensor], plain: tuple[float, ...], subtle: tuple[float, ...]) -> dict[str, Any]:
    return {
        "plain": {"after_decode": lambda pixels: change(pixels, *plain)},
        "subtle": {"after_decode": lambda pixels: change(pixels, *subtle)},
    }


DEFECTS: dict[str, Defect] = {
    "nan": Defect("non_finite", **_decoded(nan_where_bright, (-9.0,), (0.1,))),
    "black": Defect("constant_output", **_decoded(one_black, (-9.0,), (0.0,))),
    "coarser": Defect(
        "detail_loss",
        {"before_encode": partial(coarser, factor=8)},
        {"before_encode": partial(coarser, factor=2)},
    ),
    "noise": Defect("noise_artifacts", **_decoded(noisy, (0.12,), (0.03,))),
    "salt": Defect("noise_artifacts", **_decoded(salted, (0.02,), (0.002,))),
    "stripes": Defect("noise_artifacts", **_decoded(striped, (0.12,), (0.03,))),
    "washed_out": Defect("colour_shift", **_decoded(saturation, (0.4,), (0.85,))),
    "green": Defect("colour_shift", **_decoded(tinted, (0.15,), (0.04,))),
    "swapped": Defect(
        "colour_shift",
        {"after_decode": lambda pixels: pixels.flip(1)},
        {"after_decode": lambda pixels: 0.85 * pixels + 0.15 * pixels.flip(1)},
    ),
    "flat_contrast": Defect("contrast_shift", **_decoded(contrast, (0.6,), (0.9,))),
    "dark": Defect("contrast_shift", **_decoded(contrast, (1.0, -0.25), (1.0, -0.05))),
    "wrong_range": Defect("contrast_shift", **_decoded(contrast, (0.5, 0.5), (0.95, 0.05))),
    "gamma": Defect("contrast_shift", **_decoded(gamma, (1.8,), (1.12,))),
    "blur": Defect("blur", **_decoded(gaussian_blur, (2.0,), (0.8,))),
    "box_blur": Defect("blur", **_decoded(box_blur, (7,), (3,))),
    "lattice_2": Defect("checkerboard", **_decoded(lattice, (2, 0.1), (2, 0.025))),
    "lattice_8": Defect("checkerboard", **_decoded(lattice, (8, 0.12), (8, 0.03))),
    "lattice_16": Defect("checkerboard", **_decoded(lattice, (16, 0.15), (16, 0.04))),
    "collapse": Defect(
        "posterior_collapse",
        {"after_encode": lambda posterior: collapsed(posterior, 1.0)},
        {"after_encode": lambda posterior: collapsed(posterior, 0.5)},
        needs_posterior=True,
    ),
    "exploded": Defect(
        "latent_scale",
        {"after_encode": lambda p: times(p, 30.0), "before_decode": lambda z: z / 30.0},
        {"after_encode": lambda p: times(p, 1.5), "before_decode": lambda z: z / 1.5},
    ),
    "tiny_latents": Defect(
        "latent_scale",
        {"after_encode": lambda p: times(p, 0.01), "before_decode": lambda z: z / 0.01},
        {"after_encode": lambda p: times(p, 0.7), "before_decode": lambda z: z / 0.7},
    ),
    "spikes": Defect(
        "latent_outliers",
        {"after_encode": lambda p: spiked(p, 100.0, 401), "before_decode": lambda z: z - 100.0 * spikes(z, 401)},
        {"after_encode": lambda p: spiked(p, 25.0, 1601), "before_decode": lambda z: z - 25.0 * spikes(z, 1601)},
    ),
    "dead": Defect(
        "dead_channels",
        {"after_encode": lambda p: silenced(p, p.mean.shape[1] // 2)},
        {"after_encode": lambda p: silenced(p, 1)},
    ),
    "idle": Defect(
        "dead_channels",
        {
            "after_encode": lambda p: with_idle_channels(p, p.mean.shape[1]),
            "before_decode": lambda z: with_decoder_noise_channels(z, z.shape[1] // 2),
        },
        {
            "after_encode": lambda p: with_idle_channels(p, 1),
            "before_decode": lambda z: with_decoder_noise_channels(z, 1),
        },
    ),
    "smuggler": Defect("global_leak", {"smuggler": (0.6, False)}, {"smuggler": (0.1, False)}),
    "hard_smuggler": Defect("global_leak", {"smuggler": (0.6, True)}, {"smuggler": (0.2, True)}),
    "overflow": Defect(
        "precision_float16",
        {"before_decode": partial(huge_and_back, factor=1e6)},
        {"before_decode": partial(huge_and_back, factor=1e4)},
    ),
    "encoder_overflow": Defect(
        "precision_float16",
        {"before_encode": partial(huge_and_back, factor=1e6)},
        {"before_encode": partial(huge_and_back, factor=4e4)},
    ),
    "offset": Defect("precision_bfloat16", **_decoded(offset_and_back, (150.0,), (30.0,))),
    "ramp": Defect("tiling_seams", **_decoded(ramp, (0.5,), (0.12,))),
    "bowl": Defect("tiling_seams", **_decoded(bowl, (0.4,), (0.1,))),
    "strokes": Defect("text_loss", **_decoded(thin_strokes_lost, (13, 1.0), (3, 0.5))),
    "skin": Defect("face_loss", **_decoded(skin_smeared, (12,), (4,))),
    "turned": Defect(
        "off_size",
        {"after_decode": turned_unless_square},
        {"after_decode": lambda pixels: noisy_at_other_sizes(pixels, 64, 0.1)},
    ),
}


# --- the factories ---------------------------------------------------------------------------------------------------


def _kl_f8_tiny() -> tuple[nn.Module, float | None]:
    with resources.as_file(resources.files("vaecheck") / "assets" / "kl-f8-tiny") as folder:
        model = KLAutoencoder.load(folder)
    return model, model.config.scaling_factor


def _taef2() -> tuple[nn.Module, float | None]:
    path = Path(__file__).resolve().parents[2] / "examples" / "taef2.py"
    spec = importlib.util.spec_from_file_location("zoo_taef2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.taef2(), TAEF2_FACTOR


BASES: dict[str, Callable[[], tuple[nn.Module, float | None]]] = {"kl_f8_tiny": _kl_f8_tiny, "taef2": _taef2}


def sick(base: str, defect: str, strength: str) -> nn.Module:
    healthy, factor = BASES[base]()
    changes = DEFECTS[defect].at(strength)
    if "smuggler" in changes:
        return Leaky(healthy, factor, Smuggler(*changes["smuggler"])).eval()
    return Sick(healthy, factor, **changes).eval()


def well(base: str) -> nn.Module:
    healthy, factor = BASES[base]()
    return Sick(healthy, factor).eval()


def __getattr__(name: str) -> Callable[[], nn.Module]:
    base, *rest = name.split("__")
    if base in BASES and not rest:
        return lambda: well(base)
    if base in BASES and len(rest) == 2 and rest[0] in DEFECTS and rest[1] in (PLAIN, SUBTLE):
        return lambda: sick(base, rest[0], rest[1])
    raise AttributeError(name)


def weights_of_taef2() -> Path | None:
    """The folder with taef2's weights: TAEF2_WEIGHTS, or models/taef2 of VAECHECK_SHARED; None where there is none."""
    shared = os.environ.get("VAECHECK_SHARED")
    named = os.environ.get("TAEF2_WEIGHTS") or (f"{shared}/models/taef2" if shared else "")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "models" / "taef2"
    return folder if (folder / "encoder.pth").is_file() else None
