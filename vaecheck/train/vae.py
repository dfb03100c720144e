"""Train a KL autoencoder: the loss of Rombach et al. 2022 (appendix G), every term of it, one step at a time.

    reconstruction = l1 |x - y| + l2 (x - y)^2 + perceptual d(x, y), summed over the picture
    nll            = reconstruction / exp(s) + s, s a learned log-variance, or 0
    loss           = nll + kl KL(q(z|x), N(0, I)) + adversarial lambda g

averaged over the batch, with lambda as in `losses.adaptive_weight`. The total is divided by the picture's number of
values, so that learning rates and gradient clipping mean the same at every crop size.

Why stages: small crops give many independent pictures per second of CPU time, but GroupNorm takes its statistics over
the whole input, and those of a 64-pixel crop are not those of a picture. So training begins with small crops and ends
with large ones.

Why lambda is taken over all processes: latent diffusion's own code has one for each, of its share of the batch. Here
the two gradients that it compares are averaged first, so that it does not depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.metrics.kl import kl_nats
from vaecheck.train import autoencoder, losses
from vaecheck.train.autoencoder import RoundTrip, Trainable
from vaecheck.train.checkpoint import Stateful
from vaecheck.train.crops import Pictures, Stage, crops, stage_at
from vaecheck.train.discriminator import PatchDiscriminator
from vaecheck.train.loop import Machine, Schedule, averaged, generator
from vaecheck.vae.kl_f8 import KLConfig
from vaecheck.vae.protocol import Posterior

SMALLEST_SCALE = 0.25
"""Of latents in EQ-VAE."""


@dataclass(frozen=True)
class Loss:
    """The weights of the loss; see the module.

    l1, l2: of the absolute and of the squared error. perceptual: of LPIPS, or of what stands in for it. lpips_net: its
    backbone. kl: of the KL, a sum over the latents.
    adversarial: of the generator's loss, times the adaptive weight. adversarial_loss: "hinge" or "vanilla".
    adversarial_start: the step from which the discriminator is there. adaptive_limit: the largest adaptive weight.
    learned_log_variance: whether s is learned.
    latent_noise: the decoder gets latents + this share of their deviation of noise: added, unlike l-DeTok (Yang et al.
    2025), which interpolates between latents and noise by a share that it draws.
    equivariance: the share of steps whose latents are rotated and scaled down, the picture to reconstruct with them
    (Kouzelis et al. 2025, EQ-VAE, equation 5).
    """

    l1: float = 1.0
    l2: float = 0.0
    perceptual: float = 0.0
    lpips_net: str = "vgg"
    kl: float = 1e-6
    adversarial: float = 0.0
    adversarial_loss: str = "hinge"
    adversarial_start: int = 0
    adaptive_limit: float = losses.ADAPTIVE_LIMIT
    learned_log_variance: bool = False
    latent_noise: float = 0.0
    equivariance: float = 0.0


@dataclass(frozen=True)
class Training:
    """How the weights are moved.

    schedule: "cosine" or "constant". ema_decay: of the moving average of the weights, which is what is saved; 0 saves
    the weights themselves. clip: the largest norm of the gradient. betas: of AdamW.
    precision: "float32" or "bfloat16", the type of the convolutions; None is what accelerate was launched with.
    discriminator_layers, discriminator_width: of the PatchGAN.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 500
    schedule: str = "cosine"
    betas: tuple[float, float] = (0.9, 0.99)
    ema_decay: float = 0.999
    clip: float = 1.0
    precision: str | None = None
    discriminator_layers: int = 3
    discriminator_width: int = 64
    seed: int = 0


@dataclass(frozen=True)
class VAERecipe:
    """Everything that decides the weights, but the pictures. model: None where a loaded VAE is trained on."""

    model: KLConfig | None
    stages: tuple[Stage, ...]
    loss: Loss = Loss()
    training: Training = Training()

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True)
class Batch:
    """pixels (b, 3, crop, crop); noise for the posterior and for `latent_noise`, (b, C, h, w); how the latents are
    turned (quarter turns) and scaled (to this side; None: not at all)."""

    pixels: Tensor
    noise: Tensor
    more_noise: Tensor
    turns: int = 0
    side: int | None = None


class VAETrainee:
    """A VAE, its discriminator where it has one, their optimisers, and the moving average of the VAE."""

    def __init__(
        self,
        recipe: VAERecipe,
        trainable: Trainable,
        pictures: Pictures,
        machine: Machine,
        perceptual: losses.PerceptualDistance | None = None,
    ) -> None:
        """perceptual: must be there where the recipe gives it a weight.

        Raises InputError for a batch that cannot be divided among the processes, or crops of less than one patch of
        the discriminator's.
        """
        self.recipe, self.steps = recipe, recipe.steps
        self._trainable, self._pictures, self._machine, self._perceptual = trainable, pictures, machine, perceptual
        self._is_new = recipe.model is not None
        training, loss, device = recipe.training, recipe.loss, machine.device
        for stage in recipe.stages:
            machine.share(stage.batch_size)  # at once, rather than when the stage comes
        trainable.module.to(device)
        self._average = averaged(trainable.module, training.ema_decay)
        self._last_layer = trainable.last_layer if loss.adversarial else None
        self._log_variance = nn.Parameter(torch.zeros((), device=device), requires_grad=loss.learned_log_variance)
        self._round_trip = machine.prepare(RoundTrip(trainable))
        self._tuned = [p for p in trainable.module.parameters() if p.requires_grad]
        learned = [*self._tuned, *([self._log_variance] if loss.learned_log_variance else [])]
        self._optimiser = _optimiser(learned, training)
        self._schedule = Schedule(training.learning_rate, training.warmup_steps, recipe.steps, training.schedule)
        self._parts: dict[str, Stateful] = {
            "model": trainable.module,
            "average": self._average,
            "optimiser": self._optimiser,
            "log_variance": nn.ParameterList([self._log_variance]),
        }
        if loss.adversarial:
            for stage in recipe.stages:
                _expect_patches(stage.crop, trainable.f, recipe)
            bare = PatchDiscriminator(training.discriminator_layers, training.discriminator_width)
            self._discriminator = machine.prepare(bare.to(device))
            self._discriminator_optimiser = _optimiser(list(bare.parameters()), training)
            self._parts |= {"discriminator": bare, "discriminator_optimiser": self._discriminator_optimiser}

    def made_with(self) -> Mapping[str, Any]:
        recipe = asdict(self.recipe)
        recipe["training"]["precision"] = self._machine.precision
        perceptual = self._perceptual.name if self._perceptual and self.recipe.loss.perceptual else None
        return {
            "recipe": recipe,
            "pictures": self._pictures.fingerprint,
            "perceptual": perceptual,
            "tuned": None if self._is_new else len(self._trainable.tuned),
            **({} if self._is_new else {"started_from": self._trainable.sha256}),
        }

    def parts(self) -> Mapping[str, Stateful]:
        return self._parts

    def save(self, folder: Path) -> None:
        autoencoder.save(self.averaged(), folder)

    def averaged(self) -> Any:
        """The module with the averaged weights, which is what is saved."""
        return self._average.module.eval()

    def batch(self, step: int) -> Batch:
        stage, seed = stage_at(self.recipe.stages, step), self.recipe.training.seed
        share = self._machine.share(stage.batch_size)
        side = stage.crop // self._trainable.f
        draw = generator(seed, step, stream=1)
        noise, more = torch.randn(2, stage.batch_size, self._trainable.latent_channels, side, side, generator=draw)
        turns, smaller = 0, None
        if self.recipe.loss.equivariance:
            chance, turn, scale = torch.rand(3, generator=generator(seed, step, stream=2)).tolist()
            if chance < self.recipe.loss.equivariance:
                turns, smallest = int(4 * turn), math.ceil(side * SMALLEST_SCALE)
                smaller = smallest + int(scale * (side - smallest + 1))
        pixels = crops(self._pictures, stage, seed, step, share)
        return Batch(pixels, noise[share], more[share], turns, smaller)

    def step(self, step: int, batch: Batch) -> Mapping[str, float | Tensor]:
        loss, machine = self.recipe.loss, self._machine
        pixels = batch.pixels.to(machine.device, non_blocking=True)
        change, target = _changes(batch, loss.latent_noise, pixels, self._trainable.f, machine.mean)
        adversarial = loss.adversarial > 0 and step >= loss.adversarial_start
        self._schedule.set(self._optimiser, step)
        with machine.autocast():
            noise = batch.noise.to(machine.device, non_blocking=True)
            reconstruction, mean, log_var = self._round_trip(pixels, noise, change)
        figures = self._generator_step(target, reconstruction, Posterior(mean, log_var), adversarial)
        if adversarial:
            figures |= self._discriminator_step(step, target, reconstruction.detach())
        self._average.update_parameters(self._trainable.module)
        return figures

    def _generator_step(
        self, original: Tensor, reconstruction: Tensor, posterior: Posterior, adversarial: bool
    ) -> dict[str, float | Tensor]:
        loss = self.recipe.loss
        values = original[0].numel()
        error = reconstruction - original
        l1, l2 = error.abs().mean(), error.square().mean()
        figures: dict[str, float | Tensor] = {
            "l1": l1,
            "psnr_of_mean_mse_db": 10 * torch.log10(4 / l2.detach().clamp_min(1e-12)),
        }
        total = loss.l1 * l1 + loss.l2 * l2
        if loss.perceptual and self._perceptual:
            figures[self._perceptual.name] = distance = self._perceptual(original, reconstruction).mean()
            total = total + loss.perceptual * distance
        nll = values * (total / self._log_variance.exp() + self._log_variance)
        kl = kl_nats(posterior).mean() if posterior.log_var is not None else torch.zeros((), device=nll.device)
        whole = nll + loss.kl * kl
        if adversarial:
            term, more = self._adversarial(nll, reconstruction)
            whole = whole + term
            figures |= more
        self._optimiser.zero_grad(set_to_none=True)
        self._machine.backward(whole / values)
        if self._log_variance.grad is not None:  # it is no part of the module that averages its gradients
            self._log_variance.grad = self._machine.mean(self._log_variance.grad)
        figures |= {
            "loss": whole / values,
            "nll": nll / values,
            "kl_nats_per_element": kl / posterior.mean[0].numel(),
            "latent_std": posterior.mean.detach().std(),
            "latent_max": posterior.mean.detach().abs().max(),
            "gradient_norm": nn.utils.clip_grad_norm_(self._tuned, self.recipe.training.clip),
        }
        if posterior.log_var is not None:
            figures["posterior_std"] = posterior.log_var.detach().exp().mean().sqrt()
        if loss.learned_log_variance:
            figures["log_variance"] = self._log_variance
        self._optimiser.step()
        return figures

    def _adversarial(self, nll: Tensor, reconstruction: Tensor) -> tuple[Tensor, dict[str, float | Tensor]]:
        """The generator's adversarial loss with its weights."""
        assert self._last_layer is not None
        bare = self._machine.bare(self._discriminator).requires_grad_(False)
        with self._machine.autocast():
            generated = losses.of_generator(bare(reconstruction).float())
        bare.requires_grad_(True)
        by_layer = losses.gradients_by(self._last_layer, [nll, generated])
        by_nll, by_generated = (self._machine.mean(gradient) for gradient in by_layer)
        weight = losses.adaptive_weight(by_nll, by_generated, self.recipe.loss.adaptive_limit)
        figures: dict[str, float | Tensor] = {"generator_loss": generated, "adaptive_weight": weight}
        return self.recipe.loss.adversarial * weight * generated, figures

    def _discriminator_step(self, step: int, original: Tensor, reconstruction: Tensor) -> dict[str, float | Tensor]:
        self._schedule.set(self._discriminator_optimiser, step)
        with self._machine.autocast():
            real, fake = self._discriminator(original).float(), self._discriminator(reconstruction).float()
        loss = losses.DISCRIMINATOR_LOSSES[self.recipe.loss.adversarial_loss](real, fake)
        self._discriminator_optimiser.zero_grad(set_to_none=True)
        self._machine.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._discriminator.parameters(), self.recipe.training.clip)
        self._discriminator_optimiser.step()
        return {
            "discriminator_loss": loss,
            "logits_real": real.mean(),
            "logits_fake": fake.mean(),
            "discriminator_gradient_norm": norm,
        }


def _expect_patches(crop: int, f: int, recipe: VAERecipe) -> None:
    """Raises InputError where a logit of the discriminator has no place in a picture."""
    side = math.ceil(crop // f * SMALLEST_SCALE) * f if recipe.loss.equivariance else crop
    layers = recipe.training.discriminator_layers
    if side < 3 * 2**layers:
        scaled = f", which equivariance scales down to {side}," if side < crop else ""
        raise InputError(
            f"crops of {crop}{scaled} are too small for a discriminator of {layers} layers: it needs {3 * 2**layers}",
            hint="Give larger crops, fewer discriminator_layers, or set adversarial = 0.",
        )


def _optimiser(parameters: list[nn.Parameter], training: Training) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=training.learning_rate, betas=training.betas, weight_decay=0.0)


def _changes(
    batch: Batch, latent_noise: float, pixels: Tensor, f: int, mean: Callable[[Tensor], Tensor]
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """What is done to the latents before they are decoded, and the picture that they then stand for.

    mean: over the processes, so that the latents' deviation is that of the whole batch.
    """

    def change(latents: Tensor) -> Tensor:
        if latent_noise:
            noise = batch.more_noise.to(latents.device, non_blocking=True)
            fixed = latents.detach()
            deviation = mean((fixed - mean(fixed.mean())).square().mean()).sqrt()
            latents = latents + latent_noise * deviation * noise
        return _turned(latents, batch.turns, batch.side)

    return change, _turned(pixels, batch.turns, batch.side and batch.side * f)


def _turned(values: Tensor, turns: int, side: int | None) -> Tensor:
    if side is not None and side != values.shape[-1]:
        values = F.interpolate(values, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return values.rot90(turns, (2, 3)) if turns else values
