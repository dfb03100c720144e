"""The pages of a comparison, a gate and a history; and that no name becomes markup on any page."""

from __future__ import annotations

import base64
import html as html_
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.render import decisions
from tests.render.test_page import Page, body_of
from vaecheck.render.illustrations import draw
from vaecheck.render.page import to_page
from vaecheck.render.page.pictures import of_several
from vaecheck.render.printable import printable
from vaecheck.results.comparison import SideBySide
from vaecheck.results.files import Document
from vaecheck.results.types import Finding, Measure, Panel, Published, Result, Shown


def test_a_comparison_says_who_wins_by_how_much_and_at_what_cost() -> None:
    html = to_page(decisions.comparison(), grid=Image.new("RGB", (300, 200)))
    page = Page(html)
    assert "On these 64 pictures kl-f8-tiny wins in psnr_db" in page.text
    assert "Fetch the weights for lpips_alex, then run again: vaecheck weights fetch alexnet" in page.text
    order = ["PSNR psnr_db", "64 images, of", "1.00 dB 0.10 to 2.00 0.004 beyond chance", "on fronts", "grid.png",
             "Std of the latents", "this run", "seed 0", "2 threads"]  # fmt: skip
    text = Page(html[html.index("</nav>") + 6 : html.index("</main>")].replace("<", " <")).text
    assert sorted(order, key=text.index) == order
    best = [cell for cell in page.attributes("td") if "best" in (cell.get("class") or "")]
    assert [cell["data-value"] for cell in best] == ["24.0", "20.0"]
    assert len(page.attributes("img")) == 1


def test_a_vae_of_any_name_keeps_its_picture() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    named = {"original": picture + 100, "B": picture + 200}
    gathered = of_several([SideBySide("x.png", 1.0, picture, named)])
    pictures = gathered.versions[0].pictures
    assert [one.label for one in pictures] == ["original", "B", "original"]
    assert len({one.uri for one in pictures}) == 3


def test_the_pictures_of_a_comparison_are_there_in_every_version() -> None:
    shown = decisions.side_by_side()
    page = Page(to_page(decisions.comparison(), shown, Image.new("RGB", (300, 200))))
    images = page.attributes("img")
    assert len(images) == 4 * len(shown), "the sheet would show them twice"
    for one, first in zip(shown, range(0, 8, 4), strict=True):
        arrays = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode((image["src"] or "").partition(",")[2]))))
            for image in images[first : first + 4]
        ]
        expected = (*(one.reconstructions[ref] for ref in decisions.REFS), one.original)
        assert all(np.array_equal(a, b) for a, b in zip(arrays, expected, strict=True))
        assert images[first + 3]["alt"] == f"original of {one.id}"
    assert "4.2 grey levels between VAEs" in page.text


def test_a_gate_tells_breaches_first_and_then_every_rule() -> None:
    html = to_page(decisions.gate())
    page = Page(html)
    assert "1 rule could not be judged: lpips_alex max 0.2; 1 rule broken: psnr_db min 24" in page.text
    assert "(exit code 3)" in page.text
    order = ["? Error lpips_alex", "✖ Fail psnr_db", "▲ Warn", "ssim min 0.9", "Environment"]
    assert sorted(order, key=body_of(html).index) == order
    assert "✓ Pass" in page.text


def test_a_gate_without_a_breach_has_none() -> None:
    report = decisions.gate()
    kept = replace(report, verdict="pass", exit_code=0, checks=report.checks[:1], notes=())
    html = to_page(kept)
    assert "Breaches" not in html
    assert "Every rule is kept (exit code 0)" in Page(html).text
    assert 'class="verdict good"' in html


def test_a_history_draws_its_plots_and_marks_the_best(tmp_path: Path) -> None:
    history = decisions.history()
    html = to_page(history, illustrated=draw(history, (), tmp_path))
    page = Page(html)
    assert "Stop. psnr_db, rfid stopped improving. step_9000 has the lowest rfid" in page.text
    assert len(page.attributes("img")) == 1
    best = [cell for cell in page.attributes("td") if "best" in (cell.get("class") or "")]
    assert [cell["data-value"] for cell in best] == ["28.0", "62.0"]
    assert "best overall" in page.text


def test_a_history_of_nothing_is_a_page() -> None:
    empty = replace(decisions.history(), evaluations=(), best={}, best_overall="", stopped={}, stop=False, plots=())
    assert "No checkpoint has been evaluated yet." in Page(to_page(empty)).text


def hostile_pages(result: Result, diagnosed: Result, shown: Sequence[Shown], out: Path) -> dict[str, str]:
    """Every kind of page, with hostile names in every place that a name can have."""
    one = decisions.hostile(result)
    bad = decisions.HOSTILE
    named = [
        replace(each, id=name, planes=(bad[0], bad[1]), worst_by=("ssim", bad[2]), values={bad[3]: 0.5})
        for each, name in zip(shown, bad, strict=False)
    ]
    unavailable = Measure(bad[1], None, bad[2], "lower", 0, bad[3], status="unavailable", reason=bad[5])
    published = Published(bad[0], bad[1], 1, {"psnr_db": 24.0}, bad[2], bad[3], remark=bad[5], differs=bad)
    one = replace(one, measures=dict(one.measures) | {bad[1]: unavailable}, published=(published,))
    findings = (
        *(Finding(name, "fault", 2.0, 1.0, name, name, name, name) for name in bad),
        Finding("blur", "info", 2.0, 1.0, bad[0], bad[1], bad[2], follows_from=bad[3]),
        Finding(bad[4], "healthy", 0.1, 1.0, bad[0], bad[1]),
        Finding(bad[5], "unavailable", None, None, bad[0], bad[1], bad[2]),
    )
    sick = replace(decisions.hostile(diagnosed), findings=findings)
    panels = [Panel("p", bad[0], bad[1], ((bad[2], named[0].original),), bad[3])]
    documents: list[Document] = [decisions.comparison(), decisions.gate(), decisions.history()]
    pages = {each.kind: to_page(each, illustrated=draw(each, (), out / each.kind)) for each in documents}
    pages["compared"] = to_page(decisions.comparison(), decisions.side_by_side())
    pages["reconstruct"] = to_page(one, named)
    pages["diagnose"] = to_page(sick, illustrated=draw(sick, panels, out / "diagnose"))
    return pages


def test_no_name_becomes_markup_anywhere(
    result: Result, diagnosed: Result, shown: Sequence[Shown], tmp_path: Path
) -> None:
    plain_tags = {tag for each in (result, diagnosed) for tag, _ in Page(to_page(each, shown)).tags}
    for kind, html in hostile_pages(result, diagnosed, shown, tmp_path).items():
        page = Page(html)
        assert {tag for tag, _ in page.tags} <= plain_tags | {"ol", "figure", "img", "figcaption", "article"}, kind
        assert html.count("<script") == 1, kind
        assert html.count("</style") == 1, kind
        allowed = {
            "src",
            "href",
            "id",
            "class",
            "alt",
            "width",
            "height",
            "scope",
            "colspan",
            "name",
            "content",
            "open",
        }
        allowed |= {"lang", "charset", "http-equiv", "tabindex", "role", "aria-label", "aria-labelledby"}
        allowed |= {"data-value", "data-name"}
        for tag, attributes in page.tags:
            assert set(attributes) <= allowed, (kind, tag, attributes)
        assert "\u202e" not in html, kind
        text = " ".join(html_.unescape("".join(page.words)).split())
        for name in decisions.HOSTILE:
            assert " ".join(printable(name).split()) in text, (kind, name)


@pytest.mark.parametrize("count", [0, 1])
def test_a_comparison_of_few_says_so(count: int) -> None:
    whole = decisions.comparison()
    few = replace(
        whole, measures=dict(list(whole.measures.items())[:count]), fronts=(), data=replace(whole.data, count=1)
    )
    assert "this picture" in Page(to_page(few)).text
