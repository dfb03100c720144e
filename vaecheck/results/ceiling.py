"""What `e2e` found: for each VAE how far a U-Net of one budget got on its latents, beside the VAE's own ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vaecheck.results.types import SCHEMA, DataCard, Environment, Measure, Plot, VAECard


@dataclass(frozen=True)
class Denoised:
    """Held-out pictures whose latents were noised to one level, denoised by the U-Net and decoded.

    level: the noise's deviation over that of signal and noise together, within (0, 1).
    measures: of the decoded pictures against the originals.
    latent_error: mean squared error of the denoised latents over the variance of the latents; 0 is perfect, and 1 is
    what their mean alone would have.
    """

    level: float
    measures: Mapping[str, Measure]
    latent_error: float


@dataclass(frozen=True)
class Point:
    """One look at the training, on held-out pictures, every level of noise counting alike, one step of denoising each.

    latent_error: as of Denoised. psnr_db: of the decoded against the originals.
    """

    step: int
    latent_error: float
    psnr_db: float


@dataclass(frozen=True)
class Climb:
    """One VAE and its U-Net.

    ceiling: the VAE's own reconstructions of the held-out pictures. ceiling_of_all: Frechet distances of its
    reconstructions of the pictures that the U-Net was trained on. samples: those of the U-Net's samples, of the same
    number, to the same pictures.
    unet: parameters, the std of the latents it was given, the scaling factor used.
    """

    ref: str
    vae: VAECard
    ceiling: Mapping[str, Measure]
    denoised: tuple[Denoised, ...]
    ceiling_of_all: Mapping[str, Measure]
    samples: Mapping[str, Measure]
    curve: tuple[Point, ...]
    unet: Mapping[str, float]


@dataclass(frozen=True)
class Ceiling:
    """The ceiling check of several VAEs. best: the one to take at this budget, or why none; decided_by: in words.

    data: the pictures that were trained on; held_out: how many others were kept for measuring.
    """

    vaes: tuple[Climb, ...]
    data: DataCard
    held_out: int
    settings: Mapping[str, Any]
    environment: Environment
    best: str
    decided_by: str
    warnings: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    kind: str = "e2e"
    schema: int = SCHEMA
