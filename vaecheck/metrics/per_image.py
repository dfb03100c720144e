"""PerImage: a metric that is the mean over images of one function of a picture and its reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.intervals import mean_ci95
from vaecheck.metrics.protocol import Batch, Need, View, compared
from vaecheck.results.types import Better, Measure

Scores = NDArray[np.float64]
NON_FINITE = -float("inf")
"""Stands in the rows for a picture that the VAE turned into NaN or infinity: it has no value, and is counted."""


class PerImage:
    """Mean over images of `function(original, reconstruction)`.

    function: original and reconstruction, as `view` takes them from the batch -> float64 (B,). +inf means that the
    pair is identical and has no finite value (PSNR); NaN, that the picture is too small for it. A picture whose
    reconstruction is not finite has no value, whatever the function says.
    caveat: a reason why every value is unreliable (weights that are not the published ones), or "".
    """

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(
        self,
        name: str,
        function: Callable[[Tensor, Tensor], Tensor],
        *,
        unit: str,
        better: Better,
        definition: str,
        caveat: str = "",
        seed: int = 0,
        view: View = compared,
    ) -> None:
        self.name = name
        self.function = function
        self.view = view
        self.unit = unit
        self.better = better
        self.definition = definition
        self.caveat = caveat
        self.seed = seed
        self.rows = Rows(1)

    def update(self, batch: Batch) -> None:
        assert batch.finite is not None
        batch.bring(partial(self._keep, batch.ids), self.function(*self.view(batch)), batch.finite)

    def _keep(self, ids: Sequence[str], values: Tensor, finite: Tensor) -> None:
        self.rows.add(ids, values.double().masked_fill(~finite, NON_FINITE).numpy()[:, None])

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows}

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        """Per-image values by id order; None where a picture has none."""
        return {self.name: finite_or_none(self.rows.ordered()[:, 0])}

    def compute(self) -> tuple[Measure, ...]:
        values = self.rows.ordered()[:, 0]
        return (
            mean_measure(
                values,
                name=self.name,
                unit=self.unit,
                better=self.better,
                definition=self.definition,
                caveat=self.caveat,
                seed=self.seed,
            ),
        )


def mean_measure(
    values: Scores, *, name: str, unit: str, better: Better, definition: str, caveat: str = "", seed: int = 0
) -> Measure:
    """The mean over images, its spread and interval; identical and missing values are left out and counted."""
    if not len(values):
        raise NotEnoughImages(f"{name} needs at least one picture", hint="Check the IMAGES that were given.")
    finite = values[np.isfinite(values)]
    identical = int(np.isposinf(values).sum())
    broken, small = int(np.isneginf(values).sum()), int(np.isnan(values).sum())
    counted = {"identical": identical, "non_finite": broken, "too_small": small}
    counts = {name: count for name, count in counted.items() if count}
    reasons = [caveat] if caveat else []
    if broken:
        reasons.append(f"{broken} of {len(values)} pictures came back as NaN or infinity and are left out")
    if small:
        reasons.append(f"{small} of {len(values)} pictures are too small for this measure and are left out")
    if not len(finite):
        if identical:
            reasons.append("every picture is identical to its reconstruction, where this measure is infinite")
        return Measure(name, None, unit, better, 0, definition, None, None, "unavailable", "; ".join(reasons), counts)
    return Measure(
        name,
        float(finite.mean()),
        unit,
        better,
        len(finite),
        definition,
        sd=float(finite.std(ddof=1)) if len(finite) > 1 else None,
        ci95=mean_ci95(finite, seed),
        status="unreliable" if reasons else "ok",
        reason="; ".join(reasons),
        counts=counts,
    )


def finite_or_none(values: NDArray[np.floating]) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
