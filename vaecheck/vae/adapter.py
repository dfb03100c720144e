"""What every adapter hands over, and the one wrapper that makes a VAE of it.

Casting, checking of shapes and probing are here once, so that an adapter says only how its model differs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling, VAECard
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.usage import Usage

PROBE_SIZES = (64, 128, 256, 512, 32, 224, 192, 336, 384)
PROBE_CHANNELS = (3, 1, 4, 2)


UNKNOWN_SCALING = LatentScaling()
GENERIC = Usage()


@dataclass(frozen=True)
class Adapted:
    """A model behind two functions, with what its files or its author say about it.

    encode: pixels (B, image_channels, H, W) in [-1, 1] -> posterior over raw latents. decode: raw latents -> pixels.
    Both work in the dtype and on the device of `module`, or in float32 where there is none to cast or move.
    sha256: of the weights, None where they cannot be told. scaling: as shipped.
    f, latent_channels, image_channels: as a config says; None where only a probe can tell.
    fixed_size: the one side that its pictures may have; None where every multiple of f will do.
    codebook_size, recognised: see VAECard. warnings: one sentence each. usage: how its class is called in Python.
    faster_channels_last: whether it was measured to be, on a CPU.
    """

    encode: Callable[[Tensor], Posterior]
    decode: Callable[[Tensor], Tensor]
    class_name: str
    module: nn.Module | None
    sha256: str | None
    scaling: LatentScaling = UNKNOWN_SCALING
    f: int | None = None
    latent_channels: int | None = None
    image_channels: int | None = None
    fixed_size: int | None = None
    codebook_size: int | None = None
    recognised: str = ""
    warnings: tuple[str, ...] = ()
    usage: Usage = GENERIC
    faster_channels_last: bool = False


class LoadedVAE:
    """A VAE of the protocol: float32 in, float32 out, whatever the model computes in; no gradients but on request.

    Why inputs are copied: a model that changes its input in place would change what is measured.

    card: who it is. warnings: what a reader of its figures should know.
    fixed_size: the one side that pictures may have, None where every multiple of f will do.
    """

    def __init__(self, ref: str, adapted: Adapted, device: torch.device | str, dtype: torch.dtype) -> None:
        """Move the model, then find f and the channel count by a small round trip. Raises InputError."""
        self.warnings = adapted.warnings
        self.fixed_size = adapted.fixed_size
        self.usage = adapted.usage
        self.slicing = self.channels_last = self.compiled = self._graphs = False
        self._adapted = adapted
        self._models: dict[str, Callable[[Tensor], Any]] = {"encode": adapted.encode, "decode": adapted.decode}
        self._dtype = torch.float32
        module = adapted.module
        if module is None and dtype != torch.float32:
            self._not_applied(f"--dtype {str(dtype).removeprefix('torch.')}")
        self.card = VAECard(
            ref=ref,
            class_name=adapted.class_name,
            sha256=adapted.sha256,
            f=1,
            latent_channels=0,
            scaling=adapted.scaling,
            codebook_size=adapted.codebook_size,
            recognised=adapted.recognised,
            parameters=None if module is None else sum(p.numel() for p in module.parameters()),
            dtype="float32",
        )
        self.to(device, dtype)
        self.card = replace(self.card, **_probe(ref, adapted, self._device, self._dtype))
        self._compare_with_config()

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """Move the model and choose what it computes in. A model without modules stays where and as it is.

        Weights that were rounded to 16 bits stay rounded: load again for float32.
        """
        self._device = torch.device(device)
        if self._adapted.module is not None:
            self._dtype = dtype or self._dtype
            self._adapted.module.to(self._device)
            if any(p.dtype != self._dtype for p in self._adapted.module.parameters() if p.is_floating_point()):
                nn.Module.to(self._adapted.module, self._dtype)  # diffusers' own `to` prints advice
            self.card = replace(self.card, dtype=str(self._dtype).removeprefix("torch."))
        return self

    @property
    def faster_channels_last(self) -> bool:
        """Whether `configure` should be told of channels_last, as far as is known: measured on a CPU alone."""
        return self._adapted.faster_channels_last and self._device.type == "cpu"

    def configure(
        self, *, slicing: bool = False, channels_last: bool = False, compile: bool = False, one_shape: bool = False
    ) -> Self:
        """Change how the model runs, and not what it computes (but for the last bits). Call it after `to`.

        slicing: one picture at a time. channels_last: that memory layout, of weights and inputs. compile: torch.compile
        of encode and decode, at the first picture; where it fails the model runs uncompiled, and `warnings` say why.
        one_shape: pictures come in one size; compiled for a CUDA device the model is then recorded as a CUDA graph.
        A model without modules takes only slicing; `warnings` say so of the others.

        Why dynamic is left to torch: a second shape (the last batch, another picture size) then compiles once more,
        with sizes left open, and a third compiles nothing. With fixed sizes every shape would cost a minute.
        """
        module = self._adapted.module
        if module is None:
            if channels_last:
                self._not_applied("--channels-last")
            if compile:
                self._not_applied("--compile")
            channels_last = compile = False
        self.slicing, self.channels_last, self.compiled = slicing, channels_last, compile
        if channels_last and module is not None:
            for parameter in module.parameters():
                if parameter.dim() == 4:  # a module's own `to` refuses the 5 dimensions of video layers
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if compile:
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # speaks of CUDA_HOME on any CPU
            self._graphs = one_shape and self._device.type == "cuda"
            mode = "reduce-overhead" if self._graphs else None
            self._models = {stage: torch.compile(model, mode=mode) for stage, model in self._models.items()}
        return self

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Posterior:
        """(B, image_channels, H, W) float32 in [-1, 1] -> posterior over raw latents (B, C, H/f, W/f), float32.

        Raises InputError when H or W is no multiple of f, or when the model's latents have another shape.
        """
        card, (height, width), fixed = self.card, pixels.shape[-2:], self.fixed_size
        if fixed is not None and (height, width) != (fixed, fixed):
            raise InputError(
                f"{card.ref} takes pictures of {fixed}x{fixed} pixels alone, not {width}x{height}",
                hint=f"Try --size {fixed}.",
            )
        if height % card.f or width % card.f:
            raise InputError(
                f"pictures of {width}x{height} pixels do not fit {card.ref}, which needs multiples of {card.f}",
                hint=f"Try --size {max(card.f, min(height, width) // card.f * card.f)} or --fit pad.",
            )
        if self.slicing and len(pixels) > 1:
            return Posterior.joined([self.encode(one) for one in pixels[:, None]])
        posterior = _float32(self._run("encode", pixels))
        expected = (pixels.shape[0], card.latent_channels, height // card.f, width // card.f)
        _expect(posterior.mean, expected, f"encode of {card.ref}")
        return posterior

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) float32 -> pixels (B, image_channels, h*f, w*f) float32, not clamped."""
        if self.slicing and len(latents) > 1:
            return torch.cat([self.decode(one) for one in latents[:, None]])
        pixels: Tensor = self._run("decode", latents).float().contiguous()
        card, (batch, _, height, width) = self.card, latents.shape
        _expect(pixels, (batch, card.image_channels, height * card.f, width * card.f), f"decode of {card.ref}")
        return pixels

    @torch.inference_mode(False)
    @torch.enable_grad()
    def decode_gradients(self, latents: Tensor, directions: Iterable[Tensor]) -> list[Tensor]:
        """For each direction, the gradient by the raw latents of sum(direction * decode(latents)), float32.

        latents: (B, C, h, w). directions: of the decoded pixels' shape. Raises RuntimeError where the decoder, or a
        part of it, cannot be differentiated, and whatever else the model raises.
        """
        given = latents.detach().clone().requires_grad_()
        pixels: Tensor = self._adapted.decode(given.to(self._dtype, copy=True)).float()
        return [
            torch.autograd.grad(pixels, given, direction.to(pixels), retain_graph=True)[0].detach()
            for direction in directions
        ]

    def _run(self, stage: str, values: Tensor) -> Any:
        """One stage of the model, in its dtype and memory layout, compiled where that works."""
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        try:
            if not self._graphs:
                return self._models[stage](values.to(self._dtype, copy=True, memory_format=layout))
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return _own(self._models[stage](values.to(self._dtype, copy=True, memory_format=layout)))
        except Exception as error:
            if not self.compiled or not _is_of_compiler(error):
                raise
            self._run_uncompiled(error)
        return self._run(stage, values)

    def _run_uncompiled(self, error: BaseException) -> None:
        """Why no error: the figures are the same without a compiler, and what is missing there is speed alone."""
        self.compiled = self._graphs = False
        self._models = {"encode": self._adapted.encode, "decode": self._adapted.decode}
        why = one_line(error).split(" Set TORCHDYNAMO")[0]  # what follows is for torch's developers
        self.warnings += (f"--compile failed, so the VAE ran uncompiled: {why}",)

    def _not_applied(self, option: str) -> None:
        self.warnings += (f"{option} was not applied: {self._adapted.class_name} holds no torch module",)

    def _compare_with_config(self) -> None:
        for name, said, found in (
            ("f", self._adapted.f, self.card.f),
            ("latent_channels", self._adapted.latent_channels, self.card.latent_channels),
        ):
            if said is not None and said != found:
                self.warnings += (f"config.json says {name} = {said}; the model has {found}",)


def sha256_of_files(files: Iterable[Path]) -> str:
    """The sha256 of one weight file, or of the digests of several in the order of their names."""
    digests = []
    for path in sorted(files):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256"))
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def sha256_of_state(module: nn.Module) -> str:
    """sha256 over the state dict: sorted names, each with dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def one_line(error: BaseException, longest: int = 300) -> str:
    """The error's text on one line, or its class's name when it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[:longest]}..."


def _probe(ref: str, adapted: Adapted, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """f, the channel counts and whether the model is deterministic, seen on a round trip of one small picture.

    Why several sizes: windowed and fixed-size models refuse the small ones. Why several channel counts: a user's
    own class does not say whether it takes RGB, grey, RGBA or two planes.
    """
    refusals: list[Exception] = []
    encodes = False
    known = adapted.image_channels
    for channels in (known,) if known else PROBE_CHANNELS:
        if encodes:
            break
        tried = PROBE_SIZES if known or channels == 3 else PROBE_SIZES[:2]
        for size in (adapted.fixed_size,) if adapted.fixed_size else tried:
            ramp = torch.linspace(-1.0, 1.0, size, device=device, dtype=dtype)
            pixels = ramp.expand(1, channels, size, size).contiguous()
            try:
                with torch.no_grad():
                    posterior = adapted.encode(pixels)
                encodes = True
                return _measured(ref, adapted, pixels, posterior)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:
                if encodes and refusals and str(error) == str(refusals[-1]):
                    break  # its decoder refuses for a reason of its own, not for the size
                refusals.append(error)
    refusal = refusals[0]
    if isinstance(refusal, InputError):
        raise refusal
    sizes = ", ".join(map(str, sorted(PROBE_SIZES)))
    kind = "vaecheck needs a VAE of still pictures; wrap another kind in a factory, --vae FILE.py:FACTORY."
    raise InputError(
        f"{adapted.class_name} of {ref} takes no batch of pictures (1, {known or 3}, N, N) for N in {sizes}: "
        f"{one_line(refusal)}",
        hint="Try --dtype float32." if isinstance(refusal, NotImplementedError) and dtype != torch.float32 else kind,
    ) from refusal


def _measured(ref: str, adapted: Adapted, pixels: Tensor, posterior: Posterior) -> dict[str, Any]:
    (channels, size), shape = pixels.shape[1:3], tuple(posterior.mean.shape)
    if len(shape) != 4 or shape[0] != 1 or 0 in shape or shape[2] != shape[3] or size % shape[2]:
        raise InputError(
            f"encode of {ref} gave latents of shape {shape} for pixels (1, {channels}, {size}, {size}); "
            f"expected (1, C, {size}/f, {size}/f)",
            hint="encode must return (B, C, H/f, W/f) for a whole number f.",
        )
    with torch.no_grad():
        decoded = adapted.decode(posterior.mean)
    _expect(decoded, tuple(pixels.shape), f"decode of {ref}")
    return {
        "f": size // shape[2],
        "latent_channels": shape[1],
        "image_channels": channels,
        "deterministic": posterior.log_var is None,
    }


def _own(made: Any) -> Any:
    """A copy: the next replay of a CUDA graph writes its outputs where those of the last one are."""
    if isinstance(made, Tensor):
        return made.clone()
    log_var, codes = made.log_var, made.codes
    return Posterior(
        made.mean.clone(), None if log_var is None else log_var.clone(), None if codes is None else codes.clone()
    )


def _float32(posterior: Posterior) -> Posterior:
    log_var = posterior.log_var
    mean = posterior.mean.float().contiguous()
    return Posterior(mean, None if log_var is None else log_var.float().contiguous(), posterior.codes)


def _is_of_compiler(error: BaseException | None) -> bool:
    """Whether torch.compile raised it, or what it was raised from, and not the model."""
    while error is not None:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return True
        error = error.__cause__
    return False


def _expect(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"{what} gave shape {tuple(tensor.shape)}; expected {shape}",
            hint="encode must return (B, C, H/f, W/f) and decode the size of the pictures, at every size and batch.",
        )
