"""How much of a picture repeats with a model's strides: the energy at lattice frequencies above its neighbours'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_PERIODS = 4
"""In a side, so that the frequencies two steps beside a lattice's are no lattice's."""
LEAST_CELLS = 64
"""That a repeating pattern is told from content by."""
CHANCE = 3.0
BESIDE = 2
"""Steps to the neighbours: a Hann window spreads one frequency over one step to each side, and no farther."""


@dataclass(frozen=True)
class Energy:
    """Of one period. lattice, beside: float64 (B,), as variances of pixels: at its frequencies, and at as many beside.

    A period's frequencies are the multiples of 1 / period in both directions but for those of half the period.
    spread: standard deviation of `lattice` where there is no lattice (of noise, a spectrum's values are exponential).
    """

    lattice: Tensor
    beside: Tensor
    spread: Tensor

    @property
    def excess(self) -> Tensor:
        return self.lattice - self.beside


def families(f: int) -> tuple[tuple[int, ...], ...]:
    """The periods that a model of downsampling f may leave, each family halving: the powers of 2, and 2 f, f, f / 2.

    For f = 8: (16, 8, 4, 2). For f = 14: (16, 8, 4, 2) and (28, 14, 7).
    """
    powers = [2]
    while powers[0] < 2 * f and powers[0] * 2 <= 2 * f:
        powers.insert(0, powers[0] * 2)
    own = [2 * f]
    while own[-1] % 2 == 0 and own[-1] > 2:
        own.append(own[-1] // 2)
    return (tuple(powers),) if set(own) <= set(powers) else (tuple(powers), tuple(one for one in own if one > 2))


def energies(pictures: Tensor, family: tuple[int, ...]) -> dict[int, Energy]:
    """(B, channels, H, W) pixels -> the energies of each period of the family that fits, mean over the channels.

    |Y(u)|^2 of the Hann-windowed picture, scaled so that cos(2 pi u x) of amplitude a counts as a^2 / 2. Beside: the
    mean of two frequencies two steps away, along the rows or along the columns, the larger of both: upright and level
    edges fill whole rows of a spectrum.
    """
    largest = family[0]
    height, width = (side // largest * largest for side in pictures.shape[-2:])
    if min(height, width) < LEAST_PERIODS * largest:
        smaller = family[1:]
        return energies(pictures, smaller) if smaller else {}
    power = spectrum(pictures[..., :height, :width])
    beside = torch.maximum(_pair(power, -2), _pair(power, -1))
    found = {}
    for period in family:
        chosen = _frequencies(period, height, width)
        around = beside[:, chosen]
        found[period] = Energy(power[:, chosen].sum(1), around.sum(1), around.square().sum(1).sqrt())
    return found


def spectrum(pictures: Tensor) -> Tensor:
    """(B, channels, H, W) -> float64 (B, H, W): the power of the Hann-windowed pictures, mean over the channels."""
    window = _hann(pictures.shape[-2])[:, None] * _hann(pictures.shape[-1])[None]
    centred = pictures - pictures.mean((-2, -1), keepdim=True)
    power = torch.fft.fft2(centred.float() * window.float()).abs().square().double()
    mean: Tensor = power.mean(1) / window.sum() ** 2
    return mean


def pattern(pictures: Tensor, period: int) -> Tensor:
    """(B, channels, H, W) -> what repeats in every period x period cell, of the same shape.

    The median over cells of each place in the cell, less its mean: content, which differs from cell to cell, hardly
    moves it. Zeros where that has no more energy than CHANCE times what n cells without any lattice give, pi / 2 / n of
    their variance. With too few cells of the period, what repeats with half of it; with too few at all, zeros.
    """
    height, width = (side // period for side in pictures.shape[-2:])
    if period < 2:
        return torch.zeros_like(pictures)
    if height * width < LEAST_CELLS:
        return pattern(pictures, period // 2)
    cells = F.pixel_unshuffle(pictures[..., : height * period, : width * period].contiguous(), period)
    one = F.pixel_shuffle(cells.flatten(2).median(2).values[..., None, None], period)
    one = one - one.mean((-2, -1), keepdim=True)
    chance = math.pi / 2 / (height * width) * pictures.var((1, 2, 3), correction=0)
    one = one * (one.square().mean((1, 2, 3)) > CHANCE * chance)[:, None, None, None]
    return one.repeat(1, 1, height + 1, width + 1)[..., : pictures.shape[-2], : pictures.shape[-1]]


def _pair(power: Tensor, dim: int) -> Tensor:
    return (power.roll(BESIDE, dim) + power.roll(-BESIDE, dim)) / 2


def _frequencies(period: int, height: int, width: int) -> Tensor:
    """Bool (height, width): the multiples of 1 / period that are none of 2 / period (of an odd period: not zero)."""
    down, across = torch.arange(height), torch.arange(width)
    chosen = (down % (height // period) == 0)[:, None] & (across % (width // period) == 0)[None]
    half = 2 if period % 2 == 0 else period
    coarser = (down % (half * height // period) == 0)[:, None] & (across % (half * width // period) == 0)[None]
    return chosen & ~coarser


def _hann(side: int) -> Tensor:
    return torch.hann_window(side, periodic=True, dtype=torch.float64)
