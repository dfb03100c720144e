"""Speeds and how far they are known: against scipy, and in simulation what the interval covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from vaecheck.metrics.throughput import FEWEST_LAPS, speed_ci95, speed_measure


def test_of_batches_of_one_size_it_is_students_interval_turned_over():
    seconds = np.array([0.9, 1.1, 1.3, 0.8, 1.0])
    low, high = t.interval(0.95, 4, loc=seconds.mean(), scale=seconds.std(ddof=1) / np.sqrt(5))
    found = speed_ci95([(8, float(each)) for each in seconds])
    assert found == pytest.approx((8 / high, 8 / low))


def test_the_warm_up_is_no_part_of_it_and_the_speed_lies_inside():
    found = speed_measure("encode_images_per_second", [(4, 9.0), (4, 1.0), (4, 1.1), (4, 0.9), (1, 0.3)])
    assert found.value == pytest.approx(13 / 3.3)
    assert found.ci95 is not None
    assert found.ci95[0] < 13 / 3.3 < found.ci95[1]


def test_too_few_batches_or_a_clock_gone_wild_have_none():
    assert speed_ci95([(4, 1.0)] * (FEWEST_LAPS - 1)) is None
    assert speed_ci95([(4, 1.0)] * FEWEST_LAPS) == pytest.approx((4, 4))
    assert speed_ci95([(4, 0.001), (4, 0.001), (4, 0.001), (4, 90.0)]) is None


@pytest.mark.parametrize("batches", [FEWEST_LAPS, 8, 30])
def test_it_covers_the_speed_in_95_percent(batches: int):
    """Batches of other sizes, times skewed as those of a shared machine."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        images = rng.integers(4, 9, batches)
        seconds = images / 20 * rng.gamma(50, 1 / 50, batches)
        found = speed_ci95(list(zip(images.tolist(), seconds.tolist(), strict=True)))
        assert found is not None
        inside += found[0] <= 20 <= found[1]
    assert 465 <= inside <= 490
