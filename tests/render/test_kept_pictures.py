"""Pictures come back from one PNG as they were, and a file that holds none gives none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vaecheck.render.kept_pictures import keep, kept
from vaecheck.results.comparison import SideBySide
from vaecheck.results.types import Shown

DRAW = np.random.default_rng(0)


def array(height: int, width: int) -> Any:
    return DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8)


def same(one: Shown | SideBySide, other: Shown | SideBySide) -> bool:
    mine, theirs = vars(one), vars(other)
    return all(_equal(mine[name], theirs[name]) for name in mine)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, dict):
        return list(mine) == list(theirs) and all(_equal(mine[key], theirs[key]) for key in mine)
    return np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else bool(mine == theirs)


def test_originals_and_reconstructions_of_any_size_come_back(tmp_path: Path) -> None:
    shown = (
        Shown("a [/red]\n\udcff.png", "worst", 21.5, array(30, 40), array(30, 40), (), {"ssim": 0.25}, ("ssim",)),
        Shown("日本.png", "best", None, array(1, 90), array(1, 90), ("RGB", "alpha")),
    )
    keep(shown, tmp_path / "pictures.png")
    found = kept(tmp_path / "pictures.png")
    assert len(found) == 2
    assert all(same(one, other) for one, other in zip(shown, found, strict=True))


def test_a_comparisons_come_back_too(tmp_path: Path) -> None:
    shown = (SideBySide("a.png", 3.5, array(8, 9), {"one": array(8, 9), "[two]": array(8, 9)}, ("RGB",)),)
    keep(shown, tmp_path / "pictures.png")
    (found,) = kept(tmp_path / "pictures.png")
    assert same(shown[0], found)


GOOD = {"top": 0, "height": 4, "width": 2, "id": "a", "planes": [], "role": "worst", "psnr_db": 1.0} | {
    "values": {},
    "worst_by": [],
}


@pytest.mark.parametrize(
    "words",
    [
        "[",
        "{}",
        "3",
        json.dumps([GOOD | {"height": 5}]),
        json.dumps([GOOD | {"top": -1}]),
        json.dumps([GOOD | {"width": 0}]),
        json.dumps([GOOD | {"psnr_db": "high"}]),
        json.dumps([{"id": "a"}]),
        json.dumps([GOOD | {"values": 3}]),
    ],
)
def test_what_keep_did_not_write_gives_none(tmp_path: Path, words: str) -> None:
    def saved(text: str) -> Path:
        info = PngInfo()
        info.add_itxt("pictures", text)
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures.png", pnginfo=info)
        return tmp_path / "pictures.png"

    assert len(kept(saved(json.dumps([GOOD])))) == 1
    assert kept(saved(words)) == ()


def test_no_picture_and_no_file_give_none(tmp_path: Path) -> None:
    assert kept(tmp_path / "pictures.png") == ()
    (tmp_path / "pictures.png").write_bytes(b"no PNG")
    assert kept(tmp_path / "pictures.png") == ()
    Image.new("RGB", (4, 4)).save(tmp_path / "pictures.png")
    assert kept(tmp_path / "pictures.png") == ()
