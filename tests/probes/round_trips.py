"""Probes on a LoadedVAE that is lossless but for one known change, by hand instead of by a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.catalogue import Catalogue
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_uint8
from vaecheck.probes.protocol import Examined, Picture, Probe, Subject
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.protocol import Posterior

Change = Callable[[Tensor], Tensor]


def lossless(
    change: Change = lambda pixels: pixels,
    *,
    f: int = 8,
    channels: int = 3,
    encode: Callable[[Tensor], Posterior] | None = None,
    fixed_size: int | None = None,
) -> LoadedVAE:
    """A VAE whose latents are the pixels of f x f squares as channels; what it decodes goes through `change`."""
    adapted = Adapted(
        encode=encode or (lambda pixels: Posterior(F.pixel_unshuffle(pixels, f))),
        decode=lambda latents: change(F.pixel_shuffle(latents, f)),
        class_name="Lossless",
        module=None,
        sha256=None,
        image_channels=channels,
        fixed_size=fixed_size,
    )
    return LoadedVAE("lossless", adapted, "cpu", torch.float32)


def subject_of(vae: LoadedVAE, pictures: Tensor) -> Subject:
    kept = tuple(Picture(f"{index}.png", one) for index, one in enumerate(pictures[:8]))
    return Subject(vae, torch.device("cpu"), kept, cast(Catalogue, None), cast(Any, None), len(pictures))


def watched(probe: Probe, vae: LoadedVAE, pictures: Tensor, size: int = 3) -> Probe:
    """The probe after the walk of the pictures, in batches of `size`."""
    for start in range(0, len(pictures), size):
        pixels = pictures[start : start + size]
        posterior = vae.encode(pixels)
        back = vae.decode(posterior.mean)
        probe.update(
            Batch(
                tuple(f"{start + index}.png" for index in range(len(pixels))),
                to_uint8(pixels),
                posterior=posterior,
                latents=posterior.mean,
                reconstruction=to_uint8(back.nan_to_num()),
                reconstruction_pixels=back,
                finite=back.isfinite().flatten(1).all(1),
                pixels=pixels,
            )
        )
    return probe


def examined(probe: Probe, vae: LoadedVAE, pictures: Tensor) -> Examined:
    return watched(probe, vae, pictures).examine(subject_of(vae, pictures))


def scenes(count: int = 4, side: int = 64, channels: int = 3, seed: int = 5, std: float = 0.4) -> Tensor:
    """Seeded random fields with the 1 / f^2 power of photographs, colours drawn apart, within [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    squared = torch.fft.fftfreq(side).square()[:, None] + torch.fft.rfftfreq(side).square()
    squared[0, 0] = 1.0
    noise = torch.randn(count, channels + 1, side, side, generator=generator)
    fields = torch.fft.irfft2(torch.fft.rfft2(noise) / squared.sqrt(), s=(side, side))
    fields = fields / fields.std((2, 3), keepdim=True)
    return (0.9 * std * fields[:, :1] + 0.4 * std * fields[:, 1:]).clamp(-1, 1)
