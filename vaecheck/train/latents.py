"""Pictures -> latents that are encoded once and kept, and the scaling between them and a U-Net.

Why mirrored pictures are encoded too: a mirrored latent is not the latent of the mirrored picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.images.loader import Loader
from vaecheck.pixels import to_pixels
from vaecheck.results.types import LatentScaling
from vaecheck.vae.protocol import VAE, Posterior

FILE = "latents.safetensors"


@dataclass(frozen=True)
class Latents:
    """Posteriors of many pictures, raw. means: (N, C, h, w) float32. stds: of that shape; None of a deterministic VAE.

    key: a hash of the VAE's weights and the pixels.
    """

    means: Tensor
    stds: Tensor | None
    key: str

    def __len__(self) -> int:
        return len(self.means)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.means.shape[1:]
        return channels, height, width

    def drawn(self, indices: Tensor, noise: Tensor | None) -> Tensor:
        """Samples of the posteriors (B, C, h, w); their means without noise."""
        means = self.means[indices]
        return means if noise is None or self.stds is None else means + self.stds[indices] * noise

    def scaled_std(self, scaling: LatentScaling) -> float:
        """Of posterior samples after the scaling, exactly: the root of Var(scaled means) + mean scaled variance."""
        variance = scaled(self.means.double(), scaling).var(unbiased=False)
        if self.stds is not None:
            variance = variance + _gain(self.stds.double(), scaling).square().mean()
        return float(variance.sqrt())


def encoded(
    vae: VAE, loader: Loader, device: torch.device, out: Path | None, *, advance: Callable[[int], None], mirrored: bool
) -> Latents:
    """The latents of the loader's pictures, and of their mirror images after them; read from `out` if there.

    Raises InputError for pictures whose latents are not of one shape, or not finite.
    """
    path = out / FILE if out else None
    if path and path.exists() and (found := _read(path, _key(vae, loader, mirrored))):
        return found
    parts: list[list[Posterior]] = [[], []]
    for images in loader:
        pixels = to_pixels(images.image.to(device))
        for part, seen in zip(parts, (pixels, pixels.flip(3))[: 1 + mirrored], strict=False):
            part.append(vae.encode(seen))
        advance(len(images.ids))
    all_parts = [posterior for part in parts for posterior in part]
    if len({posterior.mean.shape[1:] for posterior in all_parts}) > 1:
        raise InputError("the pictures have latents of several shapes", hint="Use --fit crop.")
    joined = Posterior.joined(all_parts)
    means = joined.mean.cpu().contiguous()
    stds = None if joined.log_var is None else (0.5 * joined.log_var).exp().cpu().contiguous()
    if not (means.isfinite().all() and (stds is None or stds.isfinite().all())):
        raise InputError("latents hold NaN or infinity", hint="Run vaecheck diagnose, or try --dtype float32.")
    latents = Latents(means, stds, _hash(vae, loader, mirrored))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"means": means} | ({} if stds is None else {"stds": stds})
        save_file(tensors, path.with_suffix(".tmp"), {"key": latents.key})
        path.with_suffix(".tmp").replace(path)
    return latents


def scaled(latents: Tensor, scaling: LatentScaling) -> Tensor:
    """Raw latents (B, C, h, w) -> what a U-Net sees: (z - shift) * gain, folded where the scaling is of squares."""
    folded = F.pixel_unshuffle(latents, scaling.patch) if scaling.patch > 1 else latents
    shift, gain = _affine(folded, scaling)
    return (folded - shift) * gain


def unscaled(latents: Tensor, scaling: LatentScaling) -> Tensor:
    """The inverse of `scaled`."""
    shift, gain = _affine(latents, scaling)
    raw = latents / gain + shift
    return F.pixel_shuffle(raw, scaling.patch) if scaling.patch > 1 else raw


def _gain(latents: Tensor, scaling: LatentScaling) -> Tensor:
    folded = F.pixel_unshuffle(latents, scaling.patch) if scaling.patch > 1 else latents
    return folded * _affine(folded, scaling)[1]


def _affine(folded: Tensor, scaling: LatentScaling) -> tuple[Tensor, Tensor]:
    """Shift and gain, for each channel or all."""
    factor = 1.0 if scaling.scaling_factor is None else scaling.scaling_factor
    if scaling.channel_means is None or scaling.channel_stds is None:
        return folded.new_tensor(scaling.shift_factor or 0.0), folded.new_tensor(factor)
    means, stds = (folded.new_tensor(values)[:, None, None] for values in (scaling.channel_means, scaling.channel_stds))
    return means, factor / stds


def _read(path: Path, key: str) -> Latents | None:
    """What was kept, where it is of these weights and pixels."""
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get("key") != key:
            return None
        names = set(file.keys())
        return Latents(file.get_tensor("means"), file.get_tensor("stds") if "stds" in names else None, key)


def _key(vae: VAE, loader: Loader, mirrored: bool) -> str:
    """By a pass over the pictures without the VAE, which is what costs."""
    for _ in loader:
        pass
    return _hash(vae, loader, mirrored)


def _hash(vae: VAE, loader: Loader, mirrored: bool) -> str:
    said = {"vae": vae.card.sha256 or vae.card.ref, "dtype": vae.card.dtype, "pictures": loader.fingerprint}
    return hashlib.sha256(json.dumps({**said, "mirrored": mirrored}, sort_keys=True).encode()).hexdigest()
