"""A run on disk, so that it can be gone on with: the state of every cell, in one file for each process.

Why generations: who goes on may be more processes or fewer than before. The first then takes all that was found into
its own file of the next generation, and only when that is whole are the files of the last one removed; so at every
moment there is a generation that is complete.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vaecheck.cells import State, merge, states
from vaecheck.errors import InputError
from vaecheck.images.loader import Loader
from vaecheck.pipeline import Run
from vaecheck.world import World

IMAGES_BETWEEN = 1000
SHARE_OF_TIME = 0.02
"""Of a run's time, that saving it may take."""


@dataclass
class KeptRun:
    """folder: of its files. made_with: all that decides the figures, as JSON. every: seconds between two savings.

    resumed_from: pictures that an earlier run had done.
    """

    folder: Path
    world: World
    made_with: Mapping[str, Any]
    every: float = 60.0
    resumed_from: int = 0
    done: set[str] = field(default_factory=set)
    _generation: int = 0
    _saved: float = field(default_factory=time.monotonic)
    _cost: float = 0.0
    _images: int = 0

    def resume(self, loader: Loader, runs: Sequence[Run]) -> bool:
        """Take in what is there, and go on with the rest; whether anything is.

        Raises InputError for a run of other pictures, VAEs or settings, and for files that cannot be read.
        """
        generation, paths = self._latest()
        if not paths:
            return False
        kept = [self._read(path) for path in paths]
        for one in kept:
            self.done |= set(one["loader"]["digests"]["ids"]) | {
                image_id for _, image_id, _ in one["loader"]["skipped"]
            }
            self.resumed_from += len(one["loader"]["digests"]["ids"])
            if self.world.is_first:
                loader.merge(one["loader"])
                for run, state in zip(runs, one["runs"], strict=True):
                    merge(run, state)
        self._generation = generation + 1
        self.world.wait()  # until all have read
        if self.world.is_first:
            self.save(loader, runs)
            for path in paths:
                path.unlink(missing_ok=True)
        self.world.wait()
        return True

    def begin(self) -> None:
        """A run from its beginning: what another has left there is of no use."""
        if self.world.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.world.wait()

    def seen(self, images: int) -> None:
        self._images += images

    @property
    def is_due(self) -> bool:
        since = time.monotonic() - self._saved
        return (since >= self.every or self._images >= IMAGES_BETWEEN) and since * SHARE_OF_TIME >= self._cost

    def save(self, loader: Loader, runs: Sequence[Run]) -> None:
        """Raises OSError; what was saved before is then still there."""
        start = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self._generation:04d}-{self.world.rank:05d}.pt"
        part = path.with_suffix(".tmp")
        try:
            torch.save({"made_with": self._made_with, "loader": loader.state(), "runs": list(map(states, runs))}, part)
        except RuntimeError as error:  # torch's writer has its own error for a full disk
            raise OSError(str(error).splitlines()[0]) from error
        part.replace(path)
        self._saved, self._images = time.monotonic(), 0
        self._cost = self._saved - start

    @property
    def _made_with(self) -> str:
        return json.dumps(self.made_with, sort_keys=True, default=str)

    def _latest(self) -> tuple[int, list[Path]]:
        """The newest generation that the first process has a file of, and its files."""
        named = {path: re.fullmatch(r"(\d+)-(\d+)\.pt", path.name) for path in sorted(self.folder.glob("*.pt"))}
        found = {path: (int(match[1]), int(match[2])) for path, match in named.items() if match}
        first = [generation for generation, rank in found.values() if rank == 0]
        if not first:
            return 0, []
        return max(first), [path for path, (generation, _) in found.items() if generation == max(first)]

    def _read(self, path: Path) -> State:
        try:
            state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            state["loader"], state["runs"], made_with = state["loader"], state["runs"], state["made_with"]
        except Exception as error:  # a broken file fails in many ways: pickle, zip, key, end of file
            raise InputError(
                f"{path} cannot be read: {type(error).__name__}", hint="Run without --resume, from the beginning."
            ) from error
        if made_with != self._made_with:
            before, now = json.loads(made_with), json.loads(self._made_with)
            names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            told = "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names[:3])
            raise InputError(
                f"the run in {self.folder.parent} is another: {told}"[:600],
                hint="Give what it was begun with, or run without --resume, from the beginning.",
            )
        return state
