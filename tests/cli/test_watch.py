"""vaecheck watch: what it prints, how it ends, and a training that it really watches."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Run
from vaecheck.results.files import load
from vaecheck.results.history import History
from vaecheck.tasks import watch
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig
from vaecheck.vae.load import BUNDLED_FOLDER

CONFIG = KLConfig((8, 8, 16, 16), 1, 4, 4, mid_block_add_attention=False)
SMALL = ("--size", 64, "--limit", 4, "--offline", "--metrics", "psnr_db,ssim", "--stop-on", "psnr_db")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two of small random VAEs, and one that is cut short."""
    folder = tmp_path / "run [/red]"
    for step in (100, 200):
        torch.manual_seed(step)
        KLAutoencoder(CONFIG).save(folder / f"checkpoint-{step}" / "vae")
    (folder / "step-400.ckpt").write_bytes(b"PK\x03\x04 cut short")
    for path in folder.rglob("*"):
        os.utime(path, (1000, 1000))
    return folder


def test_once_evaluates_what_is_there(run: Run, saved: Path) -> None:
    done = run("watch", saved, "--once", *SMALL, "--patience", 0)
    assert done.code == 0, done.err
    assert "no IMAGES given: using the bundled samples" in done.err
    assert done.err.count("psnr_db") == 2
    assert "step-400.ckpt was not evaluated" in done.err.replace("\n", " ")
    assert "is the best so far: best in psnr_db" in done.out.replace("\n", " ")
    assert "Not evaluated" in done.out
    out = saved / "vaecheck-watch"
    there = {path.name for path in out.iterdir()}
    assert there >= {"result.json", "report.html", "report.md", "history.csv", "best", "early_stop.json", "plots"}
    assert not json.loads((out / "early_stop.json").read_text())["stop"]
    history = load(out)
    assert isinstance(history, History)
    assert set(history.artifacts.values()) >= {"plots/psnr_db.png", "plots/ssim.png", "history.csv"}
    best = Path((out / "best").read_text().strip())
    assert KLAutoencoder.load(best)
    for one in history.evaluations[:2]:
        assert (out / one.folder / "report.html").exists()
    again = run("watch", saved, "--once", *SMALL, "--patience", 0, "--json")
    assert again.code == 0
    assert "psnr_db" not in again.err
    assert again.document["evaluations"] == json.loads((out / "result.json").read_text())["evaluations"]


def test_it_ends_with_1_when_nothing_improves(run: Run, saved: Path) -> None:
    done = run("watch", saved, "--images", "samples", *SMALL, "--patience", 1, "--min-delta", 10)
    assert done.code == 1, done.err
    assert "psnr_db stopped improving" in done.out.replace("\n", " ")
    told = json.loads((saved / "vaecheck-watch" / "early_stop.json").read_text())
    assert (told["stop"], told["since_step"]) == (True, 100)


def test_limits_end_with_0(run: Run, saved: Path) -> None:
    done = run("watch", saved, *SMALL, "--patience", 1, "--min-delta", 10, "--max-evaluations", 1)
    assert done.code == 0, done.err
    done = run("watch", saved, *SMALL, "--patience", 0, "--timeout", 0)
    assert done.code == 0, done.err


def test_other_codes(run: Run, saved: Path, tmp_path: Path) -> None:
    assert run("watch", tmp_path / "nowhere", "--once", *SMALL).code == 2
    assert run("watch", saved, "--once", "--stop-on", "rfid", "--size", 64, "--limit", 2, "--offline").code == 3
    assert run("watch", saved, "--once", *SMALL, "--images", tmp_path / "nowhere").code == 2
    assert run("watch", saved, "--once", *SMALL, "--every", 0).code == 2


def test_sigterm_ends_it_as_ctrl_c_does_and_what_was_done_is_kept(
    run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = watch.reconstruct

    def terminated(source: str, ref: str, *rest: Any) -> Any:
        if "checkpoint-200" in ref:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(source, ref, *rest)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(watch, "reconstruct", terminated)
    done = run("watch", saved, *SMALL, "--patience", 0)
    assert done.code == 130, done.err
    assert done.out == ""
    assert signal.getsignal(signal.SIGTERM) == before
    history = load(saved / "vaecheck-watch")
    assert isinstance(history, History)
    assert [one.name for one in history.evaluations] == ["checkpoint-100/vae"]


def test_lpips_and_rfid_decide_where_they_can_be_had(run: Run, saved: Path, checkpoints: Path) -> None:
    """With stand-ins for their weights: only that they decide, and that they are paired, is meant."""
    arguments = ("watch", saved, "--once", "--size", 64, "--limit", 3, "--offline", "--json")
    done = run(*arguments, VAECHECK_WEIGHTS=str(checkpoints))
    assert done.code == 0, done.err
    document = done.document
    assert document["settings"]["stop_on"] == ["lpips_alex", "rfid"]
    assert document["warnings"] == []
    assert document["improved"].keys() == {"lpips_alex", "rfid"}
    columns = (saved / "vaecheck-watch" / document["evaluations"][0]["folder"] / "per_image.csv").read_text()
    assert "rfid_influence" in columns.splitlines()[0]


@pytest.mark.slow
def test_the_best_of_a_training_that_gets_better_and_then_worse(run: Run, tmp_path: Path) -> None:
    """kl-f8-tiny with ever less noise on its weights, none at step 400, and then more again."""
    state = load_file(BUNDLED_FOLDER / "diffusion_pytorch_model.safetensors")
    for step, noise in ((100, 0.3), (200, 0.15), (300, 0.08), (400, 0.0), (500, 0.1), (600, 0.2), (700, 0.3)):
        folder = tmp_path / "run" / f"checkpoint-{step}" / "vae"
        folder.mkdir(parents=True)
        shutil.copy(BUNDLED_FOLDER / "config.json", folder)
        draw = torch.Generator().manual_seed(step)
        noisy = {
            name: value + noise * value.std() * torch.randn(value.shape, generator=draw) if value.dim() > 1 else value
            for name, value in state.items()
        }
        save_file(noisy, folder / "diffusion_pytorch_model.safetensors")
    (tmp_path / "run" / "latest").symlink_to("checkpoint-700")
    arguments = ("watch", tmp_path / "run", "--once", "--settle", 0, "--size", 64, "--limit", 8, "--offline")
    done = run(*arguments, "--metrics", "psnr_db,ssim", "--stop-on", "psnr_db,ssim", "--patience", 3)
    assert done.code == 1, done.err
    history = load(tmp_path / "run" / "vaecheck-watch")
    assert isinstance(history, History)
    assert len(history.evaluations) == 7
    assert history.best == {"psnr_db": "checkpoint-400/vae", "ssim": "checkpoint-400/vae"}
    assert history.best_overall.endswith("is the best so far: best in psnr_db, best in ssim")
    assert history.improved["psnr_db"] == (100, 200, 300, 400)
    assert history.stopped.keys() == {"psnr_db", "ssim"}
    assert Path((tmp_path / "run" / "vaecheck-watch" / "best").read_text().strip()) == (
        tmp_path / "run" / "checkpoint-400" / "vae"
    )


RECIPE = """
picture_side = 64
[model]
block_out_channels = [16, 16, 32, 32]
layers_per_block = 1
latent_channels = 4
norm_num_groups = 8
mid_block_add_attention = false
[training]
learning_rate = 3e-3
warmup_steps = 10
ema_decay = 0.95
[[stages]]
crop = 32
batch_size = 4
steps = 200
"""


@pytest.mark.slow
def test_a_training_is_watched_while_it_runs(tmp_path: Path) -> None:
    """`train vae` writes its weights anew every second; the watch takes each, the last as it ended.

    A training this short goes up and down, so that which checkpoint is the best is a matter of when it was looked at.
    """
    (tmp_path / "recipe.toml").write_text(RECIPE)
    vaecheck, out = [sys.executable, "-m", "vaecheck"], tmp_path / "my-vae"
    recipe = ["--config", str(tmp_path / "recipe.toml"), "--out", str(out)]
    training = subprocess.Popen([*vaecheck, "train", "vae", "samples", *recipe, "--save-every", "1", "--threads", "1"])
    _wait_for(out.is_dir)
    watching = subprocess.Popen(
        [*vaecheck, "watch", str(out), "--every", "0.5", "--settle", "0.3", *map(str, SMALL), "--patience", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert training.wait(timeout=600) == 0
        time.sleep(5)
        watching.send_signal(signal.SIGTERM)
        _, err = watching.communicate(timeout=120)
        assert watching.returncode == 130, err
    finally:
        for process in (training, watching):
            process.kill()
    once = [*vaecheck, "watch", str(out), "--once", "--settle", "0.3", *map(str, SMALL), "--patience", "0"]
    subprocess.run(once, check=True, timeout=300)
    history = load(out / "vaecheck-watch")
    assert isinstance(history, History)
    assert [one.step for one in history.evaluations] == list(range(1, len(history.evaluations) + 1))
    assert len(history.evaluations) >= 3
    assert history.evaluations[-1].name == "../my-vae"
    assert all(one.gone for one in history.evaluations[:-1])
    figures = [one.measures["psnr_db"].value for one in history.evaluations]
    ended, _ = reconstruct("samples", str(out), Settings(size=64, limit=4, metrics=("psnr_db", "ssim"), offline=True))
    assert figures[-1] == pytest.approx(ended.measures["psnr_db"].value, rel=1e-5)
    best = max(range(len(figures)), key=lambda at: figures[at] or 0)
    assert history.best["psnr_db"] == history.evaluations[best].name
    assert history.best_checkpoint == "../my-vae", "of those that are still there"
    assert not [one for one in history.evaluations if one.problem]
    again = subprocess.run(once, check=True, timeout=300, capture_output=True, text=True)
    assert "psnr_db" not in again.stderr, "nothing is evaluated again"


def _wait_for(there: object, seconds: float = 120) -> None:
    assert callable(there)
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)
