"""vaecheck weights cache, and reconstruct with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

ARGUMENTS = ("--size", "64", "--limit", "6", "--metrics", "rfid,psnr_db", "--yardstick", "none", "--offline", "--json")


def figures(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document["measures"][name] for name in ("rfid", "psnr_db")}


def entries(run: Run, folder: Path, *arguments: str) -> int:
    done = run("weights", "cache", "--json", *arguments, VAECHECK_CACHE=str(folder))
    assert done.code == 0
    assert Path(done.document["place"]).parent == folder
    return int(done.document["entries"])


def test_a_second_run_has_the_first_ones_figures(
    run: Run, photos: Path, vae_folder: Path, checkpoints: Path, tmp_path: Path
) -> None:
    place = {"VAECHECK_WEIGHTS": str(checkpoints), "VAECHECK_CACHE": str(tmp_path / "cache")}
    command = ("reconstruct", photos, "--vae", vae_folder, *ARGUMENTS)
    first = run(*command, **place)
    assert first.code == 0, first.err
    assert entries(run, tmp_path / "cache") == 6
    second = run(*command, **place)
    assert figures(second.document) == figures(first.document)
    assert figures(run(*command, **place | {"VAECHECK_CACHE_GB": "0"}).document) == figures(first.document)
    assert entries(run, tmp_path / "cache") == 6
    assert entries(run, tmp_path / "cache", "--clear") == 0


def test_a_broken_cache_is_one_warning_and_no_end(
    run: Run, photos: Path, vae_folder: Path, checkpoints: Path, tmp_path: Path
) -> None:
    (tmp_path / "features.sqlite").write_bytes(b"not a database" * 100)
    place = {"VAECHECK_WEIGHTS": str(checkpoints), "VAECHECK_CACHE": str(tmp_path)}
    done = run("reconstruct", photos, "--vae", vae_folder, *ARGUMENTS, "--batch-size", 2, **place)
    assert done.code == 0
    assert json.loads(done.out)["measures"]["rfid"]["n"] == 6
    assert done.err.count("the feature cache") == 1
    broken = run("weights", "cache", VAECHECK_CACHE=str(tmp_path))
    assert broken.code == 3
    assert "vaecheck weights cache --clear" in broken.err
    assert entries(run, tmp_path, "--clear") == 0


def test_the_table_says_place_and_limit(run: Run, tmp_path: Path) -> None:
    done = run("weights", "cache", VAECHECK_CACHE=str(tmp_path), VAECHECK_CACHE_GB="0.5")
    assert "features.sqlite" in done.out
    assert "500.0 MB" in done.out


@pytest.mark.parametrize("command", [("weights", "cache"), ("reconstruct", "samples", "--vae", "kl-f8-tiny")])
def test_a_limit_that_is_no_number_is_refused(command: tuple[str, ...], run: Run) -> None:
    done = run(*command, VAECHECK_CACHE_GB="much")
    assert done.code == 2
    assert "VAECHECK_CACHE_GB" in done.err
