"""report.md, read back by a CommonMark parser: cells hold their text, and no id becomes markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from vaecheck.render.illustrations import draw
from vaecheck.render.markdown import escape, paragraph, to_markdown
from vaecheck.render.printable import printable
from vaecheck.results.types import Panel, Result, SkippedImage

parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(markdown: str) -> list[str]:
    tokens = parser.parse(markdown)
    return [plain(tokens[i + 1]) for i, token in enumerate(tokens) if token.type == "td_open"]


def plain(token: Token) -> str:
    children = token.children or []
    assert {child.type for child in children} <= {"text", "text_special"}, token.content
    return "".join(child.content for child in children)


def test_what_to_do_comes_before_the_figures(result: Result) -> None:
    text = to_markdown(result)
    assert "- Fetch the weights for lpips_alex, then run again: vaecheck weights fetch lpips_alex" in text
    assert text.index("## What to do") < text.index("## Original against")


def test_figures_and_reasons_are_there(result: Result) -> None:
    text = to_markdown(result)
    found = cells(text)
    for expected in ("psnr_db", "24.31 dB", "23.79 to 24.84", "20.91", "12,350 nats", "1.24 GiB", "unavailable"):
        assert expected in found
    assert "+2.1 dB above a linear codec of the same size" in found
    assert "vaecheck weights fetch lpips_alex" in text
    assert "exif rotated: 3 pictures" in text


@pytest.mark.parametrize("text", ["# a", "1. a", "12) a", "- a", "+ a", "--- ", "===", "a\\b", "~~a~~", "&lt;", "$x$"])
def test_text_that_would_open_a_block_stays_text(text: str) -> None:
    tokens = parser.parse(paragraph(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert plain(tokens[1]) == printable(text).strip()


@given(st.text(st.sampled_from("ab1 .|`*_[]()<>&\\~#+-!:/@$=\n\"'é"), min_size=1, max_size=20))
def test_any_id_comes_back_from_a_table_cell(text: str) -> None:
    table = f"| id |\n| --- |\n| {escape(text)} |\n"
    assert cells(table) == [printable(text).strip()]


def test_nasty_ids_stay_text(result: Result, nasty_ids: tuple[str, ...]) -> None:
    skipped = tuple(SkippedImage(image_id, "is broken") for image_id in nasty_ids)
    text = to_markdown(replace(result, data=replace(result.data, skipped=skipped)))
    found = cells(text)
    assert all(printable(image_id) in found for image_id in nasty_ids)
    assert "<script" not in text
    assert "://" not in text
    text.encode("utf-8")


def test_pictures_are_named_where_they_are(result: Result) -> None:
    assert "![" not in to_markdown(result)
    assert "](grid.png)" in to_markdown(replace(result, artifacts={"grid": "grid.png"}))


def test_snippets_are_fenced_whole(scaled: Callable[[int], Result]) -> None:
    result = scaled(16)
    assert result.scaling is not None
    scaling = replace(result.scaling, snippets={**result.scaling.snippets, "odd": "a = '```'\nb = 1"})
    tokens = parser.parse(to_markdown(replace(result, scaling=scaling)))
    assert [token.content.rstrip("\n") for token in tokens if token.type == "fence"] == list(scaling.snippets.values())
    assert "1.077  (95 % interval 1.047 to 1.110)" in to_markdown(result)


def test_findings_are_there_and_stay_text(diagnosed: Result) -> None:
    text = to_markdown(diagnosed)
    tokens = parser.parse(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:4] == [
        "What to do",
        "Fault: checkerboard, Checkerboard of the upsampling",
        "Fault: contrast_shift, Shift of contrast or brightness",
    ]
    assert "Info: text_loss, Loss of small text" in headings
    _, *inside = (tokens[i + 1] for i, token in enumerate(tokens) if token.type == "paragraph_open")
    paragraphs = [plain(token) for token in inside]
    assert printable(diagnosed.findings[0].evidence) in paragraphs
    assert f"Remedy: {diagnosed.findings[0].remedy}" in paragraphs
    found = cells(text)
    assert {finding.id for finding in diagnosed.findings if finding.severity == "healthy"} <= set(found)
    assert "No face was found in 16 pictures. " in text
    assert "<script" not in text


def test_plots_and_panels_stand_beside_what_they_show(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path
) -> None:
    text = to_markdown(diagnosed, draw(diagnosed, panels, tmp_path))
    places = [text.index(words) for words in ("Fault: checkerboard", "](plots/checkerboard_periods.png)",
              "](panels/checkerboard_card.png)", "Fault: contrast", "Warning: blur", "](plots/blur_spectrum.png)",
              "## Healthy", "](plots/global_leak_map.png)")]  # fmt: skip
    assert places == sorted(places)
    images = [child for token in parser.parse(text) for child in token.children or [] if child.type == "image"]
    assert len(images) == 5
    assert images[0].attrs["src"] == "plots/checkerboard_periods.png"
    other = replace(diagnosed, findings=(), plots=diagnosed.plots[:1])
    assert "## Plots and pictures\n\n![Plot: " in to_markdown(other, draw(other, (), tmp_path))


def test_latents_have_their_evidence_and_every_channel(of_latents: Callable[[int], Result]) -> None:
    text = to_markdown(of_latents(32))
    assert "## Predict generation quality, as far as is published" in text
    assert "- sec_25, sec_50: \\|r\\| of about 0.7" in text
    found = cells(text.split("## Per channel")[1])
    assert found[31 * 8 : 32 * 8] == ["31", "0.3100", "1.241", "-0.1000", "3.100", "10", "1.00e-05", "1"]
