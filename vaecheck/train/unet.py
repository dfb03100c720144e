"""Train a latent U-Net: diffusers' UNet2DModel on scaled latents, one optimiser step at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.train.checkpoint import Stateful
from vaecheck.train.diffusion import TIMES, Diffusion, Model
from vaecheck.train.latents import Latents, scaled
from vaecheck.train.loop import Machine, Schedule, averaged, generator

SETTINGS = "vaecheck_unet.json"


@dataclass(frozen=True)
class UNetConfig:
    """Widths at each resolution, from the latents down; residual blocks a level; the levels that have self-attention,
    0 being that of the latents; the groups of every GroupNorm."""

    block_out_channels: tuple[int, ...] = (128, 256, 256)
    layers_per_block: int = 2
    attention_levels: tuple[int, ...] = (1, 2)
    norm_num_groups: int = 32


@dataclass(frozen=True)
class UNetTraining:
    """prediction: see Diffusion. posterior: "sample" draws latents anew at every step, as latent diffusion does; "mode"
    takes posterior means. schedule: "cosine" or "constant". ema_decay: of the average, which is what is saved."""

    steps: int = 20000
    batch_size: int = 64
    prediction: str = "epsilon"
    posterior: str = "sample"
    learning_rate: float = 2e-4
    warmup_steps: int = 500
    schedule: str = "constant"
    ema_decay: float = 0.999
    clip: float = 1.0
    precision: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class UNetRecipe:
    model: UNetConfig = UNetConfig()
    training: UNetTraining = UNetTraining()


def new_unet(config: UNetConfig, shape: tuple[int, int, int]) -> nn.Module:
    """UNet2DModel for latents (C, h, w), with random weights. Raises InputError where they do not go together."""
    from diffusers import UNet2DModel

    channels, height, width = shape
    levels = len(config.block_out_channels)
    multiple = 2 ** (levels - 1)
    if height % multiple or width % multiple:
        raise InputError(
            f"latents of {width}x{height} do not fit a U-Net of {levels} levels, which halves them {levels - 1} times",
            hint=f"Give fewer block_out_channels, or pictures whose latents are multiples of {multiple}.",
        )
    if bad := [width for width in config.block_out_channels if width % config.norm_num_groups]:
        raise InputError(
            f"norm_num_groups = {config.norm_num_groups} does not divide the widths {bad}",
            hint="Choose widths that are multiples of norm_num_groups.",
        )
    attends = [level in config.attention_levels for level in range(levels)]
    model: nn.Module = UNet2DModel(
        sample_size=height,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=config.layers_per_block,
        block_out_channels=config.block_out_channels,
        norm_num_groups=config.norm_num_groups,
        down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in attends),
        up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)),
        attention_head_dim=None,
    )
    return model


@dataclass(frozen=True)
class Batch:
    """clean: scaled latents; noise of their shape; times (b,) within 0 ... T - 1."""

    clean: Tensor
    noise: Tensor
    times: Tensor


class UNetTrainee:
    """A U-Net on the latents of one VAE, its optimiser and its moving average."""

    def __init__(
        self, recipe: UNetRecipe, latents: Latents, scaling: LatentScaling, machine: Machine, vae_ref: str = ""
    ) -> None:
        training = recipe.training
        self.recipe, self.steps, self.scaling = recipe, training.steps, scaling
        self.diffusion = Diffusion.of(training.prediction)
        self._latents, self._machine, self._vae_ref = latents, machine, vae_ref
        shape = tuple(scaled(latents.means[:1], scaling).shape[1:])
        torch.manual_seed(training.seed)
        self.module = new_unet(recipe.model, (shape[0], shape[1], shape[2])).to(machine.device)
        self._average = averaged(self.module, training.ema_decay)
        self._model = machine.prepare(self.module)
        self._optimiser = torch.optim.AdamW(
            self.module.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self._schedule = Schedule(training.learning_rate, training.warmup_steps, training.steps, training.schedule)

    def made_with(self) -> Mapping[str, Any]:
        recipe = asdict(self.recipe)
        recipe["training"]["precision"] = self._machine.precision
        return {"recipe": recipe, "latents": self._latents.key, "scaling": asdict(self.scaling)}

    def parts(self) -> Mapping[str, Stateful]:
        return {"model": self.module, "average": self._average, "optimiser": self._optimiser}

    @property
    def predict(self) -> Model:
        """By the averaged weights."""
        unet: Any = self._average.module.eval()

        def predict(noised: Tensor, times: Tensor) -> Tensor:
            predicted: Tensor = unet(noised, self.diffusion.told(times)).sample
            return predicted

        return predict

    def batch(self, step: int) -> Batch:
        training = self.recipe.training
        draw, share = generator(training.seed, step, stream=0), self._machine.share(training.batch_size)
        indices = torch.randint(len(self._latents), (training.batch_size,), generator=draw)
        shape = (training.batch_size, *self._latents.shape)
        of_posterior = torch.randn(shape, generator=draw)[share] if training.posterior == "sample" else None
        clean = scaled(self._latents.drawn(indices[share], of_posterior), self.scaling)
        noise = torch.randn((training.batch_size, *clean.shape[1:]), generator=generator(training.seed, step, 1))
        times = torch.randint(TIMES, (training.batch_size,), generator=draw)
        return Batch(clean, noise[share], times[share])

    def step(self, step: int, batch: Batch) -> Mapping[str, float | Tensor]:
        device = self._machine.device
        clean, noise, times = (part.to(device, non_blocking=True) for part in (batch.clean, batch.noise, batch.times))
        self._schedule.set(self._optimiser, step)
        self._model.train()
        noised = self.diffusion.noised(clean, noise, times)
        with self._machine.autocast():
            predicted = self._model(noised, self.diffusion.told(times)).sample.float()
        loss = (predicted - self.diffusion.target(clean, noise, times)).square().mean()
        self._optimiser.zero_grad(set_to_none=True)
        self._machine.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.training.clip)
        self._optimiser.step()
        self._average.update_parameters(self.module)
        return {"loss": loss, "gradient_norm": norm}

    def save(self, folder: Path) -> None:
        """The averaged weights and the scheduler in diffusers' format, and what they were trained on."""
        part = folder / ".saving.tmp"
        shutil.rmtree(part, ignore_errors=True)
        averaged_unet: Any = self._average.module
        averaged_unet.save_pretrained(part)
        self.diffusion.scheduler().save_pretrained(part)
        said = {"vae": self._vae_ref, "prediction": self.diffusion.prediction, "scaling": asdict(self.scaling)}
        (part / SETTINGS).write_text(json.dumps(said, indent=2) + "\n")
        for file in sorted(part.iterdir(), reverse=True):
            file.replace(folder / file.name)
        part.rmdir()
