"""Two simple codecs that a VAE of the same f should beat, behind the VAE interface like any other.

Why: "PSNR 24" means nothing by itself; pictures of sky score 35 and pictures of grass 19 with one model.
What a bicubic down-and-up and the best linear codec score on the same pictures says how hard they are.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.pixels import to_pixels
from vaecheck.results.types import VAECard
from vaecheck.vae.protocol import Posterior


class Bicubic:
    """Encode: antialiased bicubic reduction by f. Decode: bicubic enlargement. One value a channel for f x f pixels."""

    def __init__(self, f: int, image_channels: int = 3) -> None:
        self.f = f
        self.card = _card("bicubic", f, image_channels, image_channels)
        values = {1: "one value", 2: "two values", 3: "three values", 4: "four values"}
        count = values.get(image_channels, f"{image_channels} values")
        self.description = f"bicubic down and up by f: {count} for each f x f patch"

    def encode(self, pixels: Tensor) -> Posterior:
        return Posterior(_resize(pixels, 1 / self.f))

    def decode(self, latents: Tensor) -> Tensor:
        return _resize(latents, self.f)


class Linear:
    """The linear autoencoder of f x f patches: their mean and first `channels` principal components.

    Of all linear codecs with that many values a patch it has the least squared error (Eckart and Young 1936)
    on the pictures it was fitted to.
    """

    description = "linear (PCA) codec of f x f patches with the same number of latent channels"

    def __init__(self, f: int, mean: Tensor, components: Tensor) -> None:
        """mean: (C f f,); components: (channels, C f f), orthonormal rows; float32, of pixels in [-1, 1]."""
        self.f = f
        self.card = _card("linear", f, len(components), len(mean) // f**2)
        self.mean = mean
        self.components = components

    @classmethod
    def fit(cls, images: Iterable[Tensor], f: int, channels: int) -> Linear:
        """Fit to batches (B, C, H, W) of uint8 or float32 [0, 255] in one pass, with sums of float64."""
        count, total, products = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        for image in images:
            patches = F.pixel_unshuffle(to_pixels(image), f).flatten(2).transpose(1, 2).flatten(0, 1).double()
            count += len(patches)
            total = total + patches.sum(0)
            products = products + patches.T @ patches
        mean, width = total / count, len(total)
        _, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
        return cls(f, mean.float(), vectors.T.flip(0)[: min(channels, width)].float().contiguous())

    def encode(self, pixels: Tensor) -> Posterior:
        patches = F.pixel_unshuffle(pixels, self.f) - self.mean.to(pixels)[:, None, None]
        return Posterior(torch.einsum("cp,bphw->bchw", self.components.to(pixels), patches))

    def decode(self, latents: Tensor) -> Tensor:
        patches = torch.einsum("cp,bchw->bphw", self.components.to(latents), latents)
        return F.pixel_shuffle(patches + self.mean.to(latents)[:, None, None], self.f)


def _resize(pixels: Tensor, factor: float) -> Tensor:
    size = [round(side * factor) for side in pixels.shape[-2:]]
    return F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)


def _card(name: str, f: int, channels: int, image_channels: int) -> VAECard:
    return VAECard(
        ref=name,
        class_name=name.capitalize(),
        sha256=None,
        f=f,
        latent_channels=channels,
        image_channels=image_channels,
        parameters=None,
        dtype="float32",
        deterministic=True,
    )
