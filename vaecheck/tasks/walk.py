"""The walk of a task: its pictures through its VAEs, by one process or several, gone on with where it was stopped.

Why signals are held until a batch is done: in the middle of one, some observers have seen it and others have not, and
what would be saved is neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NoReturn

from vaecheck import provenance
from vaecheck.cells import HasCells, merge, states
from vaecheck.errors import InputError, SetupError
from vaecheck.images.loader import Images, Loader
from vaecheck.pipeline import Observer, Run, evaluate
from vaecheck.pixels import Levels
from vaecheck.results.files import RESULT_FILE
from vaecheck.signals import held
from vaecheck.tasks.kept_run import KeptRun
from vaecheck.tasks.opening import Bench, machine_options
from vaecheck.tasks.settings import KEPT_RUN, Settings


@dataclass(frozen=True)
class Walked:
    """loader: with what it counted, of all processes. resumed_from: pictures that an earlier run had done."""

    loader: Loader
    resumed_from: int | None = None


def walk(kind: str, title: str, bench: Bench, runs: Sequence[Run], levels: Levels | None = None) -> Walked:
    """Every picture through every run once; in the first process their cells then hold all.

    kind: the command. title: what the person at the terminal is told.
    Raises PartDone in every other process, whose part the first has then. Raises InputError for --resume where
    nothing can be saved, or what was is another run; SetupError where a process has ended, or pictures are missing.
    """
    settings, listener, world = bench.settings, bench.listener, bench.world
    for observer in (observer for run in runs for observer in run.observers):
        assert isinstance(observer, HasCells), f"what {type(observer).__name__} keeps would be lost"
    loader = bench.shared_loader()
    kept = _kept_run(kind, bench, runs)
    if kept is not None:
        there = kept.begin(loader, runs, resume=settings.resume)
        if there or settings.resume:
            listener.tell(_beginning(kept, settings, there))
    listener.start(title, bench.images.count and math.ceil(bench.images.count / world.size))
    listener.advance(kept.resumed_from // world.size if kept else 0)
    with held(kept is not None) as stopping, closing(loader.rest(kept.done if kept else ())) as rest:
        evaluate(
            runs,
            _saved(rest, kept, loader, runs, stopping, bench),
            device=bench.device,
            posterior=settings.posterior,
            seed=settings.seed,
            levels=levels,
            progress=listener.advance,
        )
    if kept is not None:
        _save(kept, loader, runs, bench)
    for part in world.collected(lambda: {"loader": loader.state(), "runs": list(map(states, runs))}):
        loader.merge(part["loader"])
        for run, state in zip(runs, part["runs"], strict=True):
            merge(run, state)
    if world.size > 1 or settings.resume:
        _expect_all(loader, bench)
    return Walked(loader, kept.resumed_from if kept and settings.resume else None)


def _beginning(kept: KeptRun, settings: Settings, there: bool) -> str:
    assert settings.out is not None
    if settings.resume and there:
        return f"going on after {kept.resumed_from} pictures"
    if settings.resume:
        found = " but a finished result, which will be replaced" if (settings.out / RESULT_FILE).exists() else ""
        return f"nothing to go on with in {settings.out}{found}: from the beginning"
    return (
        f"{settings.out} keeps a run that was stopped, which this one will replace; to go on with it, stop this one "
        "and give --resume"
    )


def _kept_run(kind: str, bench: Bench, runs: Sequence[Run]) -> KeptRun | None:
    settings = bench.settings
    if settings.out is None:
        if settings.resume:
            raise InputError("--resume needs the folder of the run", hint="Give the --out that it was begun with.")
        return None
    return KeptRun(settings.out / KEPT_RUN / kind, bench.world, _made_with(kind, bench, runs), settings.save_every)


def _made_with(kind: str, bench: Bench, runs: Sequence[Run]) -> Mapping[str, Any]:
    return {
        "command": kind,
        **bench.settings.document(),
        "max_pixels": bench.settings.max_pixels,
        "save_reconstructions": bench.settings.save_reconstructions,
        "batch_size": bench.batch_size,
        "dtype": bench.dtype,
        "device": bench.device.type,
        "vaes": [[run.vae.card.ref, run.vae.card.sha256] for run in runs],
        **machine_options(bench.settings, bench.vae),
        "metric_weights": bench.catalogue.hashes(),
        "figures": [[_described(observer) for observer in run.observers] for run in runs],
        "pictures": bench.images.source,
        "count": bench.images.count,
        "versions": {name: provenance.versions().get(name) for name in ("vaecheck", "torch")},
    }


def _saved(
    batches: Iterator[Images],
    kept: KeptRun | None,
    loader: Loader,
    runs: Sequence[Run],
    stopping: Callable[[], bool],
    bench: Bench,
) -> Iterator[Images]:
    """The batches; between two of them the run is saved where it is time, or ended where that was asked for."""
    for batch in batches:
        yield batch
        if kept is None:
            continue
        kept.seen(len(batch.ids))
        if stopping():
            _stop(kept, loader, runs, bench)
        if kept.is_due:
            _save(kept, loader, runs, bench)
    if kept is not None and stopping():
        _stop(kept, loader, runs, bench)


def _stop(kept: KeptRun, loader: Loader, runs: Sequence[Run], bench: Bench) -> NoReturn:
    if _save(kept, loader, runs, bench):
        done = (
            f" after {loader.count} pictures, which are kept" if bench.world.size == 1 else ", and what is done is kept"
        )
        bench.listener.tell(f"stopped{done}: --resume goes on")
    raise KeyboardInterrupt


def _described(observer: Observer) -> str:
    names = getattr(observer, "names", None) or getattr(observer, "name", "")
    return f"{type(observer).__name__} {names}"


def _save(kept: KeptRun, loader: Loader, runs: Sequence[Run], bench: Bench) -> bool:
    try:
        kept.save(loader, runs)
    except OSError as error:
        bench.listener.warn(f"what is done cannot be saved in {kept.folder}: {error.strerror or error}")
        return False
    return True


def _expect_all(loader: Loader, bench: Bench) -> None:
    expected, found = bench.images.count, loader.count + len(loader.skipped)
    if expected is not None and found != expected:
        raise SetupError(
            f"{found} of {expected} pictures were seen by {bench.world.size} processes",
            hint="Do all of them see the same pictures? Run again.",
        )
    if not loader.count:
        loader.refuse_nothing()
