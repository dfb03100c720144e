"""Who is on the front of quality against cost: latent size, speed, learnability.

A beats B when A is no worse than B on any axis of cost, and either

- A is better in the quality, as `contests` judges it, or
- A is better on an axis, and its quality is the very same: difference and interval are 0.

Why quality needs significance and cost does not: the latent size is exact, and pictures that cannot tell two VAEs apart
strike neither off. Speeds and learnabilities whose intervals overlap are equal: a shared machine's clock wanders, and
how far shows in how the batches' times scatter.

Why a VAE that has lost pictures to NaN beats none: its quality is of the pictures that it did not lose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from vaecheck.metrics.catalogue import IMAGE_NAMES
from vaecheck.results.comparison import Contest, Difference, Front
from vaecheck.results.types import Better, Measure, Result

LATENT_VALUES, SECONDS, LEARNABILITY = "latent_values", "seconds_per_image", "sec_25"
AXES: Mapping[str, str] = {LATENT_VALUES: "lower", SECONDS: "lower", LEARNABILITY: "lower"}
_SPEEDS = ("encode_images_per_second", "decode_images_per_second")

Points = Mapping[str, Mapping[str, float | None]]
Costs = Mapping[str, tuple[float, float, float]]
"""By REF a cost between its bounds, (low, cost, high): costs whose bounds overlap are equal."""


def fronts(results: Mapping[str, Result], contests: Mapping[str, Contest]) -> tuple[Front, ...]:
    """One for every quality metric that has differences to judge by, all of them against the same axes."""
    costs, notes = _costs(results)
    found = []
    for name, contest in contests.items():
        if name in IMAGE_NAMES and any(difference.p_holm is not None for difference in contest.differences):
            found.append(_front(name, contest, costs, notes))
    return tuple(found)


def _front(name: str, contest: Contest, costs: Mapping[str, Costs], notes: list[str]) -> Front:
    better = contest.better
    known = {ref: float(one.value) for ref, one in contest.values.items() if isinstance(one.value, (int, float))}
    absent = [ref for ref in contest.values if ref not in known]
    whole = [ref for ref in known if not contest.values[ref].counts.get("non_finite")]
    between = {(one.a, one.b): one for one in contest.differences} | {
        (one.b, one.a): one for one in contest.differences
    }
    beaten_by = {
        ref: tuple(other for other in whole if other != ref and _beats(other, ref, between[other, ref], better, costs))
        for ref in known
    }
    return Front(
        quality=name,
        axes={name: str(better), **{axis: AXES[axis] for axis in costs}},
        points={
            ref: {name: value, **{axis: cost[ref][1] for axis, cost in costs.items()}} for ref, value in known.items()
        },
        front=tuple(ref for ref in known if not beaten_by[ref]),
        beaten_by={ref: others for ref, others in beaten_by.items() if others},
        note="; ".join(
            [
                *notes,
                *(f"{ref} has no {name}" for ref in absent),
                *(f"{ref} has pictures without {name} and beats none" for ref in known if ref not in whole),
            ]
        ),
    )


def _beats(a: str, b: str, difference: Difference, better: Better, costs: Mapping[str, Costs]) -> bool:
    if any(cost[a][0] > cost[b][2] for cost in costs.values()):
        return False
    if difference.winner(better) == a:
        return True
    same = difference.value == 0 and difference.ci95 == (0, 0)
    return same and any(cost[a][2] < cost[b][0] for cost in costs.values())


def _costs(results: Mapping[str, Result]) -> tuple[dict[str, Costs], list[str]]:
    """The axes that can be had for every VAE, and why the others are left out."""
    costs: dict[str, Costs] = {}
    notes = []
    readers: Mapping[str, Callable[[Mapping[str, Result]], Costs | str]] = {
        LATENT_VALUES: _latent_values,
        SECONDS: _seconds,
        LEARNABILITY: _learnability,
    }
    for axis, read in readers.items():
        found = read(results)
        if isinstance(found, str):
            notes.append(f"{axis} is left out: {found}")
        else:
            costs[axis] = found
    return costs, notes


def _latent_values(results: Mapping[str, Result]) -> Costs | str:
    """As measured, else by the VAE's f and channels at the size of the pictures."""
    found: dict[str, tuple[float, float, float]] = {}
    for ref, result in results.items():
        shape, size = _value(result, "latent_shape"), result.data.size
        if not isinstance(shape, tuple):
            if result.vae is None or size is None or result.vae.f < 1:
                return "not every VAE has one shape of latents here"
            shape = (result.vae.latent_channels, size // result.vae.f, size // result.vae.f)
        found[ref] = (float(math.prod(shape)),) * 3
    return found


def _seconds(results: Mapping[str, Result]) -> Costs | str:
    conditions = {
        (
            *(one.environment.cpu, one.environment.threads, one.environment.device, one.environment.accelerator),
            str(one.settings.get("batch_size")),
        )
        for one in results.values()
    }
    if len(conditions) > 1:
        return "measured on other machines, or in batches of other sizes"
    found: dict[str, tuple[float, float, float]] = {}
    for ref, result in results.items():
        low = cost = high = 0.0
        for name in _SPEEDS:
            measure = result.measures.get(name)
            if measure is None or not isinstance(measure.value, (int, float)) or measure.value <= 0:
                return "not every VAE's speed was measured"
            if measure.ci95 is None or measure.ci95[0] <= 0:
                return "the timed batches are too few, or too unlike, to know a speed by"
            low, cost, high = low + 1 / measure.ci95[1], cost + 1 / measure.value, high + 1 / measure.ci95[0]
        found[ref] = low, cost, high
    return found


def _learnability(results: Mapping[str, Result]) -> Costs | str:
    if len({_value(result, "latent_shape") for result in results.values()}) > 1:
        return "latents of several shapes cannot be set beside each other"
    found = {}
    for ref, result in results.items():
        measure = result.measures.get(LEARNABILITY)
        if measure is None or measure.ci95 is None or not isinstance(measure.value, (int, float)):
            return "not measured of every VAE"
        found[ref] = measure.ci95[0], float(measure.value), measure.ci95[1]
    return found


def _value(result: Result, name: str) -> float | tuple[int, ...] | None:
    measure: Measure | None = result.measures.get(name)
    return None if measure is None else measure.value
