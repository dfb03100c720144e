"""Every kind of document in every form: in the terminal and as Markdown; page/ has them as pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vaecheck.render import ceiling, comparison, gate, history, markdown, terminal
from vaecheck.render.illustrations import Illustration
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import Document
from vaecheck.results.gate import GateReport
from vaecheck.results.types import Result


def show(document: Document, console: Console, out: Path | None = None) -> None:
    """Print it; out: the folder that holds its files, if they were written."""
    if isinstance(document, Result):
        terminal.show(document, console, out)
    elif isinstance(document, Comparison):
        comparison.show(document, console, out)
    elif isinstance(document, GateReport):
        gate.show(document, console, out)
    elif isinstance(document, Ceiling):
        ceiling.show(document, console, out)
    else:
        history.show(document, console, out)


def to_markdown(document: Document, illustrated: Sequence[Illustration] = ()) -> str:
    """The whole report as GitHub-flavoured Markdown; pictures are named by their files beside it."""
    if isinstance(document, Result):
        return markdown.to_markdown(document, illustrated)
    if isinstance(document, Comparison):
        return comparison.to_markdown(document, illustrated)
    if isinstance(document, GateReport):
        return gate.to_markdown(document, illustrated)
    if isinstance(document, Ceiling):
        return ceiling.to_markdown(document, illustrated)
    return history.to_markdown(document, illustrated)
