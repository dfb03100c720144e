"""The pictures that the grids will show, chosen while the batches pass.

Why a bounded choice instead of a second look: decoding them again would cost model time, and keeping all
of them would cost memory. The worst and the best by PSNR are exact. The median is the nearest to it among
a sample of pictures (all of them when there are few), drawn by a hash of the id, so that batch size and
order do not change the choice.

Why planes beyond colour stand beside it: an alpha channel that is composited hides what the VAE did to the colours
under it, though every metric counts them; and two planes of a spectrogram are no grey and alpha.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_8_bits
from vaecheck.results.types import Shown

SAMPLE = 48
SAMPLE_PIXELS = 48 * 512 * 512


@dataclass(frozen=True)
class _Kept:
    psnr: float
    id: str
    original: Tensor
    reconstruction: Tensor


class Gallery:
    """Keeps the `worst` lowest and `best` highest by PSNR, and the `median` nearest to the middle."""

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self, *, worst: int = 8, median: int = 3, best: int = 3) -> None:
        self.worst = worst
        self.median = median
        self.best = best
        self._low: list[_Kept] = []
        self._high: list[_Kept] = []
        self._sample: list[_Kept] = []
        self._scores: list[float] = []

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        assert batch.finite is not None
        scores = (
            psnr_db(batch.original, batch.reconstruction).cpu().masked_fill(~batch.finite.cpu(), -math.inf).tolist()
        )
        self._scores += scores
        original, reconstruction = batch.original.cpu(), batch.reconstruction.cpu()
        new = [
            _Kept(score, image_id, original[i], reconstruction[i])
            for i, (score, image_id) in enumerate(zip(scores, batch.ids, strict=True))
        ]
        self._low = sorted(self._low + new, key=lambda kept: (kept.psnr, kept.id))[: self.worst]
        self._high = sorted(self._high + new, key=lambda kept: (-kept.psnr, kept.id))[: self.best]
        self._sample = self._first_that_fit(sorted(self._sample + new, key=lambda kept: _draw(kept.id)))
        for kept in (self._low, self._high, self._sample):
            kept[:] = [_detached(item) if item in new else item for item in kept]

    def _first_that_fit(self, drawn: list[_Kept]) -> list[_Kept]:
        """A sample of bounded size: which pictures are in it does not depend on the order they came in."""
        pixels = list(accumulate(kept.original[0].numel() for kept in drawn))
        fit = sum(total <= SAMPLE_PIXELS for total in pixels)
        return drawn[: max(self.median, min(SAMPLE, fit))]

    @property
    def count(self) -> int:
        """Pictures seen."""
        return len(self._scores)

    @property
    def non_finite(self) -> int:
        """Pictures whose reconstruction has NaN or infinity."""
        return self._scores.count(-math.inf)

    def shown(self) -> tuple[Shown, ...]:
        """Worst first, then median, then best; each picture once."""
        if not self._scores:
            return ()
        middle = sorted(self._scores)[len(self._scores) // 2]
        nearest = sorted(self._sample, key=lambda kept: (_distance(kept.psnr, middle), kept.id))
        # With few pictures the best are not also the worst: each role takes its fair share of what there is.
        share = max(1, len(self._scores) // 3)
        chosen: dict[str, Shown] = {}
        wanted = (
            ("best", self._high[: min(self.best, share)], self.best),
            ("median", nearest, min(self.median, share)),
            ("worst", self._low, self.worst),
        )
        for role, candidates, count in wanted:
            fresh = [kept for kept in candidates if kept.id not in chosen][:count]
            chosen |= {kept.id: _show(kept, role) for kept in fresh}
        order = {"worst": 0, "median": 1, "best": 2}
        return tuple(sorted(chosen.values(), key=lambda shown: order[shown.role]))


def _detached(kept: _Kept) -> _Kept:
    """A copy of its own, so that one kept picture does not hold its whole batch in memory."""
    return _Kept(kept.psnr, kept.id, kept.original.clone(), kept.reconstruction.clone())


def _draw(image_id: str) -> str:
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).hexdigest()


def _distance(score: float, middle: float) -> float:
    return 0.0 if score == middle else abs(score - middle)


def _show(kept: _Kept, role: str) -> Shown:
    psnr = kept.psnr if math.isfinite(kept.psnr) else None
    planes = planes_of(len(kept.original))
    return Shown(kept.id, role, psnr, side_by_side(kept.original), side_by_side(kept.reconstruction), planes)


def planes_of(channels: int) -> tuple[str, ...]:
    """The names of what `side_by_side` puts beside each other; empty where it is one picture."""
    if channels == 4:
        return "RGB", "alpha"
    return () if channels in (1, 3) else tuple(f"plane {place}" for place in range(1, channels + 1))


def side_by_side(image: Tensor) -> object:
    """(C, H, W), uint8 or float [0, 255] -> a uint8 array (H, W * views, 3), clamped and rounded.

    From left to right: RGB where C is 3 or 4, then each plane that is left, as grey.
    """
    image = to_8_bits(image)
    colours = 3 if len(image) in (3, 4) else 0
    views = [image[:colours]] * bool(colours) + [plane.expand(3, -1, -1) for plane in image[colours:]]
    return torch.cat(views, dim=2).permute(1, 2, 0).contiguous().numpy()
