"""The pictures of a report kept beside it, each with its words, so that it can be drawn again with all it had.

Why one PNG with text in it: grid.png has captions over its pixels and leaves some pictures out, and whoever copies a
report copies a file rather than forty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vaecheck.render.contact_sheet import save_png
from vaecheck.results.comparison import SideBySide
from vaecheck.results.types import Shown

PICTURES_FILE = "pictures.png"
_WORDS = "pictures"
"""The keyword of the text in the PNG."""


def keep(shown: Sequence[Shown | SideBySide], path: Path) -> None:
    """Write every picture in a row of its own: the original, then the reconstructions."""
    rows = [_arrays(one) for one in shown]
    width = max(sum(array.shape[1] for array in row) for row in rows)
    sheet = np.zeros((sum(row[0].shape[0] for row in rows), width, 3), np.uint8)
    words, top = [], 0
    for one, row in zip(shown, rows, strict=True):
        height, side = row[0].shape[:2]
        sheet[top : top + height, : side * len(row)] = np.concatenate(row, axis=1)
        words.append({"top": top, "height": height, "width": side, **_words(one)})
        top += height
    save_png(Image.fromarray(sheet), path, {_WORDS: json.dumps(words)})


def kept(path: Path) -> tuple[Shown, ...] | tuple[SideBySide, ...]:
    """What `keep` wrote; nothing where that is not what the file holds."""
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            opened.load()
            words = json.loads(getattr(opened, "text", {})[_WORDS])
            sheet = np.asarray(opened.convert("RGB"))
        found = [_of_words(each, sheet) for each in words]
    except (OSError, ValueError, LookupError, TypeError, SyntaxError, RecursionError, Image.DecompressionBombError):
        return ()
    single = tuple(one for one in found if isinstance(one, Shown))
    return single or tuple(one for one in found if isinstance(one, SideBySide))


def _arrays(one: Shown | SideBySide) -> list[Any]:
    others = [one.reconstruction] if isinstance(one, Shown) else list(one.reconstructions.values())
    return [np.asarray(array) for array in (one.original, *others)]


def _words(one: Shown | SideBySide) -> dict[str, Any]:
    if isinstance(one, SideBySide):
        refs = list(one.reconstructions)
        return {"id": one.id, "planes": one.planes, "refs": refs, "disagreement": one.disagreement}
    known = {"role": one.role, "psnr_db": one.psnr_db, "values": dict(one.values), "worst_by": one.worst_by}
    return {"id": one.id, "planes": one.planes, **known}


def _of_words(words: Mapping[str, Any], sheet: Any) -> Shown | SideBySide:
    """Raises LookupError, TypeError or ValueError for words that are not those of `keep`."""
    top, height, width = (int(words[name]) for name in ("top", "height", "width"))
    row = sheet[top : top + height]
    refs = [str(ref) for ref in words["refs"]] if "refs" in words else [""]
    arrays = [row[:, place * width : (place + 1) * width] for place in range(len(refs) + 1)]
    if min(top, height - 1, width - 1) < 0 or any(array.shape[:2] != (height, width) for array in arrays):
        raise ValueError(f"{words['id']} lies outside the sheet")
    image_id, planes = str(words["id"]), tuple(map(str, words["planes"]))
    if "refs" in words:
        pictures = dict(zip(refs, arrays[1:], strict=True))
        return SideBySide(image_id, float(words["disagreement"]), arrays[0], pictures, planes)
    psnr_db = None if words["psnr_db"] is None else float(words["psnr_db"])
    values = {str(name): float(value) for name, value in dict(words["values"]).items()}
    worst_by = tuple(map(str, words["worst_by"]))
    return Shown(image_id, str(words["role"]), psnr_db, arrays[0], arrays[1], planes, values, worst_by)
