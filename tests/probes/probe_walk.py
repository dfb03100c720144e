"""A walk of probes without a model: originals, a function that stands for the round trip, and a subject for cards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from vaecheck.metrics.catalogue import Catalogue
from vaecheck.metrics.protocol import Batch
from vaecheck.probes.protocol import Examined, Picture, Probe, Subject
from vaecheck.results.types import VAECard
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.protocol import Posterior

Trip = Callable[[Tensor], Tensor]


class Direct:
    """A VAE whose latents are the pictures themselves, said to be of downsampling f; its decoder is `trip`."""

    fixed_size = None

    def __init__(self, trip: Trip, f: int = 8, latent_channels: int = 32, image_channels: int = 3) -> None:
        self.trip = trip
        self.card = VAECard(
            "direct", "Direct", None, f, latent_channels, None, "float32", image_channels=image_channels
        )

    def encode(self, pixels: Tensor) -> Posterior:
        return Posterior(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        return self.trip(latents)


def walked(probe: Probe, originals: Tensor, trip: Trip, *, f: int = 8, latent_channels: int = 32) -> Examined:
    """The probe after one walk of `originals` in batches of 3."""
    vae = Direct(trip, f, latent_channels, originals.shape[1])
    for start in range(0, len(originals), 3):
        probe.update(batch_of(originals[start : start + 3], trip, f, start))
    return probe.examine(subject_of(vae, originals))


def subject_of(vae: Direct, originals: Tensor) -> Subject:
    pictures = tuple(Picture(f"{index}.png", one) for index, one in enumerate(originals[:8]))
    return Subject(
        vae=cast(LoadedVAE, vae),
        device=torch.device("cpu"),
        pictures=pictures,
        catalogue=cast(Catalogue, None),
        reload=cast(Any, None),
        count=len(originals),
    )


def batch_of(originals: Tensor, trip: Trip, f: int, start: int = 0) -> Batch:
    back = trip(originals)
    height, width = originals.shape[-2:]
    return Batch(
        tuple(f"{start + index}.png" for index in range(len(originals))),
        originals,
        latents=torch.zeros(len(originals), 4, height // f, width // f),
        reconstruction_pixels=back,
        finite=back.isfinite().flatten(1).all(1),
        pixels=originals,
    )


def scenes(count: int = 4, side: int = 256, channels: int = 3, seed: int = 0) -> Tensor:
    """Pictures with a spectrum of 1 / f^2, as photographs have: (count, channels, side, side) in about [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.fftfreq(side)[None])
    frequency[0, 0] = 1.0
    white = torch.randn(count, channels, side, side, generator=generator)
    pictures = torch.fft.ifft2(torch.fft.fft2(white) / frequency).real
    return 0.35 * pictures / pictures.std((-2, -1), keepdim=True)


def gaussian(pixels: Tensor, sigma: float) -> Tensor:
    """Periodic blur by the exact transfer function exp(-2 pi^2 sigma^2 f^2)."""
    down, across = torch.fft.fftfreq(pixels.shape[-2])[:, None], torch.fft.fftfreq(pixels.shape[-1])[None]
    return _filtered(pixels, torch.exp(-2 * (math.pi * sigma) ** 2 * (down**2 + across**2)))


def low_pass(pixels: Tensor, above: float) -> Tensor:
    """Nothing above `above` cycles per pixel in either direction."""
    down, across = torch.fft.fftfreq(pixels.shape[-2])[:, None].abs(), torch.fft.fftfreq(pixels.shape[-1])[None].abs()
    return _filtered(pixels, (torch.maximum(down, across) <= above).float())


def white(pixels: Tensor, std: float, seed: int = 7) -> Tensor:
    return std * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))


def wave(pixels: Tensor, period: int, *, down: bool = False, across: bool = True) -> Tensor:
    """cos(2 pi x / period) in the directions asked for, (H, W)."""
    y, x = torch.arange(pixels.shape[-2])[:, None], torch.arange(pixels.shape[-1])[None]
    vertical = torch.cos(2 * math.pi * y / period) if down else torch.ones(len(y), 1)
    return vertical * (torch.cos(2 * math.pi * x / period) if across else torch.ones(1, x.shape[1]))


def _filtered(pixels: Tensor, response: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(pixels) * response).real
