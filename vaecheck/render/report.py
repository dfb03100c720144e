"""A document as a folder that a person opens and a program reads.

Why result.json comes last: whoever sees it may rely on every file that it names.

Why threads: nearly all the time of a report goes into compressing pictures, meanwhile Pillow lets go of the
interpreter's lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from PIL import Image

from vaecheck.render import contact_sheet, forms, illustrations
from vaecheck.render.drawn import is_drawn
from vaecheck.render.kept_pictures import PICTURES_FILE, keep, kept
from vaecheck.render.page import to_page
from vaecheck.results.comparison import Comparison, SideBySide
from vaecheck.results.files import PER_IMAGE_FILE, RESULT_FILE, Document, save, write_atomically
from vaecheck.results.types import Panel, Result, Shown

GRID_FILE = "grid.png"
WORST_FILE = "worst.png"
MARKDOWN_FILE = "report.md"
PAGE_FILE = "report.html"

AnyDocument = TypeVar("AnyDocument", bound=Document)
Pictures = Sequence[Shown] | Sequence[SideBySide]
"""What a document shows: SideBySide of a Comparison, Shown of all others."""


def write_report(document: AnyDocument, shown: Pictures, out: Path, panels: Sequence[Panel] = ()) -> AnyDocument:
    """Write pictures, reports, per_image.csv and result.json into `out`; returns the document with its `artifacts`.

    Artifacts are file names relative to `out`: "plot:ABOUT:NAME" and "panel:ABOUT:NAME" name those of plots and panels.
    With no pictures to show, those that the document names and that lie in `out` are kept, and with no panels its
    panels. Raises InputError where `out` cannot be written.
    """
    drawn = draw_report(document, shown, out, panels)
    save(drawn, out)
    return drawn


def draw_report(document: AnyDocument, shown: Pictures, out: Path, panels: Sequence[Panel] = ()) -> AnyDocument:
    """As `write_report`, but for result.json and per_image.csv, which stay as they are."""
    drawn = (GRID_FILE, WORST_FILE, PICTURES_FILE)
    again = not shown and document.artifacts.get("pictures") == PICTURES_FILE
    if again:
        shown = kept(out / PICTURES_FILE)
    sheets = _sheets(shown)
    if shown and not again:
        sheets[PICTURES_FILE] = partial(keep, shown)
    before = _drawn_before(out)
    illustrated = illustrations.draw(document, panels, out)
    names = {
        key: name
        for key, name in document.artifacts.items()
        if not is_drawn(name) and (shown or key != "pictures") and (name not in drawn or (out / name).is_file())
    }
    names |= {name.partition(".")[0]: name for name in sheets}
    names |= {one.key: one.file for one in illustrated} | ({"pictures": PICTURES_FILE} if shown else {})
    names |= {"report_md": MARKDOWN_FILE, "report_html": PAGE_FILE, "result": RESULT_FILE}
    if isinstance(document, Result | Comparison):
        names["per_image"] = PER_IMAGE_FILE
    document = replace(document, artifacts=names)
    grid = None if shown else _saved_sheet(document.artifacts, out)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = [pool.submit(write, out / name) for name, write in sheets.items()]
        page = to_page(document, shown, grid, illustrated)
        for each in written:
            each.result()
    write_atomically(out / MARKDOWN_FILE, forms.to_markdown(document, illustrated))
    write_atomically(out / PAGE_FILE, page)
    for name in {*drawn, *before} - set(names.values()):
        (out / name).unlink(missing_ok=True)
    return document


def _sheets(shown: Pictures) -> dict[str, Callable[[Path], None]]:
    """File names, each with what writes it.

    Why no worst.png of several VAEs: what all of them do badly is nothing to choose by, and what one alone does is in
    the grid.
    """
    single = [one for one in shown if isinstance(one, Shown)]
    several = [one for one in shown if isinstance(one, SideBySide)]
    sheets: dict[str, Callable[[Path], None]] = {}
    if single:
        sheets[GRID_FILE] = lambda path: contact_sheet.save_png(contact_sheet.grid(single), path)
    if any(one.role == "worst" for one in single):
        sheets[WORST_FILE] = lambda path: contact_sheet.save_png(contact_sheet.worst(single), path)
    if several:
        sheets[GRID_FILE] = lambda path: contact_sheet.save_png(contact_sheet.compared(several), path)
    return sheets


def _drawn_before(out: Path) -> tuple[str, ...]:
    """The plots and panels of the result that `out` held so far: those that are not drawn again are to go."""
    try:
        artifacts = json.loads((out / RESULT_FILE).read_text(encoding="utf-8"))["artifacts"]
        return tuple(name for name in artifacts.values() if isinstance(name, str) and is_drawn(name))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()


def _saved_sheet(artifacts: Mapping[str, str], out: Path) -> Image.Image | None:
    """grid.png, where the document names it; none where it cannot be read."""
    if artifacts.get("grid") != GRID_FILE or not (path := out / GRID_FILE).is_file():
        return None
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
