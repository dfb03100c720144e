"""The scaling that a diffusers folder ships: read from its config.json or its tensors, never guessed.

Why config.json itself and not the loaded model's config: diffusers fills in a default (0.18215, Wan's means) where
the file has none, and a factor that nobody measured for these weights must stay unknown. A folder that diffusers'
own save_pretrained wrote names every default, though, and there a default cannot be told from a measured factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaecheck.results.types import LatentScaling

Config = Mapping[str, Any]
CONFIG = "config.json"
UNKNOWN = LatentScaling()


class Unusable(ValueError):
    """A scaling entry that scales nothing: not a number, not finite, 0, or of the wrong length."""


def of_config(config: Config) -> LatentScaling:
    """scaling_factor and shift_factor; latents_mean and latents_std where both are there.

    Together they are (z - mean) / std * factor, as in the pipelines of Playground, LTX and Mochi; Wan and Qwen-Image
    have no factor. Raises Unusable.
    """
    means, stds = numbers(config, "latents_mean"), numbers(config, "latents_std")
    if (means is None) != (stds is None):
        raise Unusable(f"{CONFIG} has {'latents_mean' if stds is None else 'latents_std'} without the other")
    scaling = LatentScaling(_number(config, "scaling_factor"), _number(config, "shift_factor"), means, stds)
    return UNKNOWN if scaling == UNKNOWN else replace(scaling, source=CONFIG)


def numbers(config: Config, name: str) -> tuple[float, ...] | None:
    """A list of numbers by its name, None where there is none. Raises Unusable for anything else."""
    values = config.get(name)
    if values is None:
        return None
    if not isinstance(values, (list, tuple)) or not values or not all(map(_is_number, values)):
        raise Unusable(f"{CONFIG}'s {name} is no list of numbers")
    return tuple(map(float, values))


def checked(scaling: LatentScaling, channels: int | None) -> LatentScaling:
    """The scaling itself. channels: of the latents, None where not known. Raises Unusable where it scales nothing."""
    factor, shift = scaling.scaling_factor, scaling.shift_factor
    if factor is not None and not (math.isfinite(factor) and factor):
        raise Unusable(f"{scaling.source}'s scaling_factor is {factor}")
    if shift is not None and not math.isfinite(shift):
        raise Unusable(f"{scaling.source}'s shift_factor is {shift}")
    if scaling.channel_means is None or scaling.channel_stds is None:
        return scaling
    _check_lengths(scaling, scaling.channel_means, scaling.channel_stds, channels)
    for number, (mean, std) in enumerate(zip(scaling.channel_means, scaling.channel_stds, strict=True)):
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise Unusable(f"{scaling.source}'s mean and std of channel {number} are {mean:.6g} and {std:.6g}")
    return scaling


def _check_lengths(scaling: LatentScaling, means: Sequence[float], stds: Sequence[float], channels: int | None) -> None:
    expected = len(means) if channels is None else channels * scaling.patch**2
    if not len(means) == len(stds) == expected:
        raise Unusable(f"{scaling.source} has {len(means)} means and {len(stds)} stds for {expected} channels")


def _number(config: Config, name: str) -> float | None:
    value = config.get(name)
    if value is None or _is_number(value):
        return None if value is None else float(value)
    raise Unusable(f"{CONFIG}'s {name} is {value!r}, no number")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
