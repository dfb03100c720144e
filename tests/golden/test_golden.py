"""Every saved result of every schema is read, comes back field by field, and is drawn again with its figures as is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vaecheck.render.figures import value
from vaecheck.render.redraw import redraw
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import Document, load, to_document
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.types import SCHEMA, Result

SAVED = sorted(path.parent for path in Path(__file__).parent.glob("schema_*/*/result.json"))
KINDS = ("reconstruct", "score", "scale-factor", "bench", "latents", "diagnose", "compare", "gate", "watch", "e2e")
MANY_PLOTS = [folder for folder in SAVED if folder.name in ("diagnose", "latents")]
ONE_OF_A_KIND = [folder for folder in SAVED if folder.name in ("reconstruct", "compare", "gate", "watch", "e2e")]
RECORDS = {"compare": Comparison, "gate": GateReport, "watch": History, "e2e": Ceiling}
LARGEST, LARGEST_TOGETHER = 61_000, 1_000_000


def raw(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def differences(saved: Any, read: Any, where: str = "") -> list[str]:
    """What a saved document has and the one that was read has not, or otherwise; what is new is no difference."""
    if isinstance(saved, dict) and isinstance(read, dict):
        return [
            found
            for key, value in saved.items()
            for found in (
                differences(value, read[key], f"{where}.{key}") if key in read else [f"{where}.{key} is lost"]
            )
        ]
    if isinstance(saved, list) and isinstance(read, list) and len(saved) == len(read):
        pairs = enumerate(zip(saved, read, strict=True))
        return [found for place, (one, other) in pairs for found in differences(one, other, f"{where}[{place}]")]
    return [] if type(saved) is type(read) and saved == read else [f"{where}: {saved!r} became {read!r}"]


def figures(document: Document) -> list[float]:
    if isinstance(document, GateReport):
        return [check.value for check in document.checks if check.value is not None]
    if isinstance(document, History):
        measures = [measure for one in document.evaluations for measure in one.measures.values()]
    elif isinstance(document, Ceiling):
        groups = [(*(one.measures for one in climb.denoised), climb.ceiling, climb.samples) for climb in document.vaes]
        measures = [measure for group in groups for one in group for measure in one.values()]
    elif isinstance(document, Comparison):
        measures = [measure for contest in document.measures.values() for measure in contest.values.values()]
    else:
        measures = list(document.measures.values())
    return [float(measure.value) for measure in measures if isinstance(measure.value, (int, float))]


def test_there_is_one_of_every_kind_and_of_every_schema() -> None:
    there = {(int(folder.parent.name.removeprefix("schema_")), raw(folder)["kind"]) for folder in SAVED}
    assert {schema for schema, _ in there} == set(range(1, SCHEMA + 1))
    assert {kind for schema, kind in there if schema == SCHEMA} == set(KINDS)
    assert max((folder / "result.json").stat().st_size for folder in SAVED) < LARGEST
    assert sum(path.stat().st_size for path in Path(__file__).parent.rglob("schema_*/**/*")) < LARGEST_TOGETHER


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: folder.name)
def test_it_comes_back_field_by_field(folder: Path) -> None:
    document = load(folder)
    assert isinstance(document, RECORDS.get(document.kind, Result))
    assert differences(raw(folder), to_document(document)) == []


@pytest.mark.parametrize("folder", sorted({*SAVED} - {*MANY_PLOTS}), ids=lambda folder: folder.name)
def test_it_is_drawn_again_and_keeps_its_figures(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    document, out = redraw(copy)
    assert out == copy
    assert raw(copy) == raw(folder) | {"artifacts": dict(document.artifacts)}
    assert all((copy / name).is_file() for key, name in document.artifacts.items() if key.startswith("plot:"))
    page, text = (copy / "report.html").read_text(), (copy / "report.md").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert text.startswith("# ")
    if isinstance(document, Result):
        assert all(value(measure) in text for measure in document.measures.values())
    if folder.name == "reconstruct":
        assert document.artifacts["worst"] == "worst.png"
        assert "grid" not in document.artifacts, "it was not kept"
    written = (copy / "result.json").read_bytes()
    redraw(copy / "result.json")
    assert (copy / "result.json").read_bytes() == written


@pytest.mark.parametrize("folder", [*MANY_PLOTS, *ONE_OF_A_KIND], ids=lambda folder: folder.name)
def test_it_is_drawn_elsewhere_and_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    document, _ = redraw(folder, tmp_path / "out")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    again = load(tmp_path / "out")
    assert figures(again) == figures(document) == figures(load(folder))
    assert document.artifacts.get("result") == load(folder).artifacts.get("result")
    assert [name for name in document.artifacts.values() if not (tmp_path / "out" / name).is_file()] == []
    if not isinstance(document, GateReport | History):
        assert (tmp_path / "out" / "per_image.csv").exists() == (folder / "per_image.csv").exists()
    if folder.name == "diagnose":
        assert document.artifacts["panel:blur:blur"] == "panels/blur.png"
        assert (tmp_path / "out" / "panels" / "blur.png").read_bytes() == (folder / "panels" / "blur.png").read_bytes()
