"""`watch`: every new checkpoint of a running training is evaluated; the history says which is best and when to stop.

Why a checkpoint that fails is no end: a trainer that was killed leaves half a file, and the night has many more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from vaecheck.errors import InputError, VaecheckError
from vaecheck.event_files import MISSING, EventFile
from vaecheck.images.sources import open_images
from vaecheck.metrics import catalogue
from vaecheck.results import files
from vaecheck.results.history import Evaluation, History
from vaecheck.results.types import Shown
from vaecheck.tasks import watch_files
from vaecheck.tasks.reconstruct import missing_on_demand, reconstruct
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.watch_history import Judge, WatchRules, begun, metrics_of
from vaecheck.vae.adapter import one_line
from vaecheck.vae.checkpoints import Checkpoint, Settling, find_checkpoints, step_in_name

Document = TypeVar("Document", bound=files.Document)

OUT = "vaecheck-watch"
"""In the watched folder, where nothing else is asked for."""
EVALUATIONS, EVENTS = "evaluations", "tensorboard"


class Clock(Protocol):
    """The module time, or a test's."""

    def monotonic(self) -> float: ...

    def time(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class Writer(Protocol):
    """Writes a document into a folder that then has its result.json; returns it with its artifacts."""

    def __call__(self, document: Document, shown: Sequence[Shown], out: Path, /) -> Document: ...


def save(document: Document, shown: Sequence[Shown], out: Path, /) -> Document:
    """The numbers alone."""
    files.save(document, out)
    return document


def watch(
    folder: Path | str,
    source: str = "samples",
    settings: Settings | None = None,
    rules: WatchRules | None = None,
    *,
    out: Path | None = None,
    listener: Listener | None = None,
    write: Writer = save,
    clock: Clock = time,
) -> History:
    """Evaluate the checkpoints in `folder`, and those that come, until the training stops improving or `rules` end it.

    out: holds the history, kept after each evaluation, `best`, `early_stop.json` and one folder for each evaluation;
    FOLDER/vaecheck-watch by default. Where it holds a history already, that is gone on with.
    Raises InputError for pictures, options or an earlier history that do not go together, SetupError where a metric
    that was asked for cannot be had.
    """
    watched, rules = Path(folder), rules or WatchRules()
    out = out or watched / OUT
    settings = replace(settings or Settings(), yardstick="none", save_reconstructions=None)
    catalogue.check_names((*(settings.metrics or ()), *(rules.stop_on or ())))
    if not watched.is_dir():
        problem = "is no folder" if watched.exists() else "does not exist"
        raise InputError(f"{watched} {problem}", hint="Give the folder that the training writes its checkpoints to.")
    if out.resolve() == watched.resolve():
        raise InputError(
            f"{out} is the watched folder itself, and what lies in --out is no checkpoint",
            hint=f"Give a folder of its own, as {watched / OUT}.",
        )
    open_images(source, limit=settings.limit, sample=settings.sample, seed=settings.seed, offline=settings.offline)
    listener = listener or Listener()
    if not EventFile.is_possible():
        listener.warn(MISSING)
    with EventFile(out / EVENTS) as events:
        kept = events if EventFile.is_possible() else None
        watching = _Watching(watched, source, settings, rules, out, listener, write, clock, kept)
        watching.run()
    history = watching.history
    if rules.once and history.evaluations and all(one.problem for one in history.evaluations):
        raise InputError(
            f"none of {len(history.evaluations)} checkpoints could be evaluated: {history.evaluations[0].problem}",
            hint=f"{out} lists what was wrong with each.",
        )
    return history


class _Watching:
    def __init__(
        self,
        folder: Path,
        source: str,
        settings: Settings,
        rules: WatchRules,
        out: Path,
        listener: Listener,
        write: Writer,
        clock: Clock,
        events: EventFile | None,
    ) -> None:
        self.folder, self.source, self.rules, self.out = folder, source, rules, out
        self.asked = (*(settings.metrics or ()), *(rules.stop_on or ()))
        self.settings = replace(settings, metrics=metrics_of(settings, rules))
        self.listener, self.write, self.clock, self.events = listener, write, clock, events
        self.settling = Settling(rules.settle)
        self.judge = Judge(rules, self.settings, out)
        self.copies: dict[str, tuple[str, str]] = {}
        """By name the stamp and the sha256 of a checkpoint that was evaluated under another name."""
        self.seconds = 0.0
        self.history = begun(folder, source, self.settings, rules, out)

    def run(self) -> None:
        rules, clock = self.rules, self.clock
        end = clock.monotonic() + rules.timeout if rules.timeout is not None else math.inf
        done, first = 0, True
        self._judge(self.history.evaluations)
        while True:
            found = self._found()
            ready = self.settling.settled(found, clock.monotonic(), clock.time())
            for checkpoint in sorted(filter(self._is_new, ready), key=_order):
                if done == rules.max_evaluations or clock.monotonic() >= end:
                    return
                done += self._take(checkpoint)
            unsettled = [one.name for one in found if one not in ready]
            if rules.once and (not first or not unsettled):
                for name in unsettled:
                    self.listener.warn(f"{name} is still being written: not evaluated")
                self._found()
                return
            if (self.history.stop and not rules.once) or done == rules.max_evaluations or clock.monotonic() >= end:
                return
            first = False
            self.listener.start("Waiting for checkpoints", None)
            pause = rules.settle if rules.once else rules.every
            clock.sleep(max(0.0, min(pause, end - clock.monotonic())))

    def _is_new(self, checkpoint: Checkpoint) -> bool:
        if self.copies.get(checkpoint.name, ("", ""))[0] == checkpoint.stamp:
            return False
        return all((one.name, one.stamp) != (checkpoint.name, checkpoint.stamp) for one in self.history.evaluations)

    def _take(self, checkpoint: Checkpoint) -> bool:
        """Evaluate a checkpoint and keep what came of it; returns whether anything did."""
        try:
            sha256 = checkpoint.sha256()
        except OSError:
            return False  # gone since it was found
        evaluations = self.history.evaluations
        for one in evaluations:
            if one.sha256 == sha256 and not one.problem:
                self._take_copy(checkpoint, one)
                return False
        named = step_in_name(checkpoint.name)
        kept = [one for one in evaluations if one.name != checkpoint.name or (named is None and not one.problem)]
        step = max((one.step for one in kept), default=0) + 1 if named is None else named
        written = datetime.fromtimestamp(checkpoint.written, UTC).isoformat(timespec="seconds")
        evaluation = self._evaluated(
            checkpoint, Evaluation(checkpoint.name, step, sha256, written, stamp=checkpoint.stamp)
        )
        if evaluation is None:
            return False
        overwritten = [one for one in kept if one.name == checkpoint.name]
        kept = [one for one in kept if one not in overwritten]
        kept += [replace(one, name=f"{one.name} (step {one.step})", gone=True) for one in overwritten]
        self._judge([*kept, evaluation])
        return True

    def _take_copy(self, checkpoint: Checkpoint, known: Evaluation) -> None:
        """The same weights again: touched, or under another name, of which one that is there, and has a step, stays."""
        step = step_in_name(checkpoint.name)
        if known.gone or known.name == checkpoint.name:
            self._move(known, checkpoint.name, checkpoint.stamp)
        elif step is not None and step_in_name(known.name) is None:
            self.copies[known.name] = known.stamp, known.sha256 or ""
            self._move(replace(known, step=step), checkpoint.name, checkpoint.stamp)
        else:
            self.copies[checkpoint.name] = checkpoint.stamp, known.sha256 or ""
            self.listener.tell(f"{checkpoint.name} has the same weights as {known.name}: not evaluated again")

    def _move(self, known: Evaluation, name: str, stamp: str) -> None:
        kept = [one for one in self.history.evaluations if one.sha256 != known.sha256]
        self._judge([*kept, replace(known, name=name, stamp=stamp, gone=False)])

    def _evaluated(self, checkpoint: Checkpoint, begun: Evaluation) -> Evaluation | None:
        """The evaluation with its figures, or its problem; None where the checkpoint was written anew meanwhile.

        Why one that is overwritten after it was read counts: a trainer may write `last.ckpt` more often than pictures
        can be measured. Its hash, taken by the loader too, says that these were the weights.
        """
        started = self.clock.monotonic()
        path = checkpoint.path if checkpoint.path.is_absolute() else f"./{checkpoint.path.as_posix()}"
        try:
            result, shown = reconstruct(self.source, str(path), self.settings, self.listener)
        except Exception as error:
            if not self._is_as_found(checkpoint):
                return None
            said = f"{error.message}. {error.hint}".strip() if isinstance(error, VaecheckError) else one_line(error)
            self.listener.warn(f"{checkpoint.name} was not evaluated: {said}")
            return replace(begun, problem=said)
        was_read_whole = result.vae is not None and result.vae.sha256 == begun.sha256
        if not (was_read_whole or self._is_as_found(checkpoint)):
            return None
        fingerprint = self.history.data.fingerprint
        if fingerprint and fingerprint != result.data.fingerprint:
            raise InputError(
                f"the pictures of {self.source} are not those of the evaluations before",
                hint=f"Give the same pictures, or another --out: {self.out} holds the history.",
            )
        if missing := missing_on_demand(result, self.asked):
            raise missing
        for name in self.rules.stop_on or ():
            if result.measures[name].better is None:
                raise InputError(f"--stop-on {name}: neither more nor less of it is better", hint="Try --stop-on rfid.")
        folder = f"{EVALUATIONS}/{watch_files.folder_name(begun)}"
        self.write(result, shown, self.out / folder)
        measures = {name: one for name, one in result.measures.items() if name in (self.settings.metrics or ())}
        figures = watch_files.scalars(measures)
        if self.events is not None:
            self.events.add(figures, begun.step)
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.listener.tell(f"step {begun.step}  {begun.name}: {told}")
        self.seconds += self.clock.monotonic() - started
        self.history = replace(self.history, data=result.data)
        return replace(begun, measures=measures, folder=folder)

    def _is_as_found(self, checkpoint: Checkpoint) -> bool:
        return checkpoint in find_checkpoints(self.folder, [self.out])

    def _found(self) -> tuple[Checkpoint, ...]:
        """What is there now. Where the file of an evaluation is gone, a copy takes its place, or it is marked."""
        found = find_checkpoints(self.folder, [self.out])
        there = {(one.name, one.stamp) for one in found}
        for one in self.history.evaluations:
            copies = [(name, stamp) for name, (stamp, sha256) in self.copies.items() if sha256 == one.sha256]
            copies = [copy for copy in copies if copy in there]
            if (one.name, one.stamp) not in there and copies:
                del self.copies[copies[0][0]]
                self._move(one, *copies[0])
        marked = tuple(replace(one, gone=(one.name, one.stamp) not in there) for one in self.history.evaluations)
        if marked != self.history.evaluations:
            self._judge(marked)
        return found

    def _judge(self, evaluations: Sequence[Evaluation]) -> None:
        """Take these evaluations, and all that follows from them, into the history, and write it."""
        judged = self.judge.judged(self.history, evaluations, self.seconds)
        watch_files.write(judged, self.folder, self.out)  # before the document that names these files
        self.history = self.write(judged, (), self.out)


def _order(checkpoint: Checkpoint) -> tuple[float, float, str]:
    """Of steps; those without after them, in the order of time."""
    step = step_in_name(checkpoint.name)
    return (math.inf if step is None else step), checkpoint.written, checkpoint.name
