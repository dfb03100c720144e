"""Run by torchrun: one training, whose figures and weights the first process leaves in a folder.

torchrun --nproc-per-node 2 several_processes.py CASE FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from torch import distributed

from tests.train.small import Smooth, pictures, recipe, spied, trained, trainee_of, weights
from vaecheck.errors import InputError
from vaecheck.train.loop import Machine

LOSSES = {
    "plain": {"kl": 1e-2, "l2": 0.5, "learned_log_variance": True, "equivariance": 0.5},
    "noise": {"kl": 1e-2, "latent_noise": 0.3},
    "discriminator": {"kl": 1e-2, "adversarial": 0.5, "adversarial_start": 4},
    "odd": {},
    "killed": {},
    "whole": {},
    "broken": {},
}


def main(case: str, out: Path) -> None:
    torch.set_num_threads(1)
    machine = Machine("float32", device="cpu" if "RANK" in os.environ else "auto")
    try:
        run(case, out, machine)
    except InputError as error:
        (out.parent / f"{out.name}.rank{machine.rank}.error").write_text(error.message)
    if distributed.is_initialized():
        distributed.destroy_process_group()


def run(case: str, out: Path, machine: Machine) -> None:
    given: Smooth = pictures()
    batch_size = 3 if case == "odd" else 4
    trainee = trainee_of(recipe(8, batch_size=batch_size, loss=LOSSES[case]), machine=machine, of=given)
    if case == "broken" and machine.rank == 1:
        real = trainee.batch

        def batch(step: int) -> object:
            drawn = real(step)
            if step == 5:
                drawn.pixels[0] = float("nan")
            return drawn

        trainee.batch = batch  # type: ignore[method-assign]
    if case == "killed":  # between two lines of the log; every process dies at that step

        def die(step: int, batch: object) -> None:
            if step == 6:
                raise InputError("killed")

        spied(trainee, "step", die)
        with suppress(InputError):
            trained(trainee, out, report_every=4, save_every=0)
        trainee = trainee_of(recipe(8), machine=machine, of=given)
    if case in ("killed", "whole"):
        trained(trainee, out, report_every=4)
        return
    figures = trained(trainee, out, save_every=0 if case == "broken" else 1e9)
    torch.save(weights(trainee), out / f"weights.{machine.rank}.pt")
    if machine.is_first:
        (out / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
