"""The folder that --out names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vaecheck.errors import InputError, VaecheckError
from vaecheck.render import report
from vaecheck.render.report import write_report
from vaecheck.results.files import load
from vaecheck.results.types import Measure, Result, Shown

EVERY_FILE = [
    *("grid.png", "per_image.csv", "pictures.png", "report.html", "report.md", "result.json", "worst.png"),
]


def test_every_file_of_the_contract_is_written_and_named(
    result: Result, shown: Sequence[Shown], tmp_path: Path
) -> None:
    written = write_report(result, shown, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == EVERY_FILE
    assert sorted(written.artifacts.values()) == EVERY_FILE
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["artifacts"]["grid"] == "grid.png"
    assert load(tmp_path / "out") == replace(written, settings=load(tmp_path / "out").settings)


def test_a_saved_result_is_drawn_again_to_the_byte(result: Result, shown: Sequence[Shown], tmp_path: Path) -> None:
    write_report(result, shown, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    redrawn = write_report(load(tmp_path), (), tmp_path)
    assert sorted(redrawn.artifacts.values()) == sorted(files) == EVERY_FILE
    for name in ("grid.png", "worst.png", "pictures.png", "report.html", "per_image.csv"):
        assert (tmp_path / name).read_bytes() == files[name]


def test_without_its_pictures_a_saved_result_has_its_grid(
    result: Result, shown: Sequence[Shown], tmp_path: Path
) -> None:
    write_report(result, shown, tmp_path)
    grid = (tmp_path / "grid.png").read_bytes()
    (tmp_path / "pictures.png").write_bytes(grid)
    redrawn = write_report(load(tmp_path), (), tmp_path)
    assert (tmp_path / "grid.png").read_bytes() == grid
    assert not (tmp_path / "pictures.png").exists(), "it held no pictures that can be drawn"
    assert "pictures" not in redrawn.artifacts
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 1
    elsewhere = write_report(redrawn, (), tmp_path / "elsewhere")
    assert "grid" not in elsewhere.artifacts
    assert "data:image" not in (tmp_path / "elsewhere" / "report.html").read_text()


def test_a_run_without_pictures_ignores_a_stale_grid(scaled: Callable[[int], Result], tmp_path: Path) -> None:
    (tmp_path / "grid.png").write_bytes(b"of another run")
    written = write_report(scaled(4), (), tmp_path)
    assert "grid" not in written.artifacts
    assert "data:image" not in (tmp_path / "report.html").read_text()


def test_other_artifacts_are_kept(result: Result, tmp_path: Path) -> None:
    written = write_report(replace(result, artifacts={"reconstructions": "../pngs"}), (), tmp_path)
    assert written.artifacts["reconstructions"] == "../pngs"


def test_result_json_comes_last(
    result: Result, shown: Sequence[Shown], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("the page could not be drawn")

    monkeypatch.setattr(report, "to_page", broken)
    with pytest.raises(RuntimeError):
        write_report(result, shown, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "pictures.png", "worst.png"]


@pytest.mark.parametrize("name", ["grid.png", "pictures.png", "worst.png"])
def test_no_report_names_a_picture_that_could_not_be_written(
    result: Result, shown: Sequence[Shown], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"cannot write .*{name}"):
        write_report(result, shown, tmp_path)
    assert not {"report.md", "report.html", "result.json"} & {path.name for path in tmp_path.iterdir()}


def test_nan_never_reaches_the_result(result: Result, tmp_path: Path) -> None:
    bad = Measure("psnr_db", float("nan"), "dB", "higher", 3, "")
    with pytest.raises(VaecheckError, match=r"measures\.psnr_db\.value is nan"):
        write_report(replace(result, measures={"psnr_db": bad}), (), tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_file_in_the_way_is_an_input_error(result: Result, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_report(result, (), tmp_path / "out")
