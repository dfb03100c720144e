"""Pictures in a page: original, reconstruction and difference apart, so that one can be drawn over the other.

Why PNG as long as there is room: who enlarges a picture looks for what the VAE did, not for what JPEG did. A page that
would be too large to mail gets JPEG, and then smaller pictures.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vaecheck.render import contact_sheet, figures
from vaecheck.render.printable import printable
from vaecheck.render.titles import title_of
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

HEADINGS = {
    "worst": "Worst by PSNR",
    "other": "Worst by another metric",
    "median": "Nearest to the median",
    "best": "Best by PSNR",
}


@dataclass(frozen=True)
class Picture:
    """One picture of the page. uri: a data URI."""

    alt: str
    uri: str
    width: int
    height: int
    caption: str = ""

    @property
    def small(self) -> bool:
        return self.width < SMALL

    @property
    def bytes(self) -> int:
        """Before base64."""
        return len(self.uri) * 3 // 4


@dataclass(frozen=True)
class Pair:
    """One picture and what came back.

    heading: of the group that it opens, else empty. facts: in words, of both. amplified: the difference, so many times.
    """

    name: str
    heading: str
    facts: tuple[str, ...]
    original: Picture
    reconstruction: Picture
    difference: Picture
    amplified: int = contact_sheet.AMPLIFICATION

    @property
    def wide(self) -> bool:
        """Wide pictures have a row each."""
        return self.original.width > 1.6 * self.original.height


@dataclass(frozen=True)
class Pairs:
    """pairs: in the order to show. note: how they were encoded. bytes: of all pictures, before base64."""

    pairs: tuple[Pair, ...] = ()
    note: str = ""
    bytes: int = 0


def pairs(shown: Sequence[Shown]) -> Pairs:
    """The pictures in the best encoding in which all of them fit into a page."""
    ordered = [each for role in HEADINGS for each in shown if each.role == role]
    if not ordered:
        return Pairs()
    for side, quality in STEPS:
        encoded = _encoded(ordered, side, quality)
        if encoded is not None:
            break
    else:
        encoded = _encoded(ordered, side, quality, room=None)
    assert encoded is not None
    kind = f"JPEG of quality {quality}" if quality else "the exact pixels"
    found = []
    for place, (each, views) in enumerate(zip(ordered, encoded, strict=True)):
        opens = place == 0 or ordered[place - 1].role != each.role
        found.append(_pair(each, views, quality, HEADINGS[each.role] if opens else ""))
    words = f"Original, reconstruction and {contact_sheet.COLUMNS[2]}; {kind}, at most {side} px a side."
    return Pairs(tuple(found), words, sum(len(data) for views in encoded for data, _ in views))


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


def _pair(shown: Shown, views: list[tuple[bytes, tuple[int, int]]], quality: int, heading: str) -> Pair:
    name = printable(shown.id)
    judges = [title_of(metric) for metric in shown.worst_by]
    planes = (f"{' and '.join(shown.planes)} side by side",) if shown.planes else ()
    words = ("original of {}", "reconstruction of {}", f"difference of {{}}, {contact_sheet.AMPLIFICATION} times")
    original, reconstruction, difference = (
        Picture(words.format(name), _uri(data, quality), *size)
        for words, (data, size) in zip(words, views, strict=True)
    )
    facts = (_in_words(shown), *planes, *([f"among the worst by {', '.join(judges)}"] if judges else []))
    return Pair(name, heading, facts, original, reconstruction, difference)


def _in_words(shown: Shown) -> str:
    """ "PSNR 24.3 dB, SSIM 0.712, LPIPS (AlexNet) 0.21"."""
    others = [f"{title_of(name)} {figures.number(value, significant=3)}" for name, value in shown.values.items()]
    return ", ".join([f"PSNR {contact_sheet.psnr_in_words(shown)}", *others])


def _encoded(
    ordered: Sequence[Shown], side: int, quality: int, room: int | None = LARGEST_PICTURES
) -> list[list[tuple[bytes, tuple[int, int]]]] | None:
    """Data and size of the three views of every picture; None as soon as there is no room for them."""
    found, taken = [], 0
    for each in ordered:
        views = []
        for array in (each.original, each.reconstruction, contact_sheet.difference(each)):
            picture = _drawn(Image.fromarray(np.asarray(array)), side)
            views.append((_data(picture, quality), picture.size))
            taken += len(views[-1][0])
            if room is not None and taken > room:
                return None
        found.append(views)
    return found


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
        picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _uri(data: bytes, quality: int) -> str:
    return f"data:image/{'jpeg' if quality else 'png'};base64,{base64.b64encode(data).decode('ascii')}"
