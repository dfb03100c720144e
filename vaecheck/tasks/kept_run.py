"""A run on disk, so that it can be gone on with: the state of every cell, in one file for each process.

Why generations: who goes on may be more processes or fewer than before. The first then takes all that was found into
its own file of the next generation, and only when that is whole are the files of the last one removed; so at every
moment there is a generation that is complete. A run that begins anew takes the next one too, so that what was kept is
there until it has something of its own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vaecheck.cells import State, merge, states
from vaecheck.errors import InputError, SetupError
from vaecheck.images.loader import Loader
from vaecheck.pipeline import Run
from vaecheck.world import World

IMAGES_BETWEEN = 1000
SHARE_OF_TIME = 0.02
"""Of a run's time, that saving it may take."""
NAME = re.compile(r"(\d+)-(\d+)\.pt")


@dataclass
class KeptRun:
    """folder: of its files. made_with: all that decides the figures, as JSON. every: seconds between two savings.

    resumed_from: pictures that an earlier run had done; done: the ids of those, and of those that it left out.
    """

    folder: Path
    world: World
    made_with: Mapping[str, Any]
    every: float = 60.0
    resumed_from: int = 0
    done: set[str] = field(default_factory=set)
    _generation: int = 0
    _replaced: Sequence[Path] = ()
    _saved: float = field(default_factory=time.monotonic)
    _cost: float = 0.0
    _images: int = 0

    def begin(self, loader: Loader, runs: Sequence[Run], *, resume: bool) -> bool:
        """Before the first picture; with `resume` what is kept is taken in. Whether anything is kept.

        Raises InputError for a run of other pictures, VAEs or settings, and for files that cannot be read; SetupError
        for those that this process does not see, or where nothing can be saved.
        """
        found = {path: NAME.fullmatch(path.name) for path in sorted(self.folder.glob("*.pt"))}
        named = {path.name: (int(match[1]), int(match[2])) for path, match in found.items() if match}
        named = self.world.agreed(named)  # as the first process sees it
        self._generation = 1 + max((generation for generation, _ in named.values()), default=-1)
        self._replaced = [self.folder / name for name in named]
        whole = max((generation for generation, rank in named.values() if rank == 0), default=None)
        kept = [self.folder / name for name, (generation, _) in named.items() if generation == whole]
        if resume and kept:
            self._take_in([self._read(path) for path in kept], loader, runs)
        return bool(kept)

    def _take_in(self, kept: Sequence[State], loader: Loader, runs: Sequence[Run]) -> None:
        for one in kept:
            ids, given = loader.done(one["loader"])
            self.done |= ids
            self.resumed_from += given
            if self.world.is_first:
                loader.merge(one["loader"])
                for run, state in zip(runs, one["runs"], strict=True):
                    merge(run, state)
        self.world.agreed(None)  # all have read
        if self.world.is_first:
            try:
                self.save(loader, runs)
            except OSError as error:
                raise SetupError(
                    f"nothing can be saved in {self.folder}: {error.strerror or error}",
                    hint="Make room there. What was kept is as it was.",
                ) from error
        self.world.agreed(None)

    def seen(self, images: int) -> None:
        self._images += images

    @property
    def is_due(self) -> bool:
        since = time.monotonic() - self._saved
        return (since >= self.every or self._images >= IMAGES_BETWEEN) and since * SHARE_OF_TIME >= self._cost

    def save(self, loader: Loader, runs: Sequence[Run]) -> None:
        """Raises OSError; what was saved before is then still there."""
        start = time.monotonic()
        path = self.folder / f"{self._generation:04d}-{self.world.rank:05d}.pt"
        part = path.with_suffix(".tmp")
        state = {"made_with": self._made_with, "loader": loader.state(), "runs": list(map(states, runs))}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(state, file)
            part.replace(path)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch's writer hides a full disk
            raise cause if isinstance(cause, OSError) else OSError(str(error).splitlines()[0]) from error
        finally:
            self._saved, self._images = time.monotonic(), 0
            self._cost = self._saved - start
        if self.world.is_first:
            for old in self._replaced:
                old.unlink(missing_ok=True)
            self._replaced = ()

    @property
    def _made_with(self) -> str:
        return json.dumps(self.made_with, sort_keys=True, default=str)

    def _read(self, path: Path) -> State:
        if not path.exists():
            raise SetupError(
                f"process {self.world.rank} does not see {path}, which the first does",
                hint="Give an --out on a disk that all machines see.",
            )
        try:
            state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            made_with = {name: state[name] for name in ("loader", "runs", "made_with")}["made_with"]
        except Exception as error:  # a broken file fails in many ways: pickle, zip, key, end of file
            raise InputError(
                f"{path} cannot be read: {type(error).__name__}", hint="Run without --resume, from the beginning."
            ) from error
        if made_with != self._made_with:
            before, now = json.loads(made_with), json.loads(self._made_with)
            names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            told = "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in names[:3])
            raise InputError(
                f"the run in {self.folder.parent.parent} is another: {told}"[:600],
                hint="Give what it was begun with, or run without --resume, from the beginning.",
            )
        return state
