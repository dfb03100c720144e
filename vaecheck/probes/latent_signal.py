"""How much of each latent channel is picture, and how much is noise; and pictures on which every channel has work.

Why differences of two pictures: a channel that holds the same map for every picture has a variance over positions,
and tells nothing. Half the mean squared difference of two pictures at one position is the variance between pictures,
without a bias, and needs no more memory than one picture.
Why cards: on grey or flat pictures the channels that hold colour or texture are silent in a healthy VAE.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.images.synthetic import as_channels, colours, patches
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.probes.protocol import Subject

QUANTILE, GAUSSIAN = 0.95, 1.959964
"""The share of a Gaussian within so many standard deviations, for a spread that outliers do not move."""
PICTURES_DIFFER = 0.2
"""Least share of the pixels' variance that is between pictures; below it they are copies of one another."""
TEXTURES = 3
CONTRAST = 0.5
"""Standard deviation of a texture's pixels, in [-1, 1]: that of photographs."""
CHROMA = 0.4
"""Of it, how much the colours differ from grey."""

Channels = NDArray[np.float64]


class Signal:
    """Moments of posterior means and variances by channel, streamed; pictures with NaN or infinity are left out.

    An observer of batches: `needs` and `update` as a probe's.
    """

    needs = frozenset({Need.POSTERIOR})

    def __init__(self) -> None:
        self.pictures = 0
        self.stochastic = False
        self._sums: dict[str, Channels] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        assert batch.pixels is not None
        means, log_vars = to_float64(batch.posterior.mean), batch.posterior.log_var
        noise = torch.zeros_like(means) if log_vars is None else to_float64(log_vars).exp()
        self.stochastic |= log_vars is not None
        for mean, var, pixels in zip(means, noise, batch.pixels, strict=True):
            if bool(mean.isfinite().all() & var.isfinite().all() & pixels.isfinite().all()):
                self._add(mean, var, to_float64(pixels))

    @property
    def mean(self) -> Channels:
        """Of posterior means, by channel: (C,)."""
        return self._mean("mean")

    @property
    def total(self) -> Channels:
        """Variance of posterior means over pictures and positions, by channel: (C,)."""
        return np.maximum(self._mean("square") - self.mean**2, 0.0)

    @property
    def between(self) -> Channels:
        """Variance of posterior means between pictures at one position: (C,).

        That over pictures and positions where there is one picture, or where the pictures are copies of one.
        """
        if "pair" not in self._sums:
            return self.total
        pixels = max(float((self._mean("pixel_square") - self._mean("pixel") ** 2).mean()), 0.0)
        differ = float(self._mean("pixel_pair").mean()) > PICTURES_DIFFER * pixels > 0
        return self._mean("pair") if differ else self.total

    @property
    def noise(self) -> Channels:
        """Mean posterior variance, by channel; 0 for a deterministic encoder: (C,)."""
        return self._mean("noise")

    def _add(self, mean: Tensor, var: Tensor, pixels: Tensor) -> None:
        self.pictures += 1
        parts = {"mean": mean, "square": mean**2, "noise": var, "pixel": pixels, "pixel_square": pixels**2}
        if self._last is not None and self._last[0].shape == mean.shape and self._last[1].shape == pixels.shape:
            before, shown = self._last
            parts |= {"pair": (mean - before) ** 2 / 2, "pixel_pair": (pixels - shown) ** 2 / 2}
        for name, part in parts.items():
            flat = part.flatten(1)
            sums = np.append(flat.sum(1).cpu().numpy(), flat.shape[1])
            self._sums[name] = self._sums.get(name, 0.0) + sums
        self._last = mean, pixels

    def _mean(self, name: str) -> Channels:
        sums = self._sums[name]
        return np.asarray(sums[:-1] / sums[-1], dtype=np.float64)


def lively(side: int, channels: int = 3) -> Tensor:
    """Patches of colours, two flat colours, and textures of natural contrast in colour: (6, channels, side, side).

    Textures are Gaussian with an amplitude of 1 / frequency, as photographs have (Field 1987), from a fixed seed.
    """
    frequency = torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side).square()
    generator = torch.Generator().manual_seed(0)
    white = torch.fft.rfft2(torch.randn(TEXTURES, 4, side, side, generator=generator))
    planes = torch.fft.irfft2(white / frequency.clamp(min=side**-2.0).sqrt(), s=(side, side))
    planes = planes - planes.mean((2, 3), keepdim=True)
    planes = planes / planes.std((2, 3), keepdim=True)
    rgb = (planes[:, :1] + CHROMA * planes[:, 1:]) * CONTRAST
    return torch.cat(
        [
            patches(side, channels).pixels,
            colours(side, channels).pixels[:2],
            as_channels(rgb.clamp(-1, 1), channels),
        ]
    )


def own_signal(subject: Subject) -> Channels:
    """Variance between `lively` cards of the posterior means at one position: (C,)."""
    means = to_float64(subject.encode(lively(subject.card_side, subject.image_channels)).mean)
    means = means[means.flatten(1).isfinite().all(1)]
    if len(means) < 2:
        return np.zeros(subject.vae.card.latent_channels)
    return means.var(0).mean((1, 2)).cpu().numpy()


def named(channels: NDArray[np.int64] | list[int], most: int = 8) -> str:
    """ "channel 2", "channels 0, 3 and 5", and no more than `most` of them."""
    names = [str(int(one)) for one in channels]
    if len(names) == 1:
        return f"channel {names[0]}"
    if len(names) > most:
        return f"channels {', '.join(names[:most])} and {len(names) - most} more"
    return f"channels {', '.join(names[:-1])} and {names[-1]}"
