"""--resume on the command line; what is kept of a run, and that nothing is left of it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run

COMMON = ["samples", "--limit", "4", "--size", "32", "--offline", "--device", "cpu"]
FEW = ["--metrics", "psnr_db", "--yardstick", "none"]
PICTURES = 400
SLOW = '''
import time

from vaecheck.vae.kl_f8 import KLAutoencoder
from vaecheck.vae.load import BUNDLED_FOLDER


class Slow(KLAutoencoder):
    """So slow on any machine that five kills find pictures left."""

    def encode(self, pixels):
        time.sleep(0.03)
        return super().encode(pixels)


def vae():
    return Slow.load(BUNDLED_FOLDER)
'''


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


@pytest.mark.slow
def test_killed_at_five_random_moments_it_ends_as_if_it_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turn by SIGKILL and SIGTERM, the moments drawn within a second of the first that is kept."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (tmp_path / "slow.py").write_text(SLOW)
    for place in range(PICTURES):
        coarse = Image.fromarray(np.random.default_rng(place).integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((72, 64), Image.Resampling.BICUBIC).save(pictures / f"{place:03d}.png")
    command = [
        sys.executable,
        "-m",
        "vaecheck",
        "reconstruct",
        str(pictures),
        "--offline",
        "--vae",
        f"{tmp_path}/slow.py:vae",
    ]
    command += ["--size", "64", "--batch-size", "1", "--device", "cpu", "--json", "--yardstick", "none"]
    command += ["--metrics", "fd_efficientnet_lite0,psnr_db,ssim,kl_nats_per_image,latent_std", "--save-every", "1"]

    whole = subprocess.run([*command, "--out", str(tmp_path / "whole")], capture_output=True, check=True, timeout=300)
    draw, out, stops = random.Random(7), tmp_path / "stopped", []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        running = subprocess.Popen(
            [*command, "--out", str(out), "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        begun = time.time()
        while running.poll() is None and not any(kept.stat().st_mtime > begun for kept in out.glob("resume/*/*.pt")):
            time.sleep(0.01)
        time.sleep(draw.random())
        running.send_signal(number)
        running.communicate(timeout=300)
        stops.append(running.returncode)
    assert stops == [-signal.SIGKILL, 130, -signal.SIGKILL, 130, -signal.SIGKILL]
    ended = subprocess.run([*command, "--out", str(out), "--resume"], capture_output=True, check=True, timeout=300)
    document = json.loads(ended.stdout)
    assert PICTURES > document["environment"]["resumed_from"] > 5
    assert _without_time(document) == _without_time(json.loads(whole.stdout))
    for name in ("per_image.csv", "worst.png"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def _without_time(document: dict[str, Any]) -> dict[str, Any]:
    del document["environment"]
    of_time = [name for name in document["measures"] if "_per_second" in name or "peak_memory" in name]
    for name in of_time:
        del document["measures"][name]
    return document
