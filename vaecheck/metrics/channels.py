"""What the latent channels are like: spread, shape, correlation, rank, and how much of them the pictures move.

Why the posterior means and not samples: these say what the encoder tells the channels apart by. Only `std` is of
samples, exactly, by the law of total variance: Var(means) + mean posterior variance.
Why the absolute skew: the sign of a channel is arbitrary, so +1 and -1 in two channels must not cancel.
Why a histogram with edges that are fixed for every model: sums over fixed edges merge. They are equal steps of
asinh(z / 0.001): 0.5 % of the value, wherever the latents lie, and are gathered into steps of the channel's standard
deviation when it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows, Sum
from vaecheck.metrics.channel_plots import correlation_plot, eigenvalue_plot, histogram_plot, spread_plot
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
from vaecheck.results.types import Measure, Plot

DELTA = 0.01
DEAD = 0.05
"""A channel whose means have less than this share of the median channel's std carries 1/400 of its variance."""
SATURATED = 0.01
SINGULAR = 1e-12
STEP, FINEST, WIDEST = 0.005, 1e-3, 1e6
LAST_BIN = int(np.arcsinh(WIDEST / FINEST) / STEP)
BINS = 2 * LAST_BIN + 1

DETERMINISTIC = "the encoder is deterministic: it has no posterior variance"
QUANTISED = "quantised: no posterior variance"
NO_EVIDENCE = "No correlation with generation quality has been published; it describes."
RANK_EVIDENCE = (
    "For video VAEs, a channel eigen-spectrum with few dominant modes went with faster convergence (arXiv 2512.05394); "
    "no correlation over many image VAEs has been published."
)
TEMPLATES: Mapping[str, Measure] = {
    name: template(name, definition, unit=unit, better=None, role="describes", evidence=evidence)
    for name, unit, definition, evidence in (
        (
            "latent_skew",
            "",
            "mean over channels of |m3| / m2^1.5, central moments of the posterior means over all elements",
            NO_EVIDENCE,
        ),
        (
            "latent_kurtosis",
            "",
            "excess kurtosis over all elements after each channel is brought to mean 0 and std 1, which is the mean "
            "over channels of m4 / m2^2 - 3, central moments of the posterior means; 0 for a Gaussian",
            NO_EVIDENCE,
        ),
        (
            "channel_correlation",
            "",
            "mean absolute correlation of two different channels of the posterior means, over all positions",
            NO_EVIDENCE,
        ),
        (
            "effective_rank",
            "channels",
            "(sum l)^2 / sum l^2 over the eigenvalues l of the channels' covariance (participation ratio)",
            RANK_EVIDENCE,
        ),
        (
            "condition_number",
            "",
            "largest over smallest eigenvalue of the channels' covariance",
            RANK_EVIDENCE,
        ),
        (
            "active_units",
            "",
            "share of latent elements whose posterior mean has a variance over pictures above {delta:g} (Burda 2015); "
            "raw latents, so it follows their scale",
            "A collapsed unit tells a U-Net nothing (Burda et al., arXiv 1509.00519); it describes.",
        ),
        (
            "posterior_snr_db",
            "dB",
            "10 log10 of the mean over channels of Var(posterior mean) over that of the mean posterior variance",
            NO_EVIDENCE,
        ),
        (
            "dead_channel_count",
            "channels",
            f"channels whose posterior means have a std below {DEAD:.0%} of the median channel's",
            NO_EVIDENCE,
        ),
        (
            "saturated_share",
            "",
            f"share of elements within {SATURATED:.0%} of the channel's range from its smallest or its largest value, "
            "mean over channels; 0.02 where values are spread evenly",
            NO_EVIDENCE,
        ),
    )
}


_Statistic = Callable[[Array, Array, Array], Array]
"""Of sums (n, C, 5) about the channels' means, their number of elements (n,), and these means (C,): n values."""


class Canvas(Sum):
    """A sum of arrays whose last two sides may differ: the smaller lies in the upper left corner of the larger."""

    def add(self, value: Array) -> None:
        if self.value is not None:
            sides = np.maximum(self.value.shape[-2:], value.shape[-2:])
            self.value, value = _on_canvas(self.value, sides), _on_canvas(value, sides)
        super().add(value)


class ChannelStatistics:
    """latent_skew, latent_kurtosis, channel_correlation, effective_rank, condition_number, active_units,
    posterior_snr_db, dead_channel_count and saturated_share; and the figures of each channel.

    channels: C of the latents. delta: variance over pictures above which a latent element is active.
    Reads posterior.mean and log_var (B, C, h, w), of any sizes. Checked against NumPy and scipy.stats, 1e-9.
    """

    name = "channels"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, channels: int, *, seed: int = 0, delta: float = DELTA) -> None:
        self.count = channels
        self.seed = seed
        self.delta = delta
        self.rows = Rows(3 + 6 * channels)  # elements of a channel, stochastic, quantised; m, M2, M3, M4, var, KL
        self.within = Sum()  # (C, C): products of two channels' deviations from the picture's own means
        self.histogram = Sum()  # (C, BINS)
        self.units = Canvas()  # (pictures, sum, sum of squares) x (C, h, w)

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        mean, log_var = batch.posterior.mean, batch.posterior.log_var
        batch.bring(
            partial(self._keep, batch.ids, batch.posterior.codes is not None),
            mean,
            *([] if log_var is None else [log_var]),
        )

    def _keep(self, ids: Sequence[str], quantised: bool, mean: Tensor, log_var: Tensor | None = None) -> None:
        mean, log_var = mean.double(), None if log_var is None else log_var.double()
        var = mean.new_zeros(mean.shape) if log_var is None else log_var.exp()
        finite = (mean + var).flatten(1).isfinite().all(1)
        kl = mean.new_zeros(mean.shape) if log_var is None else 0.5 * (mean**2 + var - 1 - log_var)
        sums = [part.flatten(2).sum(2).numpy()[..., None] for part in (var, kl)]
        of_channels = np.concatenate([own_moments(mean, 4), *sums], axis=2).reshape(len(mean), -1)
        kind = [mean[0, 0].numel(), float(log_var is not None), float(quantised)]
        rows = np.concatenate([np.tile(kind, (len(mean), 1)), of_channels], axis=1)
        rows[~finite.numpy()] = np.nan
        self.rows.add(ids, rows)
        if finite.any():
            self._add_sums(mean[finite])

    def _add_sums(self, mean: Tensor) -> None:
        flat = mean.flatten(2)
        deviation = flat - flat.mean(2, keepdim=True)
        self.within.add((deviation @ deviation.transpose(1, 2)).sum(0).numpy())
        self.histogram.add(_histogram(flat.transpose(0, 1).flatten(1).numpy()))
        pictures = mean.new_full(mean.shape[1:], len(mean))
        self.units.add(np.stack([part.numpy() for part in (pictures, mean.sum(0), (mean**2).sum(0))]))

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "within": self.within, "histogram": self.histogram, "units": self.units}

    def compute(self) -> tuple[Measure, ...]:
        found = _Found(self)
        n, lost = len(found.rows), len(self.rows) - len(found.rows)

        def sampled(name: str, statistic: _Statistic, reason: str) -> Measure:
            value, ci95 = found.figure(statistic)
            return filled(TEMPLATES[name], value, n, lost=lost, ci95=ci95, reason=reason)

        def measure(name: str, value: float, reason: str) -> Measure:
            template = TEMPLATES[name]
            if name == "active_units":
                template = replace(template, definition=template.definition.format(delta=self.delta))
            return filled(template, value, n, lost=lost, reason=reason)

        constant = "every channel is constant over these pictures"
        singular = "the covariance is singular: a channel is constant or a mixture of the others"
        single = "there is one channel" if self.count == 1 else "fewer than two channels vary over these pictures"
        snr = constant if found.stochastic and found.noise.any() else found.no_noise
        return (
            sampled("latent_skew", _mean_skew, constant),
            sampled("latent_kurtosis", _mean_kurtosis, constant),
            measure("channel_correlation", found.mean_correlation(), single),
            measure("effective_rank", found.effective_rank(), constant),
            measure("condition_number", found.condition_number(), singular),
            measure("active_units", found.active_units(), "a variance over pictures needs at least two of them"),
            sampled("posterior_snr_db", _snr_db, snr),
            measure("dead_channel_count", float(found.dead.sum()), ""),
            measure("saturated_share", float(mean_where(found.saturated, found.variance > 0)), constant),
        )

    def channels(self) -> tuple[Mapping[str, float | None], ...]:
        """The figures of each channel; None where it has none."""
        found = _Found(self)
        noise = found.noise if found.stochastic else np.full(self.count, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {
                "mean": found.mean,
                "std": np.sqrt(found.variance + found.noise),
                "std_of_means": np.sqrt(found.variance),
                "posterior_std": np.sqrt(noise),
                "skew": found.skews,
                "excess_kurtosis": found.kurtoses,
                "posterior_snr_db": 10 * np.log10(found.variance / noise),
                "active_units": found.active_by_channel,
                "dead": found.dead.astype(float),
                "saturated_share": found.saturated,
                "kl_nats_per_element": found.kl if found.stochastic else noise,
            }
        return tuple({name: figure(column[c]) for name, column in columns.items()} for c in range(self.count))

    def plots(self) -> tuple[Plot, ...]:
        found = _Found(self)
        return (
            spread_plot(np.sqrt(found.variance), np.sqrt(found.noise) if found.stochastic else None),
            histogram_plot(found.counts, edges(), found.mean, np.sqrt(found.variance), found.kurtoses),
            eigenvalue_plot(found.eigenvalues),
            *((correlation_plot(np.abs(found.correlation)),) if self.count > 1 else ()),
        )


class _Found:
    """What the cells of one ChannelStatistics hold, channel by channel."""

    def __init__(self, metric: ChannelStatistics) -> None:
        self.seed, self.delta = metric.seed, metric.delta
        self.rows = finite_rows(metric.rows)
        self.stochastic = bool(self.rows[0, 1])
        self.no_noise = "the posterior variance is 0"
        if not self.stochastic:
            self.no_noise = QUANTISED if self.rows[0, 2] else DETERMINISTIC
        self.elements = self.rows[:, 0]
        columns = self.rows[:, 3:].reshape(len(self.rows), metric.count, 6)
        self.mean = centre_of(columns[..., 0], self.elements)
        self.parts = np.concatenate([about(columns[..., :4], self.elements, self.mean), columns[..., 4:5]], axis=2)
        total = self.parts.sum(0)
        self.variance, self.skews, self.kurtoses = _shape(total, np.array(self.elements.sum()), self.mean)
        self.noise, self.kl = total[:, 4] / self.elements.sum(), columns[..., 5].sum(0) / self.elements.sum()
        deviation = columns[..., 0] - self.mean
        assert metric.within.value is not None
        between = (deviation * self.elements[:, None]).T @ deviation
        self.covariance = (metric.within.value + between) / self.elements.sum()
        self.eigenvalues = np.linalg.eigvalsh(self.covariance)[::-1]
        self.dead = np.sqrt(self.variance) <= DEAD * np.median(np.sqrt(self.variance))
        assert metric.histogram.value is not None
        self.counts = metric.histogram.value
        self.saturated = np.where(self.variance > 0, _saturated(self.counts), np.nan)
        self.active_by_channel, self.unit_counts = self._active(metric.units)

    def figure(self, statistic: _Statistic) -> tuple[float, tuple[float, float] | None]:
        """A statistic of these pictures, and its 95 % interval."""
        shape, width = self.parts.shape[1:], self.parts[0].size
        parts = np.concatenate([self.parts.reshape(len(self.parts), width), self.elements[:, None]], axis=1)

        def of(totals: Array) -> Array:
            return statistic(totals[:, :width].reshape(-1, *shape), totals[:, width], self.mean)

        value = float(of(parts.sum(0, keepdims=True))[0])
        return value, blocks_ci95(parts, of, self.seed) if np.isfinite(value) else None

    @property
    def correlation(self) -> Array:
        """(C, C), 0 for a constant channel."""
        std = np.sqrt(self.variance)
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        return np.asarray(np.clip(self.covariance * scale[:, None] * scale, -1.0, 1.0))

    def mean_correlation(self) -> float:
        varied = self.variance > 0
        off_diagonal = ~np.eye(len(varied), dtype=bool) & varied[:, None] & varied
        return float(mean_where(np.abs(self.correlation).ravel(), off_diagonal.ravel()))

    def effective_rank(self) -> float:
        squares = (self.eigenvalues**2).sum()
        return float(self.eigenvalues.sum() ** 2 / squares) if self.variance.any() else float("nan")

    def condition_number(self) -> float:
        largest, smallest = self.eigenvalues[0], self.eigenvalues[-1]
        singular = not self.variance.all() or smallest <= SINGULAR * largest
        return float("nan") if singular else float(largest / smallest)

    def active_units(self) -> float:
        return _weighted(self.active_by_channel, self.unit_counts)

    def _active(self, units: Canvas) -> tuple[Array, NDArray[np.int64]]:
        """Share of each channel's elements that are active, and how many were seen in two pictures or more."""
        assert units.value is not None
        pictures, total, squares = units.value
        seen = pictures > 1
        with np.errstate(divide="ignore", invalid="ignore"):
            active = ((squares - total**2 / pictures) / (pictures - 1) > self.delta) & seen
            counts = seen.sum((1, 2))
            return active.sum((1, 2)) / counts, counts


def edges() -> Array:
    """Of the histogram's bins, (BINS + 1,) in units of the latents."""
    return np.asarray(FINEST * np.sinh(STEP * (np.arange(BINS + 1) - LAST_BIN - 0.5)))


def _histogram(values: Array) -> Array:
    """(C, n) -> (C, BINS) counts; values beyond WIDEST count in the outermost bin."""
    place = np.clip(np.rint(np.arcsinh(values / FINEST) / STEP), -LAST_BIN, LAST_BIN).astype(np.int64) + LAST_BIN
    flat = place + BINS * np.arange(len(values))[:, None]
    return np.bincount(flat.ravel(), minlength=BINS * len(values)).reshape(len(values), BINS).astype(np.float64)


def _saturated(counts: Array) -> Array:
    """Share of each channel's values in the bins within SATURATED of its range from either end."""
    bounds = edges()
    middles = (bounds[1:] + bounds[:-1]) / 2
    shares = []
    for row in counts:
        occupied = np.flatnonzero(row)
        low, high = middles[occupied[0]], middles[occupied[-1]]
        margin = SATURATED * (high - low)
        shares.append(row[(middles <= low + margin) | (middles >= high - margin)].sum() / row.sum())
    return np.array(shares)


def _shape(sums: Array, count: Array, centre: Array) -> tuple[Array, Array, Array]:
    """Variance, skew and excess kurtosis from sums of powers about `centre`; 0 and NaN for a constant channel.

    sums: (..., C, 4 or more). count: (...,) elements of one channel. centre: (C,).
    """
    first, second, third, fourth = (sums[..., power] / count[..., None] for power in range(4))
    variance = variances(sums[..., 0], sums[..., 1], count, centre)
    m3 = third - 3 * first * second + 2 * first**3
    m4 = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    spread = np.where(variance > 0, variance, np.nan)
    return variance, m3 / spread**1.5, m4 / spread**2 - 3


def _mean_skew(sums: Array, count: Array, centre: Array) -> Array:
    variance, skew, _ = _shape(sums, count, centre)
    return mean_where(np.abs(skew), variance > 0)


def _mean_kurtosis(sums: Array, count: Array, centre: Array) -> Array:
    variance, _, kurtosis = _shape(sums, count, centre)
    return mean_where(kurtosis, variance > 0)


def _snr_db(sums: Array, count: Array, centre: Array) -> Array:
    signal = variances(sums[..., 0], sums[..., 1], count, centre).mean(-1)
    noise = sums[..., 4].mean(-1) / count
    there = (signal > 0) & (noise > 0)
    ratio = np.where(there, signal, np.nan) / np.where(there, noise, np.nan)
    return np.asarray(10 * np.log10(ratio))


def _weighted(values: Array, weights: NDArray[np.int64]) -> float:
    total = float(weights.sum())
    return float((np.nan_to_num(values) * weights).sum() / total) if total else float("nan")


def _on_canvas(value: Array, sides: NDArray[np.generic]) -> Array:
    wanted = [(0, 0)] * (value.ndim - 2) + [
        (0, int(side) - have) for side, have in zip(sides, value.shape[-2:], strict=True)
    ]
    return np.pad(value, wanted)
