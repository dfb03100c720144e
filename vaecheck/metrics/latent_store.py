"""The latents of many pictures at once, for what compares pictures with each other: dimension, classes, neighbours.

Why of one shape: distances and covariances are of vectors of one length. The caller says which, from the size that
all pictures are brought to; a run whose pictures keep their own sizes has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Smallest, Sum
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.results.types import Measure, Plot

Shape = tuple[int, int, int]
MOST_PICTURES = 5000
MOST_BYTES = 2**28
OTHER_SHAPES = "figures of other latent shapes are not comparable"


@dataclass(frozen=True)
class Stored:
    """Latents by id. values: (n, C, h, w) float32, finite. of: how many pictures there were in all."""

    ids: tuple[str, ...]
    values: NDArray[np.float32]
    of: int

    def normalised(self) -> NDArray[np.float32]:
        """Every channel with mean 0 and std 1 over all pictures and positions; a constant channel is 0.

        Why: else one channel of a large scale would decide every distance. The study of 86 tokenizers does so too
        (Zhong et al. 2026, arXiv 2606.03578).
        """
        axes = (0, 2, 3)
        mean = self.values.mean(axes, keepdims=True, dtype=np.float64)
        std = self.values.std(axes, keepdims=True, dtype=np.float64)
        scaled = (self.values - mean) / np.where(std > 0, std, 1.0)
        return np.asarray(scaled, np.float32)


class LatentStore:
    """At most MOST_PICTURES latents of one shape, and at most MOST_BYTES of them: those of the smallest hashes.

    add: latents (B, C, h, w); those with NaN or infinity, and those of another shape, are counted and left out.
    """

    def __init__(self, shape: Shape, *, seed: int = 0, most: int | None = None) -> None:
        self.shape = shape
        self.seed = seed
        self.most = most or max(2, min(MOST_PICTURES, MOST_BYTES // (4 * math.prod(shape))))
        self.latents = Smallest(math.prod(shape), np.float32, self.most, seed=seed)
        self.fates = Sum()  # pictures that fit, that are not finite, and of another shape

    def add(self, ids: Sequence[str], latents: Tensor) -> list[int]:
        """The places in the batch of those that were kept."""
        finite = latents.flatten(1).isfinite().all(1).cpu().numpy()
        fits = np.full(len(ids), tuple(latents.shape[1:]) == self.shape)
        self.fates.add(np.array([(finite & fits).sum(), (~finite).sum(), (finite & ~fits).sum()], np.float64))
        places: list[int] = np.flatnonzero(finite & fits).tolist()
        if not places:
            return []
        values = latents[places].flatten(1).float().cpu().numpy()
        return [places[kept] for kept in self.latents.add([ids[i] for i in places], values)]

    def cells(self) -> dict[str, Cell]:
        return {"latents": self.latents, "fates": self.fates}

    def stored(self) -> Stored:
        """Raises NotEnoughImages where there is none."""
        kept, pictures = tuple(self.latents.ids), sum(self._fates())
        if not kept:
            raise NotEnoughImages(
                f"none of {pictures} pictures has finite latents of shape {self.shape}",
                hint="The weights are broken, or their values overflow in 16 bits: try --dtype float32.",
            )
        return Stored(kept, self.latents.ordered().reshape(-1, *self.shape), pictures)

    def caveats(self) -> tuple[str, ...]:
        """Why figures of these latents are unreliable; empty where nothing was lost."""
        _, lost, other = self._fates()
        return (
            *(
                [f"{lost} of {sum(self._fates())} pictures have NaN or infinity in their latents and are left out"]
                * (lost > 0)
            ),
            *([f"{other} pictures have latents of another shape and are left out"] * (other > 0)),
        )

    def _fates(self) -> tuple[int, int, int]:
        fits, lost, other = (0, 0, 0) if self.fates.value is None else map(int, self.fates.value)
        return fits, lost, other


@dataclass(frozen=True)
class Read:
    """What a reading makes of the latents."""

    measures: tuple[Measure, ...]
    plots: tuple[Plot, ...] = ()


class Reading(Protocol):
    """Figures of many latents at once. read: pure; `caveats` make every figure unreliable."""

    def read(self, stored: Stored, caveats: tuple[str, ...]) -> Read: ...


class LatentReadings:
    """A metric that keeps latents once and gives what several readings make of them."""

    name = "latent_readings"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, store: LatentStore, readings: Sequence[Reading]) -> None:
        self.store = store
        self.readings = tuple(readings)
        self._read: tuple[int, tuple[Read, ...]] = (-1, ())

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        batch.bring(partial(self.store.add, batch.ids), batch.latents)

    def cells(self) -> Mapping[str, Cell]:
        return self.store.cells()

    def compute(self) -> tuple[Measure, ...]:
        return tuple(measure for read in self._reads() for measure in read.measures)

    def plots(self) -> tuple[Plot, ...]:
        return tuple(plot for read in self._reads() for plot in read.plots)

    def _reads(self) -> tuple[Read, ...]:
        """Made once for so many pictures: the distances of thousands take seconds."""
        stored = self.store.stored()
        if self._read[0] != stored.of:
            caveats = self.store.caveats()
            self._read = stored.of, tuple(reading.read(stored, caveats) for reading in self.readings)
        return self._read[1]


def template(
    name: str,
    definition: str,
    *,
    better: str | None,
    role: str,
    evidence: str,
    unit: str = "",
) -> Measure:
    """A latent measure before it is measured: what it is, without a value."""
    return Measure(
        name,
        None,
        unit,
        better,  # type: ignore[arg-type]
        0,
        definition,
        status="unavailable",
        role=role,  # type: ignore[arg-type]
        evidence=evidence,
    )
