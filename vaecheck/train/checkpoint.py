"""What a training goes on from: one file, written whole or not at all, that says which training it is of.

Why the log is in it: the lines that a killed run wrote after its last checkpoint are written once more by the run that
goes on, and would stand there twice. Why the sums of figures that are not reported yet are in it: the first line after
them is then the mean of all its steps, as in a run that was never killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import torch

from vaecheck.errors import InputError

NEEDED = ("step", "log", "ended", "made_with")


class Stateful(Protocol):
    """A module, an optimiser: whatever a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@dataclass(frozen=True)
class Reached:
    """How far a training is.

    step: steps done. log: its rows so far. ended: whether it goes on no more. evaluated: the last step that was
    evaluated; None: of a checkpoint that does not say. sums: by figure, its sum since the last report and of how many
    steps, the mean over the processes.
    """

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    ended: bool = False
    evaluated: int | None = 0
    sums: Mapping[str, tuple[float, int]] = field(default_factory=dict)


def save(path: Path, reached: Reached, made_with: str, parts: Mapping[str, Stateful]) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    temporary = path.with_suffix(".tmp")
    of_reached = {one.name: getattr(reached, one.name) for one in fields(reached)}
    torch.save({**of_reached, "made_with": made_with, **states}, temporary)
    temporary.replace(path)


def resume(path: Path, made_with: str, parts: Mapping[str, Stateful]) -> Reached:
    """Load every part in place. Raises InputError for a file that is broken, or of another training."""
    if not path.exists():
        return Reached()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        step, log, ended, begun_with = (state[name] for name in NEEDED)
        reached = Reached(step, log, ended, state.get("evaluated"), state.get("sums", {}))
    except Exception as error:  # a broken file fails in many ways: pickle, zip, key, end of file
        raise InputError(
            f"{path} cannot be read as a checkpoint: {type(error).__name__}", hint="Remove it, or give another --out."
        ) from error
    if begun_with != made_with:
        raise InputError(
            f"{path} comes from another training: {_difference(begun_with, made_with)}",
            hint="Give the recipe, the pictures and the VAE that it was begun with, or another --out.",
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return reached


def _difference(before: str, now: str) -> str:
    """The first few entries in which two trainings differ."""
    old, new = dict(_flat(json.loads(before))), dict(_flat(json.loads(now)))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return "; ".join(f"{name} was {old.get(name)} and is {new.get(name)}" for name in names[:3])


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flat(entry, f"{name}.{key}".lstrip("."))
    else:
        yield name, value
