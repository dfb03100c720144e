"""Sums over the latents of each picture: they add up over pictures, they centre exactly, and they carry intervals.

Why deviations from each picture's own mean: sums of plain powers of latents that sit far from 0 lose their digits.
Those of a picture about its own mean keep them, and move exactly to any other centre.
Why blocks: a bootstrap of 50,000 pictures with 100 numbers each takes minutes. Whatever is computed from sums over
pictures may be resampled in 200 random blocks of pictures instead, and the interval stays as wide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Rows
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.intervals import RESAMPLES, confidence_level
from vaecheck.results.types import Measure

Array = NDArray[np.float64]

BLOCKS = 200
CONSTANT = 1e-13
"""A channel is constant where its variance is below this share of its mean square: float32 holds 3.6e-15."""


def own_moments(latents: Tensor, order: int) -> Array:
    """(B, C, h, w) float64 -> (B, C, order): the mean, and the sums of (z - mean)^2, ..., (z - mean)^order.

    latents: in main memory.
    """
    flat = latents.flatten(2)
    mean = flat.mean(2, keepdim=True)
    deviation = flat - mean
    parts = [mean[..., 0], *((deviation**power).sum(2) for power in range(2, order + 1))]
    return np.stack([part.numpy() for part in parts], axis=-1)


def about(moments: Array, counts: Array, centre: Array) -> Array:
    """Move `own_moments` to another centre: sums of (z - centre)^1 ... (z - centre)^order.

    moments: (n, C, order). counts: (n,) elements of one channel of each picture. centre: (C,). Gives (n, C, order).
    With d = mean - centre and M_j the own sums, by the binomial theorem:
    sum (z - centre)^k = sum_j binomial(k, j) d^(k - j) M_j, where M_0 = count and M_1 = 0.
    """
    shift, order = moments[..., 0] - centre, moments.shape[-1]
    own = [np.broadcast_to(counts[:, None], shift.shape), np.zeros_like(shift)]
    own += [moments[..., power - 1] for power in range(2, order + 1)]
    moved = [
        sum(math.comb(power, j) * shift ** (power - j) * own[j] for j in range(power + 1))
        for power in range(1, order + 1)
    ]
    return np.stack(moved, axis=-1)


def centre_of(means: Array, counts: Array) -> Array:
    """The mean of each channel over all elements of all pictures. means: (n, C). counts: (n,). Gives (C,)."""
    return np.asarray((counts[:, None] * means).sum(0) / counts.sum())


def variances(first: Array, second: Array, count: Array, centre: Array) -> Array:
    """Population variances from sums of (z - centre) and (z - centre)^2; 0 for a constant channel.

    first, second: (..., C). count: (...,) elements of one channel. centre: (C,).
    """
    offset = first / count[..., None]
    found = second / count[..., None] - offset**2
    return np.where(found > CONSTANT * (found + (centre + offset) ** 2), found, 0.0)


def mean_where(values: Array, there: NDArray[np.bool_]) -> Array:
    """Mean over the last axis of what is there; NaN where nothing is."""
    count = there.sum(-1)
    return np.asarray(np.where(there, values, 0.0).sum(-1) / np.where(count > 0, count, np.nan))


def blocks_ci95(parts: Array, statistic: Callable[[Array], Array], seed: int) -> tuple[float, float] | None:
    """95 % bootstrap interval over pictures of a statistic of summed parts (the percentiles of `intervals`).

    parts: (n, width), what each picture adds. statistic: of sums (resamples, width) -> (resamples,), NaN where there is
    no value. None for fewer than two pictures, and where a resample has no value.
    """
    rng = np.random.default_rng(seed)
    if len(parts) > BLOCKS:
        drawn = rng.permutation(len(parts))
        parts = np.stack([parts[block].sum(0) for block in np.array_split(drawn, BLOCKS)])
    n = len(parts)
    if n < 2:
        return None
    times = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    values = statistic(times @ parts)
    if not np.isfinite(values).all():
        return None
    level = confidence_level(n)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def finite_rows(rows: Rows) -> Array:
    """The rows of all pictures whose latents are finite. Raises NotEnoughImages where there are none."""
    if not len(rows):
        raise NotEnoughImages("latent statistics need at least one picture", hint="Check the IMAGES given.")
    every = rows.ordered()
    finite = every[np.isfinite(every[:, 0])]
    if not len(finite):
        raise NotEnoughImages(
            f"the latents of all {len(every)} pictures hold NaN or infinity",
            hint="The weights are broken, or their values overflow in 16 bits.",
        )
    return np.asarray(finite, np.float64)


def of_commonest_shape(shapes: Array) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Which pictures have the commonest latent height and width, and these. shapes: (n, 2); of two, the larger."""
    counted = Counter((int(height), int(width)) for height, width in shapes)
    shape = max(counted, key=lambda each: (counted[each], each))
    return (shapes == shape).all(1), shape


def filled(
    template: Measure,
    value: float | None,
    n: int,
    *,
    lost: int = 0,
    ci95: tuple[float, float] | None = None,
    reason: str = "",
    other_shape: int = 0,
) -> Measure:
    """A template with its figure. value: None where there is none, for the given reason.

    lost: pictures left out because their latents are not finite; other_shape: left out for the shape of theirs.
    """
    counts = {name: count for name, count in (("non_finite", lost), ("other_shape", other_shape)) if count}
    if value is None or not math.isfinite(value):
        return replace(template, value=None, n=n, status="unavailable", reason=reason, counts=counts)
    caveat = f"{lost} of {n + lost + other_shape} pictures have NaN or infinity in their latents" if lost else ""
    return replace(
        template,
        value=float(value),
        n=n,
        ci95=ci95,
        status="unreliable" if caveat else "ok",
        reason=caveat,
        counts=counts,
    )


def figure(value: float) -> float | None:
    """For channels(): None in place of NaN and infinity."""
    return float(value) if math.isfinite(value) else None
