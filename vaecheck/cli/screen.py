"""What a command says while it runs and when it ends: progress and warnings on stderr, the result on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vaecheck.errors import InputError, PartDone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaecheck.render.report import AnyDocument, Pictures
    from vaecheck.results.files import Document
    from vaecheck.results.types import Panel
    from vaecheck.tasks.settings import Listener
    from vaecheck.world import World

NARROWEST = 80


def errors() -> Console:
    return Console(stderr=True, emoji=False)


def output() -> Console:
    """stdout; a pipe has no width of its own, so COLUMNS or 80 is taken."""
    columns = os.environ.get("COLUMNS", "")
    piped = int(columns) if columns.isdecimal() and int(columns) > 0 else NARROWEST
    return Output(width=None if sys.stdout.isatty() else piped, emoji=False)


class Output(Console):
    """A console that leaves a closed pipe to `stdout` below, where Rich would end with 1, the gate's no."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def stdout() -> Iterator[None]:
    """A place to print the result. A reader that has gone (head, less) is no error, and neither is a stdout that was
    closed (>&-): the command goes on, and its exit code stands. A full disk is one sentence."""
    if sys.stdout is None:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
        return
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"the result cannot be written to stdout: {error.strerror}") from error


def said(label: str, style: str, text: str) -> None:
    """A labelled sentence on stderr. A terminal gets it wrapped, addresses and paths whole; a log gets one line."""
    console = errors()
    if console.is_terminal:
        from vaecheck.render.terminal import wrapped

        text = "\n".join(wrapped(f"{label} {text}", console.width, break_long_words=False)).removeprefix(f"{label} ")
    console.print(f"[{style}]{label}[/{style}] {escape(text)}", highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    errors().print(f"[yellow]warning:[/yellow] {escape(text)}", highlight=False)


class Rate(ProgressColumn):
    """Pictures a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


class Progresses(Progress):
    """Progress bars, and under them what else is to be seen while they run."""

    below: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below


@contextmanager
def listening(out: Path | None = None) -> Iterator[Listener]:
    """Progress bars on stderr, which vanish when it is no terminal. An `out` that cannot be written ends it now."""
    from vaecheck.render.training import Course
    from vaecheck.tasks.settings import Listener

    if out is not None:
        _make_folder(out)
    console = errors()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with (
        ended_by_sigterm(),
        contextlib.redirect_stdout(sys.stderr),  # what a user's own model prints is no part of the result
        Progresses(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        current: list[TaskID] = []
        downloads: dict[str, TaskID] = {}

        def start(title: str, total: int | None) -> None:
            for task in current:
                progress.remove_task(task)
            current[:] = [progress.add_task(escape(title), total=total)]

        def advance(images: int) -> None:
            progress.advance(current[0], images)

        def download(name: str, done: int, total: int | None) -> None:
            if name not in downloads:
                downloads[name] = progress.add_task(f"Downloading {escape(name)}", total=total)
                if progress.disable:
                    console.print(f"downloading {escape(name)}", highlight=False)
            progress.update(downloads[name], completed=done, total=total)

        def tell(text: str) -> None:
            console.print(escape(text), highlight=False, soft_wrap=True)

        course = Course()

        def figures(step: int, steps: int, means: Mapping[str, float]) -> None:
            course.add(step, steps, means)
            progress.below = course.table()
            if progress.disable:
                tell(course.line())

        yield Listener(start, advance, warn, tell, figures, download)


@contextmanager
def sharing(out: Path | None) -> Iterator[tuple[Listener, World]]:
    """`listening`, and the processes that were launched together, of which the first alone speaks."""
    from vaecheck.tasks.settings import Listener
    from vaecheck.world import joined

    with listening(out) as listener:
        world = joined()
        yield (listener if world.is_first else Listener()), world


@contextmanager
def downloading() -> Iterator[Callable[[str, int, int | None], None]]:
    """Progress of downloads alone."""
    with listening() as listener:
        assert listener.download is not None
        yield listener.download


def print_json(document: object) -> None:
    with stdout():
        print(json.dumps(document, indent=2, allow_nan=False))


def _make_folder(out: Path) -> None:
    if out.is_file():
        raise InputError(f"--out {out} is a file", hint="Give a folder, new or old.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written: {error.strerror}", hint="Give a folder, new or old, that you may write to."
        ) from error


def finish(
    result: AnyDocument, *, out: Path | None, as_json: bool, shown: Pictures = (), panels: Sequence[Panel] = ()
) -> AnyDocument:
    """Write the folder, then print the table or the document, which is printed too where the folder fails."""
    from vaecheck.render.report import write_report

    unwritten: InputError | None = None
    if out is not None:
        try:
            result = write_report(result, shown, out, panels)
            forget_runs(out, result.kind)
        except InputError as error:
            unwritten = error
    say(result, None if unwritten else out, as_json=as_json)
    if unwritten:
        raise unwritten
    return result


def first_alone(world: World) -> None:
    """What is not shared is done by the first process; the others end here."""
    if not world.is_first:
        raise PartDone("the first process does it alone")


def forget_runs(out: Path | None, *kinds: str) -> None:
    """What is kept of a run is of no use beside its result."""
    from vaecheck.tasks.settings import KEPT_RUN

    if out is not None:
        for kind in kinds:
            shutil.rmtree(out / KEPT_RUN / kind, ignore_errors=True)
        with contextlib.suppress(OSError):  # another's is there, or none
            (out / KEPT_RUN).rmdir()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, which a scheduler sends, ends the command as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main one's
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say(document: Document, out: Path | None, *, as_json: bool) -> None:
    """Print a document, as JSON or as tables; out: the folder that holds its files, if they are written."""
    from vaecheck.render.forms import show
    from vaecheck.results.files import to_json
    from vaecheck.results.gate import GateReport

    with stdout():
        if as_json:
            print(to_json(document), end="")
        else:
            show(document, output(), out)
    warnings = () if isinstance(document, GateReport) else document.warnings
    for text in warnings if as_json else ():
        warn(text)
