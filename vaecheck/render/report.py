"""A result as a folder that a person opens and a program reads.

Why result.json comes last: whoever sees it may rely on every file that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from vaecheck.render import contact_sheet
from vaecheck.render.markdown import to_markdown
from vaecheck.render.page import to_page
from vaecheck.results.files import PER_IMAGE_FILE, RESULT_FILE, save, write_atomically
from vaecheck.results.types import Panel, Result, Shown

GRID_FILE = "grid.png"
WORST_FILE = "worst.png"
MARKDOWN_FILE = "report.md"
PAGE_FILE = "report.html"


def write_report(result: Result, shown: Sequence[Shown], out: Path, panels: Sequence[Panel] = ()) -> Result:
    """Write pictures, reports, per_image.csv and result.json into `out`; returns the result with its `artifacts`.

    Artifacts are file names relative to `out`. With no pictures to show, a grid that the result already names and
    that lies in `out` is kept. Raises InputError where `out` cannot be written.
    """
    drawn = (GRID_FILE, WORST_FILE)
    names = {key: name for key, name in result.artifacts.items() if name not in drawn or (out / name).is_file()}
    names |= _draw(shown, out)
    names |= {"report_md": MARKDOWN_FILE, "report_html": PAGE_FILE, "per_image": PER_IMAGE_FILE, "result": RESULT_FILE}
    result = replace(result, artifacts=names)
    write_atomically(out / MARKDOWN_FILE, to_markdown(result))
    write_atomically(out / PAGE_FILE, to_page(result, shown, None if shown else _saved_grid(result, out)))
    for name in set(drawn) - set(names.values()):
        (out / name).unlink(missing_ok=True)
    save(result, out)
    return result


def _draw(shown: Sequence[Shown], out: Path) -> dict[str, str]:
    names = {}
    if shown:
        contact_sheet.save_png(contact_sheet.grid(shown), out / GRID_FILE)
        names["grid"] = GRID_FILE
    if any(each.role == "worst" for each in shown):
        contact_sheet.save_png(contact_sheet.worst(shown), out / WORST_FILE)
        names["worst"] = WORST_FILE
    return names


def _saved_grid(result: Result, out: Path) -> Image.Image | None:
    path = out / GRID_FILE
    if result.artifacts.get("grid") != GRID_FILE or not path.is_file():
        return None
    with Image.open(path) as image:
        image.load()
        return image.copy()
