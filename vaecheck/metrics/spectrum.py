"""At which spatial frequencies the latents have their energy, against the pictures they are of.

Why the cosine transform: it continues a picture by its mirror image, so that the jump between opposite borders, which
the Fourier transform would see, adds no high frequencies. Pictures and latents are transformed alike.
Why pictures are averaged over areas first: latents and pictures then have the same grid and the same frequencies, in
cycles per latent cell, of which 0.5 is the finest that a grid holds.
Why centring needs no second look: the transform is linear, so the channel's mean is in the coefficient (0, 0) alone,
and by Parseval's theorem all energy of a channel but that of its mean is count x variance.
Why quarter octaves: each has equal weight in the fitted slope, so that the many fine frequencies do not decide alone.
Why from two periods per side: coefficients of fewer mix with their neighbours, so that those of a 1/f^2 field of 32 x
32 cells come out 5 to 20 % too low. From two on the slope of 1/f^a is 0.05 to 0.1 too flat, for latents and pictures
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import dctn
from torch import Tensor

from vaecheck.cells import Cell, Rows
from vaecheck.metrics.latent_store import template
from vaecheck.metrics.latent_sums import (
    Array,
    about,
    blocks_ci95,
    centre_of,
    figure,
    filled,
    finite_rows,
    mean_where,
    of_commonest_shape,
    own_moments,
    variances,
)
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.results.types import Line, Measure, Plot

RHOS = (0.25, 0.5)
PER_OCTAVE, BANDS = 4, 28
"""Quarter octaves from 0.5 cycles per cell down; seven octaves are all that 128 cells a side hold."""
LEAST_BANDS = 3
ROUNDING = 1e-26
"""Coefficients below this share of a field's energy are float64's own rounding: a flat picture has no spectrum."""

SEC_EVIDENCE = (
    "SEC: |r| about 0.7 with gFID over 43 convolutional f16d32 tokenizers (arXiv 2606.03578, SiT-B), read off a plot; "
    "not comparable across latent shapes."
)
SLOPE_EVIDENCE = (
    "Latents that are too noisy and latents that are too smooth are both hard to generate (arXiv 2603.14645), and an "
    "autoencoder whose latents follow the spectrum of the pictures took FluxAE's DiT-XL/2 from FID 3.07 to 2.49 (arXiv "
    "2502.14831); not comparable across latent shapes."
)
SEC_DEFINITION = (
    "share of the energy of orthonormal 2-D DCT-II coefficients (u, v) with u + v > {rho} x ((h - 1) + (w - 1)), each "
    "channel brought to mean 0 and std 1 first, mean over pictures and channels (arXiv 2606.03578, eq. 7-9); lower is "
    "smoother"
)
FIT = (
    "least-squares slope of log power against log frequency in quarter octaves, from two periods per shorter side to "
    "0.5 cycles per latent cell; 0 is white noise, -2 is 1/f^2"
)


def _sec(rho: float) -> str:
    return f"sec_{100 * rho:.0f}"


TEMPLATES: Mapping[str, Measure] = {
    **{
        _sec(rho): template(
            _sec(rho), SEC_DEFINITION.format(rho=rho), better="lower", role="predicts", evidence=SEC_EVIDENCE
        )
        for rho in RHOS
    },
    "spectral_slope": template(
        "spectral_slope",
        f"{FIT}; radially averaged power of the latents, each channel brought to mean 0 and std 1",
        better=None,
        role="predicts",
        evidence=SLOPE_EVIDENCE,
    ),
    "rgb_spectral_slope": template(
        "rgb_spectral_slope",
        f"{FIT}; the pictures averaged over areas to the latent grid, mean over their channels",
        better=None,
        role="describes",
        evidence="A property of the pictures, which the latents' slope is held against.",
    ),
    "spectral_slope_gap": template(
        "spectral_slope_gap",
        "spectral_slope - rgb_spectral_slope: above 0 the latents are rougher than the pictures, below 0 smoother",
        better=None,
        role="predicts",
        evidence=SLOPE_EVIDENCE,
    ),
}


class Spectrum:
    """sec_25, sec_50, spectral_slope, rgb_spectral_slope and spectral_slope_gap.

    channels: C of the latents. Reads latents (B, C, h, w) and original (B, image channels, H, W). Of latents of
    several shapes it takes the commonest. Source: arXiv 2606.03578 (SEC). Checked against scipy.fft, 1e-9.
    """

    name = "spectrum"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, channels: int, *, seed: int = 0) -> None:
        self.count = channels
        self.seed = seed
        self.width = 2 + len(RHOS) + BANDS  # of a channel: mean, own sum of squares, energy above each rho, of bands
        self.rows = Rows(2 + channels * self.width + BANDS)  # h, w; the channels; the pictures' bands

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        batch.bring(partial(self._keep, batch.ids), batch.latents, batch.original)

    def _keep(self, ids: Sequence[str], latents: Tensor, original: Tensor) -> None:
        latents = latents.double()
        shape = (latents.shape[-2], latents.shape[-1])
        finite = latents.flatten(1).isfinite().all(1).numpy()
        latents = latents.nan_to_num(0.0, 0.0, 0.0)
        energy = _energy(latents)
        above = [(energy * _above(shape, rho)).sum((2, 3)) for rho in RHOS]
        of_channels = np.concatenate(
            [own_moments(latents, 2), np.stack(above, axis=2), energy.reshape(*energy.shape[:2], -1) @ _bands(shape)],
            axis=2,
        )
        pictures = _energy(_on_grid(original, shape)).mean(1).reshape(len(latents), -1) @ _bands(shape)
        sides = np.tile(np.array(shape, np.float64), (len(latents), 1))
        rows = np.concatenate([sides, of_channels.reshape(len(latents), -1), pictures], axis=1)
        rows[~finite] = np.nan
        self.rows.add(ids, rows)

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows}

    def compute(self) -> tuple[Measure, ...]:
        found = _Found(self)

        def measure(name: str, statistic: Callable[[Array], Array], reason: str) -> Measure:
            value = float(statistic(found.total)[0])
            return filled(
                TEMPLATES[name],
                value,
                len(found.parts),
                lost=found.lost,
                other_shape=found.other_shape,
                ci95=None if np.isnan(value) else blocks_ci95(found.parts, statistic, self.seed),
                reason=reason,
            )

        constant = "every channel is constant over these pictures"
        small = "latents of {} x {} hold too few frequencies for a slope".format(*found.shape)
        too_few = _fitted(found.shape).sum() < LEAST_BANDS
        latents = (
            constant if not found.spread(found.total).any() else small if too_few else "the latents have no detail"
        )
        pictures = small if too_few else "the pictures have no detail on the latent grid"
        gap = latents if np.isnan(found.slope(found.total)).any() else pictures
        return (
            *(measure(_sec(rho), partial(found.sec, i), constant) for i, rho in enumerate(RHOS)),
            measure("spectral_slope", found.slope, latents),
            measure("rgb_spectral_slope", found.rgb_slope, pictures),
            measure("spectral_slope_gap", lambda total: found.slope(total) - found.rgb_slope(total), gap),
        )

    def channels(self) -> tuple[Mapping[str, float | None], ...]:
        """SEC of each channel; None for a constant one."""
        found = _Found(self)
        shares = found.shares(found.total)[0]
        return tuple({_sec(rho): figure(each[i]) for i, rho in enumerate(RHOS)} for each in shares)

    def plots(self) -> tuple[Plot, ...]:
        found = _Found(self)
        frequencies = _band_frequencies(found.shape)[0][::-1]
        lines = [
            Line(label, tuple(frequencies[power > 0].tolist()), tuple((power / _level(power))[power > 0].tolist()))
            for label, power in (
                ("latents", found.power(found.total)[0, ::-1]),
                ("pictures", found.rgb_power(found.total)[0, ::-1]),
            )
            if (power > 0).any()
        ]
        return (
            Plot(
                "latent_spectrum",
                "spectral_slope",
                "lines",
                "Spectrum of the latents and of the pictures",
                "cycles per latent cell",
                "relative power",
                tuple(lines),
                log_x=True,
                log_y=True,
                note="Latents above the pictures at the right are noisier than the pictures, below them smoother; the "
                "slope is fitted from the mark to 0.5.",
                marks={"two periods per side": _lowest(found.shape)},
            ),
        )


class _Found:
    """What the rows of one Spectrum hold, of pictures with the commonest shape of latents."""

    def __init__(self, metric: Spectrum) -> None:
        rows = finite_rows(metric.rows)
        self.lost = len(metric.rows) - len(rows)
        kept, self.shape = of_commonest_shape(rows[:, :2])
        self.other_shape = int((~kept).sum())
        rows = rows[kept]
        columns = rows[:, 2:-BANDS].reshape(len(rows), metric.count, metric.width)
        elements = rows[:, 0] * rows[:, 1]
        self.centre = centre_of(columns[..., 0], elements)
        self.columns_shape = columns.shape[1:]
        moved = np.concatenate([about(columns[..., :2], elements, self.centre), columns[..., 2:]], axis=2)
        self.parts = np.concatenate([elements[:, None], moved.reshape(len(rows), -1), rows[:, -BANDS:]], axis=1)
        self.total = self.parts.sum(0, keepdims=True)

    def _columns(self, totals: Array) -> Array:
        """(n, C, width) of sums (n, ...)."""
        return np.asarray(totals[:, 1:-BANDS].reshape(-1, *self.columns_shape))

    def spread(self, totals: Array) -> Array:
        """(n, C) variances; 0 for a constant channel."""
        columns = self._columns(totals)
        return variances(columns[..., 0], columns[..., 1], totals[:, 0], self.centre)

    def shares(self, totals: Array) -> Array:
        """(n, C, rhos) SEC of each channel, NaN for a constant one: all its energy is count x variance (Parseval)."""
        energy = _or_nan(self.spread(totals)) * totals[:, :1]
        return np.asarray(self._columns(totals)[..., 2 : 2 + len(RHOS)] / energy[..., None])

    def sec(self, index: int, totals: Array) -> Array:
        """(n,) mean over the channels that vary; NaN where none does."""
        shares = self.shares(totals)[..., index]
        return mean_where(shares, np.isfinite(shares))

    def power(self, totals: Array) -> Array:
        """(n, bands) mean power of a coefficient, of the standardised latents; 0 for an empty band."""
        spread = self.spread(totals)
        bands = self._columns(totals)[..., 2 + len(RHOS) :] / _or_nan(spread)[..., None]
        varied = (spread > 0)[:, None].repeat(BANDS, axis=1)
        return self._per_coefficient(np.nan_to_num(mean_where(bands.swapaxes(1, 2), varied)), totals)

    def rgb_power(self, totals: Array) -> Array:
        """The same of the pictures."""
        return self._per_coefficient(totals[:, -BANDS:], totals)

    def slope(self, totals: Array) -> Array:
        return _slope(self.power(totals), self.shape)

    def rgb_slope(self, totals: Array) -> Array:
        return _slope(self.rgb_power(totals), self.shape)

    def _per_coefficient(self, bands: Array, totals: Array) -> Array:
        pictures = totals[:, :1] / (self.shape[0] * self.shape[1])
        return np.asarray(bands / np.maximum(_band_frequencies(self.shape)[1] * pictures, 1.0))


def _slope(power: Array, shape: tuple[int, int]) -> Array:
    """(n, bands) -> (n,): of log power against log frequency; NaN for fewer than LEAST_BANDS bands with power."""
    bands = _fitted(shape)
    there = power[:, bands] > 0
    y = np.log(np.where(there, power[:, bands], 1.0))
    x = np.where(there, np.log(_band_frequencies(shape)[0][bands]), 0.0)
    count = np.where(there.sum(1) >= LEAST_BANDS, there.sum(1), np.nan)
    x = np.where(there, x - (x.sum(1) / count)[:, None], 0.0)
    return np.asarray((x * y).sum(1) / np.where(np.isfinite(count), (x**2).sum(1), np.nan))


def _fitted(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The bands that a slope is fitted to: not empty, and of two periods per shorter side or finer."""
    return np.asarray(_band_frequencies(shape)[0] >= _lowest(shape))


def _lowest(shape: tuple[int, int]) -> float:
    """Cycles per cell of two periods along the shorter side."""
    return 2.0 / min(shape)


def _energy(fields: Tensor) -> Array:
    """(B, C, h, w) -> squared coefficients of the orthonormal 2-D DCT-II, float64."""
    energy = np.asarray(dctn(fields.double().numpy(), axes=(2, 3), norm="ortho") ** 2)
    energy[energy < ROUNDING * energy.sum((2, 3), keepdims=True)] = 0.0
    return energy


def _on_grid(original: Tensor, shape: tuple[int, int]) -> Tensor:
    """Pictures averaged over the areas of the latent cells, exactly where the sides are multiples."""
    return F.adaptive_avg_pool2d(original.double(), shape)


@lru_cache(maxsize=64)
def _above(shape: tuple[int, int], rho: float) -> Array:
    """1 where u + v > rho x ((h - 1) + (w - 1)), else 0."""
    u, v = np.indices(shape)
    return np.asarray((u + v > rho * (sum(shape) - 2)).astype(np.float64))


@lru_cache(maxsize=64)
def _frequencies(shape: tuple[int, int]) -> Array:
    """Of the coefficients, in cycles per cell: |(u / 2h, v / 2w)|."""
    u, v = np.indices(shape)
    return np.hypot(u / (2 * shape[0]), v / (2 * shape[1]))


@lru_cache(maxsize=64)
def _bands(shape: tuple[int, int]) -> Array:
    """(h w, BANDS): 1 where a coefficient is in a quarter octave; the mean and the corners above 0.5 are in none."""
    frequencies = _frequencies(shape).ravel()
    with np.errstate(divide="ignore"):
        octaves = np.log2(0.5 / frequencies)
    band = np.floor(PER_OCTAVE * octaves + 1e-9)
    inside = (frequencies > 0) & (octaves >= -1e-9) & (band < BANDS)
    return np.asarray(((band[:, None] == np.arange(BANDS)) & inside[:, None]).astype(np.float64))


@lru_cache(maxsize=64)
def _band_frequencies(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Mean frequency of each band's coefficients, 0 for an empty band, and how many there are."""
    bands = _bands(shape)
    counts = bands.sum(0)
    return np.asarray(_frequencies(shape).ravel() @ bands / np.maximum(counts, 1.0)), counts


def _level(power: Array) -> float:
    return float(power[power > 0].mean())


def _or_nan(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)
