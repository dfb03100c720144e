"""The scaling that a diffusers folder ships: read from its config.json or its tensors, never guessed.

Why config.json itself and not the loaded model's config: diffusers fills in a default (0.18215, Wan's means) where
the file has none, and a factor that nobody measured for these weights must stay unknown. A folder that diffusers'
own save_pretrained wrote names every default, though, and there a default cannot be told from a measured factor.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vaecheck.results.types import LatentScaling

Config = Mapping[str, Any]
CONFIG = "config.json"
UNKNOWN = LatentScaling()
LISTS = ("latents_mean", "latents_std")
ENTRIES = ("scaling_factor", "shift_factor", *LISTS)
"""What config.json may say of the scaling; each class takes some of them, or none."""
LONGEST_SHOWN = 40


class Unusable(ValueError):
    """A scaling entry that scales nothing: not a number, not finite, 0, or of the wrong length."""


def entries_of(model_class: type) -> dict[str, Any]:
    """The entries that a diffusers class takes, each with the default that diffusers fills in."""
    parameters = inspect.signature(model_class.__init__).parameters  # type: ignore[misc]
    return {name: parameters[name].default for name in ENTRIES if name in parameters}


def in_words(entries: Sequence[str]) -> str:
    """What a class takes: "scaling_factor", "latents_mean and latents_std", "no entry for its scaling"."""
    return " and ".join((", ".join(entries[:-1]), entries[-1])[len(entries) < 2 :]) if entries else NO_ENTRY


NO_ENTRY = "no entry for its scaling"


def of_config(config: Config) -> LatentScaling:
    """scaling_factor and shift_factor; latents_mean and latents_std where both are there.

    Together they are (z - mean) / std * factor, as in the pipelines of Playground, LTX and Mochi; Wan and Qwen-Image
    have no factor. Raises Unusable.
    """
    means, stds = (numbers(config, name) for name in LISTS)
    if (means is None) != (stds is None):
        present, absent = LISTS if stds is None else reversed(LISTS)
        raise Unusable(f"{CONFIG} has {present} without {absent}")
    scaling = LatentScaling(_number(config, "scaling_factor"), _number(config, "shift_factor"), means, stds)
    return UNKNOWN if scaling == UNKNOWN else replace(scaling, source=CONFIG)


def numbers(config: Config, name: str) -> tuple[float, ...] | None:
    """A list of numbers by its name, None where there is none. Raises Unusable for anything else."""
    values = config.get(name)
    if values is None:
        return None
    if not isinstance(values, (list, tuple)) or not values or not all(map(_is_number, values)):
        raise Unusable(f"{CONFIG}'s {name} is {_shown(values)}, no list of numbers")
    return tuple(map(float, values))


def checked(scaling: LatentScaling, channels: int | None) -> LatentScaling:
    """The scaling itself. channels: of the latents, None where not known. Raises Unusable where it scales nothing."""
    factor, shift = scaling.scaling_factor, scaling.shift_factor
    if factor is not None and not (math.isfinite(factor) and factor):
        raise Unusable(f"{_whose(scaling)} scaling_factor is {factor:g}")
    if shift is not None and not math.isfinite(shift):
        raise Unusable(f"{_whose(scaling)} shift_factor is {shift:g}")
    if scaling.channel_means is None or scaling.channel_stds is None:
        return scaling
    expected = len(scaling.channel_means) if channels is None else channels * scaling.patch**2
    for name, values in zip(LISTS, (scaling.channel_means, scaling.channel_stds), strict=True):
        field = f"{_whose(scaling)} {name if scaling.source == CONFIG else name.removeprefix('latents_')}"
        if len(values) != expected:
            raise Unusable(f"{field} has {len(values)} value{'s' * (len(values) != 1)} for {expected} channels")
        for number, value in enumerate(values):
            if not math.isfinite(value) or (name == "latents_std" and value <= 0):
                raise Unusable(f"{field} is {value:g} for channel {number}")
    return scaling


def _whose(scaling: LatentScaling) -> str:
    return f"{scaling.source}'" if scaling.source.endswith("s") else f"{scaling.source}'s"


def _number(config: Config, name: str) -> float | None:
    value = config.get(name)
    if value is None or _is_number(value):
        return None if value is None else float(value)
    raise Unusable(f"{CONFIG}'s {name} is {_shown(value)}, no number")


def _is_number(value: object) -> bool:
    """Whether float() takes it: JSON's integers may be larger than any."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value) is not None
    except OverflowError:
        return False


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
