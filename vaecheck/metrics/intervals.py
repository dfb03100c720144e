"""95 % intervals of figures that average over images: the bootstrap, with images as the unit.

Why the expanded percentile interval: the plain one is too narrow for few images. Hesterberg 2015 ("What Teachers
Should Know about the Bootstrap") mends that by asking for a wider confidence level, which tends to 95 % as n grows.
Coverage of the mean in %, nominally 95, on the same 1,000 draws at n = 16 / 50 / 200:

    exponential         plain 90.5 / 92.9 / 95.0   BCa 90.2 / 92.7 / 94.6   expanded 92.3 / 93.5 / 95.0
    lognormal, s = 1    plain 83.5 / 89.8 / 94.4   BCa 86.0 / 90.1 / 94.2   expanded 86.4 / 90.5 / 94.7
    normal              plain 91.4 / 93.9 / 94.4   BCa 91.8 / 93.5 / 94.3   expanded 93.7 / 94.6 / 94.8

BCa gains less, and its jackknife takes n^2 operations. For a handful of very skewed images all are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, t

Values = NDArray[np.float64]

RESAMPLES = 2000
NUMBERS_IN_MEMORY = 1_000_000  # one block of resamples: 8 MB of indices and 8 MB of values


def mean_ci95(values: Values, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean over images.

    values: (n,) finite. None where n < 2; (v, v) where all values are v.
    Source: Efron 1979, widened after Hesterberg 2015. The same values and seed give the same interval.
    """

    def mean(sample: Values, axis: int) -> Values:
        return np.asarray(sample.mean(axis))

    return _interval(values, mean, seed, vectorized=True)


def bootstrap_ci95(rows: Values, statistic: Callable[[Values], float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of a statistic of images, for figures that are no mean: a standard deviation, a ratio.

    rows: (n, ...), the numbers of one image in each. statistic: (n, ...) -> float, told of no order.
    None where n < 2; (v, v) where all rows are equal.
    """

    def of_resampled(indices: NDArray[np.int64]) -> float:
        return statistic(rows[indices])

    if len(rows) > 1 and (rows == rows[0]).all():
        value = float(statistic(rows))
        return value, value
    return _interval(np.arange(len(rows)), of_resampled, seed, vectorized=False)


def confidence_level(n: int) -> float:
    """The level to ask of a percentile bootstrap of n images so that it covers 95 %: 0.972 at n = 16."""
    return float(1 - 2 * norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1)))


def _interval(
    data: NDArray[np.generic], statistic: Callable[..., object], seed: int, *, vectorized: bool
) -> tuple[float, float] | None:
    n = len(data)
    if n < 2:
        return None
    found = bootstrap(
        (data,),
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, NUMBERS_IN_MEMORY // n),
        vectorized=vectorized,
        method="percentile",
        confidence_level=confidence_level(n),
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
