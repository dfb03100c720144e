"""report.html: one file that opens anywhere, without a network and without a script.

Why the pictures are JPEG strips here: the grid as PNG would make the page too heavy to mail, and a caption as
text can be read on a telephone. grid.png beside the page has the exact pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from PIL import Image

from vaecheck.render import contact_sheet, figures, published, tables
from vaecheck.render.channels import channels
from vaecheck.render.findings import of_severity
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.printable import printable
from vaecheck.render.verdict import Verdict, is_quality, verdict
from vaecheck.results.types import Result, Shown

SKIPPED_SHOWN = 50
LARGEST_PICTURES = 6_500_000
"""Bytes of JPEG in one page: as base64 some 8.7 MB."""

_LEVEL_WORDS = {"good": "Above the yardsticks", "caution": "Caution", "bad": "Not good enough", "info": "Note"}
_HEADINGS = {"worst": "Worst by PSNR", "median": "Nearest to the median", "best": "Best by PSNR"}


@dataclass(frozen=True)
class Picture:
    """One picture of the page. heading: of the group that it opens, else empty. uri: a data URI."""

    heading: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int
    small: bool


def to_page(
    result: Result,
    shown: Sequence[Shown] = (),
    grid: Image.Image | None = None,
    illustrated: Sequence[Illustration] = (),
) -> str:
    """The report as one HTML document. Pictures come from `shown`, or from a saved grid where there are none."""
    judged = verdict(result)
    skipped = result.data.skipped
    sections = tables.sections(result)
    pictures = _strips(shown) if shown else [_whole(grid)] if grid is not None else []
    context = {
        "title": tables.title(result),
        "vae_name": result.vae.ref if result.vae else "",
        "verdict": judged,
        "level_word": _level_word(result, judged),
        "findings": of_severity(result, "fault", "warning", "info"),
        "healthy": of_severity(result, "healthy"),
        "unmeasured": of_severity(result, "unavailable"),
        "facts": tables.head(result),
        "quality": [section for section in sections if is_quality(section.rows[0].name)],
        "others": [section for section in sections if not is_quality(section.rows[0].name)],
        "yardsticks": tables.yardstick_notes(result),
        "notes": [f"{note.subject}: {note.reason}" for note in tables.notes(result)],
        "pictures_note": f"{', '.join(contact_sheet.COLUMNS)}. Compressed here; grid.png has the exact pixels.",
        "unet_cost": tables.unet_cost(result),
        "unet_cost_note": tables.unet_cost_note(result),
        "scaling": tables.scaling_summary(result.scaling, result.vae) if result.scaling else (),
        "channels": tables.channels(result.scaling) if result.scaling else (),
        "latent_channels": channels(result),
        "intake": tables.intake(result),
        "skipped_heading": f"{figures.count(len(skipped), 'picture')} skipped",
        "skipped": [(picture.id, picture.reason) for picture in skipped[:SKIPPED_SHOWN]],
        "skipped_more": f"{len(skipped) - SKIPPED_SHOWN:,}" if len(skipped) > SKIPPED_SHOWN else "",
        "warnings": tables.warnings(result),
        "published_title": published.TITLE,
        "published": published.beside(result),
        "settings": tables.settings(result),
        "environment": tables.environment(result),
    }
    snippets = tuple(result.scaling.snippets.items()) if result.scaling else ()
    drawn = embedded(illustrated)
    known = {finding.id for finding in result.findings} | {row.name for section in sections for row in section.rows}
    return _template().render(
        _shown_as_text(context),
        pictures=pictures,
        snippets=snippets,
        drawn=drawn,
        other_drawn=[about for about in drawn if about not in known],
    )


def _level_word(result: Result, judged: Verdict) -> str:
    """Empty for a diagnosis, whose sentence begins with its word."""
    if result.kind == "diagnose":
        return ""
    return "In short" if result.kind == "latents" else _LEVEL_WORDS[judged.level]


@cache
def _template() -> jinja2.Template:
    text = (resources.files("vaecheck") / "assets" / "page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _strips(shown: Sequence[Shown]) -> list[Picture]:
    ordered = [each for role in _HEADINGS for each in shown if each.role == role]
    for side, quality in ((512, 90), (384, 88), (256, 85), (192, 75), (96, 60)):
        factor = contact_sheet.enlargement(ordered, side)
        strips = [contact_sheet.strip(each, side, factor) for each in ordered]
        encoded = [_jpeg(strip, quality) for strip in strips]
        if sum(map(len, encoded)) <= LARGEST_PICTURES:
            break
    pictures: list[Picture] = []
    for place, (each, strip, data) in enumerate(zip(ordered, strips, encoded, strict=True)):
        opens = place == 0 or ordered[place - 1].role != each.role
        name, psnr = printable(each.id), contact_sheet.psnr_in_words(each)
        planes = f", {' and '.join(each.planes)} side by side" if each.planes else ""
        pictures.append(
            Picture(
                heading=_HEADINGS[each.role] if opens else "",
                caption=f"{name}, {psnr}{planes}",
                alt=f"{name}: original, reconstruction and amplified difference, {psnr}",
                uri=_data_uri(data),
                width=strip.width,
                height=strip.height,
                small=strip.width < 640,
            )
        )
    return pictures


def _whole(grid: Image.Image) -> Picture:
    """A saved grid as one picture, as wide as the page needs it."""
    for width in (1200, 800, 500, 300):
        scale = min(1.0, width / grid.width, 16_000 / grid.height)
        size = max(1, round(grid.width * scale)), max(1, round(grid.height * scale))
        drawn = grid.convert("RGB").resize(size, Image.Resampling.BOX) if scale < 1 else grid.convert("RGB")
        data = _jpeg(drawn, 85)
        if len(data) <= LARGEST_PICTURES:
            break
    alt = "Rows of original, reconstruction and amplified difference; captions are in the picture"
    return Picture("", "grid.png", alt, _data_uri(data), *drawn.size, small=drawn.width < 640)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _data_uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def _shown_as_text(value: Any) -> Any:
    """The same structure with every text made printable, so that no id can hide or reorder what follows it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _shown_as_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shown_as_text(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _shown_as_text(getattr(value, field.name)) for field in fields(value)})
    return value
