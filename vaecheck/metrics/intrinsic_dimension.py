"""intrinsic_dimension: how many directions a neighbourhood of pictures has among the latents, by TwoNN.

Why only relative: the estimate sees no scale below the distance of two neighbours, so a few hundred pictures of a
manifold of d dimensions give far less than d once exp(d) is more than their number, and noise pushes it up. With the
same pictures and the same latent shape that holds for both of two models, and the order remains.

Why 100 pictures: the slope of n ratios is known to about 1 / sqrt(n), 10 % for 100.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vaecheck.metrics.intervals import bootstrap_ci95
from vaecheck.metrics.latent_store import OTHER_SHAPES, Read, Stored, template
from vaecheck.results.types import Line, Measure, Plot

Values = NDArray[np.float64]

NAME = "intrinsic_dimension"
DISCARDED = 0.1
FEWEST, RELIABLE = 10, 100
BLOCK = 512
DRAWN = 200
DEFINITION = (
    "TwoNN: slope of -log(1 - F) against log(r2 / r1), r1 and r2 being the distances of a picture's latents to the "
    "nearest and the second nearest others and F the share of pictures with a smaller ratio, the largest 10 % left "
    "out; latents flattened, channels normalised to std 1; only to compare models on the same pictures, and "
    + OTHER_SHAPES
)
TEMPLATES = {
    NAME: template(
        NAME,
        DEFINITION,
        better="lower",
        role="predicts",
        evidence="Over five variants of one VAE, 62.2 / 57.9 / 41.0 / 39.4 / 38.9 went with gFID 43.5 / 41.2 / 35.8 / "
        "34.1 / 33.2 (EQ-VAE, arXiv 2502.09509, Table 5); noise inflates it.",
    )
}


@dataclass(frozen=True)
class TwoNN:
    """log_ratios: log(r2 / r1) of each point, sorted; of points with a twin there is none. twins: how many had one."""

    dimension: float
    log_ratios: Values
    twins: int


def two_nn(points: NDArray[np.floating]) -> TwoNN:
    """The intrinsic dimension of points (n, D), n >= 3.

    Formula: with mu = r2 / r1 and F the empirical distribution of mu, the slope through 0 of -log(1 - F(mu)) against
    log(mu) by least squares, over the smallest 90 % of mu.
    Source: Facco et al. 2017, Scientific Reports 7, 12140; F = i / n and the 90 % as in DADApy, whose
    estimate for EQ-VAE it is. Checked against scikit-dimension's TwoNN, 1e-6
    relative. Differs from the maximum likelihood estimate, n / sum log(mu), which long tails move.
    """
    logs, twins = _log_ratios(points)
    return TwoNN(_slope(logs), np.sort(logs), twins)


class IntrinsicDimension:
    """A reading of latents."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def read(self, stored: Stored, caveats: tuple[str, ...]) -> Read:
        n = len(stored.ids)
        if n < FEWEST:
            reason = f"there are {n} pictures; at least {FEWEST} are needed, {RELIABLE} for a figure to rely on"
            return Read((replace(TEMPLATES[NAME], reason=reason),))
        found = two_nn(stored.normalised().reshape(n, -1))
        kept = n - found.twins
        if kept < FEWEST or not found.dimension > 0:
            reason = f"{found.twins} of {n} pictures have the latents of another one: too few differ"
            return Read((replace(TEMPLATES[NAME], reason=reason),))
        return Read((self._measure(found, kept, caveats),), (_plot(found),))

    def _measure(self, found: TwoNN, n: int, caveats: tuple[str, ...]) -> Measure:
        reasons = list(caveats)
        if n < RELIABLE:
            reasons.append(f"{n} pictures are few: at {RELIABLE} the estimate is known to about 10 %")
        return replace(
            TEMPLATES[NAME],
            value=found.dimension,
            n=n,
            ci95=bootstrap_ci95(found.log_ratios, _slope, self.seed),
            status="unreliable" if reasons else "ok",
            reason="; ".join(reasons),
            counts={"identical": found.twins} if found.twins else {},
        )


def _log_ratios(points: NDArray[np.floating]) -> tuple[Values, int]:
    """log(r2 / r1) in the order of the points, without those at distance 0 from another, and how many those are."""
    centred = np.asarray(points - points.mean(0, dtype=np.float64), np.float32)
    squares = (centred.astype(np.float64) ** 2).sum(1)
    nearest = np.empty((len(points), 2))
    for start in range(0, len(points), BLOCK):
        block = centred[start : start + BLOCK]
        distances = squares[start : start + BLOCK, None] + squares - 2.0 * (block @ centred.T)
        distances[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        order = np.argpartition(distances, 1, axis=1)[:, :2]
        for row, pair in enumerate(order):  # again, of the two alone: in the product above small distances drown
            exact = ((block[row].astype(np.float64) - centred[pair]) ** 2).sum(1)
            nearest[start + row] = np.sort(exact)
    apart = nearest[:, 0] > 0
    return 0.5 * np.log(nearest[apart, 1] / nearest[apart, 0]), int((~apart).sum())


def _slope(log_ratios: Values) -> float:
    """Of a line through 0, over all but the largest ratios."""
    n = len(log_ratios)
    most = int(n * (1 - DISCARDED))
    x = np.sort(log_ratios)[:most]
    y = -np.log1p(-np.arange(1, most + 1) / n)
    squares = float(x @ x)
    return float(x @ y) / squares if squares > 0 else 0.0


def _plot(found: TwoNN) -> Plot:
    n = len(found.log_ratios)
    most = int(n * (1 - DISCARDED))
    shown = np.unique(np.linspace(0, most - 1, min(most, DRAWN)).round().astype(int))
    x = found.log_ratios[shown]
    y = -np.log1p(-(shown + 1) / n)
    line = Line(f"slope {found.dimension:.1f}", (0.0, float(x[-1])), (0.0, float(found.dimension * x[-1])))
    return Plot(
        name=NAME,
        about=NAME,
        kind="lines",
        title="Intrinsic dimension of the latents (TwoNN)",
        x_label="log(second nearest / nearest distance)",
        y_label="-log(1 - share of pictures)",
        lines=(Line("pictures", tuple(map(float, x)), tuple(map(float, y))), line),
        note="The slope is the dimension; where the pictures do not lie along the line, there is no one dimension.",
    )
