"""Winners: what they need, and how often there is one where nothing differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.metrics.test_paired import result
from vaecheck.metrics.contests import contests
from vaecheck.metrics.paired import holm
from vaecheck.results.comparison import NO_DIFFERENCE, Difference
from vaecheck.results.types import Result


def run(**columns: Sequence[float]) -> Result:
    """A measure for each column, its mean; higher is better."""
    return result(dict(columns), **{name: float(np.mean(column)) for name, column in columns.items()})


def test_a_winner_beats_every_other():
    rng = np.random.default_rng(0)
    pictures = rng.normal(24, 3, 40)
    a, b, c = (pictures + step + 0.1 * rng.standard_normal(40) for step in (0.5, 0.0, 0.0))
    found = contests({"a": run(psnr_db=a), "b": run(psnr_db=b), "c": run(psnr_db=c)})["psnr_db"]
    assert found.winner == "a"
    assert [(one.a, one.b) for one in found.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    p = [one.p for one in found.differences]
    assert None not in p
    assert [one.p_holm for one in found.differences] == pytest.approx(holm([each or 0.0 for each in p]))
    assert not found.differences[2].decided
    tied = contests({"a": run(psnr_db=a), "b": run(psnr_db=b), "c": run(psnr_db=a)})["psnr_db"]
    assert tied.winner == NO_DIFFERENCE


def test_the_direction_decides_and_without_one_there_is_no_winner():
    lower, none = (
        {
            ref: replace(one, measures={"x": replace(one.measures["x"], better=better)})
            for ref, one in {"a": run(x=[1.0, 1.1, 1.2]), "b": run(x=[3.0, 3.3, 3.2])}.items()
        }
        for better in ("lower", None)
    )
    assert contests(lower)["x"].winner == "a"
    assert contests(none)["x"].winner == NO_DIFFERENCE
    assert contests(none)["x"].differences[0].p_holm is None
    assert contests(none)["x"].differences[0].ci95 is not None


def test_the_family_is_all_judged_differences():
    """The same p is a winner among few metrics and none among many."""
    draw = np.random.default_rng(1).standard_normal(40)
    difference = 0.45 + (draw - draw.mean()) / draw.std(ddof=1)
    nothing = np.zeros(40)
    alone = contests({"a": run(x=difference), "b": run(x=nothing)})["x"]
    assert alone.winner == "a"
    others = {f"y{i}": draw for i in range(9)}
    crowded = contests({"a": run(x=difference, **others), "b": run(x=nothing, **others)})["x"]
    assert crowded.winner == NO_DIFFERENCE
    assert alone.differences[0].p is not None
    assert crowded.differences[0].p == alone.differences[0].p
    assert crowded.differences[0].p_holm == pytest.approx(10 * alone.differences[0].p)


@pytest.mark.parametrize("step", [0.5, -0.5])
def test_where_one_is_identical_on_50_of_64_pictures_psnr_has_no_winner(step: float):
    """Those are infinite: the other 14 say nothing of the whole, whichever VAE is the better there."""
    rng = np.random.default_rng(0)
    hard = rng.normal(30, 0.3, 14)
    a = (*[None] * 50, *hard)
    b = (*rng.normal(40, 1, 50), *(hard + step + rng.normal(0, 0.05, 14)))
    runs = {
        ref: result({"psnr_db": column}, psnr_db=float(np.mean([one for one in column if one is not None])))
        for ref, column in {"a": a, "b": b}.items()
    }
    found = contests(runs)["psnr_db"]
    assert found.winner == NO_DIFFERENCE
    assert "50 of 64 pictures" in found.differences[0].reason


def test_one_without_a_figure_is_beaten_by_none():
    nothing = replace(run(x=[1.0, 2.0]), per_image=replace(run(x=[1.0, 2.0]).per_image, columns={}))
    nothing = replace(nothing, measures={"x": replace(nothing.measures["x"], value=None, status="unavailable")})
    found = contests({"a": run(x=[5.0, 5.1, 5.3]), "b": run(x=[1.0, 1.2, 1.1]), "c": nothing})["x"]
    assert found.winner == NO_DIFFERENCE
    assert found.differences[0].decided
    assert len(found.differences) == 1


def test_interval_and_p_must_agree():
    inside = Difference("a", "b", 1.0, (-0.1, 2.1), 9, 0.001, 0.001)
    assert inside.winner("higher") is None
    assert replace(inside, ci95=(0.1, 1.9), p_holm=0.06).winner("higher") is None
    assert replace(inside, ci95=(0.1, 1.9)).winner("higher") == "a"
    assert replace(inside, ci95=(0.1, 1.9)).winner("lower") == "b"


@pytest.mark.parametrize("vaes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_where_nothing_differs_a_whole_comparison_has_a_winner_in_at_most_5_percent(vaes: int):
    """Skewed figures of hard pictures, three metrics of which two go together."""
    rng = np.random.default_rng(2)
    winners = 0
    for _ in range(100):
        pictures = rng.gamma(2, 1, 32)
        runs = {}
        for name in range(vaes):
            chance = rng.gamma(2, 0.3, 32)
            second, third = pictures + chance + 0.1 * rng.standard_normal(32), rng.standard_normal(32)
            runs[f"v{name}"] = run(x=pictures + chance, y=second, z=third)
        winners += any(one.winner != NO_DIFFERENCE for one in contests(runs).values())
    assert winners <= 5
