"""What `channels` shows: spread, histograms, eigenvalues and correlations of the latent channels, as numbers."""

from __future__ import annotations

import numpy as np

from vaecheck.metrics.latent_sums import Array
from vaecheck.results.types import Line, Plot

MOST_LINES = 6
REACH, HISTOGRAM_STEP = 5.0, 0.2


def spread_plot(std_of_means: Array, posterior_std: Array | None) -> Plot:
    """Standard deviation of each channel's posterior means, and of its posterior."""
    channels = _counted(len(std_of_means))
    lines = [Line("posterior means", channels, _floats(std_of_means))]
    if posterior_std is not None:
        lines.append(Line("posterior", channels, _floats(posterior_std)))
    return Plot(
        "channel_spread",
        "dead_channel_count",
        "bars",
        "Spread of the latent channels",
        "channel",
        "standard deviation",
        tuple(lines),
        note="A channel much lower than the others tells little of the pictures; one much higher outweighs them.",
    )


def histogram_plot(counts: Array, edges: Array, mean: Array, std: Array, kurtoses: Array) -> Plot:
    """Densities of the channels, each in its own standard deviations; of many, the least and the most Gaussian."""
    grid = np.arange(-REACH, REACH + HISTOGRAM_STEP / 2, HISTOGRAM_STEP)
    middles = _floats((grid[1:] + grid[:-1]) / 2)
    lines = [Line("Gaussian", middles, _floats(np.exp(-0.5 * np.array(middles) ** 2) / np.sqrt(2 * np.pi)))]
    for channel in _chosen(kurtoses):
        below = np.concatenate([[0.0], np.cumsum(counts[channel])]) / counts[channel].sum()
        density = np.diff(np.interp(mean[channel] + std[channel] * grid, edges, below)) / HISTOGRAM_STEP
        label = f"channel {channel}, excess kurtosis {kurtoses[channel]:+.2g}"
        lines.append(Line(label, middles, _floats(density)))
    return Plot(
        "channel_histograms",
        "latent_kurtosis",
        "lines",
        "Histograms of the latent channels",
        "value, in the channel's standard deviations from its mean",
        "density",
        tuple(lines),
        note="Of more than six channels, the three least and the three most Gaussian; long tails are outliers.",
    )


def eigenvalue_plot(eigenvalues: Array) -> Plot:
    """The share of the variance along each principal direction of the channels."""
    shares = np.maximum(eigenvalues, 0.0) / (eigenvalues.sum() or 1.0)
    return Plot(
        "channel_eigenvalues",
        "effective_rank",
        "bars",
        "Principal directions of the latent channels",
        "direction",
        "share of the variance",
        (Line("eigenvalue", _counted(len(shares)), _floats(shares)),),
        note="Equal bars: every direction counts alike. A few high ones: the latents live in fewer dimensions.",
    )


def correlation_plot(correlation: Array) -> Plot:
    """(C, C) of absolute correlations."""
    return Plot(
        "channel_correlation",
        "channel_correlation",
        "matrix",
        "Correlation of the latent channels",
        "channel",
        "channel",
        matrix=tuple(tuple(round(float(one), 4) for one in row) for row in correlation),
        note="Absolute correlations; dark off the diagonal: two channels that say the same.",
    )


def _chosen(kurtoses: Array) -> list[int]:
    """Channels to draw: all of a few; of many, the least and the most Gaussian. Constant ones have no histogram."""
    order = [int(c) for c in np.argsort(np.abs(kurtoses), kind="stable") if np.isfinite(kurtoses[c])]
    half = MOST_LINES // 2
    return sorted(order if len(order) <= MOST_LINES else [*order[:half], *order[-half:]])


def _counted(count: int) -> tuple[float, ...]:
    return tuple(float(i) for i in range(count))


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
