"""Latents of known moments for the probes that read them, and a small linear VAE with hooks for one known defect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.probes.probe_walk import scenes, subject_of
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_uint8
from vaecheck.probes.protocol import Examined, Probe, Subject
from vaecheck.results.types import Finding, LatentScaling
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.protocol import Posterior

F8 = 8
NOISE = -8.0
"""Log-variance of the linear VAE."""


class Watches(Protocol):
    def update(self, batch: Batch) -> None: ...


Kind = TypeVar("Kind", bound=Watches)


def same(value: Any) -> Any:
    return value


def linear(
    after_encode: Callable[[Posterior], Posterior] = same,
    before_decode: Callable[[Tensor], Tensor] = same,
    after_decode: Callable[[Tensor, Tensor], Tensor] = lambda pixels, latents: pixels,
    *,
    factor: float | None = None,
    log_var: float | None = NOISE,
    class_name: str = "Linear",
    codebook_size: int | None = None,
) -> LoadedVAE:
    """f8, 5 channels: the mean colour of each square of pixels, and the slopes of its brightness across and down.

    Local, without a norm: no cell reaches beyond its own square. after_encode, before_decode, after_decode(pixels,
    latents): where a defect goes. log_var: None for a deterministic encoder.
    """
    ramp = torch.linspace(-1.0, 1.0, F8).expand(F8, F8)
    slopes = torch.stack([ramp, ramp.T])[:, None] / ramp.square().mean()

    def encode(pixels: Tensor) -> Posterior:
        slope = F.conv2d(pixels.mean(1, keepdim=True), slopes / F8**2, stride=F8)
        mean = torch.cat([F.avg_pool2d(pixels, F8), slope], 1)
        return after_encode(Posterior(mean, None if log_var is None else torch.full_like(mean, log_var)))

    def decode(latents: Tensor) -> Tensor:
        seen = before_decode(latents)
        flat = F.interpolate(seen[:, :3], scale_factor=F8, mode="nearest")
        across, down = (torch.kron(seen[:, place : place + 1], slope) for place, slope in ((3, ramp), (4, ramp.T)))
        return after_decode(flat + across + down, latents)

    adapted = Adapted(
        encode=encode,
        decode=decode,
        class_name=class_name,
        module=None,
        sha256=None,
        image_channels=3,
        scaling=LatentScaling(factor),
        codebook_size=codebook_size,
    )
    return LoadedVAE("linear", adapted, "cpu", torch.float32)


def walked(probe: Kind, vae: LoadedVAE, pictures: Tensor) -> Kind:
    """The probe after the pictures went through the encoder, in two batches."""
    for part in (pictures[:1], pictures[1:]):
        if len(part):
            posterior = vae.encode(part)
            shown(probe, posterior.mean, posterior.log_var, part, start=0 if part is pictures[:1] else len(pictures))
    return probe


def shown(
    probe: Kind, means: Tensor, log_vars: Tensor | None = None, pixels: Tensor | None = None, *, start: int = 0
) -> Kind:
    """The probe after one batch with exactly these latents."""
    if pixels is None:
        pixels = scenes(len(means), F8 * means.shape[-1], seed=start)
    probe.update(
        Batch(
            tuple(f"{start + index:04d}.png" for index in range(len(means))),
            to_uint8(pixels.nan_to_num()),
            posterior=Posterior(means, log_vars),
            latents=means,
            finite=torch.ones(len(means), dtype=torch.bool),
            pixels=pixels,
        )
    )
    return probe


def examined(probe: Probe, vae: LoadedVAE, pictures: Tensor) -> Examined:
    return walked(probe, vae, pictures).examine(subject(vae, pictures))


def found(probe: Probe, vae: LoadedVAE, pictures: Tensor) -> Finding:
    return examined(probe, vae, pictures).finding


def subject(vae: LoadedVAE, pictures: Tensor | None = None) -> Subject:
    return subject_of(vae, scenes(2, 128) if pictures is None else pictures)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def log_variance(std: float, like: Tensor) -> Tensor:
    return torch.full_like(like, 2 * math.log(std))
