"""The bundled pictures: each listed with a free licence, and truly cut from the file that LICENSES.md names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "vaecheck" / "assets" / "samples"


@dataclass(frozen=True)
class Row:
    file: str
    source: str
    box: tuple[int, int, int, int]
    function: str
    author: str
    licence: str


def listed() -> list[Row]:
    lines = (SAMPLES / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]
    rows = []
    for file, source, box, function, author, licence in cells:
        left, top, right, bottom = map(int, box.split())
        rows.append(Row(file, source, (left, top, right, bottom), function, author, licence))
    return rows


ROWS = listed()


def test_every_picture_is_listed_and_every_listed_picture_is_there() -> None:
    assert sorted(row.file for row in ROWS) == sorted(path.name for path in SAMPLES.glob("*.jpg"))
    assert {path.name for path in SAMPLES.iterdir()} == {row.file for row in ROWS} | {"LICENSES.md"}
    assert 12 <= len(ROWS) <= 16


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 2_000_000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_the_licence_is_free_and_the_author_named(row: Row) -> None:
    assert row.licence.startswith(("CC0", "public domain"))
    assert row.author


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.file)
def test_the_picture_is_the_cut_it_says_it_is(row: Row) -> None:
    """Against the package's own file: 35 dB or more is JPEG's loss, another picture or box gives far less."""
    import skimage.data

    source = Path(skimage.data.__file__).parent / row.source
    if not source.is_file():
        pytest.skip(f"this scikit-image does not ship {row.source}")
    with Image.open(SAMPLES / row.file) as sample, Image.open(source) as original:
        assert sample.mode in ("RGB", "L")
        assert all(256 <= side <= 640 for side in sample.size)
        assert not sample.getexif()
        cut = original.convert(sample.mode).crop(row.box)
        if cut.size != sample.size:
            cut = cut.resize(sample.size, Image.Resampling.LANCZOS)
        difference = np.asarray(sample, dtype=np.float64) - np.asarray(cut, dtype=np.float64)
    psnr_db = 10 * np.log10(255**2 / np.mean(difference**2))
    assert psnr_db > 35


@pytest.mark.parametrize("row", [row for row in ROWS if '"' in row.licence], ids=lambda row: row.file)
def test_the_licence_is_quoted_word_for_word(row: Row) -> None:
    import skimage.data

    stated = " ".join((getattr(skimage.data, row.function).__doc__ or "").split()).replace("`", "")
    assert row.licence.split('"')[1] in stated


def test_every_source_has_its_licence_quoted() -> None:
    assert {row.source for row in ROWS} == {row.source for row in ROWS if '"' in row.licence}
