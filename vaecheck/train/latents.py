"""Pictures -> latents that are encoded once and kept, and the scaling between them and a U-Net.

Why mirrored pictures are encoded too: a mirrored latent is not the latent of the mirrored picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.images.loader import Loader
from vaecheck.pixels import to_pixels
from vaecheck.results.types import LatentScaling
from vaecheck.vae.protocol import VAE, Posterior
from vaecheck.vae.room import Room

FILE = "latents.safetensors"


@dataclass(frozen=True)
class Latents:
    """Posteriors of many pictures, raw. means: (N, C, h, w) float32. stds: of that shape; None of a deterministic VAE.

    key: a hash of the VAE's weights and the pixels; of the latents themselves where the weights have none.
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
    vae: VAE,
    loader: Loader,
    device: torch.device,
    out: Path,
    room: Room,
    *,
    advance: Callable[[int], None] = lambda images: None,
) -> Latents:
    """The latents of the loader's pictures, and of their mirror images after them; read from `out` if there.

    Raises InputError for pictures whose latents are not of one shape, or not finite.
    """
    path = out / FILE
    if path.exists():
        for _ in loader:  # a pass without the VAE, which is what costs
            pass
        if (found := kept(out)) and found.key == _key(vae, loader):
            return found
    parts: tuple[list[Posterior], list[Posterior]] = ([], [])
    for images in loader:
        pixels = to_pixels(images.image.to(device))
        for part, seen in zip(parts, (pixels, pixels.flip(3)), strict=True):
            part += [_on_cpu(one) for one in room.through("encode", vae, vae.encode, seen)]
        advance(len(images.ids))
    all_parts = [posterior for part in parts for posterior in part]
    if len({posterior.mean.shape[1:] for posterior in all_parts}) > 1:
        raise InputError("the pictures have latents of several shapes", hint="Use --fit crop.")
    joined = Posterior.joined(all_parts)
    means = joined.mean.contiguous()
    stds = None if joined.log_var is None else (0.5 * joined.log_var).exp().contiguous()
    if not (means.isfinite().all() and (stds is None or stds.isfinite().all())):
        raise InputError("latents hold NaN or infinity", hint="Run vaecheck diagnose, or try --dtype float32.")
    tensors = {"means": means} | ({} if stds is None else {"stds": stds})
    latents = Latents(means, stds, _key(vae, loader) or _content(tensors))
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path.with_suffix(".tmp"), {"key": latents.key})
    path.with_suffix(".tmp").replace(path)
    return latents


def kept(out: Path) -> Latents | None:
    """What `encoded` left there; None where that is nothing, or damaged."""
    try:
        with safe_open(out / FILE, "pt") as file:
            names = set(file.keys())
            stds = file.get_tensor("stds") if "stds" in names else None
            return Latents(file.get_tensor("means"), stds, (file.metadata() or {}).get("key", ""))
    except (OSError, SafetensorError):
        return None


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
    """Shift and gain of each channel, (C, 1, 1)."""
    shift, gain = (folded.new_tensor(values)[:, None, None] for values in scaling.of_channels(folded.shape[1]))
    return shift, gain


def _on_cpu(posterior: Posterior) -> Posterior:
    return Posterior(posterior.mean.cpu(), None if posterior.log_var is None else posterior.log_var.cpu())


def _key(vae: VAE, loader: Loader) -> str:
    """By the weights and the pixels; empty where the weights have no hash: code of the user's may have changed."""
    if vae.card.sha256 is None:
        return ""
    said = {"vae": vae.card.sha256, "dtype": vae.card.dtype, "pictures": loader.fingerprint}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _content(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
