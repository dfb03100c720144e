"""The pictures that the grids will show, chosen while the batches pass.

Why a bounded choice instead of a second look: decoding them again would cost model time, and keeping all
of them would cost memory. The worst and the best by PSNR are exact. The median is the nearest to it among
a sample of pictures (all of them when there are few), drawn by a hash of the id, so that batch size and
order do not change the choice.

Why the worst by every metric: PSNR hardly sees a face that lost its eyes, and LPIPS hardly sees a wrong tone. A metric
has measured a batch before the gallery sees it, so its own figures choose, and nothing is computed twice.

Why VAEs are shown where they differ most: where they all lose the same, there is nothing to choose by.

Why planes beyond colour stand beside it: an alpha channel that is composited hides what the VAE did to the colours
under it, though every metric counts them; and two planes of a spectrogram are no grey and alpha.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaecheck.cells import Cell, Rows, Top
from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_8_bits
from vaecheck.results.comparison import SideBySide
from vaecheck.results.types import Shown

PSNR = "psnr_db"
ROLES = ("worst", "other", "median", "best")
SAMPLE = 48
SAMPLE_PIXELS = 48 * 512 * 512


@dataclass(frozen=True)
class _Kept:
    """values: by the metrics that judge single pictures; one without a figure is left out."""

    psnr: float
    id: str
    original: Tensor
    reconstruction: Tensor
    values: Mapping[str, float]


class Gallery:
    """Keeps the `worst` lowest and `best` highest by PSNR, the `median` nearest to the middle, and the `worst_by` worst
    by each of these metrics that has a figure for every picture and a direction.

    The metrics must have seen a batch before the gallery does.
    """

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(
        self, metrics: Iterable[object] = (), *, worst: int = 8, median: int = 3, best: int = 3, worst_by: int = 4
    ) -> None:
        self.worst = worst
        self.median = median
        self.best = best
        self.worst_by = worst_by
        self._judges = [one for one in metrics if isinstance(one, PerImage) and one.better and one.name != PSNR]
        self._low = _top(lambda kept: (kept.psnr, kept.id), worst)
        self._high = _top(lambda kept: (-kept.psnr, kept.id), best)
        self._sample = _top(lambda kept: _draw(kept.id), self._how_many_fit)
        self._worst = {judge.name: _top(_worst_first(judge), worst_by) for judge in self._judges}
        self._scores = Rows(1)

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        assert batch.finite is not None
        psnr = psnr_db(batch.original, batch.reconstruction)
        batch.bring(partial(self._keep, batch.ids), psnr, batch.finite, batch.original, batch.reconstruction)

    def _keep(self, ids: Sequence[str], psnr: Tensor, finite: Tensor, original: Tensor, reconstruction: Tensor) -> None:
        scores = psnr.masked_fill(~finite, -math.inf).tolist()
        self._scores.add(ids, np.array(scores)[:, None])
        columns = {judge.name: judge.rows.of(ids)[:, 0].tolist() for judge in self._judges}
        new = [
            _Kept(score, image_id, original[i], reconstruction[i], _finite(columns, i))
            for i, (score, image_id) in enumerate(zip(scores, ids, strict=True))
        ]
        for top in (self._low, self._high, self._sample):
            top.add(new)
        for name, top in self._worst.items():
            top.add(one for one in new if name in one.values)
        tops = (self._low, self._high, self._sample, *self._worst.values())
        chosen = {kept.id for top in tops for kept in top.items}
        own = {kept.id: _detached(kept) for kept in new if kept.id in chosen}
        for top in tops:
            top.items = [own.get(kept.id, kept) for kept in top.items]

    def cells(self) -> Mapping[str, Cell]:
        worst = {f"worst_{name}": top for name, top in self._worst.items()}
        return {"low": self._low, "high": self._high, "sample": self._sample, "scores": self._scores, **worst}

    def _how_many_fit(self, drawn: Sequence[_Kept]) -> int:
        """A sample of bounded size: which pictures are in it does not depend on the order they came in."""
        pixels = list(accumulate(kept.original[0].numel() for kept in drawn))
        fit = sum(total <= SAMPLE_PIXELS for total in pixels)
        return max(self.median, min(SAMPLE, fit))

    @property
    def count(self) -> int:
        """Pictures seen."""
        return len(self._scores)

    @property
    def non_finite(self) -> int:
        """Pictures whose reconstruction has NaN or infinity."""
        return int(np.isneginf(self._scores.ordered()).sum())

    def shown(self) -> tuple[Shown, ...]:
        """Worst first, then those that are worst by another metric, then median, then best; each picture once."""
        if not self.count:
            return ()
        middle = float(np.sort(self._scores.ordered()[:, 0])[self.count // 2])
        low, high, sample = self._low.items, self._high.items, self._sample.items
        worst_by = {name: top.items for name, top in self._worst.items()}
        nearest = sorted(sample, key=lambda kept: (_distance(kept.psnr, middle), kept.id))
        # With few pictures the best are not also the worst: each role takes its fair share of what there is.
        share = max(1, self.count // 3)
        roles: dict[str, str] = {}
        wanted = (
            ("best", high[: min(self.best, share)], self.best),
            ("median", nearest, min(self.median, share)),
            ("worst", low, self.worst),
        )
        for role, candidates, count in wanted:
            fresh = [kept.id for kept in candidates if kept.id not in roles][:count]
            roles |= dict.fromkeys(fresh, role)
        worst = {name: [kept.id for kept in found[:share]] for name, found in worst_by.items()}
        roles |= {image_id: "other" for found in worst.values() for image_id in found if image_id not in roles}
        worst = {PSNR: [image_id for image_id, role in roles.items() if role == "worst"]} | worst
        kept = {one.id: one for found in (sample, high, low, *worst_by.values()) for one in found}
        shown = [
            _show(kept[image_id], role, tuple(name for name, found in worst.items() if image_id in found))
            for image_id, role in roles.items()
        ]
        return tuple(sorted(shown, key=lambda one: ROLES.index(one.role)))


def _finite(columns: Mapping[str, list[float]], place: int) -> dict[str, float]:
    return {name: column[place] for name, column in columns.items() if math.isfinite(column[place])}


def _top(order: Callable[[_Kept], Any], most: int | Callable[[Sequence[_Kept]], int]) -> Top[_Kept]:
    return Top(order, most, item=lambda plain: _Kept(**plain))


def _worst_first(judge: PerImage) -> Callable[[_Kept], Any]:
    """The order of those that have a figure; by id where figures are equal."""
    sign = 1 if judge.better == "higher" else -1
    return lambda one: (sign * one.values[judge.name], one.id)


@dataclass(frozen=True)
class _KeptOfAll:
    disagreement: float
    id: str
    original: Tensor
    reconstructions: tuple[Tensor, ...]

    @property
    def order(self) -> tuple[float, str]:
        return -self.disagreement, self.id


class Disagreements:
    """Keeps the pictures on which several VAEs differ most, with what each made of them.

    refs: of the VAEs; `observer` gives each one's part. Memory: those pictures, and one batch of all VAEs.
    """

    def __init__(self, refs: Sequence[str], *, most: int = 8) -> None:
        self.refs = tuple(refs)
        self.most = most
        self._batch: dict[str, Batch] = {}
        self.kept: Top[_KeptOfAll] = Top(
            lambda kept: kept.order,
            most,
            item=lambda plain: _KeptOfAll(**plain | {"reconstructions": tuple(plain["reconstructions"])}),
        )

    def observer(self, ref: str) -> Disagreeing:
        return Disagreeing(self, ref)

    def add(self, ref: str, batch: Batch) -> None:
        """One VAE's part; with the last one's the batch is judged. A VAE alone disagrees with none."""
        self._batch[ref] = batch
        if len(self._batch) < max(2, len(self.refs)):
            return
        sides, self._batch = [_reconstruction(self._batch[each]) for each in self.refs], {}
        batch.bring(partial(self._keep, batch.ids), _disagreements(sides), batch.original, *sides)

    def _keep(self, ids: Sequence[str], disagreements: Tensor, original: Tensor, *sides: Tensor) -> None:
        for place, (image_id, disagreement) in enumerate(zip(ids, disagreements.tolist(), strict=True)):
            if len(self.kept.items) == self.most and (-disagreement, image_id) > self.kept.items[-1].order:
                continue
            own = tuple(side[place].clone() for side in sides)
            self.kept.add([_KeptOfAll(disagreement, image_id, original[place].clone(), own)])

    def shown(self) -> tuple[SideBySide, ...]:
        """The largest disagreement first."""
        return tuple(
            SideBySide(
                kept.id,
                kept.disagreement,
                side_by_side(kept.original),
                dict(zip(self.refs, map(side_by_side, kept.reconstructions), strict=True)),
                planes_of(len(kept.original)),
            )
            for kept in self.kept.items
        )


@dataclass
class Disagreeing:
    """What watches one VAE for Disagreements."""

    all: Disagreements
    ref: str
    needs: frozenset[Need] = frozenset({Need.RECONSTRUCTION})

    def update(self, batch: Batch) -> None:
        self.all.add(self.ref, batch)

    def cells(self) -> Mapping[str, Cell]:
        """Those of all are the last one's, so that they are there once."""
        return {"kept": self.all.kept} if self.ref == self.all.refs[-1] else {}


def _reconstruction(batch: Batch) -> Tensor:
    assert batch.reconstruction is not None
    return batch.reconstruction


def _disagreements(sides: Sequence[Tensor]) -> Tensor:
    """(B, C, H, W) of each side -> (B,), the root of the mean squared difference over pixels and pairs, which is twice
    the unbiased variance over sides.

    Why picture by picture: the sides of one fit into the processor's cache.
    """
    variances = [torch.stack(of_one).float().var(0).mean() for of_one in zip(*sides, strict=True)]
    return (2 * torch.stack(variances)).sqrt()


def _detached(kept: _Kept) -> _Kept:
    """A copy of its own, so that one kept picture does not hold its whole batch in memory."""
    return replace(kept, original=kept.original.clone(), reconstruction=kept.reconstruction.clone())


def _draw(image_id: str) -> str:
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).hexdigest()


def _distance(score: float, middle: float) -> float:
    return 0.0 if score == middle else abs(score - middle)


def _show(kept: _Kept, role: str, worst_by: tuple[str, ...]) -> Shown:
    return Shown(
        kept.id,
        role,
        kept.psnr if math.isfinite(kept.psnr) else None,
        side_by_side(kept.original),
        side_by_side(kept.reconstruction),
        planes_of(len(kept.original)),
        kept.values,
        worst_by,
    )


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
