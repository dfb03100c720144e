"""The checkpoints of a running training: where they lie in its folder, and which of them are written to the end.

Why nothing is opened here: whether a file holds a VAE is for the loader to say, by its content. What is left out by its
name is only what a trainer writes beside every checkpoint: states of optimisers, schedulers and random generators.

Why a checkpoint has to stay as it is for a while: nobody tells when a trainer has finished writing, and a file that is
cut short can look whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vaecheck.vae.adapter import sha256_of_files
from vaecheck.vae.from_diffusers import choose_weights
from vaecheck.vae.hub import SINGLE_FILES
from vaecheck.vae.scaling import CONFIG

PIPELINE = "model_index.json"
TRAINER_STATE = re.compile(
    r"optimizer|scheduler|lr_scheduler|sampler|scaler|random_states|rng_state|dl_state_dict|training_args"
    r"|custom_checkpoint|.*optim_states",
    re.IGNORECASE,
)
"""How the names of what accelerate, transformers and DeepSpeed write beside the weights begin."""
_STEP = re.compile(r"(?:step|steps|iter|iters|iteration|global_step)[-_=]?(\d{1,15})(?![\d.]*\d)", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"(?<![\d.])\d{1,15}(?!\d|\.\d)")
_VERSION = re.compile(r"-v\d+$")  # Lightning's, of a file whose name was taken


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as it lies there.

    name: relative to the watched folder, as posix text ("../NAME" is that folder itself). path: what --vae takes.
    weights: its files of weights.
    stamp: a hash of the names, sizes and times of its files. written: when the newest of them was, seconds since 1970.
    """

    name: str
    path: Path
    weights: tuple[Path, ...]
    stamp: str
    written: float

    def sha256(self) -> str:
        """Of its weights. Raises OSError where they are gone."""
        return sha256_of_files(self.weights)


def find_checkpoints(folder: Path, leave_out: Iterable[Path] = ()) -> tuple[Checkpoint, ...]:
    """All checkpoints in the folder and below it, in the order of their names.

    leave_out: folders that are not looked into. A link to something in the folder is that thing, and not found twice.
    What vanishes or may not be read while it is looked for is not there.
    """
    found = _Search(folder, {path.resolve() for path in leave_out})
    return tuple(sorted(found.below(folder), key=lambda checkpoint: checkpoint.name))


def step_in_name(name: str) -> int | None:
    """The number after "step", else the last whole number: "epoch=3-step=120.ckpt" and "checkpoint-120/vae" -> 120."""
    if name.startswith("../"):
        return None
    plain = name.removesuffix("/vae")
    for suffix in SINGLE_FILES:
        plain = plain.removesuffix(suffix)
    plain = _VERSION.sub("", plain)
    numbers = _STEP.findall(plain) or _WHOLE_NUMBER.findall(plain)
    return int(numbers[-1]) if numbers else None


@dataclass
class Settling:
    """Tells which checkpoints have stayed as they are for so many seconds."""

    seconds: float
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def settled(self, found: Sequence[Checkpoint], monotonic: float, now: float) -> tuple[Checkpoint, ...]:
        """Those of `found` that are. monotonic: seconds of a clock that is never set; now: seconds since 1970."""
        before, self._since = self._since, {}
        ready = []
        for checkpoint in found:
            stamp, since = before.get(checkpoint.name, ("", 0.0))
            if stamp != checkpoint.stamp:
                since = monotonic
            self._since[checkpoint.name] = checkpoint.stamp, since
            if max(monotonic - since, now - checkpoint.written) >= self.seconds:
                ready.append(checkpoint)
        return tuple(ready)


class _Search:
    def __init__(self, root: Path, leave_out: set[Path]) -> None:
        self._root, self._seen = root, set(leave_out)

    def below(self, folder: Path) -> Iterator[Checkpoint]:
        real = folder.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        names = _names(folder)
        pipeline = CONFIG in _names(folder / "vae")
        if pipeline:
            yield from self._one(folder / "vae")
        elif CONFIG in names and choose_weights(names):
            yield from self._one(folder)
        else:
            for name in names:
                if name.endswith(SINGLE_FILES) and not TRAINER_STATE.match(name):
                    yield from self._one(folder / name)
        if PIPELINE in names:
            return  # its other parts are no VAEs
        for name in names:
            path = folder / name
            if path.is_dir() and not self._is_elsewhere_inside(path) and not (pipeline and name == "vae"):
                yield from self.below(path)

    def _one(self, path: Path) -> Iterator[Checkpoint]:
        """The checkpoint at this path, unless it is a link to another that is found there, or has gone."""
        if self._is_elsewhere_inside(path):
            return
        files = [path]
        if path.is_dir():
            chosen = choose_weights(names := _names(path))
            files = [path / name for name in (CONFIG, *(chosen.names if chosen else ())) if name in names]
        stamp, written = hashlib.sha256(), 0.0
        try:
            for file in files:
                status = file.stat()
                stamp.update(
                    f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape")
                )
                written = max(written, status.st_mtime)
        except OSError:
            return
        name = f"../{path.resolve().name}" if path == self._root else path.relative_to(self._root).as_posix()
        weights = tuple(file for file in files if not file.name.endswith(".json"))
        yield Checkpoint(name, path, weights, stamp.hexdigest(), written)

    def _is_elsewhere_inside(self, path: Path) -> bool:
        return path.is_symlink() and path.resolve().is_relative_to(self._root.resolve())


def _names(folder: Path) -> list[str]:
    """What is in the folder, but for hidden and temporary things; nothing where it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(".") and not name.endswith(".tmp"))
    except OSError:
        return []
