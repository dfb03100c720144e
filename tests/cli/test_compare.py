"""`vaecheck compare` as a person or a script runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vaecheck.results.files import load

STUBS = Path(__file__).parents[1] / "tasks" / "stub_vaes.py"
PLAIN, NOISY = f"{STUBS}:plain", f"{STUBS}:noisy"
PIXELS = ("--size", 64, "--metrics", "psnr_db,ssim", "--offline")


def test_the_table_the_document_and_the_files(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = run("compare", PLAIN, NOISY, "--images", photos, *PIXELS, "--out", out, COLUMNS="80")
    assert done.code == 0, done.err
    names = {path.name for path in out.iterdir()}
    assert names >= {"result.json", "per_image.csv", "report.html", "report.md", "grid.png"}
    assert max(map(len, done.out.splitlines())) <= 80 + len(str(out))  # a path that is written is not broken
    for text in ("Comparison", "A - B", "ssim", "winner", "Pareto"):
        assert text in done.out
    document = json.loads((out / "result.json").read_text())
    assert (document["kind"], document["data"]["count"]) == ("compare", 10)
    ssim = document["measures"]["ssim"]
    assert set(ssim["values"]) == {PLAIN, NOISY}
    assert ssim["values"][PLAIN]["value"] > ssim["values"][NOISY]["value"]
    (difference,) = ssim["differences"]
    assert (difference["a"], difference["b"]) == (PLAIN, NOISY)
    assert difference["ci95"][0] < difference["value"] < difference["ci95"][1]
    assert ssim["winner"] == PLAIN


def test_json_is_the_document_and_nothing_else(run: Run, photos: Path) -> None:
    done = run("compare", PLAIN, NOISY, "--images", photos, *PIXELS, "--json")
    assert done.code == 0, done.err
    assert done.document["measures"]["ssim"]["winner"] == PLAIN
    assert done.document["settings"]["size"] == 64


def test_saved_results_need_no_pictures(run: Run, photos: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "plain", tmp_path / "noisy"]
    for folder, ref in zip(folders, (PLAIN, NOISY), strict=True):
        assert run("reconstruct", photos, "--vae", ref, *PIXELS, "--yardstick", "none", "--out", folder).code == 0
    done = run("compare", *folders, "--json")
    assert done.code == 0, done.err
    assert "samples" not in done.err
    assert done.document["measures"]["ssim"]["winner"] == str(folders[0])
    assert done.document["sources"] == {str(folder): str(folder) for folder in folders}


def test_a_saved_result_may_be_its_file_and_what_has_no_effect_is_said(run: Run, photos: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "plain", tmp_path / "noisy"]
    for folder, ref in zip(folders, (PLAIN, NOISY), strict=True):
        assert run("reconstruct", photos, "--vae", ref, *PIXELS, "--yardstick", "none", "--out", folder).code == 0
    files = [folder / "result.json" for folder in folders]
    done = run("compare", *files, "--size", 64, "--images", photos, "--metrics", "ssim", "--json")
    assert done.code == 0, done.err
    assert done.document["sources"] == {str(file): str(file.parent) for file in files}
    assert "--images, --size have no effect on a saved result" in " ".join(done.err.split())
    assert "effect" not in run("compare", *files, "--metrics", "ssim", "--json").err
    assert "effect" not in run("compare", files[0], NOISY, "--images", photos, *PIXELS, "--json").err


def test_without_pictures_the_samples_are_taken_and_it_is_said(run: Run) -> None:
    done = run("compare", PLAIN, NOISY, *PIXELS, "--limit", 3, "--json")
    assert done.code == 0, done.err
    assert "using the bundled samples" in done.err
    assert done.document["data"]["source"] == "samples"


def test_results_of_other_pictures_end_with_2_and_every_field(run: Run, photos: Path, tmp_path: Path) -> None:
    common = ("--metrics", "psnr_db", "--yardstick", "none", "--offline")
    run("reconstruct", photos, "--vae", PLAIN, "--size", 64, *common, "--out", tmp_path / "a")
    run("reconstruct", photos, "--vae", PLAIN, "--size", 32, "--limit", 4, *common, "--out", tmp_path / "b")
    done = run("compare", tmp_path / "a", tmp_path / "b")
    assert done.code == 2
    assert done.out == ""
    for field in ("data.fingerprint", "data.count: 10 against 4", "data.size: 64 against 32"):
        assert field in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Missing argument"),
        ((PLAIN,), 2, "it takes two"),
        ((PLAIN, NOISY, "--metrics", "psnr"), 2, "psnr_db"),
        ((PLAIN, "nowhere/at-all.ckpt", "--offline"), 2, "nowhere/at-all.ckpt"),
        ((PLAIN, NOISY, "--images", "no/such/folder"), 2, "no/such/folder"),
        ((PLAIN, NOISY, "--limit", "2", "--size", "64", "--offline", "--metrics", "psnr_db,rfid"), 3, "rfid"),
    ],
)
def test_each_exit_code(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run("compare", *arguments)
    assert done.code == code
    assert said in " ".join(done.err.split())


def test_a_metric_that_cannot_be_had_still_leaves_the_rest(run: Run, photos: Path, tmp_path: Path) -> None:
    asked = ("--size", 64, "--metrics", "ssim,rfid", "--offline", "--out", tmp_path / "out")
    done = run("compare", PLAIN, NOISY, "--images", photos, *asked)
    assert done.code == 3
    assert load(tmp_path / "out").measures["ssim"].winner == PLAIN
