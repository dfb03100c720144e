"""What every VAE looks like to the rest of vaecheck: raw latents in, raw latents out.

Why the interface speaks raw latents: the scaling factor is one of the things we measure. A VAE that
scaled its own latents would hide the very fault (a wrong factor) that `scale-factor` looks for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vaecheck.results.types import VAECard
from vaecheck.transfers import sent


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(mean, exp(log_var)), a diagonal Gaussian over raw latents.

    mean: (B, C, h, w) float32.
    log_var: (B, C, h, w) float32, or None for a deterministic encoder, which has no KL term.
    codes: (B, h, w) int64, the codebook entries that a quantised model will decode `mean` from; else None.
    """

    mean: Tensor
    log_var: Tensor | None = None
    codes: Tensor | None = None

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, the reparameterisation of Kingma and Welling 2014 (section 2.4)."""
        if self.log_var is None:
            return self.mean
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    @classmethod
    def joined(cls, parts: Sequence[Posterior]) -> Posterior:
        """One of all their pictures."""
        log_vars = [part.log_var for part in parts if part.log_var is not None]
        codes = [part.codes for part in parts if part.codes is not None]
        return cls(
            joined([part.mean for part in parts]),
            joined(log_vars) if log_vars else None,
            joined(codes) if codes else None,
        )


class VAE(Protocol):
    """An encoder and a decoder. Neither resizes, clamps, samples or moves devices."""

    card: VAECard

    def encode(self, pixels: Tensor) -> Posterior:
        """(B, image channels, H, W) float32 in [-1, 1] -> posterior over raw latents (B, C, H/f, W/f)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) -> pixels (B, image channels, h*f, w*f), float32, not clamped."""
        ...


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts of a batch, one after the other; no copy of one alone."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def noise_for(image_ids: Sequence[str], like: Tensor, seed: int) -> Tensor:
    """Standard normal noise of `like`'s shape, one generator per image id and seed.

    Why by id: a posterior sample must be the same at any batch size, order, rank and device, so the
    noise is drawn on the CPU from a generator that knows only the seed and the picture's name.
    """
    draws = [
        torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(_seed_of(image_id, seed)))
        for image_id in image_ids
    ]
    return sent(torch.stack(draws).to(like.dtype), like.device)


def _seed_of(image_id: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}\0{image_id}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
