"""The five scripts of examples/ run as they are, and print what their docstrings say."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = {
    "check_before_training": (
        "kl-f8-tiny on 8 pictures of samples",
        "psnr_db: 21.7",
        "warning blur",
        "No fault: train",
    ),
    "choose_between_vaes": ("psnr_db: kl-f8-tiny 2", "own_vae.py:dct_vae", "Winner: ", "unbeaten in psnr_db against"),
    "find_scale_factor": ("scaling factor 0.5416", "ships 0.576757", "channel 3: mean ", '"scaling_factor": 0.54'),
    "gate_in_ci": ("pass   psnr_db min 18", "pass   ssim min 0.4", "pass: exit code 0"),
    "use_from_python": ("psnr_db: 21.7", "worst: ", "latents (2, 4, 8, 8), f 8", "report: "),
}


def run(name: str, *arguments: str) -> int:
    """Run a script as `python examples/NAME.py ARGUMENTS` does, in this process; returns its exit code."""
    before = sys.argv
    sys.argv = [f"{name}.py", *arguments]
    try:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_as_it_is(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run(name) == 0
    printed = capsys.readouterr().out
    for words in SCRIPTS[name]:
        assert words in printed
    text = (EXAMPLES / f"{name}.py").read_text()
    assert f"python examples/{name}.py" in text
    assert len(text.splitlines()) <= 60, "short"


def test_a_gate_that_is_not_kept_has_its_own_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text(
        "import torch\n"
        "class Grey:\n"
        "    def encode(self, pixels): return pixels[:, :, ::8, ::8]\n"
        "    def decode(self, latents): return latents.repeat_interleave(8, 2).repeat_interleave(8, 3) * 0\n"
        "def vae(): return Grey()\n"
    )
    assert run("gate_in_ci", "samples", f"{tmp_path / 'grey.py'}:vae") == 1
    assert "fail: exit code 1" in capsys.readouterr().out


def test_every_script_of_the_folder_is_run_here() -> None:
    factories = {"own_vae", "taef2"}  # tests/vae/test_examples.py
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SCRIPTS) | factories
