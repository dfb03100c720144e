"""Published figures beside a run's own, in every form of the report."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vaecheck.render import published
from vaecheck.render.markdown import to_markdown
from vaecheck.render.page import to_page
from vaecheck.render.terminal import show
from vaecheck.results.files import from_document, to_document
from vaecheck.results.types import Published, Result

ROWS = (
    Published(
        "a VAE",
        "a paper | [/red] <b>Table 1</b>",
        2,
        {"rfid": 0.72, "psnr_db": 25.38, "lpips": 0.0666, "psim": 0.88},
        dataset="ImageNet",
        split="val",
        n_images=50_000,
        resolution=256,
        lpips_net="vgg",
        differs=("100 pictures against 50,000, so other pictures", "256 px against 512 px"),
        unknown=("their crop",),
        remark="in float16",
    ),
    Published("a VAE", "a card", 1, {"lpips": 0.05, "ssim": 0.73}, unknown=("their data set", "the LPIPS net")),
)


@pytest.fixture
def compared(result: Result) -> Result:
    return replace(result, published=ROWS)


def as_text(result: Result, width: int = 80) -> str:
    file = io.StringIO()
    show(result, Console(file=file, width=width))
    return file.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_number_of_pictures_stands_above_the_figures(compared: Result) -> None:
    lines = [cells(line) for line in as_text(compared).splitlines()]
    assert ["here", "[1]", "[2]"] in lines
    pictures = lines.index(["pictures", "100", "50,000", "not stated"])
    assert pictures < lines.index(["psnr_db", "24.31", "25.38", "-"])
    assert ["rfid", "41.9", "0.72", "-"] in lines


def test_lpips_stands_under_its_net_and_psim_nowhere(compared: Result) -> None:
    beside = published.beside(compared)
    assert beside is not None
    rows = {row[0]: row[1:] for row in beside.rows}
    assert rows["lpips_vgg"] == ("-", "0.0666", "-")
    assert rows["lpips"] == ("-", "-", "0.05")
    assert "lpips_alex" not in rows
    assert "psim" not in rows
    assert all("0.88" not in row for row in beside.rows)


def test_each_row_says_whether_the_protocols_are_alike(compared: Result) -> None:
    assert published.statement(ROWS[0]) == (
        "not alike: 100 pictures against 50,000, so other pictures; 256 px against 512 px; not known: their crop"
    )
    assert published.statement(ROWS[1]) == "nothing stated differs, but not known: their data set, the LPIPS net"
    assert published.statement(replace(ROWS[1], unknown=())) == "alike"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_terminal_markdown_and_page_say_the_same(compared: Result, width: int) -> None:
    flat = " ".join(as_text(compared, width).split())
    page = to_page(compared)
    for text in (flat, to_markdown(compared), page):
        assert published.TITLE in text
        assert "not alike: 100 pictures against 50,000, so other pictures" in text
        assert "(in float16)" in text
        assert "rfid, fd_efficientnet" not in text.partition(published.TITLE)[2].partition("Pictures")[0]
    assert "vaecheck vaes --published kl-f8-tiny" in flat
    assert "<b>Table" not in page
    assert "a paper | [/red] <b>Table 1</b>: not alike" in flat


def test_a_doubtful_figure_of_ones_own_is_named(compared: Result) -> None:
    beside = published.beside(compared)
    assert beside is not None
    assert "here: rfid is unreliable, see the notes" in beside.notes


def test_nothing_is_shown_where_nothing_was_published(result: Result) -> None:
    assert published.beside(result) is None
    for text in (as_text(result), to_markdown(result), to_page(result)):
        assert published.TITLE not in text


def test_a_saved_result_keeps_them(compared: Result, result: Result) -> None:
    document = to_document(compared)
    assert document["published"][0]["metrics"]["psim"] == 0.88
    assert from_document(document).published == ROWS
    assert "published" not in to_document(result)


def test_the_whole_list_groups_by_data_set_and_names_what_is_not_stated() -> None:
    groups = dict(published.groups("a VAE", ["KL, f8"], ROWS))
    assert list(groups) == ["a VAE", "Data set: ImageNet val", "Data set: not stated"]
    assert groups["a VAE"][-1] == "psim is a perceptual distance of another scale; it is not LPIPS."
    first = groups["Data set: ImageNet val"]
    assert first[0] == "psnr_db 25.38, lpips_vgg 0.0666, rfid 0.72, psim 0.88"
    assert "tier 2: a paper's table" in first[1]
    assert "pictures 50,000; size 256 px" in first[2]
    assert first[3] == "  not stated: crop, posterior, software"
    assert "  not stated: pictures, size, crop, posterior, LPIPS net, SSIM, software" in groups["Data set: not stated"]
    assert "no reconstruction figure was published" in dict(published.groups("b", ["KL"], ()))["b"]
