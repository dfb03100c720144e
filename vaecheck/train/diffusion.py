"""Between clean latents and noise: what a U-Net is trained to predict, and the way back.

Everything is in tables of two numbers for each time i = 0 ... T - 1: x_i = signal_i x_0 + noise_i eps. Then a
prediction of any kind gives x_0 and eps, and a step to an earlier time j is signal_j x_0 + noise_j eps: for the
variance-preserving path that is DDIM without noise (Song et al. 2021, equation 12 with sigma = 0), for the straight
path it is Euler's step.

Why levels are shares of the deviation, noise / sqrt(signal^2 + noise^2): so one level is one signal-to-noise ratio on
both paths, and U-Nets of different kinds can be set beside each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TIMES = 1000
BETAS = (0.00085, 0.012)
PREDICTIONS = ("epsilon", "v_prediction", "flow")

Model = Callable[[Tensor, Tensor], Tensor]
"""Noised latents (B, C, h, w) and times i (B,) -> a prediction of their shape."""


@dataclass(frozen=True)
class Diffusion:
    """A path from latents to noise, and what is predicted on it. signal, noise: (T,) float32.

    prediction: "epsilon" (Ho et al. 2020) and "v_prediction" (Salimans and Ho 2022, v = signal eps - noise x_0) on the
    variance-preserving path; "flow", eps - x_0 on the straight one (Lipman et al. 2023; Liu et al. 2023).
    """

    prediction: str
    signal: Tensor
    noise: Tensor

    @classmethod
    def of(cls, prediction: str) -> Diffusion:
        """The betas of the variance-preserving path are Stable Diffusion's (scaled linear, 0.00085 to 0.012)."""
        if prediction == "flow":
            share = torch.arange(1, TIMES + 1, dtype=torch.float64) / TIMES
            return cls(prediction, (1 - share).float(), share.float())
        betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TIMES, dtype=torch.float64).square()
        kept = (1 - betas).cumprod(0)
        return cls(prediction, kept.sqrt().float(), (1 - kept).sqrt().float())

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        signal, share = self._at(times, clean)
        return signal * clean + share * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return noise
        signal, share = self._at(times, clean)
        return noise - clean if self.prediction == "flow" else signal * noise - share * clean

    def told(self, times: Tensor) -> Tensor:
        """What a U-Net is given for these times, as diffusers' schedulers give it.

        Why one more on the straight path: there it is T noise_i, and noise_i = (i + 1) / T.
        """
        return times + 1 if self.prediction == "flow" else times

    def ends(self, predicted: Tensor, noised: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 and eps, as predicted."""
        signal, share = self._at(times, noised)
        if self.prediction == "flow":
            return noised - share * predicted, noised + signal * predicted
        if self.prediction == "v_prediction":
            return signal * noised - share * predicted, share * noised + signal * predicted
        return (noised - share * predicted) / signal, predicted

    def time_at(self, level: float) -> int:
        """The time whose noise is nearest to this share of the deviation."""
        levels = self.noise / (self.signal.square() + self.noise.square()).sqrt()
        return int((levels - level).abs().argmin())

    @torch.no_grad()
    def denoise(self, model: Model, noised: Tensor, start: int, steps: int) -> Tensor:
        """From the time `start` to clean latents, in at most so many steps of about one length."""
        times = torch.linspace(start, 0, min(steps, start + 1)).round().long().tolist()
        clean = noised
        for place, time in enumerate(times):
            now = torch.full((len(noised),), time, device=noised.device)
            clean, noise = self.ends(model(noised, now), noised, now)
            if place + 1 < len(times):
                before = times[place + 1]
                noised = float(self.signal[before]) * clean + float(self.noise[before]) * noise
        return clean

    def generate(self, model: Model, noise: Tensor, steps: int) -> Tensor:
        """Latents from pure noise."""
        return self.denoise(model, noise, TIMES - 1, steps)

    def scheduler(self) -> Any:
        """diffusers' scheduler of this path, to save beside a U-Net."""
        from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

        if self.prediction == "flow":
            return FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMES)
        return DDPMScheduler(
            num_train_timesteps=TIMES,
            beta_start=BETAS[0],
            beta_end=BETAS[1],
            beta_schedule="scaled_linear",
            prediction_type=self.prediction,
            clip_sample=False,
        )

    def _at(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.dim() - 1))
        signal, noise = (table.to(like)[times.to(like.device)].view(shape) for table in (self.signal, self.noise))
        return signal, noise
