"""A comparison in the terminal, as Markdown, and its pictures side by side."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.render.comparisons import comparison, side_by_side
from vaecheck.errors import InputError
from vaecheck.render import contact_sheet
from vaecheck.render.comparison import show, to_markdown
from vaecheck.render.contests import best, differences, verdict
from vaecheck.render.report import write_report
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import load

SIX = tuple(f"some/very/long/folder/of/checkpoints/step-{i}000" for i in range(6))
NASTY = ("a|b<script>.ckpt", "[/red]broken", "日本/vae\x1b[31m")


def printed(document: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    show(document, console)
    text: str = console.file.getvalue()
    return text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("refs", [("vae-a", "vae-b"), ("vae-a", "vae-b", "vae-c"), SIX])
def test_every_width_has_the_verdict_every_figure_and_no_line_too_long(width: int, refs: tuple[str, ...]) -> None:
    text = printed(comparison(*refs), width)
    assert max(map(len, text.splitlines())) <= width
    together = " ".join(text.split())
    for word in ("psnr_db", "24", "unavailable", "Pareto", "winner"):
        assert word in together
    assert together.index("wins in psnr_db") < together.index("Original against reconstruction")


def test_short_names_head_the_columns_and_long_ones_have_letters() -> None:
    short, long = printed(comparison("vae-a", "vae-b"), 100), printed(comparison(*SIX), 100)
    assert "vae-a - vae-b" in short
    assert "A: some/very/long/folder" in long.replace("\n", " ")
    assert "A - F" in long
    assert "B - C" not in long  # of six VAEs only the best one's pairs, which decide


def test_the_verdict_leaves_out_what_was_not_measured_and_names_what_is_shaky() -> None:
    said = verdict(comparison("one", "two"))
    assert said.sentence == (
        "On these 64 pictures one wins in psnr_db; no difference in fd_efficientnet_lite0, ssim. "
        "Not to be relied on by themselves: fd_efficientnet_lite0 (see the notes)."
    )
    assert said.level == "good"


def test_a_loser_is_named_where_there_is_no_winner() -> None:
    whole = comparison("one", "two", "three")
    psnr = whole.measures["psnr_db"]
    between_the_first = replace(psnr.differences[0], ci95=(-0.5, 2.5), p_holm=0.4)
    tied = replace(psnr, differences=(between_the_first, *psnr.differences[1:]), winner="no difference")
    only = replace(whole, measures={"psnr_db": tied})
    assert verdict(only).sentence == "On these 64 pictures no winner in psnr_db, but three loses to others in psnr_db."


def test_nothing_measured_is_no_draw() -> None:
    whole = comparison("one", "two")
    only = replace(whole, measures={"rfid": whole.measures["rfid"]}, fronts=())
    assert verdict(only).sentence == "Nothing could be compared on these 64 pictures; see the notes."
    assert verdict(only).level == "caution"
    latents = replace(only, measures={"latent_std": whole.measures["latent_std"]})
    assert "no winner among latents" in verdict(latents).sentence


def test_differences_have_their_sign_interval_and_judgement() -> None:
    rows = {(row.name, row.a, row.b): row for row in differences(comparison("one", "two"))}
    won, even = rows["psnr_db", "one", "two"], rows["ssim", "one", "two"]
    assert (won.value, won.interval, won.p, won.better) == ("1.00", "0.75 to 1.25", "0.001", "one")
    assert (even.value, even.better) == ("0.00", "-")
    assert all(row.name not in ("latent_std", "rfid") for row in rows.values())


def test_the_best_figure_is_marked_unless_all_are_alike() -> None:
    whole = comparison("one", "two")
    assert best(whole.measures["psnr_db"]) == ("one",)
    assert best(whole.measures["ssim"]) == ()
    assert best(whole.measures["latent_std"]) == ()
    assert "24 dB*" in printed(whole, 100).replace("24.00", "24")


def test_outside_text_is_shown_as_it_is() -> None:
    text, report = printed(comparison(*NASTY), 200), to_markdown(comparison(*NASTY))
    assert "[/red]broken" in text
    assert "\x1b" not in text
    assert "a\\|b&lt;script&gt;.ckpt" in report
    assert "<script>" not in report


def test_markdown_has_everything() -> None:
    report = to_markdown(replace(comparison(*SIX), artifacts={"grid": "grid.png"}))
    for text in (
        "# Comparison",
        "## Differences on the same pictures",
        "p is below 0.01",
        "Pareto",
        "(grid.png)",
        "## Settings",
    ):
        assert text in report
    assert report.count("| psnr\\_db |") + report.count("| psnr_db |") == 1 + 15  # its row, and every pair
    assert "5 others" not in report


def test_the_sheet_has_a_column_a_vae_and_the_window_where_they_differ() -> None:
    refs = ("one", "two", "three")
    shown = side_by_side(refs)
    sheet = np.asarray(contact_sheet.compared(shown))
    cell = 128  # pictures of 64 pixels are enlarged
    assert sheet.shape[1] >= 4 * cell
    window = sheet[-contact_sheet._MARGIN - cell : -contact_sheet._MARGIN]
    left = contact_sheet._MARGIN + 3 * (cell + contact_sheet._GAP)
    assert window[cell // 2, left + cell // 2, 0] > 40 + window[cell // 2, contact_sheet._MARGIN + cell // 2, 0] - 25


def test_six_large_pictures_side_by_side_stay_on_a_screen() -> None:
    sheet = contact_sheet.compared(side_by_side(SIX, count=1, side=768))
    assert 1600 < sheet.width < 2600
    with pytest.raises(InputError, match="no pictures to draw"):
        contact_sheet.compared(())


def test_the_folder_has_every_form_and_is_read_again(tmp_path: Path) -> None:
    refs = ("one", "two")
    written = write_report(comparison(*refs), side_by_side(refs, image_id="a/[/red]\n.png"), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"result.json", "per_image.csv", "report.md", "report.html", "grid.png"}
    assert load(tmp_path) == written
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width > 300
    again = write_report(written, (), tmp_path)
    assert again.artifacts["grid"] == "grid.png"
    assert (tmp_path / "grid.png").exists()
