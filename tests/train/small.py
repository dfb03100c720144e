"""A model, pictures and a training that take milliseconds a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaecheck.train.autoencoder import Trainable, built_in
from vaecheck.train.crops import Stage
from vaecheck.train.loop import Machine, Progress, Watchers, train
from vaecheck.train.vae import Loss, Training, VAERecipe, VAETrainee
from vaecheck.vae.kl_f8 import KLConfig

MODEL = KLConfig((8, 8, 16), 1, 2, 4, mid_block_add_attention=False)
SMALL_DISCRIMINATOR = {"discriminator_layers": 1, "discriminator_width": 8}
TRAINING = Training(learning_rate=3e-3, warmup_steps=2, ema_decay=0.5, precision="float32", **SMALL_DISCRIMINATOR)
RECIPE = VAERecipe(MODEL, (Stage(16, 4, 8), Stage(32, 2, 4)), training=TRAINING)


class Smooth(list[Tensor]):
    """uint8 (3, H, W) pictures of smooth random colours."""

    fingerprint = "smooth"


def pictures(count: int = 6, height: int = 40, width: int = 48) -> Smooth:
    coarse = torch.rand(count, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear") * 255
    return Smooth(smooth.to(torch.uint8))


def recipe(steps: int = 8, *, crop: int = 16, batch_size: int = 4, loss: Any = (), **training: Any) -> VAERecipe:
    stages = (Stage(crop, batch_size, steps),)
    return VAERecipe(MODEL, stages, Loss(**dict(loss)), replace(TRAINING, **training))


def trainee_of(
    recipe: VAERecipe,
    *,
    trainable: Trainable | None = None,
    perceptual: Any = None,
    machine: Machine | None = None,
    of: Smooth | None = None,
) -> VAETrainee:
    torch.manual_seed(0)
    trainable = trainable or built_in(recipe.model or MODEL)
    machine = machine or Machine(recipe.training.precision)
    return VAETrainee(recipe, trainable, of or pictures(), machine, perceptual)


def trained(
    trainee: VAETrainee, out: Path, *, report_every: int = 1, save_every: float = 1e9, **more: Any
) -> list[Mapping[str, float]]:
    """The figures of every report."""
    reports: list[Progress] = []
    watchers = Watchers(reports.append, report_every, **more)
    train(trainee, trainee._machine, out, watchers, save_every=save_every)
    return [progress.means for progress in reports]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def weights(trainee: VAETrainee) -> dict[str, Tensor]:
    return state_of(trainee._trainable.module)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def spied(trainee: VAETrainee, name: str, see: Callable[..., None]) -> None:
    """Call `see` with what the trainee's method gets, before it."""
    real = getattr(trainee, name)

    def spy(*args: Any) -> Any:
        see(*args)
        return real(*args)

    setattr(trainee, name, spy)
