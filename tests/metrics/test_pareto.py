"""Fronts of points made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.metrics.test_paired import result
from vaecheck.metrics.pareto import fronts
from vaecheck.results.comparison import Contest, Difference, Front
from vaecheck.results.types import Measure, Result, VAECard


def vae(
    psnr_db: float | None,
    shape: tuple[int, ...] | None = (4, 32, 32),
    seconds: float = 0.1,
    sec: float | None = 0.3,
    scatter: float | None = 0.05,
) -> Result:
    """scatter: of the speed, its interval's half width as a share."""
    run = result({}, psnr_db=psnr_db, latent_shape=shape)
    names = ("encode_images_per_second", "decode_images_per_second")
    speed = 2 / seconds
    known = None if scatter is None else (speed * (1 - scatter), speed * (1 + scatter))
    speeds = {name: Measure(name, speed, "", "higher", 9, "", ci95=known) for name in names}
    learned = (
        {} if sec is None else {"sec_25": Measure("sec_25", sec, "", "lower", 9, "", ci95=(sec - 0.01, sec + 0.01))}
    )
    return replace(run, measures={**run.measures, **speeds, **learned})


def front(vaes: Mapping[str, Result], *decided: tuple[str, str], same: tuple[str, ...] = ()) -> Front:
    """decided: (better, worse) by psnr_db beyond chance. same: those whose figures are the very same."""
    refs = list(vaes)
    differences = []
    for i, a in enumerate(refs):
        for b in refs[i + 1 :]:
            if {a, b} <= set(same):
                differences.append(Difference(a, b, 0.0, (0.0, 0.0), 9, 1.0, 1.0))
                continue
            sign = 1 if (a, b) in decided else -1 if (b, a) in decided else 0
            ci95 = (0.5 * sign, 1.5 * sign) if sign > 0 else (1.5 * sign, 0.5 * sign) if sign else (-1.0, 1.2)
            differences.append(Difference(a, b, sign or 0.1, ci95, 9, 0.001, 0.001 if sign else 0.9))
    contest = Contest({ref: one.measures["psnr_db"] for ref, one in vaes.items()}, tuple(differences))
    (found,) = fronts(vaes, {"psnr_db": contest})
    return found


def test_better_at_equal_cost_strikes_off():
    found = front({"a": vae(25.0), "b": vae(24.0)}, ("a", "b"))
    assert found.front == ("a",)
    assert found.beaten_by == {"b": ("a",)}
    assert found.axes == {
        "psnr_db": "higher",
        "latent_values": "lower",
        "seconds_per_image": "lower",
        "sec_25": "lower",
    }
    assert found.points["a"] == {
        "psnr_db": 25.0,
        "latent_values": 4096.0,
        "seconds_per_image": pytest.approx(0.1),
        "sec_25": 0.3,
    }
    assert found.note == ""


def test_pictures_that_tell_no_difference_strike_nobody_off():
    assert front({"a": vae(25.0), "b": vae(24.0, seconds=0.3)}).front == ("a", "b")


@pytest.mark.parametrize(
    "cheaper", [vae(24.0, seconds=0.05), vae(24.0, sec=0.2), vae(24.0, shape=(4, 16, 16), sec=None)]
)
def test_one_that_is_cheaper_on_any_axis_stays(cheaper: Result):
    assert front({"a": vae(25.0), "b": cheaper}, ("a", "b")).front == ("a", "b")


@pytest.mark.parametrize("near", [vae(24.0, seconds=0.096), vae(24.0, sec=0.29)])
def test_a_cost_that_is_lower_by_chance_does_not_save(near: Result):
    assert front({"a": vae(25.0), "b": near}, ("a", "b")).front == ("a",)


def test_a_vae_is_not_beaten_by_itself_on_a_clock_that_wanders():
    """16 % apart: a difference where the batches were alike, none where they scattered as much."""
    quick, slow = vae(25.0, seconds=0.1), vae(25.0, seconds=0.116)
    assert front({"a": quick, "b": slow}, same=("a", "b")).front == ("a",)
    wandered = {"a": vae(25.0, seconds=0.1, scatter=0.2), "b": vae(25.0, seconds=0.116, scatter=0.2)}
    assert front(wandered, same=("a", "b")).front == ("a", "b")


def test_speeds_without_an_interval_are_no_axis():
    found = front({"a": vae(25.0), "b": vae(24.0, seconds=0.01, scatter=None)}, ("a", "b"))
    assert "seconds_per_image" not in found.axes
    assert (
        found.note == "seconds_per_image is left out: the timed batches are too few, or too unlike, to know a speed by"
    )
    assert found.front == ("a",)


def test_one_that_lost_pictures_to_nan_beats_none():
    broken = vae(26.0)
    lost = replace(broken.measures["psnr_db"], counts={"non_finite": 10})
    broken = replace(broken, measures={**broken.measures, "psnr_db": lost})
    found = front({"a": broken, "b": vae(24.0), "c": vae(23.0)}, ("a", "b"), ("a", "c"), ("b", "c"))
    assert found.beaten_by == {"c": ("b",)}
    assert found.note == "a has pictures without psnr_db and beats none"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"f": 0}, "latent_values is left out: not every VAE has one shape"),
        ({"speed": 0.0}, "seconds_per_image is left out: not every VAE's speed was measured"),
        ({"batch_size": [1]}, "seconds_per_image is left out: measured on other machines, or in batches"),
    ],
)
def test_a_damaged_figure_leaves_its_axis_out(changed: Mapping[str, Any], said: str):
    damaged = replace(vae(24.0, shape=None), vae=VAECard("b", "", None, changed.get("f", 8), 4, None, "float32"))
    damaged = replace(damaged, settings={**damaged.settings, "batch_size": changed.get("batch_size", 8)})
    if "speed" in changed:
        still = replace(damaged.measures["decode_images_per_second"], value=changed["speed"])
        damaged = replace(damaged, measures={**damaged.measures, "decode_images_per_second": still})
    sound = vae(25.0)
    sound = replace(sound, settings={**sound.settings, "batch_size": 8})
    assert said in front({"a": sound, "b": damaged}, ("a", "b")).note


def test_the_very_same_quality_at_a_lower_cost_strikes_off():
    found = front({"a": vae(25.0, seconds=0.3), "b": vae(25.0)}, same=("a", "b"))
    assert found.front == ("b",)
    assert front({"a": vae(25.0), "b": vae(25.0)}, same=("a", "b")).front == ("a", "b")


def test_who_beats_whom_among_three():
    found = front({"a": vae(25.0), "b": vae(24.0), "c": vae(23.0, seconds=0.05)}, ("a", "b"), ("a", "c"), ("b", "c"))
    assert found.front == ("a", "c")
    assert found.beaten_by == {"b": ("a",)}


def test_what_cannot_be_compared_is_left_out_and_told():
    other_machine = vae(24.0)
    other_machine = replace(other_machine, environment=replace(other_machine.environment, cpu="another"))
    found = front({"a": vae(25.0), "b": other_machine}, ("a", "b"))
    assert "seconds_per_image is left out: measured on other machines" in found.note
    other_shape = front({"a": vae(25.0), "b": vae(24.0, shape=(16, 32, 32))}, ("a", "b"))
    assert "sec_25 is left out: latents of several shapes" in other_shape.note
    no_shape = {"a": vae(25.0, shape=None), "b": vae(24.0, sec=None)}
    known = VAECard("b", "", None, 8, 4, None, "float32")
    by_card = front({ref: replace(one, vae=known) for ref, one in no_shape.items()}, ("a", "b"))
    assert by_card.points["a"]["latent_values"] == 4096
    neither = front(no_shape, ("a", "b"))
    assert "latent_values is left out" in neither.note
    assert "sec_25 is left out" in neither.note


def test_a_vae_without_the_figure_is_no_point():
    found = front({"a": vae(25.0), "b": vae(24.0), "c": vae(None)}, ("a", "b"))
    assert set(found.points) == {"a", "b"}
    assert found.note == "c has no psnr_db"


def test_a_metric_without_differences_has_no_front():
    vaes = {"a": vae(25.0), "b": vae(24.0)}
    contest = Contest({ref: one.measures["psnr_db"] for ref, one in vaes.items()}, (Difference("a", "b", 1.0, None),))
    assert fronts(vaes, {"psnr_db": contest}) == ()
