"""Distances between the features of all originals and of all reconstructions, as measures: rfid, kid, fd_<name>.

Why features are kept of at most MOST_IMAGES: a Frechet distance needs no more of an image than its part in the sums of
all, so memory, disk and the time to save a run stay as they are however many images come. The others give the kernel
distance, the interval and the warnings, for which a random sample does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vaecheck.cells import Cell, Smallest, State, Sum
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.frechet import (
    KID_SUBSET,
    Features,
    Moments,
    Values,
    frechet_distance,
    frechet_influence,
    frechet_of_many,
    jackknife_ci95,
    kid,
)
from vaecheck.metrics.paired import INFLUENCE
from vaecheck.metrics.per_image import finite_or_none
from vaecheck.metrics.perceptual import FeatureExtractor
from vaecheck.metrics.protocol import Batch, Need, View, compared
from vaecheck.results.types import Measure

HALF_TOLERANCE = 0.10
MOST_IMAGES = 10_000
AT_ONCE = 512


class FeatureDistances:
    """rfid and kid in Inception's features, or fd_<name> in another extractor's.

    names: the measures to give. seed: of the random half that the distance is tried on. levels: the view's, in a word.
    most: images whose features are kept, on disk. Pictures whose reconstruction is not finite are left out and counted.
    A distance is `unreliable` with fewer images than features, where that of a random half (of more than `most`: of
    those kept) differs by more than 10 %, with pictures left out, and with weights that are not the published ones.
    columns: of a Frechet distance the influence of each picture, by which saved results can be compared with an
    interval; none with more pictures than are kept.
    """

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(
        self,
        extractor: FeatureExtractor,
        names: Sequence[str],
        *,
        seed: int = 0,
        view: View = compared,
        levels: str = "",
        most: int = MOST_IMAGES,
    ) -> None:
        possible = ("rfid", "kid") if extractor.name == "inception" else (f"fd_{extractor.name}",)
        foreign = [name for name in names if name not in possible]
        if foreign:
            raise InputError(
                f"{extractor.name} does not give {', '.join(foreign)}", hint=f"It gives: {', '.join(possible)}."
            )
        self.name = f"distances_{extractor.name}"
        self.names = tuple(names)
        self.extractor = extractor
        self.view = view
        self.levels = levels
        self.seed = seed
        self.rows = Smallest(
            2 * extractor.feature_count, np.float32, most, seed=seed, leaving=lambda rows: self._others.add(rows)
        )
        self._others = _Others()
        self.non_finite = Sum()
        self._found: tuple[tuple[Smallest, int], tuple[float, Values, int]] | None = None

    def update(self, batch: Batch) -> None:
        original, reconstruction = self.view(batch)
        of_originals = self.extractor.features(original, batch, self.levels)
        features = torch.cat([of_originals, self.extractor.features(reconstruction)], dim=1)
        finite = torch.ones(len(batch.ids), dtype=torch.bool) if batch.finite is None else batch.finite
        batch.bring(partial(self._keep, batch.ids), features, finite)

    def _keep(self, ids: Sequence[str], features: Tensor, finite: Tensor) -> None:
        kept = [image_id for image_id, good in zip(ids, finite.tolist(), strict=True) if good]
        self.rows.add(kept, features[finite].numpy())
        self.non_finite.add(np.array([float((~finite).sum())]))

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "others": self._others, "non_finite": self.non_finite}

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        all_kept = 1 < len(self.rows) == self.rows.offered
        distances = [name for name in self.names if name != "kid"] if all_kept else []
        return {f"{name}{INFLUENCE}": finite_or_none(self._influence()[1]) for name in distances}

    def compute(self) -> tuple[Measure, ...]:
        left_out = 0 if self.non_finite.value is None else int(self.non_finite.value[0])
        if len(self.rows) < 2:
            raise NotEnoughImages(
                f"{', '.join(self.names)} needs 2 images with a finite reconstruction, there are {len(self.rows)}",
                hint="Give more pictures; thousands are better.",
            )
        rows = self.rows.ordered()
        x, y = np.split(rows, 2, axis=1)
        caveats = [self.extractor.caveat] if self.extractor.caveat else []
        if left_out:
            caveats.append(
                f"{left_out} of {left_out + self.rows.offered} reconstructions hold NaN or infinity and are left out"
            )
        counts = {"non_finite": left_out} if left_out else {}
        return tuple(
            self._kid(x, y, caveats, counts) if name == "kid" else self._frechet(name, x, y, caveats, counts)
            for name in self.names
        )

    def _influence(self) -> tuple[float, Values, int]:
        """The distance, influences and N of the images so far; decomposed once, for `compute` and `columns` both."""
        looked_at = self.rows, self.rows.offered
        if self._found is None or self._found[0] != looked_at:
            x, y = np.split(self.rows.ordered(), 2, axis=1)
            others = self._others.moments()
            of_all = frechet_of_many(x, y, others) if others else (*frechet_influence(x, y), len(x))
            self._found = looked_at, of_all
        return self._found[1]

    def _frechet(self, name: str, x: Features, y: Features, caveats: list[str], counts: Mapping[str, int]) -> Measure:
        distance, influence, n = self._influence()
        reasons = [*caveats, *_sample_caveats(name, distance, x, y, n, self.seed)]
        return Measure(
            name,
            distance,
            "",
            "lower",
            n,
            f"Frechet distance between originals and reconstructions in {self.extractor.definition}; {n:,} images",
            ci95=jackknife_ci95(distance, influence, n),
            status="unreliable" if reasons else "ok",
            reason="; ".join(reasons),
            counts=counts,
        )

    def _kid(self, x: Features, y: Features, caveats: list[str], counts: Mapping[str, int]) -> Measure:
        drawn = f", drawn from {self.rows.offered:,}" if self.rows.offered > len(x) else ""
        return Measure(
            "kid",
            kid(x, y),
            "",
            "lower",
            len(x),
            "kernel distance (unbiased squared MMD, cubic kernel, not times 1000) between originals and "
            f"reconstructions in {self.extractor.definition}; mean over 100 subsets of {min(KID_SUBSET, len(x)):,} "
            f"of {len(x):,} images{drawn}",
            status="unreliable" if caveats else "ok",
            reason="; ".join(caveats),
            counts=counts,
        )


def of_a_half(of_all: float, of_part: float, part: int, n: int) -> float:
    """The distance that half of n images would have, from that of fewer: what few have too much falls as 1 / N.

    Of all it is d + c / n and of the part d + c / part, so of a half d + 2 c / n. Source: Chong and Forsyth 2020.
    """
    return of_all + (of_part - of_all) * part / (n - part)


class _Others:
    """A cell: the sums of the images that are not kept.

    Why some wait: the products of one image take as long as those of hundreds, and every image waits for so many.
    """

    def __init__(self) -> None:
        self._waiting: list[Features] = []
        self._sum: Moments | None = None

    def add(self, rows: Features) -> None:
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= AT_ONCE:
            self._sum, self._waiting = self.moments(), []

    def moments(self) -> Moments | None:
        """Of all so far; None without any."""
        if not self._waiting:
            return self._sum
        waiting = Moments.of(np.concatenate(self._waiting))
        return waiting if self._sum is None else self._sum + waiting

    def state(self) -> State:
        summed = self._sum and {"n": self._sum.n} | {
            name: torch.from_numpy(getattr(self._sum, name)) for name in ("sums", "products")
        }
        return {"waiting": [torch.from_numpy(rows) for rows in self._waiting], "sum": summed}

    def merge(self, state: State) -> None:
        if state["sum"]:
            theirs = Moments(state["sum"]["n"], state["sum"]["sums"].numpy(), state["sum"]["products"].numpy())
            self._sum = theirs if self._sum is None else self._sum + theirs
        for rows in state["waiting"]:
            self.add(rows.numpy())


def _sample_caveats(name: str, distance: float, x: Features, y: Features, n: int, seed: int) -> list[str]:
    """Why N is too small for this distance, if it is: fewer images than features, or another value on a part of them.

    x, y: of the images that are kept, of N.
    """
    features = x.shape[1]
    if n < features:
        return [
            f"{n:,} images are fewer than the {features:,} features: {name} of so few is too high, and comparable "
            f"only with {name} on the same number of images"
        ]
    half = min(n // 2, len(x))
    part = np.random.default_rng(seed).permutation(len(x))[:half]
    on_half = of_a_half(distance, frechet_distance(x[part], y[part]), half, n)
    if abs(on_half - distance) > HALF_TOLERANCE * distance:
        said = "" if half == n // 2 else f", as {half:,} of them tell"
        return [
            f"on a random half of the images it is {on_half:.4g} instead of {distance:.4g}{said}: it depends on their "
            "number"
        ]
    return []
