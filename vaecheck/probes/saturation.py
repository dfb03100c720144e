"""The share of each channel's latents that sit exactly at its largest or its smallest value, streamed.

Only latents over pixels that are not flat count, since flat regions share their latents in a healthy model too.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import Levels as PixelLevels
from vaecheck.pixels import to_float64, to_image
from vaecheck.probes.latent_signal import Channels

DETAIL = 2.0
"""Local standard deviation, in grey levels, from which the pixels under a latent are not flat."""
DISTINCT = 0.5
"""Least share of different values between the extremes; quantised latents have fewer, and are not judged."""
SAME = 1e-6
"""Relative distance of two values that count as one."""


class Saturation:
    """Latents at the extremes of their channels.

    Why a float that repeats is a clamp: of latents that no one clamps, one value is the largest, and one latent has it.
    """

    def __init__(self) -> None:
        self._sides: dict[float, tuple[Tensor, Tensor]] = {}
        self._elements = self._between = self._distinct = 0

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        assert batch.pixels is not None
        for mean, pixels in zip(to_float64(batch.posterior.mean).cpu(), batch.pixels.cpu(), strict=True):
            if bool(mean.isfinite().all() & pixels.isfinite().all()):
                self._add(mean.flatten(1)[:, _detailed(pixels, *mean.shape[-2:]).flatten()])

    @property
    def judged(self) -> bool:
        """Whether there were latents over detail, and of continuous values."""
        return self._elements > 0 and self._distinct >= DISTINCT * self._between

    def shares(self) -> tuple[Channels, Channels]:
        """By channel: the share at the extreme that more sit at, and that value; both (C,)."""
        # one latent is always the largest
        shares = np.stack([((count - 1) / self._elements).numpy() for _, count in self._sides.values()])
        values = np.stack([(sign * largest).numpy() for sign, (largest, _) in self._sides.items()])
        side = shares.argmax(0)[None]
        return np.take_along_axis(shares, side, 0)[0], np.take_along_axis(values, side, 0)[0]

    def _add(self, values: Tensor) -> None:
        """values: (C, n) of one picture."""
        if not values.shape[1]:
            return
        self._elements += values.shape[1]
        extreme = torch.zeros_like(values, dtype=torch.bool)
        for sign in (1.0, -1.0):
            largest = (sign * values).amax(1)
            there = _same(sign * values, largest[:, None])
            extreme |= there
            count = there.sum(1).double()
            if sign in self._sides:
                before, counted = self._sides[sign]
                joint = torch.where(largest > before, count, counted)
                count = torch.where(_same(largest, before), count + counted, joint)
                largest = torch.maximum(largest, before)
            self._sides[sign] = largest, count
        between = values[~extreme]
        self._between += between.numel()
        self._distinct += torch.unique(between).numel()


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs() <= SAME * other.abs()


def _detailed(pixels: Tensor, height: int, width: int) -> Tensor:
    """bool (h, w): whether the pixels (channels, H, W) under a latent, of which a last row may be padding, have detail.

    By the standard deviation of 3 x 3 pixels, the largest under each latent.
    """
    image = to_image(pixels, PixelLevels.NONE).double()[None]
    spread = F.avg_pool2d(image.square(), 3, 1, 1, count_include_pad=False)
    spread = spread - F.avg_pool2d(image, 3, 1, 1, count_include_pad=False).square()
    return (F.adaptive_max_pool2d(spread, (height, width)).amax((0, 1)) > DETAIL**2).bool()
