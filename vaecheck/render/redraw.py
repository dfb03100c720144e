"""A saved document drawn again: the reports and the plots from its numbers, the pictures as they lie beside it.

Why result.json is changed as text and not written anew: a later version may have added fields that this one does not
know, and drawing must lose none.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from vaecheck.errors import InputError
from vaecheck.render.drawn import is_drawn
from vaecheck.render.report import draw_report
from vaecheck.results.files import PER_IMAGE_FILE, RESULT_FILE, Document, load, write_atomically

_BESIDE = re.compile(r"[A-Za-z0-9_-]+\.png|junit\.xml|history\.csv|best|early_stop\.json")
"""Files of a document's own folder that are not drawn again."""


def redraw(source: Path, out: Path | None = None) -> tuple[Document, Path]:
    """Write reports and plots of the document in `source`, a folder or its result.json, into `out`, or beside it.

    Another `out` gets result.json, per_image.csv and the pictures too. Of result.json only `artifacts` may change.
    Returns the document and the folder. Raises InputError for what is no document, or cannot be written.
    """
    folder = _folder(source)
    document = load(folder)
    out = folder if out is None else out
    moved = not (out.exists() and out.samefile(folder))
    if moved:
        _copy(document, folder, out)
    drawn = draw_report(document, (), out)
    if moved:
        there = {key: name for key, name in drawn.artifacts.items() if name == RESULT_FILE or (out / name).is_file()}
        drawn = replace(drawn, artifacts=there)
    raw = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    if raw.get("artifacts") != drawn.artifacts or moved:
        raw["artifacts"] = dict(drawn.artifacts)
        write_atomically(out / RESULT_FILE, json.dumps(raw, indent=2, allow_nan=False) + "\n")
    return drawn, out


def _folder(source: Path) -> Path:
    if not source.is_file():
        return source
    if source.name != RESULT_FILE:
        raise InputError(
            f"{source} is no {RESULT_FILE}", hint=f"Give the folder that --out named, or its {RESULT_FILE}."
        )
    return source.parent


def _copy(document: Document, folder: Path, out: Path) -> None:
    """per_image.csv and what a document names in its own folder and is not drawn again; never what lies outside."""
    named = [name for name in document.artifacts.values() if is_drawn(name) or _BESIDE.fullmatch(name)]
    try:
        for name in (PER_IMAGE_FILE, *named):
            if (folder / name).is_file() and not (folder / name).is_symlink():
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, out / name)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}", hint="Give another --out.") from error
