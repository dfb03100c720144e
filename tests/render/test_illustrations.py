"""Plots and panels beside the report and in it: safe names, drawn again from the folder, bounded on the page."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.render import diagnoses
from vaecheck.render import contact_sheet
from vaecheck.render.illustrations import LARGEST_TOTAL, Illustration, draw, embedded
from vaecheck.render.report import write_report
from vaecheck.results.files import load
from vaecheck.results.types import Panel, Plot, Result

FILES = [
    "panels/checkerboard_card.png", "panels/small.png", "plots/blur_spectrum.png", "plots/checkerboard_periods.png",
    "plots/global_leak_map.png",
]  # fmt: skip


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("*/*.png"))}


def test_every_plot_and_panel_is_a_file_that_the_result_names(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path
) -> None:
    written = write_report(diagnosed, (), tmp_path, panels)
    assert list(pictures(tmp_path)) == FILES
    assert written.artifacts["plot:blur:blur_spectrum"] == "plots/blur_spectrum.png"
    assert written.artifacts["panel:text_loss:small"] == "panels/small.png"
    assert set(FILES) < set(json.loads((tmp_path / "result.json").read_text())["artifacts"].values())
    assert load(tmp_path).plots == diagnosed.plots


def test_the_same_run_gives_the_same_bytes(diagnosed: Result, panels: Sequence[Panel], tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(diagnosed, (), tmp_path / name, panels)
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_a_saved_result_is_drawn_again_from_its_folder(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path
) -> None:
    first = write_report(diagnosed, (), tmp_path, panels)
    before = pictures(tmp_path), (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    (tmp_path / "plots" / "blur_spectrum.png").unlink()
    again = write_report(load(tmp_path), (), tmp_path)
    assert again.artifacts == first.artifacts
    after = pictures(tmp_path), (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert after == before
    elsewhere = write_report(again, (), tmp_path / "elsewhere")
    assert sorted(file for file in elsewhere.artifacts.values() if "/" in file) == FILES[2:]


def test_a_new_run_into_the_folder_clears_what_it_does_not_draw(
    diagnosed: Result, panels: Sequence[Panel], tmp_path: Path
) -> None:
    write_report(diagnosed, (), tmp_path, panels)
    (tmp_path / "plots" / "own.png").write_bytes(b"the user's")
    write_report(replace(diagnosed, plots=diagnosed.plots[:1]), (), tmp_path, panels[:1])
    assert list(pictures(tmp_path)) == ["panels/checkerboard_card.png", "plots/blur_spectrum.png", "plots/own.png"]


@pytest.mark.parametrize("document", ["[]", "{}", '{"artifacts": 3}', '{"artifacts": {"a": 3}}', "{"])
def test_an_odd_result_in_the_way_is_replaced(diagnosed: Result, tmp_path: Path, document: str) -> None:
    (tmp_path / "result.json").write_text(document)
    write_report(diagnosed, (), tmp_path)
    assert load(tmp_path).findings == diagnosed.findings


def test_nothing_outside_the_folder_is_written_read_or_removed(diagnosed: Result, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    Image.new("RGB", (40, 40), "red").save(outside)
    out = tmp_path / "out"
    odd = replace(
        diagnosed,
        plots=tuple(replace(diagnosed.plots[0], name=name) for name in ("../../x", "../../x", "a b/写", "", ".")),
        artifacts={"panel:blur:x": "../outside.png", "panel:blur:y": str(outside), "panel:blur:z": "panels/../x.png"},
    )
    written = write_report(odd, (), out)
    write_report(replace(diagnosed, plots=()), (), out)
    assert outside.is_file()
    names = [file for key, file in written.artifacts.items() if key.startswith("plot:")]
    assert names == ["plots/_x.png", "plots/_x_2.png", "plots/a_b_.png", "plots/unnamed.png", "plots/_.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "outside.png"}


def test_a_panel_that_is_gone_or_broken_is_left_out(diagnosed: Result, panels: Sequence[Panel], tmp_path: Path) -> None:
    write_report(diagnosed, (), tmp_path, panels)
    (tmp_path / "panels" / "small.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "panels" / "checkerboard_card.png").unlink()
    again = write_report(load(tmp_path), (), tmp_path)
    assert not any(key.startswith("panel:") for key in again.artifacts)


def test_a_panel_without_pictures_is_left_out(diagnosed: Result, tmp_path: Path) -> None:
    written = write_report(diagnosed, (), tmp_path, [Panel("empty", "blur", "Nothing", ())])
    assert "panel:blur:empty" not in written.artifacts


def test_the_file_holds_the_note_and_the_page_has_it_as_text(diagnosed: Result, tmp_path: Path) -> None:
    (drawn, *_) = draw(replace(diagnosed, plots=diagnosed.plots[:1]), (), tmp_path)
    with Image.open(tmp_path / drawn.file) as opened:
        assert opened.height > drawn.image.height
        assert np.array_equal(np.asarray(opened)[: drawn.image.height], np.asarray(drawn.image))
    (shown,) = embedded([drawn])["blur"]
    assert shown.note == "Where the lower curve falls away, <i>detail</i> is lost."
    assert "original, reconstruction" in shown.alt
    data = base64.b64decode(shown.uri.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(drawn.image))


def test_what_a_logarithmic_axis_leaves_out_is_in_the_note(diagnosed: Result, tmp_path: Path) -> None:
    spectrum = diagnosed.plots[0]
    line = replace(spectrum.lines[0], y=(-1.0, *spectrum.lines[0].y[1:]))
    (drawn,) = draw(replace(diagnosed, plots=(replace(spectrum, lines=(line,)),)), (), tmp_path)
    assert drawn.note.endswith("is lost. 1 point of 0 or less is left out: a logarithmic axis has no place for them.")


@pytest.mark.parametrize("count", [4, 40])
def test_the_page_stays_mailable(count: int) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8))
    many = [Illustration("blur", "t", "n", "a", f"panels/{i}.png", f"panel:blur:{i}", noise) for i in range(count)]
    shown = embedded(many)["blur"]
    assert len(shown) == count
    assert sum(len(one.uri) for one in shown) * 3 / 4 < LARGEST_TOTAL
    assert all(re.match("data:image/(png|jpeg);base64,", one.uri) for one in shown)


def test_what_cannot_be_embedded_is_named(diagnosed: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaecheck.render.illustrations.LARGEST_TOTAL", 60_000)
    write_report(diagnosed, (), tmp_path, diagnoses.panels())
    html = (tmp_path / "report.html").read_text()
    assert html.count("data:image") < 5
    assert "beside this page, which would be too large with it" in html


def test_a_panel_holds_its_pictures_pixel_for_pixel(panels: Sequence[Panel]) -> None:
    pixels = np.asarray(contact_sheet.panel(panels[0]))
    for _, array in panels[0].images:
        height, width = array.shape[:2]
        corner = np.argwhere((pixels == array[0, 0]).all(axis=2))
        assert any(np.array_equal(pixels[y : y + height, x : x + width], array) for y, x in corner)


def test_panels_of_any_size_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def panel(*shapes: tuple[int, ...]) -> Panel:
        images = tuple(
            (f"picture {i} [/red] 写", rng.integers(0, 256, shape, dtype=np.uint8)) for i, shape in enumerate(shapes)
        )
        return Panel("p", "blur", "A title that is long " * 9, images, "A note " * 40)

    for shapes in ([(1, 1, 3)], [(2000, 10, 3)], [(8, 8, 3)] * 40, [(600, 900, 3), (32, 32, 3)], [(64, 64)]):
        sheet = contact_sheet.panel(panel(*shapes))
        assert sheet.width <= 1250
        captioned = contact_sheet.captioned(sheet, "A note " * 40)
        assert captioned.width == sheet.width
        assert captioned.height > sheet.height
    assert contact_sheet.captioned(sheet, "") is sheet


def test_a_plot_is_not_run_together_with_another_of_its_name(diagnosed: Result, tmp_path: Path) -> None:
    first: Plot = diagnosed.plots[0]
    twice = replace(diagnosed, plots=(first, replace(first, about="text_loss", title="Another")))
    written = write_report(twice, (), tmp_path)
    assert written.artifacts["plot:blur:blur_spectrum"] == "plots/blur_spectrum.png"
    assert written.artifacts["plot:text_loss:blur_spectrum_2"] == "plots/blur_spectrum_2.png"
