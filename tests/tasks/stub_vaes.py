"""Autoencoders that cost nothing: pictures averaged over areas, and read back by the nearest of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Gaussian:
    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        self.mean = mean
        self.log_var = log_var


class Averages:
    """f: side of the areas. std: of the posterior. noise: of its decoder, the same at every call. broken: gives NaN."""

    def __init__(self, f: int = 8, *, std: float = 0.01, noise: float = 0.0, broken: bool = False) -> None:
        self.f = f
        self.log_var = 2 * torch.tensor(std).log()
        self.noise = noise
        self.broken = broken

    def encode(self, pixels: Tensor) -> Gaussian:
        mean = F.avg_pool2d(pixels, self.f)
        return Gaussian(mean, self.log_var.expand_as(mean))

    def decode(self, latents: Tensor) -> Tensor:
        pixels = F.interpolate(latents, scale_factor=self.f, mode="nearest")
        if self.broken:
            return pixels * float("nan")
        draw = torch.Generator().manual_seed(0)
        return pixels + self.noise * torch.randn(pixels.shape[1:], generator=draw)


class Tiny:
    """kl-f8-tiny, with a little noise on what it decodes."""

    def __init__(self, noise: float) -> None:
        from vaecheck import load_vae

        self.vae = load_vae("kl-f8-tiny", offline=True)
        self.noise = noise

    def encode(self, pixels: Tensor) -> object:
        return self.vae.encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        pixels = self.vae.decode(latents)
        draw = torch.Generator().manual_seed(0)
        return pixels + self.noise * torch.randn(pixels.shape[1:], generator=draw)


def sharp() -> Averages:
    return Averages(4)


def plain() -> Averages:
    return Averages(8)


def noisy() -> Averages:
    return Averages(8, noise=0.05)


def coarse() -> Averages:
    return Averages(12)


def wide() -> Averages:
    """A posterior so wide that two samples of it are two pictures."""
    return Averages(8, std=0.3)


def broken() -> Averages:
    return Averages(8, broken=True)


def degraded() -> Tiny:
    """Noise of 1.3 grey levels."""
    return Tiny(0.01)


class Grey:
    """Takes pictures of one channel."""

    def encode(self, pixels: Tensor) -> Tensor:
        if pixels.shape[1] != 1:
            raise ValueError("one channel")
        return F.avg_pool2d(pixels, 8)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents, scale_factor=8, mode="nearest")


def grey() -> Grey:
    return Grey()
