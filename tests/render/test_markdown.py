"""report.md, read back by a CommonMark parser: cells hold their text, and no id becomes markup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from vaecheck.render.markdown import escape, paragraph, to_markdown
from vaecheck.render.printable import printable
from vaecheck.results.types import Result, SkippedImage

parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(markdown: str) -> list[str]:
    tokens = parser.parse(markdown)
    return [plain(tokens[i + 1]) for i, token in enumerate(tokens) if token.type == "td_open"]


def plain(token: Token) -> str:
    children = token.children or []
    assert {child.type for child in children} <= {"text", "text_special"}, token.content
    return "".join(child.content for child in children)


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
