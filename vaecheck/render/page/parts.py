"""What every page is made of, before it is a page: tables that can be sorted, skipped pictures, the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaecheck.render import figures, tables
from vaecheck.results.files import Document
from vaecheck.results.types import DataCard, Measure

SKIPPED_SHOWN = 50


@dataclass(frozen=True)
class Cell:
    """value: what the column is sorted by; None for its text. below: a second line. mark: a class of the style."""

    text: str
    value: float | None = None
    below: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head, the first cell naming its row. numbers: which columns are set as numbers, to the right."""

    title: str
    caption: str
    head: tuple[str, ...]
    numbers: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Skipped:
    """Pictures that were left out, the first of them with their reasons. more: of how many that is told, in words."""

    title: str
    entries: tuple[tuple[str, str], ...]
    more: str


def skipped(data: DataCard) -> Skipped:
    count = len(data.skipped)
    return Skipped(
        f"{figures.count(count, 'picture')} skipped",
        tuple((picture.id, picture.reason) for picture in data.skipped[:SKIPPED_SHOWN]),
        f"and {count - SKIPPED_SHOWN:,} more, in result.json" if count > SKIPPED_SHOWN else "",
    )


def figure(measure: Measure | None, mark: str = "") -> Cell:
    """A measure as a cell: its value, and its interval below."""
    if measure is None:
        return Cell(figures.ABSENT, mark=mark)
    interval = figures.interval(measure)
    number = measure.value if isinstance(measure.value, (int, float)) else None
    below = "" if interval == figures.ABSENT else interval
    if measure.status == "unreliable":
        below = f"{below}; unreliable".lstrip("; ")
    return Cell(figures.value(measure), number, below, mark)


def last(document: Document) -> dict[str, Any]:
    """The end of every page: how the pictures were read, what was set, and the machine."""
    version = document.environment.versions.get("vaecheck")
    return {
        "version": f" {version}" if version else "",
        "intake": tables.intake(document),
        "skipped": skipped(document.data),
        "settings": tables.settings(document),
        "environment": tables.environment(document),
    }
