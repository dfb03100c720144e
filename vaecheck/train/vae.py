"""Train a small KL autoencoder on pictures held in memory: the recipe behind kl-f8-tiny.

The loss is that of Rombach et al. 2022 (appendix G) without its perceptual and adversarial terms:
reconstruction, summed over the picture, plus the KL weight times the KL summed over the latents, both
averaged over the batch. Here the total is divided by the picture's number of values, so that learning
rates and gradient clipping mean the same at every crop size.

Why stages: small crops give many independent pictures per second of CPU time, but GroupNorm takes its
statistics over the whole input, and those of a 64-pixel crop are not those of a picture. So training
begins with small crops and ends with large ones.

Why batches are drawn from (seed, step): a run that was killed and resumed sees exactly the pictures
that it would have seen, without a sampler's state in the checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.metrics.kl import kl_nats
from vaecheck.pixels import to_pixels
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig
from vaecheck.vae.protocol import Posterior

CHECKPOINT = "checkpoint.pt"
GRADIENT_NORM_LIMIT = 1.0


@dataclass(frozen=True)
class Stage:
    """`steps` optimiser steps on `batch_size` random crops of `crop` x `crop` pixels."""

    crop: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class VAERecipe:
    """Everything that decides the weights, but the pictures.

    l1, l2, kl: weights of the absolute error, the squared error and the KL (sums; see the module).
    ema_decay: of the exponential moving average of the weights, which is what is saved.
    autocast: "bfloat16" or "float32", the type of the convolutions while training.
    """

    model: KLConfig
    stages: tuple[Stage, ...]
    l1: float = 1.0
    l2: float = 0.0
    kl: float = 1e-6
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    ema_decay: float = 0.999
    autocast: str = "float32"
    seed: int = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017)."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class Progress:
    """What the last steps did: means since the last report."""

    step: int
    steps: int
    means: dict[str, float] = field(default_factory=dict)


def train_vae(
    recipe: VAERecipe,
    pictures: Sequence[Tensor],
    out: Path,
    *,
    save_every: float = 60.0,
    report_every: int = 100,
    report: Callable[[Progress], None] = lambda progress: None,
) -> KLAutoencoder:
    """Train to the recipe's last step and return the averaged weights, which are also saved in `out`.

    pictures: uint8 (3, H, W), each at least as large as the largest crop.
    out: holds checkpoint.pt, from which a run goes on, and the averaged weights so far in diffusers' format, which
    `watch` evaluates; both are written every `save_every` seconds.
    """
    largest = max(stage.crop for stage in recipe.stages)
    if not pictures or min(min(picture.shape[1:]) for picture in pictures) < largest:
        raise InputError(f"training needs pictures of at least {largest} x {largest}", hint="Resize them first.")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model = KLAutoencoder(recipe.model).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema_decay),  # type: ignore[no-untyped-call]
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    parts: dict[str, Any] = {"model": model, "average": average, "optimiser": optimiser}
    made_with = json.dumps({"recipe": asdict(recipe), "pictures": len(pictures)}, sort_keys=True)
    first = _resume(out / CHECKPOINT, made_with, parts)

    saved, sums, since = time.monotonic(), dict[str, float](), 0
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        losses = _step(model, optimiser, recipe, _crops(pictures, recipe, step), step)
        average.update_parameters(model)
        since += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        if (step + 1) % report_every == 0:
            report(Progress(step + 1, recipe.steps, {name: value / since for name, value in sums.items()}))
            sums, since = {}, 0
        if time.monotonic() - saved > save_every:
            _save(out / CHECKPOINT, step + 1, made_with, parts)
            _averaged(average, recipe).save(out)
            saved = time.monotonic()
    _save(out / CHECKPOINT, recipe.steps, made_with, parts)
    trained = _averaged(average, recipe)
    trained.save(out)
    return trained


def _averaged(average: torch.optim.swa_utils.AveragedModel, recipe: VAERecipe) -> KLAutoencoder:
    model = KLAutoencoder(recipe.model).eval()
    model.load_state_dict(average.module.state_dict())
    return model


def _step(
    model: nn.Module, optimiser: torch.optim.Optimizer, recipe: VAERecipe, pixels: Tensor, step: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(_draw_seed(recipe.seed, step, stream=1))
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.autocast == "bfloat16"):
        posterior = model.encode(pixels)  # type: ignore[operator]
        posterior = Posterior(posterior.mean.float(), posterior.log_var.float())
        latents = posterior.sample(torch.randn(posterior.mean.shape, generator=generator))
        reconstruction = model.decode(latents)  # type: ignore[operator]
    error = reconstruction.float() - pixels
    l1, l2 = error.abs().mean(), error.square().mean()
    kl = kl_nats(posterior).mean()
    loss = recipe.l1 * l1 + recipe.l2 * l2 + recipe.kl * kl / pixels[0].numel()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    gradient_norm = nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM_LIMIT)
    optimiser.step()
    return {
        "loss": loss.item(),
        "l1": l1.item(),
        "psnr_of_mean_mse_db": 10 * math.log10(4 / l2.item()),
        "kl_nats_per_element": kl.item() / posterior.mean[0].numel(),
        "posterior_std": (0.5 * posterior.log_var).exp().mean().item() if posterior.log_var is not None else 0.0,
        "latent_std": posterior.mean.std().item(),
        "gradient_norm": gradient_norm.item(),
    }


def _crops(pictures: Sequence[Tensor], recipe: VAERecipe, step: int) -> Tensor:
    """Random pictures, windows and mirror images for one step -> pixels (B, 3, crop, crop)."""
    stage = recipe.stage_at(step)
    draw = torch.Generator().manual_seed(_draw_seed(recipe.seed, step, stream=0))
    crops = []
    for index in torch.randint(len(pictures), (stage.batch_size,), generator=draw).tolist():
        picture = pictures[index]
        top, left = (int(torch.randint(side - stage.crop + 1, (), generator=draw)) for side in picture.shape[1:])
        crop = picture[:, top : top + stage.crop, left : left + stage.crop]
        crops.append(crop.flip(2) if torch.rand((), generator=draw) < 0.5 else crop)
    return to_pixels(torch.stack(crops)).contiguous(memory_format=torch.channels_last)


def _draw_seed(seed: int, step: int, *, stream: int) -> int:
    return (seed << 40) + (step << 1) + stream


def _resume(path: Path, made_with: str, parts: dict[str, Any]) -> int:
    """Load every part in place and return the number of steps done; 0 where there is no checkpoint.

    Raises InputError for the checkpoint of another recipe: going on would give weights of neither.
    """
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["made_with"] != made_with:
        raise InputError(
            f"{path} comes from another recipe or another number of pictures",
            hint="Give the recipe and the pictures it was begun with, or another --out.",
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def _save(path: Path, step: int, made_with: str, parts: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(
        {"step": step, "made_with": made_with, **{name: part.state_dict() for name, part in parts.items()}}, temporary
    )
    temporary.replace(path)
