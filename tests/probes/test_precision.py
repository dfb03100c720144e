"""precision_float16 and precision_bfloat16 on models whose rounding, headroom and overflow are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.probes.round_trips import lossless, scenes, subject_of
from vaecheck.probes.emulation import run, weights_in
from vaecheck.probes.precision import PrecisionBFloat16, PrecisionFloat16
from vaecheck.probes.protocol import Examined, ModelRefused
from vaecheck.results.types import Finding
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.load import load_vae
from vaecheck.vae.protocol import Posterior

Probe = PrecisionFloat16 | PrecisionBFloat16
BOTH = (PrecisionFloat16, PrecisionBFloat16)
SIDE = 64


def times(factor: float) -> nn.Conv2d:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    layer.weight.data = factor * torch.eye(3)[:, :, None, None]
    return layer


class Scaled(nn.Module):
    """An identity whose activations are `up` times as large on the way, in the encoder or in the decoder."""

    def __init__(self, encode: float = 1.0, decode: float = 1.0) -> None:
        super().__init__()
        self.encoder = nn.Sequential(times(encode), times(1 / encode))
        self.decoder = nn.Sequential(times(decode), times(1 / decode))


def loaded(module: nn.Module, dtype: torch.dtype = torch.float32) -> LoadedVAE:
    adapted = Adapted(
        encode=lambda pixels: Posterior(module.encoder(pixels)),
        decode=lambda latents: module.decoder(latents),
        class_name="Scaled",
        module=module,
        sha256=None,
    )
    return LoadedVAE("scaled", adapted, "cpu", dtype)


def by_hand(trip: Callable[[Tensor], Tensor]) -> LoadedVAE:
    """A model without modules; encode and decode do the same."""
    adapted = Adapted(
        encode=lambda pixels: Posterior(trip(pixels)), decode=trip, class_name="ByHand", module=None, sha256=None
    )
    return LoadedVAE("by hand", adapted, "cpu", torch.float32)


def examine(probe: Probe, vae: LoadedVAE, pictures: Tensor | None = None) -> Examined:
    channels = vae.card.image_channels
    return probe.examine(subject_of(vae, scenes(3, side=SIDE, channels=channels) if pictures is None else pictures))


def found(probe: Probe, vae: LoadedVAE, pictures: Tensor | None = None) -> Finding:
    return examine(probe, vae, pictures).finding


def after(change: Callable[[Tensor], Tensor]) -> LoadedVAE:
    return lossless(change, f=1)


@pytest.mark.parametrize("probe", BOTH)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_identity_loses_nothing(probe: type[Probe], channels: int) -> None:
    """Of pictures that both types hold exactly; f of 8 is a change of shape alone."""
    halves = torch.randint(-2, 3, (3, channels, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) / 2
    finding = found(probe(), lossless(channels=channels), halves)
    assert (finding.severity, finding.value, finding.limit, finding.unit) == ("healthy", 0.0, 2.0, "grey levels RMS")
    assert finding.figures["encode_db_lost"] == finding.figures["decode_db_lost"] == 0.0
    assert finding.figures["decode_psnr_db_between"] is None


def test_overflow_is_a_fault_of_float16_and_names_its_block() -> None:
    vae = loaded(Scaled(decode=1e5))
    finding = found(PrecisionFloat16(), vae)
    assert (finding.severity, finding.value) == ("fault", 255.0)
    assert "decode overflows first in decoder.0, where float32 reaches" in finding.evidence
    assert "encode alone may stay in float16" in finding.remedy
    assert finding.figures["decode_largest_activation"] >= 1e5 * (1 - 1e-6)  # the white card
    assert found(PrecisionBFloat16(), vae).severity == "healthy"


def test_encode_and_decode_are_told_apart() -> None:
    finding = found(PrecisionFloat16(), loaded(Scaled(encode=1e5)))
    assert finding.severity == "fault"
    assert "encode overflows first in encoder.0" in finding.evidence
    assert "decode alone may stay in float16" in finding.remedy
    assert finding.figures["decode_levels_rms"] < 0.1


def test_both_stages() -> None:
    assert found(PrecisionFloat16(), loaded(Scaled(1e5, 1e5))).remedy == "Run the VAE in bfloat16 or float32."


@pytest.mark.parametrize(("factor", "severity"), [(15_000.0, "healthy"), (18_000.0, "warning"), (60_000.0, "warning")])
def test_headroom(factor: float, severity: str) -> None:
    """A white and a black card are among what is shown, so an identity's largest activation is its factor."""
    pictures = scenes(2, side=SIDE).clamp(-1, 1)
    finding = found(PrecisionFloat16(), loaded(Scaled(decode=factor)), pictures)
    assert finding.severity == severity
    assert finding.figures["decode_largest_activation"] == pytest.approx(factor)
    if severity == "warning":
        assert (finding.value, finding.limit, finding.unit) == (pytest.approx(factor), 16376.0, "largest activation")
        assert finding.past_limit == pytest.approx(factor / 16376 - 1)
    assert found(PrecisionBFloat16(), loaded(Scaled(decode=factor)), pictures).severity == "healthy"


@pytest.mark.parametrize(("offset", "step"), [(20.0, 2**-3), (40.0, 2**-2), (100.0, 2**-1)])
def test_an_offset_costs_bfloat16_its_mantissa(offset: float, step: float) -> None:
    """Values of about `offset` become multiples of `step`: a uniform error of 127.5 * step / sqrt(12) levels."""
    vae, pictures = after(lambda pixels: (pixels + offset) - offset), 0.5 * scenes(3, side=SIDE)
    finding = found(PrecisionBFloat16(), vae, pictures)
    assert finding.severity == ("fault" if offset > 20 else "warning")
    assert finding.value == pytest.approx(127.5 * step / math.sqrt(12), rel=0.05)
    assert "Most is lost in operation add" in finding.evidence
    finer = found(PrecisionFloat16(), vae, pictures).figures["decode_levels_rms"]
    assert finer == pytest.approx(finding.value / 8, rel=0.1)


def test_the_db_lost_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    pictures = 0.4 * scenes(2, side=SIDE)

    def change(pixels: Tensor) -> Tensor:
        return 0.9 * ((pixels + 40) - 40)

    lost = found(PrecisionBFloat16(), after(change), pictures).figures["decode_db_lost"]
    low = 0.9 * ((pictures.bfloat16() + 40) - 40).float()
    as_images = [(one * 127.5 + 127.5).clamp(0, 255).double().numpy() for one in (pictures, change(pictures), low)]
    expected = [
        metrics.peak_signal_noise_ratio(original, plain, data_range=255)
        - metrics.peak_signal_noise_ratio(original, rounded, data_range=255)
        for original, plain, rounded in zip(*as_images, strict=True)
    ]
    assert lost == pytest.approx(np.mean(expected), abs=0.05)


def test_an_overflow_that_only_one_card_shows_is_a_fault() -> None:
    """No user's picture is as bright as the white card."""
    finding = found(PrecisionFloat16(), after(lambda x: x * 7e4 / 7e4), 0.2 * scenes(3, side=SIDE).clamp(-1, 1))
    assert finding.severity == "fault"
    assert finding.figures["decode_db_lost"] == pytest.approx(0.0, abs=0.1)


def test_a_mask_of_infinities_is_no_overflow() -> None:
    def change(pixels: Tensor) -> Tensor:
        masked = pixels.masked_fill(torch.zeros_like(pixels, dtype=torch.bool), -math.inf)
        scores = torch.full_like(pixels, -math.inf)
        return masked + scores.exp()

    assert found(PrecisionFloat16(), after(change)).severity == "healthy"


def test_a_small_epsilon_is_lost_in_float16() -> None:
    """1e-8 is 0 in float16: 0 / 0 on a flat picture."""
    finding = found(PrecisionFloat16(), after(lambda x: x + (x - x) / (x.std() * 0 + 1e-8)))
    assert finding.severity == "fault"
    assert "decode overflows first in operation div" in finding.evidence


def test_float32_that_is_broken_already_is_another_fault() -> None:
    finding = found(PrecisionFloat16(), after(lambda x: x * math.inf))
    assert (finding.severity, finding.value) == ("unavailable", None)
    assert "float32" in finding.evidence


def test_a_model_that_casts_by_itself() -> None:
    finding = found(PrecisionFloat16(), by_hand(lambda x: x.float() * 0.7))
    assert finding.severity == "unavailable"
    assert "casts by itself" in finding.evidence


def test_a_model_in_numpy() -> None:
    vae = by_hand(lambda pixels: torch.from_numpy(pixels.numpy() * np.float16(0.9)))
    assert found(PrecisionFloat16(), vae).severity == "unavailable"
    with pytest.raises(ModelRefused, match="bfloat16"):
        found(PrecisionBFloat16(), vae)


def test_a_run_in_bfloat16_is_judged_by_the_float32_weights() -> None:
    asked: list[torch.dtype] = []

    def reload(dtype: torch.dtype) -> LoadedVAE:
        asked.append(dtype)
        return loaded(Scaled(decode=3.1), dtype)

    subject = replace(subject_of(loaded(Scaled(decode=3.1), torch.bfloat16), scenes(2, side=SIDE)), reload=reload)
    finding = PrecisionBFloat16().examine(subject).finding
    assert asked == [torch.float32]
    assert finding.figures["decode_levels_rms"] > 0.1


@pytest.mark.parametrize("probe", BOTH)
def test_the_bundled_model_is_healthy_and_unharmed(probe: type[Probe]) -> None:
    vae, pictures = load_vae("kl-f8-tiny"), 0.6 * scenes(2, side=SIDE)
    subject = subject_of(vae, pictures)
    before = subject.round_trip(pictures)
    examined = probe().examine(subject)
    assert examined.finding.severity == "healthy"
    assert examined.finding.evidence.endswith(f"{probe.dtype}".removeprefix("torch.") + " will do.")
    assert torch.equal(subject.round_trip(pictures), before)
    (plot,) = examined.plots
    assert [line.label for line in plot.lines][:2] == ["encode", "decode"]
    assert all(y > 0 and math.isfinite(y) for line in plot.lines for y in line.y)
    assert len(plot.lines[1].x) > 40


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_bundled_model_in_torchs_own_kernels(dtype: torch.dtype) -> None:
    """Emulated and real differ from each other by less than either does from float32, and as much as float32 says."""
    adapted, pixels = load_vae("kl-f8-tiny")._adapted, 0.6 * scenes(1, side=32)
    exact = run(adapted, "decode", adapted.encode(pixels).mean, torch.float32, emulate=False)
    with weights_in(adapted.module, dtype):
        latents = run(adapted, "encode", pixels, dtype, emulate=True).output
        real_latents = run(adapted, "encode", pixels, dtype, emulate=False).output
        emulated, real = (
            run(adapted, "decode", adapted_latents, dtype, emulate=emulate)
            for adapted_latents, emulate in ((latents, True), (real_latents, False))
        )
    error, rounding = (emulated.output - real.output).std(), (real.output - exact.output).std()
    assert error < rounding
    assert (emulated.output - exact.output).std() == pytest.approx(float(rounding), rel=0.25)
    assert [one.block for one in emulated.operations] == [one.block for one in real.operations]
    peaks = [[one.peak for one in each.operations] for each in (emulated, real)]
    assert peaks[0] == pytest.approx(peaks[1], rel=8 * torch.finfo(dtype).eps, abs=0.1)
