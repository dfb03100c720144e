"""Two processes on gloo train as one does with the same whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.train import several_processes

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("several_processes.py")
OF_SHARES = {"psnr_of_mean_mse_db", "latent_std", "latent_max", "posterior_std"}
"""Logged as the mean over the processes of what each has of its share; not linear in it."""


def run(case: str, out: Path, processes: int) -> list[dict[str, float]]:
    if processes == 1:
        several_processes.main(case, out)
        return json.loads((out / "figures.json").read_text())
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *torchrun, str(SCRIPT), case, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = out / "figures.json"
    return json.loads(figures.read_text()) if figures.exists() else []


def agree(one: list[dict[str, float]], two: list[dict[str, float]], steps: int, rel: float = 1e-4) -> None:
    assert len(one) == len(two) == 8
    for step, (a, b) in enumerate(zip(one[:steps], two[:steps], strict=True)):
        assert a.keys() == b.keys()
        for name in a.keys() - OF_SHARES:
            assert b[name] == pytest.approx(a[name], rel=rel, abs=1e-6), (step, name)


def weights(out: Path, rank: int = 0) -> Any:
    return torch.load(out / f"weights.{rank}.pt", weights_only=True)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Every figure that is a mean over pictures, at every step, and the weights at the end."""
    one, two = run("plain", tmp_path / "one", 1), run("plain", tmp_path / "two", 2)
    agree(one, two, 8)
    theirs, ours = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in weights(tmp_path / "two", 1).items():
        assert torch.equal(value, ours[name]), "the processes hold the same weights"
        assert torch.allclose(value, theirs[name], atol=2e-4), name


@pytest.mark.slow
def test_latent_noise_is_of_the_whole_batchs_deviation(tmp_path: Path) -> None:
    agree(run("noise", tmp_path / "one", 1), run("noise", tmp_path / "two", 2), 8)


@pytest.mark.slow
def test_with_a_discriminator_they_agree_until_it_starts(tmp_path: Path) -> None:
    """What differs after: its BatchNorms see the statistics of one process's share, so logits and all they lead to."""
    one, two = run("discriminator", tmp_path / "one", 1), run("discriminator", tmp_path / "two", 2)
    agree(one, two, 4)
    assert two[4]["nll"] == pytest.approx(one[4]["nll"], rel=1e-4)
    assert two[4]["discriminator_loss"] != pytest.approx(one[4]["discriminator_loss"], rel=1e-5)
    assert all(torch.equal(v, weights(tmp_path / "two", 1)[name]) for name, v in weights(tmp_path / "two").items())


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_refused_by_every_process(tmp_path: Path) -> None:
    assert run("odd", tmp_path / "out", 2) == []
    errors = [(tmp_path / f"out.rank{rank}.error").read_text() for rank in (0, 1)]
    assert errors == ["a batch of 3 cannot be divided among 2 processes"] * 2


@pytest.mark.slow
def test_a_loss_that_breaks_in_one_process_ends_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("broken", out, 2) == []
    errors = [(tmp_path / f"out.rank{rank}.error").read_text() for rank in (0, 1)]
    assert errors[0] == errors[1]
    assert errors[0].startswith("the training broke down at or before step 6: not finite: ")
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 5
    assert all(value.isfinite().all() for value in load_file(out / "diffusion_pytorch_model.safetensors").values())


@pytest.mark.slow
def test_the_log_of_killed_processes_is_that_of_those_that_ran_through(tmp_path: Path) -> None:
    """The line after the kill is the mean over its steps and over the processes, before and after."""
    for case in ("killed", "whole"):
        run(case, tmp_path / case, 2)
    killed, whole = ((tmp_path / case / "log.csv").read_text() for case in ("killed", "whole"))
    assert len(whole.splitlines()) == 3
    assert killed == whole
