"""The grids: the pixels drawn are those given, the difference is what it says, odd sizes are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaecheck.errors import InputError
from vaecheck.render import contact_sheet
from vaecheck.render.contact_sheet import difference, grid, psnr_in_words, save_png, strip, worst
from vaecheck.results.types import Shown


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def holds(sheet: Image.Image, array: np.ndarray) -> bool:
    """Whether the array lies somewhere in the sheet, pixel for pixel."""
    pixels = np.asarray(sheet)
    rows, columns = np.nonzero((pixels[:, :, :] == array[0, 0]).all(axis=2))
    height, width = array.shape[:2]
    return any(np.array_equal(pixels[r : r + height, c : c + width], array) for r, c in zip(rows, columns, strict=True))


def test_the_grid_holds_every_picture_pixel_for_pixel(shown: Sequence[Shown]) -> None:
    sheet = grid(shown)
    assert sheet.mode == "RGB"
    assert sheet.width == 16 + 256 + 8 + 256 + 8 + 256 + 16
    for each in (shown[0], shown[3], shown[-1]):
        assert holds(sheet, each.original)
        assert holds(sheet, each.reconstruction)
        assert holds(sheet, difference(each))


def test_the_difference_is_four_times_the_absolute_error() -> None:
    original = np.full((2, 2, 3), 100, np.uint8)
    reconstruction = original.copy()
    reconstruction[0, 0] = (101, 90, 255)
    amplified = difference(Shown("a", "worst", 1.0, original, reconstruction))
    assert amplified[0, 0].tolist() == [4, 40, 255]
    assert amplified[1, 1].tolist() == [0, 0, 0]
    assert "x 4" in contact_sheet.COLUMNS[2]


def test_groups_come_worst_first_whatever_the_order_given(shown: Sequence[Shown]) -> None:
    assert np.array_equal(np.asarray(grid(shown)), np.asarray(grid([*shown[5:], *shown[:5]])))


def test_worst_shows_the_window_that_lost_most() -> None:
    original = picture(256, 256)
    reconstruction = original.copy()
    reconstruction[64:128, 128:192] = 255 - reconstruction[64:128, 128:192]
    each = Shown("a.png", "worst", 10.0, original, reconstruction)
    enlarged = original[64:128, 128:192].repeat(4, axis=0).repeat(4, axis=1)
    assert holds(worst([each]), enlarged)
    assert not holds(grid([each]), enlarged)


def test_one_scale_for_all_pictures_of_a_grid() -> None:
    small, large = (
        Shown(f"{side}.png", "worst", 20.0, picture(side, side), picture(side, side, 1)) for side in (32, 200)
    )
    sheet = grid([small, large])
    assert holds(sheet, small.original)
    assert holds(sheet, large.original)
    alone = small.original.repeat(4, axis=0).repeat(4, axis=1)
    assert holds(grid([small]), alone)
    assert not holds(sheet, alone)


def test_the_window_of_planes_side_by_side_is_of_one_plane() -> None:
    original = picture(256, 512)
    reconstruction = original.copy()
    reconstruction[64:128, 224:288] = 255 - reconstruction[64:128, 224:288]  # half of it in each plane
    reconstruction[192:, 448:] = 255 - reconstruction[192:, 448:]
    each = Shown("a.png", "worst", 10.0, original, reconstruction, ("RGB", "alpha"))
    assert holds(worst([each]), original[192:, 448:].repeat(4, axis=0).repeat(4, axis=1))


def test_only_the_worst_are_in_worst(shown: Sequence[Shown]) -> None:
    assert not holds(worst(shown), shown[3].original)
    with pytest.raises(InputError, match="no pictures"):
        worst(shown[3:])
    with pytest.raises(InputError, match="no pictures"):
        grid([])


@pytest.mark.parametrize("size", [(1, 1), (17, 40), (128, 128), (1024, 700), (3000, 40), (40, 3000), (1, 5000)])
def test_any_size_is_drawn_within_512_pixels(size: tuple[int, int]) -> None:
    each = Shown("odd.png", "worst", 20.0, picture(*size), picture(*size, seed=1))
    drawn = strip(each)
    assert 1 <= drawn.height <= 512
    assert drawn.width <= 3 * 512 + 16
    for sheet in (grid([each]), worst([each])):
        assert sheet.height <= 36 + 40 + 28 + 512 + 16


def test_a_large_picture_says_that_it_is_drawn_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = []
    draw = contact_sheet._draw
    monkeypatch.setattr(
        contact_sheet, "_draw", lambda groups, columns: captions.extend(groups.values()) or draw(groups, columns)
    )
    grid([Shown("big.png", "worst", 20.0, picture(1024, 512), picture(1024, 512))])
    grid([Shown("tiny\n写.png", "worst", 20.0, picture(32, 32), picture(32, 32))])
    assert [row.caption for rows in captions for row in rows] == [
        "big.png   20.0 dB   (drawn at 256x512, is 512x1024)",
        "tiny\\n\\u5199.png   20.0 dB   (enlarged 4 times)",
    ]


@pytest.mark.parametrize(
    ("image_id", "drawn"), [("Zürich Straße.jpg", "Zürich Straße.jpg"), ("Москва 写.png", "Москва \\u5199.png")]
)
def test_a_caption_has_the_letters_that_the_font_has(image_id: str, drawn: str) -> None:
    assert contact_sheet.drawable(image_id) == drawn
    one, other = (grid([Shown(name, "worst", 20.0, picture(64, 64), picture(64, 64))]) for name in (image_id, "a.png"))
    assert one.tobytes() != other.tobytes()


def test_a_pair_without_psnr_says_why(shown: Sequence[Shown]) -> None:
    assert psnr_in_words(replace(shown[0], psnr_db=24.26)) == "24.3 dB"
    assert psnr_in_words(replace(shown[0], psnr_db=None)) == "not finite"
    assert psnr_in_words(replace(shown[0], psnr_db=None, reconstruction=shown[0].original)) == "identical"


def test_save_png_is_lossless_and_leaves_one_file(shown: Sequence[Shown], tmp_path: Path) -> None:
    sheet = grid(shown[:1])
    save_png(sheet, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(sheet))
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
