"""--resume on the command line; what is kept of a run, and that nothing is left of it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run

COMMON = ["samples", "--limit", "4", "--size", "32", "--offline", "--device", "cpu"]
FEW = ["--metrics", "psnr_db", "--yardstick", "none"]


def test_nothing_is_left_beside_a_result(run: Run, tmp_path: Path) -> None:
    done = run("reconstruct", *COMMON, *FEW, "--vae", "kl-f8-tiny", "--out", str(tmp_path / "a"))
    assert done.code == 0
    rules = tmp_path / "rules.toml"
    rules.write_text("[gate.psnr_db]\nmin = 1\n")
    assert run("gate", *COMMON, "--vae", "kl-f8-tiny", "--rules", str(rules), "--out", str(tmp_path / "b")).code == 0
    assert not list(tmp_path.rglob("resume"))


def test_resume_without_a_folder_is_a_mistake(run: Run) -> None:
    done = run("scale-factor", *COMMON, "--vae", "kl-f8-tiny", "--resume")
    assert done.code == 2
    assert "--resume needs the folder of the run" in done.err


def test_nothing_to_go_on_with_is_said_and_the_result_is_there(run: Run, tmp_path: Path) -> None:
    done = run("reconstruct", *COMMON, *FEW, "--vae", "kl-f8-tiny", "--out", str(tmp_path), "--resume", "--json")
    assert done.code == 0
    assert "nothing to go on with" in done.err
    assert done.document["environment"]["resumed_from"] == 0
    assert done.document["measures"]["psnr_db"]["n"] == 4
