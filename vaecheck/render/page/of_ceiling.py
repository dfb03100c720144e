"""The page of a ceiling check: which VAE to take, and for each what it allows beside what its U-Net reached."""

from __future__ import annotations

from collections.abc import Sequence

from vaecheck.render import tables
from vaecheck.render.ceiling import head, notes, sections, verdict
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.page import parts
from vaecheck.render.page.template import render
from vaecheck.results.ceiling import Ceiling


def ceiling_page(ceiling: Ceiling, illustrated: Sequence[Illustration]) -> str:
    context = {
        "title": tables.title(ceiling),
        "subject": ", ".join(climb.ref for climb in ceiling.vaes),
        "verdict": verdict(ceiling),
        "level_word": "",
        "facts": head(ceiling),
        "steps": (),
        "tables": [_table(title, columns, rows) for title, (columns, rows) in sections(ceiling)],
        "notes": notes(ceiling),
        "warnings": tables.warnings(ceiling),
        **parts.last(ceiling),
    }
    return render("ceiling", context, drawn=embedded(illustrated))


def _table(title: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> parts.Table:
    cells = tuple(tuple(_cell(text) for text in row) for row in rows)
    return parts.Table(title, "", tuple(name for name, _ in columns), tuple(number for _, number in columns), cells)


def _cell(text: str) -> parts.Cell:
    """A number is what its column is sorted by."""
    try:
        return parts.Cell(text, float(text.removesuffix(" ^").removesuffix(" ~").removesuffix("%")))
    except ValueError:
        return parts.Cell(text)
