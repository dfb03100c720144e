"""How much the cells of a latent grid have in common with their neighbours, and with cells far away.

Why about the mean of all pictures, not each picture's own: a U-Net sees latents of all pictures on one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows
from vaecheck.metrics.intervals import mean_ci95
from vaecheck.metrics.latent_store import template
from vaecheck.metrics.latent_sums import (
    Array,
    about,
    blocks_ci95,
    centre_of,
    figure,
    filled,
    finite_rows,
    mean_where,
    own_moments,
    variances,
)
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.metrics.token_cosines import FAR, FARTHEST, MOST_WINDOWS, WINDOW, Windows, cds, lds
from vaecheck.results.types import Line, Measure, Plot

LAGS = (1, 2, 4, 8, 16)
REPORTED = (1, 2, 4, 8)
PER_LAG = 2  # sums of products, and of the two factors

EVIDENCE = (
    "Spatial structure: |r| > 0.85 with FID over 27 encoders used for alignment (iREPA, arXiv 2512.10794), and among "
    "the stable predictors over 86 tokenizers (arXiv 2606.03578); not comparable across latent shapes."
)
CONSTANT = "every channel is constant over these pictures"
NO_EVIDENCE = "No correlation with generation quality has been published for it alone; it describes."
TOKENS = (
    "tokens are the C-vectors of latent cells, each channel brought to mean 0 and std 1 over all pictures, of a window "
    f"of at most {WINDOW} x {WINDOW} cells in each picture; distances are Manhattan, in cells; mean over pictures, at "
    f"most {MOST_WINDOWS:,}, drawn by their ids"
)
TEMPLATES: Mapping[str, Measure] = {
    **{
        f"autocorrelation_{lag}": template(
            f"autocorrelation_{lag}",
            f"correlation of two latents of one channel {lag} cells apart, across and down, about the channel's mean "
            "over all pictures; mean over channels",
            better=None,
            role="describes",
            evidence=NO_EVIDENCE,
        )
        for lag in REPORTED
    },
    "correlation_length": template(
        "correlation_length",
        "lag at which the mean autocorrelation has fallen to 1/e, its logarithm being linear between the lags 0, 1, 2, "
        "4, 8 and 16",
        unit="latent cells",
        better=None,
        role="describes",
        evidence=NO_EVIDENCE,
    ),
    "lds": template(
        "lds",
        f"mean cosine of tokens at distance 1 minus that of tokens at distance {FAR} or more; {TOKENS}",
        better="higher",
        role="predicts",
        evidence=EVIDENCE,
    ),
    "cds": template(
        "cds",
        f"minus the least-squares slope of the mean cosine against the distances 1 to {FARTHEST}; {TOKENS}",
        unit="per cell",
        better="higher",
        role="predicts",
        evidence=EVIDENCE,
    ),
}


class Spatial:
    """autocorrelation_1, _2, _4, _8, correlation_length, lds and cds.

    channels: C of the latents. Reads latents (B, C, h, w) of any sizes. Source of lds and cds: iREPA, arXiv 2512.10794.
    Checked against sums over all pairs in NumPy, 1e-6, and against fields of known correlation.
    """

    name = "spatial"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, channels: int, *, seed: int = 0) -> None:
        self.count = channels
        self.seed = seed
        self.width = 2 + PER_LAG * len(LAGS)  # of a channel: mean, own sum of squares; of each lag: see _products
        self.rows = Rows(2 + channels * self.width)
        self.windows = Windows(channels)

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        batch.bring(partial(self._keep, batch.ids), batch.latents)

    def _keep(self, ids: Sequence[str], latents: Tensor) -> None:
        latents = latents.double()
        finite = latents.flatten(1).isfinite().all(1).numpy()
        deviation = latents - latents.mean((2, 3), keepdim=True)
        of_channels = np.concatenate([own_moments(latents, 2), *(_products(deviation, lag) for lag in LAGS)], axis=2)
        sides = np.tile(np.array(latents.shape[2:], np.float64), (len(latents), 1))
        rows = np.concatenate([sides, of_channels.reshape(len(latents), -1)], axis=1)
        rows[~finite] = np.nan
        self.rows.add(ids, rows)
        places = np.flatnonzero(finite).tolist()
        self.windows.add([ids[place] for place in places], latents[places])

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "windows": self.windows.rows}

    def compute(self) -> tuple[Measure, ...]:
        found = _Found(self)

        def measure(name: str, statistic: Callable[[Array], Array], reason: str) -> Measure:
            value = float(statistic(found.total)[0])
            ci95 = blocks_ci95(found.parts, statistic, self.seed) if np.isfinite(value) else None
            return filled(TEMPLATES[name], value, len(found.parts), lost=found.lost, ci95=ci95, reason=reason)

        varied = bool(found.spread(found.total).any())
        small = "the latents have too few cells for it" if varied else CONSTANT
        length = f"the autocorrelation does not fall to 1/e within {found.reach} cells" if varied else CONSTANT
        lags = {f"autocorrelation_{lag}": i for i, lag in enumerate(LAGS) if lag in REPORTED}
        cosines = found.cosines(self.windows)
        return (
            *(measure(name, partial(found.at, i), small) for name, i in lags.items()),
            measure("correlation_length", found.length, length),
            self._of_pictures("lds", lds(cosines), found.lost, small),
            self._of_pictures("cds", cds(cosines), found.lost, small),
        )

    def _of_pictures(self, name: str, values: Array, lost: int, reason: str) -> Measure:
        there = values[np.isfinite(values)]
        value = float(there.mean()) if len(there) else None
        ci95 = mean_ci95(there, self.seed) if len(there) else None
        return filled(TEMPLATES[name], value, len(there), lost=lost, ci95=ci95, reason=reason)

    def channels(self) -> tuple[Mapping[str, float | None], ...]:
        """Autocorrelation of each channel; None for a constant one, and at lags that the latents are too small for."""
        found = _Found(self)
        curves = found.curves(found.total)[0]
        return tuple(
            {f"autocorrelation_{lag}": figure(curve[i]) for i, lag in enumerate(LAGS) if lag in REPORTED}
            for curve in curves
        )

    def plots(self) -> tuple[Plot, ...]:
        """The mean autocorrelation with the lowest and the highest channel, and the mean cosine by distance."""
        found = _Found(self)
        there = np.isfinite(found.curve(found.total)[0])
        curves = found.curves(found.total)[0]
        lags = tuple(float(lag) for lag, is_there in zip(LAGS, there, strict=True) if is_there)
        varied = curves[np.isfinite(curves).any(1)][:, there]
        groups = {"mean of the channels": varied.mean(0)} if lags else {}
        if lags and len(varied) > 1:
            groups |= {"lowest channel": varied.min(0), "highest channel": varied.max(0)}
        lines = [Line(label, lags, tuple(curve.tolist())) for label, curve in groups.items()]
        return (
            Plot(
                "latent_autocorrelation",
                "autocorrelation_1",
                "lines",
                "Autocorrelation of the latents",
                "lag, latent cells",
                "correlation",
                tuple(lines),
                note="Near 0 everywhere: a cell is noise to its neighbours. The correlation length is where it is 1/e.",
            ),
            *self._cosine_plot(found),
        )

    def _cosine_plot(self, found: _Found) -> tuple[Plot, ...]:
        cosines = found.cosines(self.windows)[:, :FARTHEST]
        there = np.isfinite(cosines).any(0)
        if not there.any():
            return ()
        distances = tuple((np.flatnonzero(there) + 1.0).tolist())
        line = Line("mean over pictures", distances, tuple(np.nanmean(cosines[:, there], axis=0).tolist()))
        return (
            Plot(
                "latent_cosines",
                "cds",
                "lines",
                "Cosine of two latent cells by their distance",
                "Manhattan distance, latent cells",
                "mean cosine",
                (line,),
                note="cds is minus the slope of this curve; lds is its first point minus the mean of all far pairs.",
            ),
        )


class _Found:
    """What the rows of one Spatial hold."""

    def __init__(self, metric: Spatial) -> None:
        rows = finite_rows(metric.rows)
        self.lost = len(metric.rows) - len(rows)
        columns = rows[:, 2:].reshape(len(rows), metric.count, metric.width)
        elements = rows[:, 0] * rows[:, 1]
        pairs = np.stack([_pairs(rows[:, 0], rows[:, 1], lag) for lag in LAGS], axis=1)  # (n, lags)
        self.centre = centre_of(columns[..., 0], elements)
        shift = (columns[..., 0] - self.centre)[..., None]
        products, factors = columns[..., 2::PER_LAG], columns[..., 3::PER_LAG]
        moved = [
            about(columns[..., :2], elements, self.centre),
            products + shift * factors + pairs[:, None] * shift**2,
            factors + 2 * pairs[:, None] * shift,
        ]
        of_channels = np.concatenate(moved, axis=2)
        self.columns_shape = of_channels.shape[1:]
        self.parts = np.concatenate([elements[:, None], pairs, of_channels.reshape(len(rows), -1)], axis=1)
        self.total = self.parts.sum(0, keepdims=True)
        self.reach = max((lag for lag, count in zip(LAGS, pairs.sum(0), strict=True) if count), default=0)

    def _columns(self, totals: Array) -> Array:
        """(n, C, width) of sums (n, ...)."""
        return np.asarray(totals[:, 1 + len(LAGS) :].reshape(-1, *self.columns_shape))

    def spread(self, totals: Array) -> Array:
        """(n, C) variances; 0 for a constant channel."""
        columns = self._columns(totals)
        return variances(columns[..., 0], columns[..., 1], totals[:, 0], self.centre)

    def curves(self, totals: Array) -> Array:
        """(n, C, lags) autocorrelations; NaN for a constant channel and for a lag without pairs."""
        columns, pairs = self._columns(totals), totals[:, None, 1 : 1 + len(LAGS)]
        products, factors = columns[..., 2 : 2 + len(LAGS)], columns[..., 2 + len(LAGS) :]
        offset = columns[..., :1] / totals[:, :1, None]
        spread = self.spread(totals)[..., None]
        covariance = (products - offset * factors) / np.where(pairs > 0, pairs, np.nan) + offset**2
        return np.asarray(covariance / np.where(spread > 0, spread, np.nan))

    def curve(self, totals: Array) -> Array:
        """(n, lags) mean over the channels that vary; NaN where there is none."""
        curves = self.curves(totals).swapaxes(1, 2)
        return mean_where(curves, np.isfinite(curves))

    def at(self, index: int, totals: Array) -> Array:
        """(n,) the mean autocorrelation at one lag."""
        return np.asarray(self.curve(totals)[:, index])

    def length(self, totals: Array) -> Array:
        """(n,) the correlation length."""
        return np.array([_length(curve) for curve in self.curve(totals)])

    def cosines(self, windows: Windows) -> Array:
        """Each picture's mean cosine at the distances 1 to FARTHEST, and at FAR or more: (n, FARTHEST + 1)."""
        spread = self.spread(self.total)[0]
        varied = spread > 0
        if not varied.any():
            return np.full((1, FARTHEST + 1), np.nan)
        centre, std = self.centre[varied], np.sqrt(spread[varied])
        return windows.mean_cosines(varied, centre, std)


def _products(deviation: Tensor, lag: int) -> Array:
    """(B, C, h, w) -> (B, C, 2): over pairs `lag` cells apart, the sums of the products and of both factors."""
    sums = deviation.new_zeros((*deviation.shape[:2], PER_LAG))
    for side in (2, 3):
        length = deviation.shape[side]
        if _reaches(length, lag):
            first, second = deviation.narrow(side, 0, length - lag), deviation.narrow(side, lag, length - lag)
            sums[..., 0] += (first * second).sum((2, 3))
            sums[..., 1] += (first + second).sum((2, 3))
    return sums.cpu().numpy()


def _pairs(heights: Array, widths: Array, lag: int) -> Array:
    """How many pairs `lag` cells apart there are, across and down."""
    down = np.where(_reaches(heights, lag), (heights - lag) * widths, 0.0)
    return down + np.where(_reaches(widths, lag), (widths - lag) * heights, 0.0)


def _reaches(length: int | Array, lag: int) -> bool | NDArray[np.bool_]:
    """A lag of more than half a side has few pairs, all of them near opposite borders."""
    return length >= 2 * lag


def _length(curve: Array) -> float:
    """Lag at which the curve, 1 at lag 0, falls to 1/e; NaN where it does not.

    Between two lags the logarithm is linear, as for a correlation that decays exponentially; below lag 1, and where the
    second value is not positive, the value itself is.
    """
    level = float(np.exp(-1.0))
    before, value_before = 0, 1.0
    for lag, value in zip(LAGS, curve, strict=True):
        if not np.isfinite(value):
            break
        if value <= level:
            if value > 0 and before:
                share = np.log(value_before / level) / np.log(value_before / value)
            else:
                share = (value_before - level) / (value_before - value)
            return float(before + share * (lag - before))
        before, value_before = lag, float(value)
    return float("nan")
