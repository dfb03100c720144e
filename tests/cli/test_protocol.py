"""--protocol on the command line: what was typed counts, also where it is the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

PIXEL = ("--metrics", "psnr_db,ssim", "--offline", "--json")


def test_a_default_that_was_typed_is_an_option_like_any_other(run: Run, photos: Path, vae_folder: Path) -> None:
    arguments = ("reconstruct", photos, "--vae", vae_folder, "--protocol", "dc-ae", "--limit", 2, *PIXEL)
    refused = run(*arguments, "--posterior", "mode")
    assert refused.code == 2
    assert "--posterior mode contradicts --protocol dc-ae, which has sample" in " ".join(refused.err.split())
    done = run(*arguments, "--size", 256, "--yardstick", "none")
    assert done.code == 0, done.err
    assert done.document["settings"]["size"] == 256
    assert done.document["settings"]["protocol"] == "dc-ae"
    assert done.document["data"]["fit"] == "adm"


def test_yardsticks_are_measured_under_the_protocol_too(run: Run, photos: Path, vae_folder: Path) -> None:
    arguments = ("--protocol", "lightningdit", "--limit", 3, *PIXEL)
    document = run("reconstruct", photos, "--vae", vae_folder, *arguments).document
    for yardstick in document["yardsticks"]:
        assert yardstick["measures"]["ssim"]["definition"] == document["measures"]["ssim"]["definition"]
        assert "lightningdit" in yardstick["measures"]["ssim"]["definition"]


@pytest.mark.parametrize("name", ["tokenbench", "omnidoc"])
def test_score_takes_a_protocol(run: Run, photos: Path, name: str) -> None:
    done = run("score", photos, photos, "--protocol", name, *PIXEL)
    assert done.code == 0, done.err
    assert done.document["measures"]["psnr_db"]["value"] == pytest.approx(
        {"tokenbench": 186.6, "omnidoc": 80}[name], abs=0.1
    )
    assert done.document["measures"]["ssim"]["value"] == pytest.approx(1)


def test_an_unknown_protocol_ends_with_2(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("reconstruct", photos, "--vae", vae_folder, "--protocol", "dcae")
    assert done.code == 2
    assert "Did you mean dc-ae" in done.err
