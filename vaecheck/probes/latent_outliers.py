"""Outliers: latents far out of their channel's range, on which a diffusion model spends its loss.

z = (latent - median) / scale of its channel, over all pictures. The scale is the 95 % quantile of the distance from the
median over 1.96: of a Gaussian that is the standard deviation, and outliers of up to one latent in 20 do not move it.
Where whole pictures explode they are more than that: the scale is at most twice the root mean square distance of the
median picture. Per channel, so that a channel of large scale is no outlier.

Why not the MAD: latents of sparse filters are near 0 in most places, and every edge is 100 MADs off (a DCT's are).
Why a histogram: a quantile about the median of all is needed, and the latents are too many to keep. Its bins are
1 % of the distance from the first picture's median wide.
Why cards: on drawings and flat pictures most latents of a channel are one value, so that there is no scale. It is that
of `lively` cards where that is larger.
Why 12 and 24: with an exponential tail (a Laplace distribution, heavier than latents of photographs have) the largest
of a million latents lies at 9, of 100 million at 12; twice that takes another mechanism (a spike, an overflowing unit,
a picture that explodes). Healthy: kl-f8-tiny at most 5.5 and taef2 8.2 on photographs, drawings, grey and flat
pictures; a DCT, whose coefficients are sparse, 17 on photographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.probes.latent_signal import GAUSSIAN, QUANTILE, Channels, lively
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.results.types import Line, Plot

FINENESS = 100
"""Bins for each factor of e of the distance from the centre."""
SMALLEST, LARGEST = 1e-6, 1e12
MOST = 2.0
"""The scale is at most so many times the typical picture's."""
TAIL = 10.0
"""Robust sigmas from which a latent's energy is counted as an outlier's."""
PLACES = 0.5
"""Share of the pictures whose largest latent sits in one place, from which the place is told."""

Counts = NDArray[np.float64]


class LatentOutliers:
    """The largest distance of any latent from its channel's median, in robust standard deviations of the channel."""

    id = "latent_outliers"
    title = "latents far out of range"
    limit = Limit(
        (None, 12.0),
        (None, 24.0),
        "robust standard deviations",
        "the largest of 100 million latents with an exponential tail, heavier than photographs make it, lies at 12; "
        "twice that is no tail but a spike",
    )
    remedy = (
        "Raise the KL weight a little or clip the gradients, and train again; until then clamp the latents to 10 "
        "standard deviations before a U-Net is trained on them."
    )
    needs = frozenset({Need.POSTERIOR})

    def __init__(self) -> None:
        self.spread: Spread | None = None
        self.extremes: list[Extreme] = []

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        for name, mean in zip(batch.ids, to_float64(batch.posterior.mean).cpu(), strict=True):
            if not bool(mean.isfinite().all()):
                continue
            if self.spread is None:
                self.spread = Spread(mean.flatten(1).median(1).values)
            self.spread.add(mean.flatten(1))
            self.extremes.append(Extreme.of(name, mean, self.spread.centre))

    def examine(self, subject: Subject) -> Examined:
        if self.spread is None:
            return Examined(unavailable(self, "No picture has finite latents, so there is no range to measure."))
        medians, sigmas = self._scale(subject)
        if not (sigmas > 0).any():
            return Examined(unavailable(self, "The latents of every picture are all the same."))
        distances = np.array([one.distances(medians, sigmas) for one in self.extremes])  # (pictures, C)
        channel, picture = int(distances.max(0).argmax()), int(distances.max(1).argmax())
        energies = self.spread.energy_beyond(medians, TAIL * sigmas)
        value = float(distances.max())
        evidence = (
            f"The farthest latent lies {value:.1f} robust standard deviations from its median (channel {channel}, "
            f"{self.extremes[picture].id})"
        )
        if self.limit.severity(value) == "healthy":
            evidence += "."
        else:
            evidence += f"; those beyond {TAIL:.0f} hold {energies[channel]:.1%} of that channel's variance."
            evidence += self._where(distances)
        figures = {
            "channel": float(channel),
            "energy_of_outliers": float(energies.max()),
            "pictures_with_outliers": float((distances.max(1) > TAIL).sum()),
        }
        return Examined(self.limit.finding(self, value, evidence, figures=figures), (_plot(distances),))

    def _scale(self, subject: Subject) -> tuple[Channels, Channels]:
        """Median and robust standard deviation of each channel: both (C,)."""
        assert self.spread is not None
        medians = self.spread.medians()
        typical = np.sort([one.distance(medians) for one in self.extremes], axis=0)[(len(self.extremes) - 1) // 2]
        sigmas = np.minimum(self.spread.quantile_away(medians, QUANTILE) / GAUSSIAN, MOST * typical)
        means = to_float64(subject.encode(lively(subject.card_side, subject.image_channels)).mean).cpu()
        means = means[means.flatten(1).isfinite().all(1)].transpose(0, 1).flatten(1)
        if means.shape[1]:
            away = (means - means.median(1, keepdim=True).values).abs()
            sigmas = np.maximum(sigmas, away.quantile(QUANTILE, dim=1).numpy() / GAUSSIAN)
        return medians, sigmas

    def _where(self, distances: Channels) -> str:
        """The place that most pictures' farthest latents share, or how many pictures have one."""
        far = [one for one, distance in zip(self.extremes, distances.max(1), strict=True) if distance > TAIL]
        places = [
            one.places[int(row.argmax())] for one, row in zip(far, distances[distances.max(1) > TAIL], strict=True)
        ]
        commonest = max(sorted(set(places)), key=places.count)
        if len(far) > 1 and places.count(commonest) > PLACES * len(self.extremes):
            return f" They sit at row {commonest[0]}, column {commonest[1]} in {places.count(commonest)} pictures."
        return f" {len(far)} of {len(self.extremes)} pictures hold such."


@dataclass(frozen=True)
class Extreme:
    """One picture's latents by channel, (C,): smallest, largest, mean, mean square, and where the farthest sits."""

    id: str
    low: Channels
    high: Channels
    mean: Channels
    square: Channels
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, name: str, mean: Tensor, centre: Tensor) -> Extreme:
        """mean: (C, h, w) float64."""
        flat = mean.flatten(1)
        far = (flat - centre[:, None]).abs().argmax(1).tolist()
        places = tuple(divmod(place, mean.shape[-1]) for place in far)
        low, high, average, square = (
            figure.numpy() for figure in (flat.amin(1), flat.amax(1), flat.mean(1), flat.square().mean(1))
        )
        return cls(name, low, high, average, square, places)

    def distance(self, medians: Channels) -> Channels:
        """Root mean square distance from the medians: (C,)."""
        squares: Channels = np.maximum(self.square - 2 * medians * self.mean + medians**2, 0.0)
        return np.sqrt(squares)

    def distances(self, medians: Channels, sigmas: Channels) -> Channels:
        """In sigmas, (C,); 0 in a channel that has none."""
        far = np.maximum(self.high - medians, medians - self.low)
        return np.divide(far, sigmas, out=np.zeros_like(far), where=sigmas > 0)


class Spread:
    """A histogram for each channel, in steps that grow with the distance from `centre`."""

    def __init__(self, centre: Tensor) -> None:
        """centre: (C,) float64."""
        self.centre = centre
        self.half = int(np.log(LARGEST / SMALLEST) * FINENESS) + 1
        self.counts: Counts = np.zeros((len(centre), 2 * self.half + 1))
        steps = SMALLEST * np.exp(np.arange(self.half) / FINENESS)
        self.offsets = np.concatenate([-steps[::-1], [0.0], steps])

    def add(self, values: Tensor) -> None:
        """values: (C, n) float64."""
        away = values - self.centre[:, None]
        steps = ((away.abs().clamp(SMALLEST, LARGEST) / SMALLEST).log() * FINENESS).round().long() + 1
        steps = torch.where(away.abs() < SMALLEST, 0, steps.clamp(max=self.half))
        bins = self.half + steps * away.sign().long()
        width = self.counts.shape[1]
        places = bins + width * torch.arange(len(values))[:, None]
        self.counts += torch.bincount(places.flatten(), minlength=self.counts.size).numpy().reshape(self.counts.shape)

    def medians(self) -> Channels:
        away = np.array([_quantile(self.offsets, counts, 0.5) for counts in self.counts])
        return np.asarray(self.centre.numpy() + away, dtype=np.float64)

    def quantile_away(self, medians: Channels, share: float) -> Channels:
        """The distance from the medians that `share` of the latents keep within: (C,)."""
        away = self._away(medians)
        return np.array([_quantile(one, counts, share) for one, counts in zip(away, self.counts, strict=True)])

    def energy_beyond(self, medians: Channels, distance: Channels) -> Channels:
        """Share of sum((latent - median)^2) that latents farther than `distance` hold: (C,)."""
        away = self._away(medians)
        energies = self.counts * away**2
        whole, far = energies.sum(1), (energies * (away > distance[:, None])).sum(1)
        shares: Channels = np.divide(far, whole, out=np.zeros_like(far), where=whole > 0)
        return shares

    def _away(self, medians: Channels) -> Counts:
        return np.abs(self.offsets[None] + (self.centre.numpy() - medians)[:, None])


def _quantile(values: Counts, counts: Counts, share: float) -> float:
    """The least of values that came `counts` times which `share` of them do not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    return float(values[order[np.searchsorted(reached, share * reached[-1])]])


def _plot(distances: Channels) -> Plot:
    """distances: (pictures, C)."""
    farthest = distances.max(0)
    return Plot(
        name="latent_outliers",
        about=LatentOutliers.id,
        kind="bars",
        title="The farthest latent of each channel",
        x_label="latent channel",
        y_label="robust standard deviations",
        lines=(Line("farthest", tuple(map(float, range(len(farthest)))), tuple(map(float, farthest))),),
        note="A Gaussian's farthest of a million lies at 5, an exponential tail's at 9.",
    )
