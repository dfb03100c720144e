"""The rules over made-up curves: when a training has stopped improving, and which checkpoint is the best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vaecheck.results.history import Evaluation
from vaecheck.results.types import Measure
from vaecheck.tasks.stopping import best_by_metric, best_overall, relatively_better, stopping

Better = Literal["higher", "lower"]
LPIPS: dict[str, Better] = {"lpips_alex": "lower"}


def curve(directions: dict[str, Better], *columns: Sequence[float | None], step: int = 100) -> list[Evaluation]:
    """One evaluation for each row of figures."""
    return [
        Evaluation(
            f"step-{step * (place + 1)}",
            step * (place + 1),
            None,
            "",
            {
                name: Measure(name, value, "", better, 64, "")
                for (name, better), value in zip(directions.items(), row, strict=True)
            },
        )
        for place, row in enumerate(zip(*columns, strict=True))
    ]


def by_value(metric: str, one: Evaluation, other: Evaluation) -> bool:
    return relatively_better(0)(metric, one, other)


def test_a_curve_that_falls_and_then_lies_flat_stops_after_patience() -> None:
    falling = [0.5, 0.4, 0.3, 0.2]
    for flat, stops in ((2, False), (3, True), (4, True)):
        found = stopping(curve(LPIPS, falling + [0.2] * flat), ["lpips_alex"], 3, by_value)
        assert found.improved == {"lpips_alex": (100, 200, 300, 400)}
        assert found.since == {"lpips_alex": flat}
        assert found.stopped == ({"lpips_alex": 400} if stops else {})
        assert found.stop is stops


def test_higher_is_better_where_the_measure_says_so() -> None:
    psnr: dict[str, Better] = {"psnr_db": "higher"}
    found = stopping(curve(psnr, [20, 21, 22, 21, 21, 21]), ["psnr_db"], 3, by_value)
    assert found.stopped == {"psnr_db": 300}


def test_all_metrics_that_decide_have_to_stop() -> None:
    both = LPIPS | {"rfid": "lower"}
    evaluations = curve(both, [0.3, 0.2, 0.2, 0.2, 0.2], [9, 8, 7, 6, 5])
    found = stopping(evaluations, ["lpips_alex", "rfid"], 3, by_value)
    assert found.stopped == {"lpips_alex": 200}
    assert not found.stop
    assert stopping(evaluations, ["lpips_alex"], 3, by_value).stop


def test_a_late_gain_takes_the_stop_back() -> None:
    evaluations = curve(LPIPS, [0.3, 0.2, 0.2, 0.2, 0.2, 0.1])
    assert stopping(evaluations[:5], ["lpips_alex"], 3, by_value).stop
    assert not stopping(evaluations, ["lpips_alex"], 3, by_value).stop


def test_small_gains_add_up_against_the_best_so_far() -> None:
    """Each of 0.4 %, where 1 % counts: every third is a gain, so it goes on; with patience 2 it does not."""
    slow = [0.2 * 0.996**i for i in range(20)]
    assert not stopping(curve(LPIPS, slow), ["lpips_alex"], 3, relatively_better(0.01)).stop
    found = stopping(curve(LPIPS, slow), ["lpips_alex"], 3, relatively_better(0.01)).improved["lpips_alex"]
    assert found == (100, 400, 700, 1000, 1300, 1600, 1900)


def test_patience_0_never_stops_and_nothing_to_decide_by_never_does() -> None:
    flat = curve(LPIPS, [0.2] * 50)
    assert not stopping(flat, ["lpips_alex"], 0, by_value).stop
    assert not stopping(flat, [], 3, by_value).stop
    assert not stopping([], ["lpips_alex"], 3, by_value).stop
    assert not stopping(flat, ["lpips_alex", "rfid"], 3, by_value).stop, "what was never measured never stopped"


def test_a_broken_checkpoint_brings_no_gain_and_one_that_was_not_evaluated_does_not_count() -> None:
    evaluations = curve(LPIPS, [0.3, 0.2, None, None, 0.2])
    assert stopping(evaluations, ["lpips_alex"], 3, by_value).stopped == {"lpips_alex": 200}
    unread = Evaluation("half-written", 250, None, "", problem="cut short")
    assert stopping([*evaluations[:2], unread, unread, unread], ["lpips_alex"], 3, by_value).stopped == {}


class Pictures:
    """LPIPS of 64 pictures by checkpoint: what a picture is hard by is shared, and each checkpoint adds its noise."""

    def __init__(self, means: Sequence[float], seed: int) -> None:
        draw = np.random.default_rng(seed)
        hardness = draw.gamma(4, 0.05, 64)
        self.values = [hardness + mean + draw.normal(0, 0.01, 64) for mean in means]
        self.evaluations = curve(LPIPS, [float(values.mean()) for values in self.values])

        self._better = cache(self._told_apart)

    def is_better(self, metric: str, one: Evaluation, other: Evaluation) -> bool:
        return self._better(one.step // 100 - 1, other.step // 100 - 1)

    def _told_apart(self, one: int, other: int) -> bool:
        interval = stats.ttest_rel(self.values[one], self.values[other]).confidence_interval(0.95)
        return float(interval.high) < 0


def stopped_at(pictures: Pictures, patience: int) -> int | None:
    """How many evaluations it took."""
    for count in range(1, len(pictures.evaluations) + 1):
        if stopping(pictures.evaluations[:count], ["lpips_alex"], patience, pictures.is_better).stop:
            return count
    return None


def test_noise_neither_stops_a_training_that_improves_nor_keeps_one_going_that_does_not() -> None:
    """Of 100 simulated trainings each; unpaired, the gain of 0.004 would drown in the pictures' own spread of 0.1."""
    improving = [stopped_at(Pictures([0.2 - 0.004 * i for i in range(25)], seed), 5) for seed in range(100)]
    assert sum(stop is not None for stop in improving) == 0
    settled: NDArray[np.float64] = 0.1 + 0.1 * np.exp(-np.arange(30) / 2)
    plateau = [stopped_at(Pictures(settled.tolist(), seed), 5) for seed in range(100)]
    assert sum(stop is not None for stop in plateau) >= 95
    assert 9 <= np.median([stop for stop in plateau if stop is not None]) <= 16


def test_the_best_by_each_metric_is_the_first_with_the_best_figure() -> None:
    both = LPIPS | {"psnr_db": "higher"}
    best = best_by_metric(curve(both, [0.3, 0.2, 0.2, None], [20, 22, 21, 23]))
    assert {metric: one.name for metric, one in best.items()} == {"lpips_alex": "step-200", "psnr_db": "step-400"}


def test_a_metric_without_a_better_direction_has_no_best() -> None:
    measure = Measure("latent_std", 1.0, "", None, 64, "")
    assert best_by_metric([Evaluation("a", 1, None, "", {"latent_std": measure})]) == {}


BOTH = LPIPS | {"rfid": "lower"}


@pytest.mark.parametrize(
    ("lpips", "rfid", "best", "why"),
    [
        ([0.3, 0.2, 0.25], [9, 5, 6], "step-200", "best in lpips_alex, best in rfid"),
        ([0.3, 0.2, 0.25], [9, 6, 5], "step-200", "best in lpips_alex, worse than step-300 in rfid"),
        ([0.3, 0.2, 0.2001], [9, 6, 5], "step-300", "as good as the best in lpips_alex, best in rfid"),
        ([0.3, 0.2, 0.2001], [9, 5.01, 5], "step-200", "best in lpips_alex, as good as the best in rfid"),
        ([0.3, None, 0.25], [9, 6, 5], "step-300", "best in lpips_alex, best in rfid"),
    ],
)
def test_the_best_overall(lpips: list[float | None], rfid: list[float], best: str, why: str) -> None:
    found, words = best_overall(curve(BOTH, lpips, rfid), ["lpips_alex", "rfid"], relatively_better(0.01))
    assert found is not None
    assert (found.name, words) == (best, why)


def test_without_a_figure_nothing_is_the_best() -> None:
    assert best_overall(curve(LPIPS, [None]), ["lpips_alex"], by_value) == (None, "")
    assert best_overall(curve(LPIPS, [0.1]), [], by_value) == (None, "")
