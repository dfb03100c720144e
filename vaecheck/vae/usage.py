"""How a class is called in Python, so that what `scale-factor` offers to paste runs as it stands."""

from __future__ import annotations

from dataclasses import dataclass

from vaecheck.results.types import LatentScaling
from vaecheck.vae.scaling import UNKNOWN


@dataclass(frozen=True)
class Usage:
    """The generic form, of a user's own class: z stands for its raw latents.

    encode: an expression of raw latents, of `pixels` (B, C, H, W) in [-1, 1] but for the generic form. decode: an
    expression of pixels; {} stands for raw latents. dims: of those latents. entries: what config.json takes.
    ldm: whether LDM's yaml file can have such a model. default: what diffusers would scale by where the folder says
    nothing.
    """

    encode: str = "z"
    decode: str = "vae.decode({})"
    dims: int = 4
    entries: tuple[str, ...] = ("scaling_factor", "shift_factor")
    ldm: bool = True
    default: LatentScaling = UNKNOWN


ENCODE = "vae.encode(pixels).latent_dist.sample()"
DECODE = "vae.decode({}).sample"
