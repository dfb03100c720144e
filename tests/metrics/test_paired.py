"""Paired differences: against scipy and closed forms, and in simulation what their intervals cover."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t, ttest_rel

from vaecheck.metrics.frechet import frechet_distance, frechet_influence
from vaecheck.metrics.intervals import mean_ci95
from vaecheck.metrics.paired import Paired, holm, paired_differences, paired_frechet, paired_mean
from vaecheck.results.types import DataCard, Environment, Measure, PerImage, Result

Values = NDArray[np.float64]
Interval = tuple[float, float]
BLOCKS = 20


def result(columns: dict[str, Sequence[float | None]], ids: Sequence[str] = (), **values: Any) -> Result:
    """Measures by name with these values, and these columns."""
    count = len(next(iter(columns.values()), ()))
    return Result(
        kind="reconstruct",
        vae=None,
        data=DataCard("samples", count, (), "", 256, "crop"),
        settings={"seed": 0},
        environment=Environment({}, "", "", 1, "cpu", None, ""),
        measures={name: Measure(name, value, "", "higher", count, "") for name, value in values.items()},
        per_image=PerImage(
            tuple(ids) or tuple(f"{i}.png" for i in range(count)), {k: tuple(v) for k, v in columns.items()}
        ),
    )


def test_p_is_scipys_paired_t_test():
    a, b = np.random.default_rng(0).normal([[0.1], [0.0]], 1, (2, 40))
    found = paired_mean(a, b)
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue, rel=1e-12)
    assert found.value == pytest.approx((a - b).mean())
    assert found.ci95 == mean_ci95(a - b)
    assert found.n == 40


def test_pictures_are_the_pairs():
    """Two VAEs whose figures vary by picture far more than they differ are told apart."""
    rng = np.random.default_rng(1)
    pictures = 10 * rng.standard_normal(50)
    found = paired_mean(pictures + 0.1 + 0.05 * rng.standard_normal(50), pictures)
    assert found.p is not None
    assert found.p < 1e-6
    assert found.ci95 is not None
    assert 0.05 < found.ci95[0] < found.ci95[1] < 0.15


def test_few_pictures_and_no_difference():
    one = paired_mean(np.array([1.0]), np.array([0.5]))
    assert (one.value, one.ci95, one.p, one.n) == (0.5, None, None, 1)
    assert "one picture" in one.reason
    assert paired_mean(np.ones(5), np.ones(5)) == Paired(0.0, (0.0, 0.0), 1.0, 5)
    assert paired_mean(np.full(5, 2.0), np.ones(5)) == Paired(1.0, (1.0, 1.0), 0.0, 5)
    assert paired_frechet(2.0, np.zeros(3), 2.0, np.zeros(3)) == Paired(0.0, (0.0, 0.0), 1.0, 3)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


def test_holm_lets_a_false_one_through_in_at_most_5_percent():
    rng = np.random.default_rng(2)
    true_ones = [1e-9, 1e-7]  # of ten hypotheses two are false: the correction steps down past them
    wrong = [min(holm([*true_ones, *rng.uniform(size=8)])[2:]) < 0.05 for _ in range(4000)]
    assert 0.035 < np.mean(wrong) < 0.06


def test_the_paired_frechet_interval_is_the_jackknifes():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 30))
    found = paired_frechet(5.0, a, 4.0, b)
    half_width = t.ppf(0.975, 29) * np.sqrt(((a - b) ** 2).sum() / (30 * 29))
    assert found.value == 1.0
    assert found.ci95 == pytest.approx((1 - half_width, 1 + half_width))
    edge = paired_frechet(half_width, a, 0.0, b)
    assert edge.p == pytest.approx(0.05)
    assert edge.ci95 == pytest.approx((0.0, 2 * half_width))


def test_differences_pair_by_id_whatever_the_order():
    a = result({"psnr_db": [1.0, 2.0, 4.0]}, ["x", "y", "z"], psnr_db=7 / 3)
    b = result({"psnr_db": [2.0, 0.5, 1.5]}, ["z", "x", "y"], psnr_db=4 / 3)
    found = paired_differences(a, b)["psnr_db"]
    assert found.value == pytest.approx((0.5 + 0.5 + 2.0) / 3)
    assert found.reason == ""


def test_a_picture_without_a_value_on_one_side_leaves_nothing_decided():
    a = result({"psnr_db": [1.0, None, 4.0, 5.0]}, psnr_db=10 / 3)
    b = result({"psnr_db": [0.0, 2.0, 2.0, None]}, psnr_db=4 / 3)
    found = paired_differences(a, b)["psnr_db"]
    why = "2 of 4 pictures have a value on one side alone (identical or not finite)"
    assert found == Paired(1.5, None, None, 2, why, left_out=2)
    both = paired_differences(
        result({"psnr_db": [None, 2.0, 3.5]}, psnr_db=2.75), result({"psnr_db": [None, 1.0, 2.0]}, psnr_db=1.5)
    )["psnr_db"]
    assert (both.value, both.n, both.left_out) == (1.25, 2, 0)
    assert both.ci95 is not None
    nothing = paired_differences(
        result({"psnr_db": [1.0, None]}, psnr_db=1.0), result({"psnr_db": [None, 2.0]}, psnr_db=2.0)
    )["psnr_db"]
    assert (nothing.value, nothing.ci95, nothing.p) == (-1.0, None, None)
    assert "no picture has a value on both sides" in nothing.reason


def test_nobody_wins_on_the_rest_where_one_side_is_perfect():
    """One reproduces 50 of 64 pictures exactly, the other none, and is clearly better on the 14 that are left."""
    rest = np.random.default_rng(5).normal(30, 1, 14)
    exact = result({"psnr_db": [None] * 50 + rest.tolist()}, psnr_db=float(rest.mean()))
    lossy = [40.0] * 50 + (rest + 0.5).tolist()
    found = paired_differences(exact, result({"psnr_db": lossy}, psnr_db=float(np.mean(lossy))))["psnr_db"]
    assert (found.value, found.ci95, found.p, found.left_out) == (pytest.approx(-0.5), None, None, 50)


@pytest.mark.parametrize("seed", [None, "abc", -5, [1]])
def test_a_seed_that_is_none_is_as_0(seed: Any):
    a, b = (result({"psnr_db": values}, psnr_db=sum(values) / 3) for values in ([1.0, 2.0, 4.0], [0.5, 1.0, 2.0]))
    assert paired_differences(replace(a, settings={"seed": seed}), b) == paired_differences(a, b)


def test_without_pictures_the_file_is_the_reason():
    with_pictures, without = result({"psnr_db": [1.0, 3.0]}, psnr_db=2.0), result({}, psnr_db=2.0)
    assert paired_differences(with_pictures, without)["psnr_db"].reason == "one result has no per_image.csv"
    assert paired_differences(without, without)["psnr_db"].reason == "both results have no per_image.csv"


def test_a_frechet_distance_goes_by_the_pull_of_each_picture():
    rng = np.random.default_rng(4)
    x, y, z = related(rng, 40, 16, "gauss", "nested")
    (one, pull), (other, push) = frechet_influence(x, y), frechet_influence(x, z)
    a = result({"rfid_influence": list(pull)}, rfid=one, kid=0.1)
    b = result({"rfid_influence": list(push)}, rfid=other, kid=0.3)
    found = paired_differences(a, b)
    assert found["rfid"] == paired_frechet(one, pull, other, push)
    assert found["kid"] == Paired(pytest.approx(-0.2), None, None, 0, "it is no mean of values by picture")
    fewer = result({"rfid_influence": [*push[:-1], None]}, rfid=other)
    assert paired_differences(a, fewer)["rfid"].ci95 is None
    assert paired_differences(a, fewer)["rfid"].left_out == 1
    assert "different pictures" in paired_differences(a, fewer)["rfid"].reason


def test_a_column_that_is_not_of_the_mean_gives_no_interval():
    found = paired_differences(
        result({"latent_std": [1.0, 2.0]}, latent_std=1.6), result({"latent_std": [1.0, 3.0]}, latent_std=2.1)
    )["latent_std"]
    assert (found.value, found.ci95) == (pytest.approx(-0.5), None)


def test_only_numbers_that_both_have_are_compared():
    a = result({}, psnr_db=1.0, ssim=None, latent_shape=(4, 8, 8), rfid=2.0)
    b = result({}, psnr_db=2.0, ssim=0.5, latent_shape=(4, 8, 8))
    assert list(paired_differences(a, b)) == ["psnr_db"]


# --- what the interval of a difference of distances covers -----------------------------------------------------


def related(rng: np.random.Generator, n: int, d: int, tail: str, kind: str) -> tuple[Values, Values, Values]:
    """Features of originals and of what two VAEs make of them; some pictures are harder for both.

    kind: "seeds": two samples of one posterior. "nested": the second is the first and a little more noise.
    "other": two models that share half of their error, the second one shrinking detail besides. "blurred": two samples
    of one posterior of a model that halves all detail, so that what a picture is decides, not what it is by chance.
    """
    draw: Callable[[], Values] = {
        "gauss": lambda: rng.standard_normal((n, d)),
        "t10": lambda: rng.standard_t(10, (n, d)),
        "t4": lambda: rng.standard_t(4, (n, d)),
        "gamma": lambda: rng.gamma(2, 1, (n, d)) - 2,
    }[tail]
    scale = 1 / np.arange(1, d + 1)
    x, shared, one, two = (draw() * scale for _ in range(4))
    hard = np.exp(0.4 * rng.standard_normal((n, 1)))
    y = 0.95 * x + 0.2 * hard * (shared + one)
    if kind == "seeds":
        return x, y, 0.95 * x + 0.2 * hard * (shared + two)
    if kind == "blurred":
        return x, 0.5 * x + 0.1 * hard * (shared + one), 0.5 * x + 0.1 * hard * (shared + two)
    if kind == "nested":
        return x, y, y + 0.05 * hard * two
    return x, y, 0.9 * x + 0.2 * hard * (shared + two)


def paired_interval(x: Values, y: Values, z: Values) -> Interval:
    found = paired_frechet(*frechet_influence(x, y), *frechet_influence(x, z)).ci95
    assert found is not None
    return found


def block_interval(x: Values, y: Values, z: Values) -> Interval:
    """The delete-one-block jackknife over 20 blocks of pictures."""

    def difference(kept: Any) -> float:
        return frechet_distance(x[kept], y[kept]) - frechet_distance(x[kept], z[kept])

    block = np.arange(len(x)) % BLOCKS
    without = np.array([difference(block != one) for one in range(BLOCKS)])
    error = np.sqrt((BLOCKS - 1) / BLOCKS * ((without - without.mean()) ** 2).sum())
    half_width = t.ppf(0.975, BLOCKS - 1) * error
    value = difference(slice(None))
    return value - half_width, value + half_width


def coverage(
    tail: str, n: int, d: int, kind: str, draws: int, *methods: Callable[[Values, Values, Values], Interval]
) -> list[float]:
    """Share of draws whose interval holds the expected difference, by method, on the same draws."""
    rng = np.random.default_rng(11)
    expected = 0.0
    if kind in ("nested", "other"):  # whose difference is 0 by symmetry
        sets = (related(rng, n, d, tail, kind) for _ in range(4 * draws))
        expected = float(np.mean([frechet_distance(x, y) - frechet_distance(x, z) for x, y, z in sets]))
    found = [[method(*sides) for method in methods] for sides in (related(rng, n, d, tail, kind) for _ in range(draws))]
    return [
        float(np.mean([low <= expected <= high for low, high in intervals])) for intervals in zip(*found, strict=True)
    ]


@pytest.mark.parametrize(
    ("tail", "n", "d", "kind"), [("gauss", 48, 64, "seeds"), ("t10", 100, 32, "nested"), ("gamma", 48, 64, "other")]
)
def test_the_interval_covers_the_expected_difference(tail: str, n: int, d: int, kind: str):
    assert coverage(tail, n, d, kind, 100, paired_interval)[0] >= 0.88


SETTINGS = [
    (tail, n, d, kind)
    for tail in ("gauss", "t10", "gamma")
    for n, d in ((24, 32), (60, 64), (100, 32), (200, 64))
    for kind in ("seeds", "nested", "other", "blurred")
]


@pytest.mark.slow
@pytest.mark.parametrize(("tail", "n", "d", "kind"), SETTINGS)
def test_the_interval_covers_the_expected_difference_everywhere(tail: str, n: int, d: int, kind: str):
    """The figures in metrics/paired.py, with the jackknife over blocks beside it, are of VAECHECK_DRAWS=400: hours."""
    draws = int(os.environ.get("VAECHECK_DRAWS", "60"))
    methods = [paired_interval, block_interval] if "VAECHECK_DRAWS" in os.environ else [paired_interval]
    found = coverage(tail, n, d, kind, draws, *methods)
    print(f"{tail} {n} {d} {kind}: infinitesimal, 20 blocks: {found}")
    assert found[0] >= (0.90 if draws >= 400 else 0.85)


def test_the_jackknife_over_blocks_covers_as_much() -> None:
    ours, blocks = coverage("gauss", 48, 64, "blurred", 40, paired_interval, block_interval)
    assert min(ours, blocks) >= 0.85


@pytest.mark.slow
def test_the_difference_costs_nothing_beside_the_distances():
    rng = np.random.default_rng(0)
    x, y, z = ((10 * side).astype(np.float32) for side in related(rng, 4096, 2048, "gauss", "nested"))
    start = time.perf_counter()
    found = frechet_influence(x, y), frechet_influence(x, z)
    decomposed = time.perf_counter()
    paired_frechet(*found[0], *found[1])
    paired = time.perf_counter() - decomposed
    print(f"two distances {decomposed - start:.1f} s, their difference {paired:.4f} s")
    assert paired < 0.01 * (decomposed - start)
