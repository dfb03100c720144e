"""Pictures in a page: original, reconstruction and difference apart, so that one can be drawn over the other.

Why PNG as long as there is room: who enlarges a picture looks for what the VAE did, not for what JPEG did. A page that
would be too large to mail gets JPEG, and then smaller pictures.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vaecheck.render import contact_sheet, figures
from vaecheck.render.printable import printable
from vaecheck.render.titles import title_of
from vaecheck.results.comparison import SideBySide
from vaecheck.results.types import Shown

LARGEST_PICTURES = 6_500_000
"""Bytes of pictures in one page: as base64 some 8.7 MB."""
LARGEST_SIDE = 512
STEPS = (
    *((LARGEST_SIDE, 0), (LARGEST_SIDE, 95), (LARGEST_SIDE, 90), (LARGEST_SIDE, 80)),
    *((384, 85), (256, 85), (192, 75), (96, 60)),
)
"""Longest sides and JPEG qualities, from the best to the smallest; 0 for PNG."""
SMALL = 640
PNG_LEVEL = 4
"""Three hundredths larger than Pillow's usual, in two fifths of the time."""

HEADINGS = {
    "worst": "Worst by PSNR",
    "other": "Worst by another metric",
    "median": "Nearest to the median",
    "best": "Best by PSNR",
}
DIFFERENCE = f"difference × {contact_sheet.AMPLIFICATION}"


@dataclass(frozen=True)
class Picture:
    """One picture of the page. uri: a data URI. label: what it is called beside others."""

    alt: str
    uri: str
    width: int
    height: int
    caption: str = ""
    label: str = ""

    @property
    def small(self) -> bool:
        return self.width < SMALL

    @property
    def bytes(self) -> int:
        """Before base64."""
        return len(self.uri) * 3 // 4


@dataclass(frozen=True)
class Versions:
    """One picture in several versions: the first two lie over each other, the rest stands beside them.

    heading: of the group that it opens, else empty. facts: in words, of all versions.
    """

    name: str
    heading: str
    facts: tuple[str, ...]
    pictures: tuple[Picture, ...]

    @property
    def wide(self) -> bool:
        """Wide pictures have a row each."""
        return self.pictures[0].width > 1.6 * self.pictures[0].height


@dataclass(frozen=True)
class Gathered:
    """What a page shows. note: what stands beside what, and how it was encoded."""

    versions: tuple[Versions, ...] = ()
    note: str = ""

    @property
    def bytes(self) -> int:
        """Of all pictures, before base64."""
        return sum(picture.bytes for each in self.versions for picture in each.pictures)


@dataclass(frozen=True)
class _Raw:
    """Before it is encoded. arrays: (label, 8-bit RGB (H, W, 3)); a REF may be called what another version is."""

    name: str
    heading: str
    facts: tuple[str, ...]
    arrays: tuple[tuple[str, Any], ...]


def of_one(shown: Sequence[Shown]) -> Gathered:
    """Original over reconstruction, and the difference beside them."""
    ordered = [each for role in HEADINGS for each in shown if each.role == role]
    raw = [
        _Raw(
            printable(each.id),
            HEADINGS[each.role] if place == 0 or ordered[place - 1].role != each.role else "",
            _facts(each),
            (
                ("original", each.original),
                ("reconstruction", each.reconstruction),
                (DIFFERENCE, contact_sheet.difference(each)),
            ),
        )
        for place, each in enumerate(ordered)
    ]
    return _gathered(raw, f"Original, reconstruction and |difference| × {contact_sheet.AMPLIFICATION}")


def of_several(shown: Sequence[SideBySide]) -> Gathered:
    """The first VAE's over the second's, and beside them those of the others and the original."""
    raw = [
        _Raw(
            printable(each.id),
            "",
            (f"{figures.number(each.disagreement, significant=2)} grey levels between VAEs", *_planes(each.planes)),
            (*((printable(ref), array) for ref, array in each.reconstructions.items()), ("original", each.original)),
        )
        for each in shown
    ]
    return _gathered(raw, "Where the VAEs differ most: what each made of the picture, and the original")


def _gathered(raw: Sequence[_Raw], what: str) -> Gathered:
    """All of it in the best encoding in which it fits into a page."""
    if not raw:
        return Gathered()
    encoded = None
    for side, quality in STEPS:
        encoded = _encoded(raw, side, quality, LARGEST_PICTURES if (side, quality) != STEPS[-1] else None)
        if encoded is not None:
            break
    assert encoded is not None
    longest = max(length for each in raw for _, array in each.arrays for length in np.shape(array)[:2])
    size = "at their own size" if longest <= side else f"drawn at most {side} px a side"
    kind = f"JPEG of quality {quality}" if quality else "no pixel lost to compression"
    return Gathered(tuple(encoded), f"{what}; {size}, {kind}.")


def whole(sheet: Image.Image, name: str, alt: str, room: int = LARGEST_PICTURES) -> Picture:
    """A saved sheet of pictures as one picture, as wide as the page needs it."""
    for width in (1200, 800, 500, 300):
        scale = min(1.0, width / sheet.width, 16_000 / sheet.height)
        size = max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))
        drawn = sheet.convert("RGB").resize(size, Image.Resampling.BOX) if scale < 1 else sheet.convert("RGB")
        data = _data(drawn, 85)
        if len(data) <= room:
            break
    return Picture(alt, _uri(data, 85), *drawn.size, caption=name)


def _facts(shown: Shown) -> tuple[str, ...]:
    """ "PSNR 24.3 dB", "SSIM 0.712", "among the worst by SSIM"."""
    values = (f"{title_of(name)} {figures.number(value, significant=3)}" for name, value in shown.values.items())
    judges = ", ".join(title_of(metric) for metric in shown.worst_by)
    return (
        f"PSNR {contact_sheet.psnr_in_words(shown)}",
        *values,
        *_planes(shown.planes),
        *([f"among the worst by {judges}"] if judges else []),
    )


def _planes(planes: Sequence[str]) -> tuple[str, ...]:
    return (f"{' and '.join(planes)} side by side",) if planes else ()


def _encoded(raw: Sequence[_Raw], side: int, quality: int, room: int | None) -> list[Versions] | None:
    """None as soon as there is no room for them. quality: of JPEG; 0 for PNG."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        drawn = [[(label, pool.submit(_as_uri, array, side, quality)) for label, array in each.arrays] for each in raw]
        found, taken = [], 0
        for each, futures in zip(raw, drawn, strict=True):
            pictures = []
            for label, future in futures:
                uri, size = future.result()
                pictures.append(Picture(f"{label} of {each.name}", uri, *size, label=label))
                taken += pictures[-1].bytes
                if room is not None and taken > room:
                    return None
            found.append(Versions(each.name, each.heading, each.facts, tuple(pictures)))
        return found
    finally:
        pool.shutdown(cancel_futures=True)


def _as_uri(array: Any, side: int, quality: int) -> tuple[str, tuple[int, int]]:
    """A picture at most so long a side, and the size drawn at."""
    picture = _drawn(Image.fromarray(np.asarray(array)), side)
    return _uri(_data(picture, quality), quality), picture.size


def _drawn(picture: Image.Image, side: int) -> Image.Image:
    """At most so long a side."""
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BOX)


def _data(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    if quality:
        picture.save(buffer, format="JPEG", quality=quality, subsampling=0)
    else:
        picture.save(buffer, format="PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _uri(data: bytes, quality: int) -> str:
    return f"data:image/{'jpeg' if quality else 'png'};base64,{base64.b64encode(data).decode('ascii')}"
