"""Grids of original, reconstruction and amplified difference, and panels of findings, to be judged by eye.

Why one fixed amplification: a difference stretched to its own maximum makes every VAE look equally bad, and
two grids could not be compared.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features
from PIL.PngImagePlugin import PngInfo

from vaecheck.errors import InputError
from vaecheck.render.printable import printable, shortened
from vaecheck.results.comparison import SideBySide
from vaecheck.results.files import write_atomically
from vaecheck.results.types import Panel, Shown

AMPLIFICATION = 4
LARGEST_SIDE = 512
SMALLEST_SIDE = 128
COLUMNS = ("original", "reconstruction", f"|difference| x {AMPLIFICATION}")
WINDOW_COLUMNS = ("worst window, original", "worst window, reconstruction")

_ROLES = {"worst": "Worst by PSNR", "median": "Nearest to the median", "best": "Best by PSNR"}
_PAPER, _INK, _FAINT, _BAND = (255, 255, 255), (24, 24, 27), (82, 82, 91), (228, 228, 231)
_NEUTRAL = (128, 128, 128)
_NO_LETTER = "\uffff"
_MARGIN, _GAP = 16, 8
_STRIP, _GROUP, _CAPTION = 36, 40, 28
_PANEL_WIDTH, _PANEL_SIDE, _WIDEST_LABEL, _WIDEST_SHEET = 1200, 160, 240, 2400
_Array = NDArray[np.uint8]


@dataclass(frozen=True)
class _RowOfCells:
    caption: str
    cells: tuple[Image.Image, ...]


MOST_OF_A_ROLE = 4


def grid(shown: Sequence[Shown]) -> Image.Image:
    """Worst, median and best, one a row: original, reconstruction, |difference| x 4; all the worst are in `worst`.

    8-bit RGB (H, W, 3) in, an RGB picture out. Pictures above 512 pixels a side are drawn smaller and tiny ones
    enlarged by a whole factor, one for all; their caption says so. Raises InputError where there is nothing to draw.
    """
    chosen = {role: [each for each in shown if each.role == role][:MOST_OF_A_ROLE] for role in _ROLES}
    factor = enlargement([each for group in chosen.values() for each in group])
    groups = {title: [_row(each, factor) for each in chosen[role]] for role, title in _ROLES.items()}
    return _draw({title: rows for title, rows in groups.items() if rows}, COLUMNS)


def worst(shown: Sequence[Shown]) -> Image.Image:
    """The worst pictures, each with the window that lost most, enlarged: where to look for what the VAE drops."""
    chosen = [each for each in shown if each.role == "worst"]
    factor = enlargement(chosen)
    rows = [_row(each, factor, window=True) for each in chosen]
    return _draw({_ROLES["worst"]: rows} if rows else {}, COLUMNS + WINDOW_COLUMNS)


def compared(shown: Sequence[SideBySide]) -> Image.Image:
    """Originals and what each VAE made of them, the largest disagreement first, each over the window of the largest.

    8-bit RGB (H, W, 3) in, an RGB picture out; the more VAEs, the smaller large pictures are drawn. Raises InputError
    where there is nothing to draw.
    """
    rows: list[_RowOfCells] = []
    names = ["original", *(shown[0].reconstructions if shown else ())]
    largest = min(LARGEST_SIDE, max(_PANEL_SIDE, _WIDEST_SHEET // len(names)))
    for each in shown:
        arrays = [np.asarray(array) for array in (each.original, *each.reconstructions.values())]
        height, width = arrays[0].shape[:2]
        factor = max(1, -(-SMALLEST_SIDE // max(height, width))) if max(height, width) < largest else 0
        size = (width * factor, height * factor) if factor else _inside(width, height, largest)
        box = _window_of_disagreement(arrays[1:], max(1, len(each.planes)))
        planes = f"   {' | '.join(each.planes)}" if each.planes else ""
        caption = f"{shortened(drawable(each.id), 56)}   {each.disagreement:.1f} grey levels between VAEs{planes}"
        left, top, right, bottom = box
        window = f"the window where they differ most: {right - left}x{bottom - top} at {left}, {top}"
        pictures = [Image.fromarray(array) for array in arrays]
        resample = Image.Resampling.NEAREST if factor else Image.Resampling.BOX
        rows.append(_RowOfCells(caption, tuple(picture.resize(size, resample) for picture in pictures)))
        crops = (picture.crop(box).resize(size, Image.Resampling.NEAREST) for picture in pictures)
        rows.append(_RowOfCells(window, tuple(crops)))
    widest = max([SMALLEST_SIDE, *(cell.width for row in rows for cell in row.cells)])
    columns = [_cut(drawable(name), widest - _GAP, 16) for name in names]
    return _draw({"Where the VAEs differ most": rows} if rows else {}, columns)


def enlargement(shown: Sequence[Shown], largest_side: int = LARGEST_SIDE) -> int:
    """The whole factor that brings the largest of these pictures to 128 pixels or more: smaller ones look smaller."""
    longest = max((side for each in shown for side in np.asarray(each.original).shape[:2]), default=SMALLEST_SIDE)
    return max(1, min(-(-SMALLEST_SIDE // longest), largest_side // longest))


def strip(shown: Shown, largest_side: int = LARGEST_SIDE, factor: int | None = None) -> Image.Image:
    """Original, reconstruction and amplified difference side by side, without words. factor: see `enlargement`."""
    cells, _ = _cells(shown, largest_side, factor or enlargement([shown], largest_side))
    width = sum(cell.width for cell in cells) + _GAP * (len(cells) - 1)
    sheet = Image.new("RGB", (width, cells[0].height), _NEUTRAL)
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place * (cell.width + _GAP), 0))
    return sheet


def panel(shown: Panel) -> Image.Image:
    """The panel's pictures side by side under their labels, in as many rows as a page is wide for, under its title.

    8-bit RGB (H, W, 3) or grey (H, W) in, an RGB picture out. All are enlarged by one whole factor where the largest
    is small, or made smaller where it is above 512 pixels; the title says so. Raises InputError without pictures.
    """
    arrays = [np.asarray(array, dtype=np.uint8) for _, array in shown.images]
    longest = max((side for array in arrays for side in array.shape[:2]), default=0)
    if longest == 0:
        raise InputError(f"the panel {shown.name} has no pictures", hint="Please report this as a bug of vaecheck.")
    factor = -(-_PANEL_SIDE // longest) if longest < _PANEL_SIDE else min(1.0, LARGEST_SIDE / longest)
    pictures = [_scaled(Image.fromarray(array).convert("RGB"), factor) for array in arrays]
    scaled = f"   (enlarged {factor} times)" if factor > 1 else "   (drawn smaller)" if factor < 1 else ""
    labels = [drawable(label) for label, _ in shown.images]
    widest = max(picture.width for picture in pictures)
    cell = max(
        widest, min(_WIDEST_LABEL, *(round(font(14).getlength(label)) + _GAP for label in labels)) if labels else 0
    )
    return _arranged(f"{drawable(shown.title)}{scaled}", labels, pictures, cell)


def captioned(image: Image.Image, note: str, size: int = 16) -> Image.Image:
    """The picture with a note below it in letters of this size, wrapped to its width; without one the picture."""
    lines = _lines(drawable(note), image.width - 2 * _MARGIN, size)
    if not lines:
        return image
    step = round(size * 1.4)
    sheet = Image.new("RGB", (image.width, image.height + len(lines) * step + _MARGIN), _PAPER)
    sheet.paste(image, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for place, line in enumerate(lines):
        middle = image.height + step // 2 + place * step
        pen.text((_MARGIN, middle), line, fill=_FAINT, font=font(size), anchor="lm")
    return sheet


def save_png(image: Image.Image, path: Path, words: Mapping[str, str] | None = None) -> None:
    """Write a PNG that appears whole or not at all. words: text to keep in it, by keyword."""
    buffer = io.BytesIO()
    kept = PngInfo()
    for keyword, text in (words or {}).items():
        kept.add_itxt(keyword, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    image.save(buffer, format="PNG", optimize=False, compress_level=1, pnginfo=kept)
    write_atomically(path, buffer.getvalue())


def psnr_in_words(shown: Shown) -> str:
    """ "24.3 dB"; without a finite PSNR "identical", or "not finite" where the decoder gave NaN or infinity."""
    if shown.psnr_db is not None:
        return f"{shown.psnr_db:.1f} dB"
    return "identical" if np.array_equal(np.asarray(shown.original), np.asarray(shown.reconstruction)) else "not finite"


def difference(shown: Shown) -> _Array:
    """(H, W, 3) uint8: min(255, 4 |original - reconstruction|)."""
    error = np.abs(np.asarray(shown.original, dtype=np.int16) - np.asarray(shown.reconstruction, dtype=np.int16))
    amplified: _Array = np.minimum(error * AMPLIFICATION, 255).astype(np.uint8)
    return amplified


def _row(shown: Shown, factor: int, *, window: bool = False) -> _RowOfCells:
    cells, note = _cells(shown, LARGEST_SIDE, factor)
    planes = f"   {' | '.join(shown.planes)}" if shown.planes else ""
    if window:
        windows, place = _windows(shown, cells[0].size)
        planes += f", window of {shown.planes[place]}" if planes else ""
        cells += windows
    return _RowOfCells(f"{shortened(drawable(shown.id), 56)}   {psnr_in_words(shown)}{planes}{note}", cells)


def _cells(shown: Shown, largest_side: int, factor: int) -> tuple[tuple[Image.Image, ...], str]:
    """The three pictures at the size to draw, and what was done to their size."""
    arrays = (np.asarray(shown.original), np.asarray(shown.reconstruction), difference(shown))
    pictures = [Image.fromarray(array) for array in arrays]
    width, height = pictures[0].size
    longest = max(width, height)
    if longest > largest_side:
        size = max(1, round(width * largest_side / longest)), max(1, round(height * largest_side / longest))
        note = f"   (drawn at {size[0]}x{size[1]}, is {width}x{height})"
        return tuple(picture.resize(size, Image.Resampling.BOX) for picture in pictures), note
    if factor > 1:
        size = width * factor, height * factor
        return tuple(p.resize(size, Image.Resampling.NEAREST) for p in pictures), f"   (enlarged {factor} times)"
    return tuple(pictures), ""


def _windows(shown: Shown, size: tuple[int, int]) -> tuple[tuple[Image.Image, Image.Image], int]:
    """The quarter-sized window of largest total error, of the original and the reconstruction, enlarged to `size`.

    Of planes side by side it is of one plane, and enlarged to that one's share of `size`; its place comes with it.
    """
    planes = max(1, len(shown.planes))
    height, width = np.asarray(shown.original).shape[:2]
    width //= planes
    window = max(1, height // 4), max(1, width // 4)
    error = difference(shown).sum(axis=2, dtype=np.int64)
    found = [_largest_sum(error[:, place * width : (place + 1) * width], window) for place in range(planes)]
    place = max(range(planes), key=lambda each: found[each][0])
    _, top, left = found[place]
    left += place * width
    box = (left, top, left + window[1], top + window[0])
    original, reconstruction = (
        Image.fromarray(np.asarray(array))
        .crop(box)
        .resize((max(1, size[0] // planes), size[1]), Image.Resampling.NEAREST)
        for array in (shown.original, shown.reconstruction)
    )
    return (original, reconstruction), place


def _inside(width: int, height: int, largest: int) -> tuple[int, int]:
    """The size to draw at, no side larger."""
    factor = min(1.0, largest / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _window_of_disagreement(arrays: Sequence[_Array], planes: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the quarter-sized window, of one plane, in which they vary most."""
    height, width = arrays[0].shape[:2]
    width //= planes
    window = max(1, height // 4), max(1, width // 4)
    spread = (255 * np.var(np.stack(arrays).astype(np.float32), axis=0).sum(2)).astype(np.int64)
    found = [_largest_sum(spread[:, place * width : (place + 1) * width], window) for place in range(planes)]
    place = max(range(planes), key=lambda each: found[each][0])
    _, top, left = found[place]
    left += place * width
    return left, top, left + window[1], top + window[0]


def _largest_sum(error: NDArray[np.int64], window: tuple[int, int]) -> tuple[int, int, int]:
    """Largest sum in a window of this (height, width), and its top left corner, by a table of running sums."""
    table = np.pad(error, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    height, width = window
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(sums[top, left]), int(top), int(left)


def drawable(text: str) -> str:
    r"""Letters that the font lacks are shown as escapes such as \u5199, so that ids stay apart."""
    return "".join(
        letter if letter.isascii() or _has(letter) else letter.encode("ascii", "backslashreplace").decode("ascii")
        for letter in printable(text)
    )


@lru_cache(maxsize=1024)
def _has(letter: str) -> bool:
    """Whether the font draws more than its sign for an unknown letter."""
    return bytes(font(14).getmask(letter)) != bytes(font(14).getmask(_NO_LETTER))


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans as matplotlib ships it, which has the alphabets of Europe; else Pillow's own, which has ASCII."""
    spec = find_spec("matplotlib")  # its folder alone: importing it takes a second
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file() and features.check("freetype2"):
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size=size)


def _draw(groups: dict[str, list[_RowOfCells]], columns: Sequence[str]) -> Image.Image:
    rows = [row for group in groups.values() for row in group]
    if not rows:
        raise InputError("there are no pictures to draw", hint="Measure at least one picture.")
    width = max(SMALLEST_SIDE, *(cell.width for row in rows for cell in row.cells), *map(_name_width, columns))
    sheet_width = 2 * _MARGIN + len(columns) * width + (len(columns) - 1) * _GAP
    sheet_width = max(sheet_width, 2 * _MARGIN + max(round(font(14).getlength(row.caption)) for row in rows))
    lefts = [_MARGIN + place * (width + _GAP) for place in range(len(columns))]
    height = _STRIP + sum(_GROUP + sum(_CAPTION + row.cells[0].height for row in group) for group in groups.values())
    sheet = Image.new("RGB", (sheet_width, height + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)

    pen.rectangle((0, 0, sheet_width, _STRIP - 1), fill=_INK)
    for left, name in zip(lefts, columns, strict=True):
        pen.text((left, _STRIP // 2), name, fill=_PAPER, font=font(16), anchor="lm")
    top = _STRIP
    for title, group in groups.items():
        pen.rectangle((0, top + _GAP, sheet_width, top + _GROUP - 1), fill=_BAND)
        pen.text((_MARGIN, top + (_GAP + _GROUP) // 2), title, fill=_INK, font=font(16), anchor="lm")
        top += _GROUP
        for row in group:
            pen.text((_MARGIN, top + _CAPTION // 2 + 2), row.caption, fill=_FAINT, font=font(14), anchor="lm")
            top += _CAPTION
            for left, cell in zip(lefts, row.cells, strict=True):
                sheet.paste(cell, (left, top))
            top += row.cells[0].height
    return sheet


def _arranged(title: str, labels: Sequence[str], pictures: Sequence[Image.Image], cell: int) -> Image.Image:
    """Labelled pictures in rows of equal length, under a bar with the title."""
    rows = -(-len(pictures) // max(1, (_PANEL_WIDTH - 2 * _MARGIN + _GAP) // (cell + _GAP)))
    across = -(-len(pictures) // rows)
    heads = _lines(title, max(across * (cell + _GAP), 2 * _WIDEST_LABEL), 16)
    width = 2 * _MARGIN + max([across * (cell + _GAP) - _GAP, *(round(font(16).getlength(line)) for line in heads)])
    bar, tallest = _STRIP + (len(heads) - 1) * 22, max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (width, bar + rows * (_CAPTION + tallest + _GAP) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, width, bar - 1), fill=_INK)
    for place, line in enumerate(heads):
        pen.text((_MARGIN, _STRIP // 2 + place * 22), line, fill=_PAPER, font=font(16), anchor="lm")
    for place, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
        left = _MARGIN + place % across * (cell + _GAP)
        top = bar + place // across * (_CAPTION + tallest + _GAP)
        pen.text((left, top + _CAPTION // 2 + 2), _cut(label, cell), fill=_FAINT, font=font(14), anchor="lm")
        sheet.paste(picture, (left, top + _CAPTION))
    return sheet


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return (
        picture
        if factor == 1
        else picture.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX)
    )


def _cut(text: str, width: int, size: int = 14) -> str:
    """As much of the text as is not wider than so many pixels."""
    for length in range(min(len(text), width), 0, -1):
        if font(size).getlength(cut := shortened(text, length)) <= width:
            return cut
    return ""


def _lines(text: str, width: int, size: int = 14) -> list[str]:
    """The text in lines of at most so many pixels; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, width, size))
    return lines


def _name_width(name: str) -> int:
    return round(font(16).getlength(name)) + _GAP
