"""Intervals over images: what they cover, and what they do with almost no data."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from vaecheck.metrics import intervals
from vaecheck.metrics.intervals import bootstrap_ci95, confidence_level, mean_ci95


def test_one_image_has_no_interval():
    assert mean_ci95(np.array([3.0])) is None
    assert bootstrap_ci95(np.ones((1, 2)), lambda rows: float(rows.sum())) is None


def test_equal_images_have_an_interval_of_one_point():
    assert mean_ci95(np.full(9, 2.5)) == (2.5, 2.5)
    assert bootstrap_ci95(np.full((9, 2), 2.5), lambda rows: float(rows[:, 0].std() + 1)) == (1.0, 1.0)


def test_two_images_give_their_range():
    assert mean_ci95(np.array([1.0, 4.0])) == (1.0, 4.0)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=40)
    assert mean_ci95(values, 7) == mean_ci95(values, 7)
    assert mean_ci95(values, 7) != mean_ci95(values, 8)


def test_the_level_tends_to_95_percent():
    levels = [confidence_level(n) for n in (4, 16, 64, 10_000)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 16, 128, 5000])
def test_equals_scipys_percentile_bootstrap(n: int):
    values = np.random.default_rng(n).lognormal(size=n)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        batch=1_000_000 // n,
        method="percentile",
        confidence_level=confidence_level(n),
        random_state=np.random.default_rng(4),
    ).confidence_interval
    assert mean_ci95(values, 4) == pytest.approx((found.low, found.high), rel=1e-12)
    assert confidence_level(n) == 1 - 2 * stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))


def test_a_mean_as_a_statistic_of_rows_has_the_interval_of_a_mean():
    values = np.random.default_rng(1).exponential(size=60)
    assert bootstrap_ci95(values[:, None], lambda rows: float(rows.mean()), 0) == pytest.approx(
        mean_ci95(values, 0), rel=1e-12
    )


def test_rows_are_drawn_whole():
    column = np.random.default_rng(2).uniform(1, 2, size=30)
    rows = np.stack([column, 3 * column], axis=1)
    assert bootstrap_ci95(rows, lambda r: float(r[:, 1].sum() / r[:, 0].sum())) == pytest.approx((3.0, 3.0))


@pytest.mark.parametrize(("n", "least"), [(16, 0.88), (50, 0.90), (200, 0.91)])
def test_coverage_of_a_skewed_mean(n: int, least: float):
    draws = np.random.default_rng(5).exponential(size=(300, n))
    intervals = [mean_ci95(values, seed) for seed, values in enumerate(draws)]
    assert np.mean([low <= 1.0 <= high for low, high in intervals]) >= least


def test_ten_thousand_images_take_under_a_second():
    values = np.random.default_rng(0).normal(size=10_000)
    mean_ci95(values[:10])  # scipy's import
    start = time.process_time()
    low, high = mean_ci95(values)
    assert time.process_time() - start < 1.0
    assert high - low == pytest.approx(2 * 1.96 / 100, rel=0.1)


def test_many_images_are_resampled_in_groups_to_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the interval of images one by one, and the closed form of a mean."""
    values = np.random.default_rng(0).exponential(size=3001)
    rows = np.stack([values, values**2, np.ones_like(values)], axis=1)

    def std(some: np.ndarray) -> float:
        total, squares, count = some.sum(0)
        return float(np.sqrt(squares / count - (total / count) ** 2))

    one_by_one = (mean_ci95(values), bootstrap_ci95(rows, std))
    monkeypatch.setattr(intervals, "MOST_RESAMPLED", 1000)
    for found, expected in zip((mean_ci95(values), bootstrap_ci95(rows, std)), one_by_one, strict=True):
        assert found is not None
        assert expected is not None
        width = expected[1] - expected[0]
        assert found[1] - found[0] == pytest.approx(width, rel=0.1)
        assert found[0] == pytest.approx(expected[0], abs=0.1 * width)
    low, high = mean_ci95(values) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 3001**0.5, rel=0.1)
    assert mean_ci95(values) == (low, high)
