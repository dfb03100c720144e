"""report.html in a real browser: its slider, zoom and sorted tables; read by everyone, on a telephone and on paper."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.render import decisions
from vaecheck.render.illustrations import draw
from vaecheck.render.page import to_page
from vaecheck.results.files import load
from vaecheck.results.types import Panel, Result, Shown

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync"),
)
KINDS = ("reconstruct", "diagnose", "latents", "scale-factor", "compare", "gate", "watch", "e2e")
CEILING = Path(__file__).resolve().parents[1] / "golden" / "schema_1" / "e2e"
Open = Callable[..., Page]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="there is no chromium here (Debian's package chromium)"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))


@pytest.fixture
def files(
    result: Result,
    diagnosed: Result,
    of_latents: Callable[[int], Result],
    scaled: Callable[[int], Result],
    shown: Sequence[Shown],
    panels: Sequence[Panel],
    tmp_path: Path,
) -> Callable[[str], Path]:
    """The page of a kind as a file, with names in it that try to be markup."""
    ids = (*decisions.HOSTILE, "plain.png")
    rated = replace(
        decisions.hostile(result),
        measures=result.measures,
        per_image=replace(result.per_image, ids=ids, columns={"psnr_db": (19.0, 9.5, 118.0, 20.0, 101.0, None, None)}),
    )
    sheet = Image.fromarray(np.tile(shown[0].original, (2, 3, 1)))

    def file(kind: str) -> Path:
        illustrated = {
            "diagnose": lambda: draw(diagnosed, panels, tmp_path),
            "latents": lambda: draw(of_latents(4), (), tmp_path),
            "watch": lambda: draw(decisions.history(), (), tmp_path),
            "e2e": lambda: draw(load(CEILING), (), tmp_path),
        }
        documents = {
            "reconstruct": rated,
            "diagnose": diagnosed,
            "latents": of_latents(4),
            "scale-factor": scaled(4),
            "compare": decisions.comparison(),
            "gate": decisions.gate(),
            "watch": decisions.history(),
            "e2e": load(CEILING),
        }
        html = to_page(
            documents[kind],
            {"reconstruct": shown, "compare": decisions.side_by_side()}.get(kind, ()),
            sheet if kind == "scale-factor" else None,
            illustrated[kind]() if kind in illustrated else (),
        )
        path = tmp_path / f"{kind}.html"
        path.write_text(html, encoding="utf-8")
        return path

    return file


@pytest.fixture
def open_page(browser: Browser, files: Callable[[str], Path]) -> Iterator[Open]:
    """Opens the page of a kind; at the end no error may be in the console and nothing may have been asked for."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def asks(request: Request) -> None:
        if not request.url.startswith(("file://", "data:")):
            asked.append(request.url)

    def opened(kind: str, width: int = 1100, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", asks)
        page.on("dialog", lambda dialog: said.append(f"a dialog: {dialog.message}"))
        page.goto(files(kind).as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert asked == []


def pixels(page: Page, place: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(place).first.screenshot())).convert("RGB"), dtype=int)


def split_of(page: Page) -> float:
    return float(page.locator(".split").first.evaluate("split => split.style.getPropertyValue('--split')"))


def test_the_slider_is_dragged_by_the_mouse(open_page: Open) -> None:
    page = open_page("reconstruct")
    page.locator(".split").first.scroll_into_view_if_needed()
    before = pixels(page, ".split")
    box = page.locator(".split .view img").first.bounding_box()
    assert box is not None
    assert split_of(page) == 50
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    assert split_of(page) == pytest.approx(80, abs=2)
    changed = np.abs(pixels(page, ".split") - before).sum(axis=2) > 8
    width = changed.shape[1]
    assert changed[:, int(width * 0.56) : int(width * 0.74)].mean() > 0.1, "the original did not come forth"
    assert not changed[: int(width * 0.9), : int(width * 0.4)].any(), "what was not moved over has changed"


def test_the_line_stands_where_the_original_ends(open_page: Open) -> None:
    """Left of it the pixels are the original's, right of it the reconstruction's."""
    page = open_page("reconstruct")
    first = page.locator(".split").first
    first.scroll_into_view_if_needed()
    for share in (0, 25, 100):
        first.locator("input").fill(str(share))
        edge = first.evaluate(
            "s => { const b = s.querySelector('img').getBoundingClientRect();"
            "const at = x => document.elementFromPoint(b.left + b.width * x, b.top + 30).closest('.view');"
            "const views = [...s.querySelectorAll('.view')];"
            "return [0.02, 0.22, 0.28, 0.98].map(x => views.indexOf(at(x))); }"
        )
        assert edge == [0 if x * 100 < share else 1 for x in (0.02, 0.22, 0.28, 0.98)]


def test_the_slider_is_moved_by_the_keyboard_and_says_where_it_is(open_page: Open) -> None:
    page = open_page("reconstruct")
    slider = page.locator(".split input").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert split_of(page) == 55
    page.keyboard.press("Home")
    assert split_of(page) == 0
    page.keyboard.press("End")
    assert split_of(page) == 100
    assert slider.get_attribute("aria-valuetext") == "100 % original"
    assert "broken [/red].png" in (slider.get_attribute("aria-label") or "")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    thumb = "s => getComputedStyle(s, '::-webkit-slider-thumb').outlineStyle"
    assert slider.evaluate("s => s.matches(':focus-visible')"), thumb


def test_the_slider_follows_a_finger(open_page: Open) -> None:
    page = open_page("reconstruct", width=390, has_touch=True, is_mobile=True)
    page.locator(".split").first.scroll_into_view_if_needed()
    box = page.locator(".split .view img").first.bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 6):
        moved = [{"x": x - box["width"] * 0.05 * step, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": moved})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert split_of(page) == pytest.approx(25, abs=3)


def test_two_vaes_are_drawn_over_each_other(open_page: Open) -> None:
    page = open_page("compare")
    slider = page.locator(".split input").first
    slider.press("End")
    assert split_of(page) == 100
    assert slider.get_attribute("aria-valuetext") == "100 % kl-f8-tiny"
    page.locator(".versions").first.locator(".zoom").last.click()
    names = page.locator("dialog [aria-pressed]").all_inner_texts()
    assert names == [*decisions.REFS, "original"]


def column(page: Page, name: str) -> list[str]:
    return page.locator(".sortable").first.evaluate(
        "(table, name) => { const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith(name));"
        "return [...table.tBodies[0].rows].map(row => row.cells[at].firstChild.textContent.trim()); }",
        name,
    )


def test_a_column_is_sorted_both_ways_by_its_figures(open_page: Open) -> None:
    page = open_page("reconstruct")
    assert set(column(page, "PSNR")) == {"9.5", "19.0", "20.0", "101.0", "118.0"}
    head = page.locator(".sortable th", has_text="PSNR").first
    button = head.locator("button")
    assert head.get_attribute("aria-sort") == "none"
    button.click()
    rising = [float(text) for text in column(page, "PSNR")]
    assert rising == sorted(rising)
    assert head.get_attribute("aria-sort") == "ascending"
    button.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in column(page, "PSNR")] == rising[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    page.locator(".sortable th button").first.click()
    assert head.get_attribute("aria-sort") == "none"
    names = column(page, "picture")
    assert names[0].startswith(("'", '"'))
    assert len(names) == len(rising)


def test_what_is_absent_stays_last(open_page: Open) -> None:
    page = open_page("gate")
    button = page.locator(".sortable th button", has_text="value")
    for _ in range(2):
        button.click()
        assert column(page, "value")[-1] == "-"
        assert len(column(page, "value")) == 4


def test_a_picture_is_enlarged_by_a_click_and_closed_by_escape(open_page: Open) -> None:
    page = open_page("reconstruct")
    dialog = page.locator("dialog")
    assert not dialog.is_visible()
    original = page.locator(".view .zoom").first
    original.click(position={"x": 20, "y": 20})
    assert dialog.is_visible()
    image = dialog.locator("img")
    size = image.evaluate("i => [i.width, i.naturalWidth, getComputedStyle(i).imageRendering]")
    assert size[0] >= 2 * size[1]
    assert size[0] % size[1] == 0
    assert size[2] == "pixelated"
    first = image.get_attribute("src")
    dialog.get_by_role("button", name="reconstruction").click()
    assert image.get_attribute("src") != first
    assert dialog.get_by_role("button", name="reconstruction").get_attribute("aria-pressed") == "true"
    dialog.get_by_role("button", name="Larger").click()
    assert image.evaluate("i => i.width") == size[0] + size[1]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert original.evaluate("b => b === document.activeElement")


def test_a_picture_is_enlarged_by_the_keyboard(open_page: Open) -> None:
    page = open_page("diagnose")
    button = page.locator("figure .zoom").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    shown_width = button.evaluate("b => b.clientWidth")
    assert dialog.locator("img").evaluate("i => i.width") >= shown_width
    dialog.get_by_role("button", name="Close").press("Enter")
    assert not dialog.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_everyone_can_read_it(open_page: Open, kind: str, scheme: str, tmp_path: Path) -> None:
    """axe-core finds nothing; and the page is as dark as was asked for."""
    page = open_page(kind, color_scheme=scheme)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    picture = tmp_path / f"{kind}-{scheme}.png"
    page.screenshot(path=picture, full_page=True)
    drawn = np.asarray(Image.open(picture).convert("L"))
    assert drawn.std() > 5, "the page is blank"
    assert (drawn[0, 0] < 128) == (scheme == "dark")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == []
    if page.locator(".zoom").count():
        page.locator(".zoom").last.focus()
        page.keyboard.press("Enter")
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_telephone_scrolls_in_one_direction(open_page: Open, kind: str, tmp_path: Path) -> None:
    page = open_page(kind, width=390)
    page.screenshot(path=tmp_path / f"{kind}-narrow.png", full_page=True)
    assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [390, 390]


def test_without_a_script_every_figure_and_picture_is_there(open_page: Open, result: Result) -> None:
    page = open_page("reconstruct", java_script_enabled=False)
    text = page.locator("main").inner_text()
    for words in ("24.31 dB", "23.79 to 24.84", "101.0", "12,350 nats", "vaecheck diagnose"):
        assert words in text
    boxes = [each.bounding_box() for each in page.locator(".versions").first.locator("img").all()]
    assert len(boxes) == 3
    assert all(box is not None and box["width"] > 250 for box in boxes)
    assert len({round(box["x"]) for box in boxes if box}) == 3, "the pictures do not stand side by side"
    assert page.locator("input, button, dialog").count() == 0
    assert page.locator("figcaption").first.is_visible()


def pages_of(path: Path) -> int:
    return path.read_bytes().count(b"/Type /Page\n")


def test_paper_holds_what_the_screen_folds(open_page: Open, tmp_path: Path) -> None:
    page = open_page("diagnose")
    lengths = []
    for name, script in (
        ("folded", "() => {}"),
        ("open", "() => document.querySelectorAll('details').forEach(each => { each.open = true; })"),
        ("without", "() => document.querySelectorAll('details').forEach(each => each.remove())"),
    ):
        page.evaluate(script)
        page.pdf(path=tmp_path / f"{name}.pdf")
        lengths.append(pages_of(tmp_path / f"{name}.pdf"))
    assert lengths[0] == lengths[1] > lengths[2] > 0


def test_paper_has_both_pictures_and_no_slider(open_page: Open) -> None:
    page = open_page("reconstruct")
    page.emulate_media(media="print")
    pair = page.locator(".versions").first
    boxes = [each.bounding_box() for each in pair.locator("img").all()]
    assert len({round(box["x"]) for box in boxes if box}) == 3
    assert not pair.locator("input").is_visible()
    assert pair.locator(".zoom").first.evaluate("b => getComputedStyle(b).clipPath") == "none"
