"""vaecheck report: a saved result drawn again, and what it says of files that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Run

GOLDEN = Path(__file__).parents[1] / "golden" / "schema_1"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "reconstruct", tmp_path / "saved"))


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "result.json").read_text())
    how(document)
    (folder / "result.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("reconstruct", "psnr_db"),
        ("scale-factor", "std of posterior samples"),
        ("bench", "encode_images_per_second"),
        ("score", "ssim"),
        ("compare", "winner"),
        ("gate", "ssim min 0.9"),
        ("reconstruct-first", "psnr_db"),
    ],
)
def test_it_prints_and_writes_any_kind(run: Run, tmp_path: Path, kind: str, words: str) -> None:
    out = tmp_path / "out"
    done = run("report", GOLDEN / kind, "--out", out)
    assert done.code == 0, done.err
    assert words in done.out
    assert str(out / "report.html") in done.out
    assert (out / "report.md").exists()


def test_the_file_is_taken_as_its_folder_and_its_figures_stay(run: Run, saved: Path) -> None:
    before = json.loads((saved / "result.json").read_text())
    done = run("report", saved / "result.json", "--json")
    assert done.code == 0, done.err
    after = json.loads((saved / "result.json").read_text())
    assert {**after, "artifacts": None} == {**before, "artifacts": None}
    assert done.document["measures"] == before["measures"]
    assert (saved / "report.html").exists()


def test_what_this_version_does_not_know_is_kept(run: Run, saved: Path) -> None:
    change(saved, lambda document: document.update(added_later={"a": [1, 2]}))
    assert run("report", saved).code == 0
    assert json.loads((saved / "result.json").read_text())["added_later"] == {"a": [1, 2]}


def test_another_results_pictures_are_not_taken_over(run: Run, saved: Path, tmp_path: Path) -> None:
    """A document that someone sent names files outside its folder: they are neither read nor copied."""
    secret = tmp_path / "secret.png"
    shutil.copy(saved / "worst.png", secret)
    (saved / "linked.png").symlink_to(secret)
    stolen = {"grid": "../secret.png", "worst": str(secret), "plot:a:b": "plots/../../secret.png", "x": "linked.png"}
    change(saved, lambda document: document.update(artifacts=stolen))
    out = tmp_path / "out"
    assert run("report", saved, "--out", out).code == 0
    assert not list(out.rglob("*.png"))


def test_markup_in_a_document_is_text(run: Run, saved: Path) -> None:
    change(saved, lambda document: document["vae"].update(ref="[/red]<script>alert(1)</script>|`x`"))
    done = run("report", saved)
    assert done.code == 0, done.err
    assert "[/red]<script>" in done.out
    assert "<script>alert(1)" not in (saved / "report.html").read_text()
    assert "<script>" not in (saved / "report.md").read_text()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda document: document.update(schema=99), "schema 99; this vaecheck reads up to 1"),
        (lambda document: document.update(schema=0), "there is no schema 0"),
        (lambda document: document.pop("schema"), "no schema number"),
        (lambda document: document.pop("kind"), "no 'kind'"),
        (lambda document: document.update(kind=[1]), "kind is [1], not str"),
        (lambda document: document.pop("measures"), "no 'measures'"),
        (lambda document: document.update(data=[]), "data is [], not an object"),
        (lambda document: document["measures"]["psnr_db"].update(value="high"), "psnr_db.value is"),
        (lambda document: document["measures"]["psnr_db"].update(value=True), "psnr_db.value is true"),
    ],
)
def test_a_foreign_or_future_document_is_one_sentence(
    run: Run, saved: Path, how: Callable[[dict[str, Any]], object], words: str
) -> None:
    change(saved, how)
    refused(run("report", saved), words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"kind": "reconstruct", "schema": 1, "meas', "not valid JSON"),
        (b"\xff\xfe\x00\x01", "not valid JSON"),
        (b"[1, 2]", "holds no JSON object"),
        (b"<html></html>", "not valid JSON"),
        (b'{"schema": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_file_is_one_sentence(run: Run, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "result.json").write_bytes(content)
    refused(run("report", tmp_path), words)


def test_other_wrong_paths_are_one_sentence(run: Run, saved: Path, tmp_path: Path) -> None:
    refused(run("report", tmp_path / "nowhere"), "there is no result folder")
    refused(run("report", tmp_path), "holds no result.json")
    refused(run("report", saved / "worst.png"), "is no result.json")
    (saved / "per_image.csv").write_text("id,psnr_db\na,high\n")
    refused(run("report", saved), "is not a per_image.csv")
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused(run("report", GOLDEN / "bench", "--out", blocked), "is a file")


def test_a_broken_picture_is_left_out(run: Run, saved: Path) -> None:
    (saved / "grid.png").write_bytes(b"no picture")
    done = run("report", saved)
    assert done.code == 0, done.err
    assert (saved / "report.html").exists()


def refused(done: Done, words: str) -> None:
    assert done.code == 2
    assert done.out == ""
    assert words in done.err.replace("\n", " ")
    assert "hint:" in done.err
