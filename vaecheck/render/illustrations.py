"""Plots and panels as files beside the report, and as pictures in it.

Why a panel's PNG carries its own words: panels are no part of the document, and a saved result is drawn again from
its folder alone. Plots are drawn again from their numbers.

Why a note is below the picture in the file but text on the page: a file is passed on alone, and a page is read on a
telephone, where letters in a picture are too small.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vaecheck.render import contact_sheet, plots
from vaecheck.render.drawn import PANELS, PLOTS, about_of, is_drawn, key_of
from vaecheck.render.fronts import front_plots
from vaecheck.render.printable import printable
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import Document
from vaecheck.results.gate import GateReport
from vaecheck.results.types import Panel, Plot

LARGEST_TOTAL = 6_500_000
"""Bytes of pictures in one page, before base64."""

_NOTE_SIZE = 18
_STEPS = ((1400, "PNG", 0), (1000, "PNG", 0), (1000, "JPEG", 88), (700, "JPEG", 80), (400, "JPEG", 65))
"""Widths and encodings for the page, from the best to the smallest: detail first, for a lattice is what it shows."""


@dataclass(frozen=True)
class Illustration:
    """One plot or panel as drawn.

    about: the finding or the measure that it belongs to. file: relative to the report's folder.
    key: its key among the artifacts. image: without its note.
    """

    about: str
    title: str
    note: str
    alt: str
    file: str
    key: str
    image: Image.Image


@dataclass(frozen=True)
class Embedded:
    """An illustration for a page. uri: a data URI; empty where the page would be too large, and the file stands."""

    uri: str
    width: int
    height: int
    alt: str
    note: str
    file: str

    @property
    def small(self) -> bool:
        return self.width < 640

    @property
    def is_plot(self) -> bool:
        return self.file.startswith(f"{PLOTS}/")


def draw(document: Document, panels: Sequence[Panel], out: Path) -> tuple[Illustration, ...]:
    """Draw the document's plots and the panels into `out`; without panels those that it names are read there."""
    records = () if isinstance(document, GateReport) else document.plots
    if isinstance(document, Comparison):
        records = (*records, *front_plots(document.fronts))
    drawn = [_plot(plot, name) for plot, name in zip(records, _names(records), strict=True)]
    for one in drawn:
        contact_sheet.save_png(contact_sheet.captioned(one.image, one.note, _NOTE_SIZE), out / one.file)
    shown = [panel for panel in panels if panel.images]
    for panel, name in zip(shown, _names(shown), strict=True):
        one = _panel(panel, name)
        words = {"title": one.title, "note": one.note, "alt": one.alt, "height": str(one.image.height)}
        contact_sheet.save_png(contact_sheet.captioned(one.image, one.note), out / one.file, words)
        drawn.append(one)
    return (*drawn, *(() if panels else _saved(document.artifacts, out)))


def embedded(illustrations: Iterable[Illustration], taken: int = 0) -> dict[str, list[Embedded]]:
    """By what they are about; exact as long as there is room, then smaller, then by file name alone.

    taken: bytes that other pictures of the page have.
    """
    found, room = list(illustrations), LARGEST_TOTAL - taken
    encoded = _fitting([one.image for one in found], room)
    pages: dict[str, list[Embedded]] = {}
    for one, (data, size) in zip(found, encoded, strict=True):
        room -= len(data)
        kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}" if room >= 0 else ""
        alt, note = printable(one.alt), printable(one.note)
        pages.setdefault(printable(one.about), []).append(Embedded(uri, *size, alt, note, one.file))
    return pages


def _plot(plot: Plot, name: str) -> Illustration:
    note = " ".join(filter(None, (plot.note, plots.left_out(plot))))
    curves = ", ".join(line.label for line in plot.lines if line.label)
    alt = f"Plot: {plot.title}" + (f" ({curves})" if curves else "")
    file, key = f"{PLOTS}/{name}.png", key_of(PLOTS, plot.about, name)
    return Illustration(plot.about, plot.title, note, alt, file, key, plots.draw(plot))


def _panel(panel: Panel, name: str) -> Illustration:
    alt = f"Pictures: {panel.title} ({', '.join(label for label, _ in panel.images)})"
    file, key = f"{PANELS}/{name}.png", key_of(PANELS, panel.about, name)
    return Illustration(panel.about, panel.title, panel.note, alt, file, key, contact_sheet.panel(panel))


def _saved(artifacts: Mapping[str, str], out: Path) -> list[Illustration]:
    """The panels that an earlier run drew; one that is gone or cannot be read is left out."""
    found = []
    for key, file in artifacts.items():
        if not is_drawn(file) or not file.startswith(f"{PANELS}/") or not (out / file).is_file():
            continue
        try:
            with Image.open(out / file, formats=("PNG",)) as opened:
                opened.load()
                words: Mapping[str, str] = getattr(opened, "text", {})
                height = words.get("height", "")
                bottom = min(int(height), opened.height) if height.isdecimal() else opened.height
                image = opened.convert("RGB").crop((0, 0, opened.width, max(1, bottom)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        title, note = words.get("title", file), words.get("note", "")
        found.append(Illustration(about_of(key), title, note, words.get("alt", title), file, key, image))
    return found


def _names(records: Iterable[Plot | Panel]) -> list[str]:
    """File names without ending: plain letters alone, and none twice."""
    names: list[str] = []
    for record in records:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", record.name)[:80] or "unnamed"
        name, number = plain, 1
        while name.lower() in {taken.lower() for taken in names}:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


def _fitting(images: Sequence[Image.Image], room: int) -> list[tuple[bytes, tuple[int, int]]]:
    """Every picture in the best encoding in which all fit into this many bytes, or in the smallest."""
    for step in _STEPS:
        encoded: list[tuple[bytes, tuple[int, int]]] = []
        left = room
        for image in images:
            encoded.append(_encoded(image, *step))
            left -= len(encoded[-1][0])
            if left < 0 and step != _STEPS[-1]:
                break
        if len(encoded) == len(images) and (left >= 0 or step == _STEPS[-1]):
            break
    return encoded


def _encoded(image: Image.Image, width: int, kind: str, quality: int) -> tuple[bytes, tuple[int, int]]:
    """At most so wide, as PNG or JPEG; and the size drawn at."""
    scale = min(1.0, width / image.width, 8000 / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    drawn = image.resize(size, Image.Resampling.BOX) if scale < 1 else image
    buffer = io.BytesIO()
    if kind == "PNG":
        drawn.save(buffer, format="PNG")
    else:
        drawn.save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue(), size
