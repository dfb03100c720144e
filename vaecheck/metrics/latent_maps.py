"""Pictures of latents: their first three principal components as colours, and the first channels in grey.

Why the components of all kept pictures together: a colour then means the same direction in each of them.
Why a stretch from the 1st to the 99th percentile: one outlier would leave all else in one grey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Top
from vaecheck.metrics.latent_sums import Array
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_8_bits
from vaecheck.results.types import Panel

Image = NDArray[np.uint8]

KEPT = 4
CHANNELS = 8
LEAST_SIDE, MOST_SIDE = 128, 512
LOWEST, HIGHEST = 1.0, 99.0


@dataclass(frozen=True)
class _Kept:
    """digest: of the id, in hexadecimal, by which it is kept or not."""

    digest: str
    id: str
    image: Tensor
    latents: Tensor


class LatentMaps:
    """Keeps up to KEPT pictures, those whose ids have the smallest hashes, with their latents.

    Reads latents (B, C, h, w) and original (B, image channels, H, W). A picture whose latents hold NaN or infinity is
    not kept.
    """

    needs = frozenset({Need.POSTERIOR})

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self._kept: Top[_Kept] = Top(lambda kept: kept.digest, KEPT, item=lambda plain: _Kept(**plain))

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        if any(self._may_enter(self._digest(image_id)) for image_id in batch.ids):
            batch.bring(partial(self._keep, batch.ids), batch.original, batch.latents)

    def _digest(self, image_id: str) -> str:
        return hashlib.sha256(f"{self.seed}\0{image_id}".encode("utf-8", "surrogateescape")).hexdigest()

    def _may_enter(self, digest: str) -> bool:
        held = self._kept.items
        return len(held) < KEPT or digest < held[-1].digest

    def _keep(self, ids: Sequence[str], originals: Tensor, all_latents: Tensor) -> None:
        for image_id, original, latents in zip(ids, originals, all_latents, strict=True):
            digest = self._digest(image_id)
            if self._may_enter(digest) and bool(latents.isfinite().all()):
                image = to_8_bits(original).clone()
                self._kept.add([_Kept(digest, image_id, image, latents.double())])

    def cells(self) -> Mapping[str, Cell]:
        return {"kept": self._kept}

    def panels(self) -> tuple[Panel, ...]:
        """One for each kept picture, by id: the picture, its components, its first channels."""
        kept = sorted(self._kept.items, key=lambda one: one.id)
        if not kept:
            return ()
        latents = [one.latents.numpy() for one in kept]
        coloured, grey = components(latents), _stretched([one[:CHANNELS] for one in latents])
        shown = grey[0].shape[0]
        names = "channel 0" if shown == 1 else f"channels 0 to {shown - 1}"
        return tuple(
            Panel(
                f"latent_maps_{number}",
                "autocorrelation_1",
                f"Latents of {one.id}",
                (
                    ("picture", _picture(one.image)),
                    ("first three principal components", _map(colour.transpose(1, 2, 0), one.image)),
                    (names, _strip(channels, one.image)),
                ),
                note="Smooth areas that follow the picture are easy for a U-Net; grain that does not is noise to it.",
            )
            for number, (one, colour, channels) in enumerate(zip(kept, coloured, grey, strict=True), 1)
        )


def components(latents: Sequence[Array]) -> list[Array]:
    """(C, h, w) each -> (3, h, w) in [0, 1] each: the first three principal components of all their cells.

    The cells are centred, not scaled. The largest entry of a direction is positive. With fewer than three channels
    the missing components are mid grey.
    """
    cells = np.concatenate([one.reshape(len(one), -1) for one in latents], axis=1)
    centre = cells.mean(1, keepdims=True)
    directions = np.linalg.eigh((cells - centre) @ (cells - centre).T)[1][:, ::-1].T[:3]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1, keepdims=True), axis=1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    found = _stretched([np.tensordot(directions, one - centre[..., None], 1) for one in latents])
    if len(directions) == 1:
        return [np.repeat(one, 3, axis=0) for one in found]
    return [np.concatenate([one, np.full((3 - len(one), *one.shape[1:]), 0.5)]) for one in found]


def _stretched(maps: Sequence[Array]) -> list[Array]:
    """(n, h, w) each -> [0, 1]: each of the n from the 1st to the 99th percentile over all maps; 0.5 if constant."""
    cells = np.concatenate([one.reshape(len(one), -1) for one in maps], axis=1)
    low, high = np.percentile(cells, [LOWEST, HIGHEST], axis=1)[..., None, None]
    spread = np.where(high > low, high - low, 1.0)
    return [np.where(high > low, np.clip((one - low) / spread, 0, 1), 0.5) for one in maps]


def _picture(image: Tensor) -> Image:
    """(channels, H, W) uint8 -> RGB (H', W', 3): one or two channels as grey, of four the first three."""
    planes = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    factor = -(-max(planes.shape[1:]) // MOST_SIDE)
    if factor > 1:
        planes = to_8_bits(F.avg_pool2d(planes.float(), factor, ceil_mode=True))
    return _enlarged(planes.permute(1, 2, 0).numpy(), -(-LEAST_SIDE // min(planes.shape[1:])))


def _map(colours: Array, image: Tensor) -> Image:
    """(h, w, 3) in [0, 1] -> 8 bits, as high as the picture is shown where whole factors allow it."""
    return _enlarged(_levels(colours), _factor(colours.shape[:2], image))


def _strip(channels: Array, image: Tensor) -> Image:
    """(n, h, w) in [0, 1] -> the maps in grey, in two rows where there are more than two, with lines between them."""
    rows = 2 if len(channels) > 2 else 1
    columns = -(-len(channels) // rows)
    factor = max(_factor(channels.shape[1:], image) // rows, -(-LEAST_SIDE // min(channels.shape[1:])))
    tiles = [_enlarged(_levels(np.repeat(one[..., None], 3, axis=2)), factor) for one in channels]
    tiles += [np.full_like(tiles[0], 255)] * (rows * columns - len(tiles))
    height, width = tiles[0].shape[:2]
    sheet = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + 2), place % columns * (width + 2)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _factor(shape: Sequence[int], image: Tensor) -> int:
    """How many times a map is enlarged: to at least LEAST_SIDE, and to about the height of the shown picture."""
    return max(-(-LEAST_SIDE // min(shape)), round(min(image.shape[1], MOST_SIDE) / shape[0]), 1)


def _levels(values: Array) -> Image:
    return np.rint(255 * values).astype(np.uint8)


def _enlarged(image: Image, factor: int) -> Image:
    return image.repeat(max(factor, 1), axis=0).repeat(max(factor, 1), axis=1)
