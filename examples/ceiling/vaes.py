"""Train the VAEs of the experiment: those that differ from one in one knob, and those of other latent shapes.

    python examples/ceiling/vaes.py PHOTOS OUT [NAME ...]

PHOTOS: pictures to train on. OUT gets one folder for each VAE, which --vae takes; NAME: only these of them. Started
again, it goes on where it was. Some 15 minutes for each on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from vaecheck.memory import keep_freed_memory
from vaecheck.tasks.settings import Listener
from vaecheck.tasks.train_vae import TrainSettings, train

SIDE = 64
WIDTHS = {4: (16, 32, 64), 8: (16, 32, 32, 64), 16: (16, 32, 32, 64, 64)}
BASE = {"f": 8, "channels": 4, "steps": 4000, "seed": 0, "l1": 1.0, "perceptual": 0.5, "kl": 1e-6}

ONE_KNOB = {
    "base": {},
    "kl-1e-8": {"kl": 1e-8},
    "kl-1e-4": {"kl": 1e-4},
    "kl-1e-2": {"kl": 1e-2},
    "kl-1e-1": {"kl": 1e-1},
    "kl-1": {"kl": 1.0},
    "no-perceptual": {"perceptual": 0.0},
    "l2": {"l1": 0.0, "l2": 1.0, "perceptual": 0.0},
    "adversarial": {"adversarial": 0.5, "adversarial_start": 2000},
    "narrow": {"widths": (8, 16, 16, 32)},
    "wide": {"widths": (32, 32, 64, 64)},
    "short": {"steps": 1000},
    "equivariance": {"equivariance": 0.5},
    "latent-noise": {"latent_noise": 0.2},
    "seed-1": {"seed": 1},
}
SHAPES = {
    f"f{f}-c{c}": {"f": f, "channels": c, "steps": ONE_KNOB["short"]["steps"]}
    for f in (4, 8, 16)
    for c in (2, 4, 8)
    if (f, c) != (8, 4)  # that is "short"
}


def recipe(changes: dict[str, object]) -> str:
    knobs = BASE | changes
    names = ("l1", "l2", "perceptual", "kl", "adversarial", "adversarial_start", "equivariance", "latent_noise")
    loss = "\n".join(f"{name} = {knobs[name]}" for name in names if name in knobs)
    return f"""picture_side = {SIDE}
[model]
block_out_channels = {list(knobs.get("widths", WIDTHS[knobs["f"]]))}
layers_per_block = 1
latent_channels = {knobs["channels"]}
norm_num_groups = 8
mid_block_add_attention = false
[loss]
{loss}
[training]
learning_rate = 1e-3
warmup_steps = 200
ema_decay = 0.998
precision = "float32"
discriminator_width = 32
seed = {knobs["seed"]}
[[stages]]
crop = {SIDE}
batch_size = 8
steps = {knobs["steps"]}
"""


def main(photos: str, out: Path, names: Sequence[str]) -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    every = ONE_KNOB | SHAPES
    for name in names or every:
        changes = every[name]
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "done").exists():
            continue
        file = folder / "recipe.toml"
        file.write_text(recipe(changes))

        def told(step: int, steps: int, means: object, name: str = name) -> None:
            print(name, step, means, flush=True)

        listener = Listener(warn=lambda text: print("warning:", text, flush=True), figures=told)
        train(photos, str(file), folder, TrainSettings(report_every=500, offline=True), listener=listener)
        (folder / "done").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
