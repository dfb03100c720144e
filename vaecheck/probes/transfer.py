"""How the round trip carries detail, frequency by frequency: what detail_loss, blur and noise_artifacts are read from.

Why windows and cross-spectra: one pass gives three figures that do not move each other. Of an original x and a
reconstruction y, over Hann windows of 64 px: Sxx, Syy, Sxy. The coherent share |Sxy|^2 / (Sxx Syy) is what of x is in
y at all: a linear blur leaves it at 1, lost detail lowers it, and for a decoder of least squared error |Sxy| = Syy.
Syy / Sxx is how sharp y looks. Syy - Sxx where x is flat is what y has and x has not (Bendat and Piersol, Random Data,
chapter 9). They are ratios to what went in, so that blurry pictures accuse nobody.

A Hann window lets a ten thousandth of the energy of coarse structure through to fine: detail that is left with less
than a hundredth of its contrast counts as lost, as it would after rounding to 8 bits.

Why the tone curve is taken out first: each channel of x goes through the cubic that fits y best on averages of
squares. Contrast, brightness and gamma belong to contrast_shift, and a curve makes energy that x has not.

Why the lattice is taken out of y first: what repeats with the latents' stride belongs to checkerboard.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.protocol import Batch
from vaecheck.probes.lattice import pattern
from vaecheck.results.types import VAECard

SIDE = 64
"""Of a window, in pixels; of smaller pictures, their shorter side, filled up with zeros."""
LEAST_SIDE = 32
MOST_ACROSS = 16
"""Windows along one side of a picture: 225 of 512 px at half a window's step, fewer for their size of larger ones."""
DETAIL = 1 / 16
"""Detail is what is finer than this, in cycles per pixel: every structure smaller than 16 px."""
FLATTEST, STEP = -8.0, 0.5
"""Windows are sorted by the std of x's detail: below 2^-8, then in steps of half an octave up to 2^-2."""
CLASSES = 14
RADII = SIDE // 2 + 1
"""Rings of one step of 1 / 64 cycles per pixel, up to Nyquist; the corners beyond count with the last."""
FLAT_CLASSES = 5
"""The first classes: std of detail below 2^-6, two grey levels of 255."""
LEAST_WINDOWS = 8
"""Of a class, for its noise to be told."""
CODES_BITS = 8
MOST_CHANNELS = 32
LEAST_GAIN = 0.05
FARTHEST = 100.0
"""Pixels of a model that explodes are held here, so that squares of them are finite."""


def frequencies() -> tuple[Tensor, Tensor]:
    """float64 (64, 33), of the half-plane of a real picture's spectrum: radius, and the larger of both directions."""
    down = torch.fft.fftfreq(SIDE, dtype=torch.float64)[:, None].abs()
    across = torch.fft.rfftfreq(SIDE, dtype=torch.float64)[None]
    return torch.hypot(down, across), torch.maximum(down, across)


RADIUS, EITHER = frequencies()
MIRRORED = torch.full((SIDE, RADII), 2.0, dtype=torch.float64)
MIRRORED[:, [0, -1]] = 1.0
"""How often each frequency of the half-plane stands in the whole."""
FINE = RADIUS >= DETAIL
RING = (RADIUS * SIDE).round().long().clamp(max=RADII - 1)


def energy(spectrum: Tensor) -> float:
    """The sum over all detail, (64, 33) -> a variance of pixels."""
    return float((spectrum * MIRRORED)[FINE].sum())


def rings(spectrum: Tensor) -> Tensor:
    """(..., 64, 33) -> (..., 33): sums over rings of one radius."""
    weighted = (spectrum * MIRRORED).flatten(-2)
    found = weighted.new_zeros((*weighted.shape[:-1], RADII))
    return found.index_add_(-1, RING.flatten(), weighted)


@dataclass
class Transfer:
    """Sums over windows, float64; added to by `add`.

    original, reconstruction, cross: of the mean of the channels, (64, 33). windows: how many by class of detail.
    original_rings, reconstruction_rings: by class, mean over the channels, (CLASSES, 33).
    """

    original: Tensor = field(default_factory=lambda: torch.zeros(SIDE, RADII, dtype=torch.float64))
    reconstruction: Tensor = field(default_factory=lambda: torch.zeros(SIDE, RADII, dtype=torch.float64))
    cross: Tensor = field(default_factory=lambda: torch.zeros(SIDE, RADII, dtype=torch.complex128))
    windows: Tensor = field(default_factory=lambda: torch.zeros(CLASSES, dtype=torch.float64))
    original_rings: Tensor = field(default_factory=lambda: torch.zeros(CLASSES, RADII, dtype=torch.float64))
    reconstruction_rings: Tensor = field(default_factory=lambda: torch.zeros(CLASSES, RADII, dtype=torch.float64))
    channels: int = 1

    def merge(self, other: Transfer) -> None:
        self.original += other.original
        self.reconstruction += other.reconstruction
        self.cross += other.cross
        self.windows += other.windows
        self.original_rings += other.original_rings
        self.reconstruction_rings += other.reconstruction_rings
        self.channels = max(self.channels, other.channels)

    def add_pair(self, x: Tensor, y: Tensor, cell: int = 1) -> None:
        """One picture and its reconstruction, (channels, H, W) pixels. cell: the period of a lattice to leave out."""
        toned = with_tone_of(x, y)
        y = y - pattern((y - toned)[None], cell)[0]
        across, down = _spectra(toned), _spectra(y)
        p, q = _power(across), _power(down)
        mean_x, mean_y = across.mean(1), down.mean(1)
        self.original += _power(mean_x).sum(0)
        self.reconstruction += _power(mean_y).sum(0)
        self.cross += (mean_x.conj() * mean_y).sum(0).to(torch.complex128)
        p, q = rings(p.mean(1)), rings(q.mean(1))
        detail = p[:, math.ceil(DETAIL * SIDE) :].sum(1).sqrt()
        chosen = ((detail.clamp(min=1e-9).log2() - FLATTEST) / STEP).ceil().long().clamp(0, CLASSES - 1)
        self.windows.index_add_(0, chosen, torch.ones_like(detail))
        self.original_rings.index_add_(0, chosen, p)
        self.reconstruction_rings.index_add_(0, chosen, q)
        self.channels = len(x)

    @property
    def count(self) -> int:
        return int(self.windows.sum())

    @property
    def detail_std(self) -> float:
        """Of the originals, in pixels of [-1, 1]."""
        return math.sqrt(energy(self.original) / self.count) if self.count else 0.0

    def kept(self) -> Tensor:
        """(64, 33): the energy of the original that the reconstruction holds, |Sxy|^2 / (Syy - its noise).

        Less what chance gives: of n independent windows without relation, |Sxy|^2 / (Sxx Syy) is 1 / n. Windows that
        overlap by half count as half.
        """
        coherent = self._explained() / self.clean().clamp(min=1e-30)
        return self.original * coherent.clamp(max=1.0)

    def clean(self) -> Tensor:
        """(64, 33): Syy less the noise of flat windows, but never less than what the original explains of it."""
        return torch.maximum(self.reconstruction - self.noise() * self.count, self._explained())

    def _explained(self) -> Tensor:
        """(64, 33): the energy of the reconstruction that the original explains, |Sxy|^2 / Sxx, less what chance gives.

        Why chance is taken off before anything is divided: where noise hides all of the original, chance is all that
        is left of |Sxy|^2, and it must not count as detail.
        """
        windows = max(self.count / 2, 2.0)
        beyond = self.cross.abs().square() - self.original * self.reconstruction / windows
        return beyond.clamp(min=0.0) * windows / (windows - 1) / self.original.clamp(min=1e-30)

    def noise(self) -> Tensor:
        """(64, 33): the spectrum of one window's noise, as the flattest windows show it; of the mean of the channels.

        Why divided by the channels: that is what the mean of independent noise has. Of noise that is the same in all
        channels too little is taken, so that what is left of it may hide some blur, but none is invented.
        """
        flat = added(self, slice(0, FLAT_CLASSES))
        if flat is None:
            return torch.zeros_like(self.original)
        shares = MIRRORED.new_zeros(RADII).index_add_(0, RING.flatten(), MIRRORED.flatten())
        return (flat / shares)[RING] / self.channels

    def lost(self) -> float:
        """The share of the original's detail that is not in the reconstruction at all."""
        return min(max(1.0 - energy(self.kept()) / energy(self.original), 0.0), 1.0)

    def blur(self) -> float:
        """Sigma in px of the Gaussian that takes as much energy of detail from the originals as is missing."""
        return sigma_of(self.original, energy(self.clean()))

    def explained_blur(self) -> float:
        """Sigma in px that a decoder of least squared error would have, which leaves out exactly what is lost."""
        return sigma_of(self.original, energy(self.kept()))

    def reduced_lost(self, reduction: float) -> float:
        """The share of detail that the best reduction to 1 / `reduction` of the side loses: all above Nyquist there."""
        return energy(self.original * (0.5 / reduction < EITHER)) / energy(self.original)


_last: tuple[weakref.ref[Batch], Transfer] | None = None


def transfer_of(batch: Batch) -> Transfer:
    """Of the pictures of a batch that came back finite; none where they are smaller than LEAST_SIDE.

    Why the last one is kept: three probes watch the same walk, and each asks for the same sums.
    """
    global _last
    if _last is not None and _last[0]() is batch:
        return _last[1]
    found = Transfer()
    if min(batch.original.shape[-2:]) >= LEAST_SIDE:
        for x, y in finite_pairs(batch):
            found.add_pair(x, y, cell_of(batch))
    _last = weakref.ref(batch), found
    return found


def added(transfer: Transfer, classes: slice) -> Tensor | None:
    """(33,), by ring: the energy that one window's reconstruction has and the original has not; None for few windows.

    Where it is less than the original's it counts as none: that is blur.
    """
    windows = float(transfer.windows[classes].sum())
    if windows < LEAST_WINDOWS:
        return None
    more = transfer.reconstruction_rings[classes].sum(0) - transfer.original_rings[classes].sum(0)
    return (more / windows).clamp(min=0.0)


def sigma_of(spectrum: Tensor, remaining: float) -> float:
    """Sigma in px of the Gaussian blur that leaves `remaining` of the energy of detail; 0 where nothing is missing.

    Solves sum over f of S(f) exp(-4 pi^2 sigma^2 f^2) = remaining, by halving; at most 20.
    """
    low, high = 0.0, 20.0
    if remaining >= energy(spectrum):
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        left = energy(spectrum * torch.exp(-4 * (math.pi * middle * RADIUS) ** 2))
        low, high = (middle, high) if left > remaining else (low, middle)
    return low


def reduction_of(card: VAECard) -> float:
    """To which part of the side a picture is reduced to have as many values as these latents: f sqrt(channels / C).

    Of a codebook, log2(entries) bits a position count as values of 8 bits. At most 32 channels count: the hundreds of
    a semantic encoder are not there for detail.
    """
    channels = float(min(card.latent_channels, MOST_CHANNELS))
    if card.codebook_size:
        channels = min(channels, max(math.log2(card.codebook_size), 1.0) / CODES_BITS)
    return max(card.f * math.sqrt(card.image_channels / channels), 1.0)


def finite_pairs(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Originals and reconstructions, (channels, H, W) float32 in [-1, 1] each, on the CPU; without NaN and infinity."""
    assert batch.pixels is not None
    assert batch.reconstruction_pixels is not None
    assert batch.finite is not None
    fine = batch.finite.cpu()
    x, y = batch.pixels.cpu().float()[fine], batch.reconstruction_pixels.cpu().float()[fine]
    return list(zip(x, y.clamp(-FARTHEST, FARTHEST), strict=True))


def cell_of(batch: Batch) -> int:
    """The side of the cell that repeats with a model's strides: 2 f."""
    assert batch.latents is not None
    return 2 * max(round((batch.original.shape[-2] + batch.padded[0]) / batch.latents.shape[-2]), 1)


def with_tone_of(x: Tensor, y: Tensor) -> Tensor:
    """x with each channel through the cubic that fits y's on averages of squares of up to 16 px.

    (channels, H, W) twice -> the same. The fit leans to the identity, by 1e-4 of a variance of 1, where x says nothing.
    A curve that is as good as flat is not applied: then y holds nothing of x, and that is to be seen.
    """
    side = max(min(16, min(x.shape[-2:]) // 8), 1)
    means_x, means_y = (F.avg_pool2d(one[None], side)[0].flatten(1).double() for one in (x, y))
    powers = torch.stack([means_x**k for k in range(4)], -1)  # (channels, n, 4)
    lean = 1e-4 * torch.eye(4, dtype=torch.float64)
    left = powers.mT @ powers / powers.shape[1] + lean
    right = powers.mT @ means_y[..., None] / powers.shape[1] + lean[:, 1:2]
    curve = torch.linalg.solve(left, right)  # (channels, 4, 1)
    flat = (powers @ curve).std(1, correction=0)[:, 0] <= LEAST_GAIN * means_x.std(1, correction=0)
    curve[flat] = lean[:, 1:2] / 1e-4
    c = curve[..., 0].to(x)[..., None, None].unbind(1)
    toned: Tensor = c[0] + x * (c[1] + x * (c[2] + x * c[3]))
    return toned


def _spectra(picture: Tensor) -> Tensor:
    """(channels, H, W) -> (windows, channels, 64, 33) complex, scaled so that |.|^2 sums to the variance."""
    side = min(SIDE, *picture.shape[-2:])
    window = torch.hann_window(side, periodic=True)
    window = window[:, None] * window[None]
    tops, lefts = (_starts(length, side) for length in picture.shape[-2:])
    cut = torch.stack([picture[:, top : top + side, left : left + side] for top in tops for left in lefts])
    means = (cut * window).sum((-2, -1), keepdim=True) / window.sum()
    scale = 1 / math.sqrt(float(window.square().sum()) * SIDE * SIDE)
    spectra: Tensor = torch.fft.rfft2((cut - means) * window, s=(SIDE, SIDE)) * scale
    return spectra


def _starts(length: int, side: int) -> Sequence[int]:
    count = min(max(round((length - side) / (side / 2)) + 1, 1), MOST_ACROSS)
    return [round(place) for place in torch.linspace(0, length - side, count).tolist()]


def _power(spectra: Tensor) -> Tensor:
    return spectra.abs().square().double()
