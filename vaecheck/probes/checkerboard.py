"""Checkerboard: a pattern that repeats with the strides of the model's own layers (Odena et al. 2016, Deconvolution and
Checkerboard Artifacts).

Why energy above the neighbouring frequencies: content and noise fill a spectrum smoothly; a lattice is sharp peaks at
the multiples of 1 / period. Why the residual of pictures too, times the local brightness and times the local contrast:
a lattice may follow the signal, and then a grey card shows none of it. Why pictures with a lattice of their own
(screens, tiles, blocks of JPEG) are left out: what the model loses of it, or bends to another period, is not its own.

Why the median over pictures: one odd picture is not the model. Why the largest over cards: each is the model's own.

Why 0.008 and 0.03: 1 and 4 of 255 grey levels; a grating is seen from about half a per cent to 1 % of contrast
(Campbell and Robson 1968). Measured: cards at most 0.0022 (kl-f8-tiny) and 0.0009 (taef2), pictures 0.003 (taef2).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.images.synthetic import Card, colours, greys, ramps
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.closeup import amplified, as_rgb
from vaecheck.probes.lattice import Energy, energies, families, spectrum
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.transfer import FARTHEST, cell_of, finite_pairs, with_tone_of
from vaecheck.results.types import Line, Panel, Plot

SEEN, PLAIN = 0.008, 0.03
OWN_PEAK, OWN_RMS = 4.0, 0.005
"""A picture has a lattice of its own where its lattice has 4 times its neighbours' energy and this rms."""
FEWEST, FEW = 2, 4
"""Pictures: below the first nothing is said from them, below the second all must show it."""
SURE = 3.0
"""How often a card's lattice must have its neighbours' energy, or the spread of it, on top of that energy."""
AROUND = 16
"""Pixels over which brightness and contrast are local: a multiple of most periods, so that no lattice is in them."""


@dataclass(frozen=True)
class Shown:
    """The strongest lattice of the cards: its rms, and where."""

    rms: float = 0.0
    card: Card | None = None
    back: Tensor | None = None
    index: int = 0


@dataclass
class Seen:
    """Excess energies of the pictures, by period and by what the residual was weighted with."""

    excess: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def rms(self, period: int) -> float | None:
        """The lattice's, of the weighting that shows most; None for too few pictures."""
        found = [values for (one, _), values in self.excess.items() if one == period and len(values) >= FEWEST]
        typical = [float(torch.tensor(v).median()) if len(v) >= FEW else min(v) for v in found]
        return _root(max(typical)) if typical else None


class Checkerboard:
    """The rms of the strongest lattice of one period: 2, 4, 8 ... 2 f, and f's own halves."""

    id = "checkerboard"
    title = "checkerboard"
    limit = Limit(
        (None, SEEN),
        (None, PLAIN),
        "rms of the lattice, of [-1, 1]",
        f"{SEEN:g} and {PLAIN:g} are 1 and 4 of 255 grey levels; a regular pattern is seen from about 1 % of contrast",
    )
    remedy = (
        "Upsample by nearest neighbour and a convolution instead of a strided transposed convolution (or make its "
        "kernel a multiple of its stride), and train on."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.seen = Seen()

    def update(self, batch: Batch) -> None:
        for x, y in finite_pairs(batch):
            residual = (y - with_tone_of(x, y))[None]
            weighted = [residual, *(residual * weight for weight in _weights(x[None]))]
            for family in families(cell_of(batch) // 2):
                if any(_has_lattice(own) for own in energies(x[None], family).values()):
                    continue
                for index, one in enumerate(weighted):
                    for period, found in energies(one, family).items():
                        self.seen.excess[period, index].append(float(found.excess))

    def examine(self, subject: Subject) -> Examined:
        periods = sorted({one for family in families(subject.vae.card.f) for one in family})
        cards = _of_cards(subject)
        pictures = {period: self.seen.rms(period) for period in periods}
        if not cards and all(value is None for value in pictures.values()):
            return Examined(unavailable(self, "Neither pictures nor constant cards came back finite."))
        strongest = {
            period: max(pictures[period] or 0.0, cards[period].rms if period in cards else 0.0) for period in periods
        }
        worst = max(periods, key=lambda period: strongest[period])
        card = cards.get(worst, Shown())
        evidence = f"The strongest lattice has a period of {worst} px: rms {card.rms:.4f} on cards, " + (
            f"{pictures[worst]:.4f} in the pictures." if pictures[worst] is not None else "not measured in pictures."
        )
        figures = {f"period_{period}": strongest[period] for period in periods} | {"worst_period": float(worst)}
        finding = self.limit.finding(self, strongest[worst], evidence, figures=figures)
        panels = (_panel(card, worst),) if finding.severity != "healthy" and card.back is not None else ()
        spectra = (_spectrum(card),) if card.back is not None else ()
        return Examined(finding, (_bars(periods, cards, pictures), *spectra), panels)


def _weights(x: Tensor) -> tuple[Tensor, Tensor]:
    """(1, channels, H, W) -> local brightness and local contrast, each of mean square 1."""
    before, after = AROUND // 2, AROUND - 1 - AROUND // 2
    padded = F.pad(x, (before, after, before, after), mode="replicate")
    mean = F.avg_pool2d(padded, AROUND, 1)
    contrast = (F.avg_pool2d(padded.square(), AROUND, 1) - mean.square()).clamp(min=0).sqrt()
    return _unit(mean), _unit(contrast)


def _unit(weight: Tensor) -> Tensor:
    return weight / (weight.square().mean() + 1e-4).sqrt()


def _has_lattice(own: Energy) -> bool:
    return float(own.lattice) > OWN_PEAK * float(own.beside) and float(own.excess) > OWN_RMS**2


def _of_cards(subject: Subject) -> dict[int, Shown]:
    """By period, the card with the strongest lattice; empty where none came back finite."""
    side, channels = subject.card_side, subject.image_channels
    found: dict[int, Shown] = {}
    for card in (greys(side, channels), colours(side, channels), ramps(side, channels)):
        back = subject.back(card)
        for index, (one, original) in enumerate(zip(back, card.pixels, strict=True)):
            if not one.isfinite().all():
                continue
            residual = (one - original)[None].clamp(-FARTHEST, FARTHEST)
            for family in families(subject.vae.card.f):
                for period, energy in energies(residual, family).items():
                    rms = _root(float(energy.excess - SURE * torch.maximum(energy.spread, energy.beside)))
                    if period not in found or rms > found[period].rms:
                        found[period] = Shown(rms, card, back, index)
    return found


def _root(energy: float) -> float:
    return math.sqrt(max(energy, 0.0))


def _bars(periods: list[int], cards: dict[int, Shown], pictures: dict[int, float | None]) -> Plot:
    x = tuple(float(period) for period in periods)
    return Plot(
        "lattice_by_period",
        Checkerboard.id,
        "bars",
        "Lattices by period",
        "period in px",
        "rms, of [-1, 1]",
        (
            Line("cards", x, tuple(cards[period].rms if period in cards else 0.0 for period in periods)),
            Line("pictures", x, tuple(pictures[period] or 0.0 for period in periods)),
        ),
        note=f"{SEEN:g} is a warning, {PLAIN:g} a fault.",
    )


def _spectrum(shown: Shown) -> Plot:
    assert shown.card is not None
    assert shown.back is not None
    residual = (shown.back[shown.index] - shown.card.pixels[shown.index])[None].clamp(-FARTHEST, FARTHEST)
    power = spectrum(residual)[0]
    steps = torch.fft.fftfreq(len(power)).abs()
    bins = (torch.maximum(steps[:, None], steps[None]) * len(power)).round().long()
    peaks = torch.zeros(len(power) // 2 + 1, dtype=torch.float64)
    peaks.scatter_reduce_(0, bins.flatten(), power.flatten(), "amax")
    return Plot(
        "lattice_spectrum",
        Checkerboard.id,
        "lines",
        f"What a card of {shown.card.name} ({shown.card.labels[shown.index]}) comes back with",
        "cycles per pixel, the larger of both directions",
        "largest amplitude, rms",
        (
            Line(
                "residual",
                tuple(k / len(power) for k in range(1, len(peaks))),
                tuple(peaks[1:].sqrt().tolist()),
            ),
        ),
        note="A lattice is a sharp peak at multiples of 1 / period; noise and shading are smooth.",
    )


def _panel(shown: Shown, period: int) -> Panel:
    assert shown.card is not None
    assert shown.back is not None
    side = min(64, shown.back.shape[-1])
    start = (shown.back.shape[-1] - side) // 2
    place = (..., slice(start, start + side), slice(start, start + side))
    back, card = shown.back[shown.index][place], shown.card.pixels[shown.index][place]
    difference, factor = amplified(back - card)
    return Panel(
        Checkerboard.id,
        Checkerboard.id,
        f"A lattice of {period} px",
        (
            (f"card {shown.card.labels[shown.index]}", as_rgb(card, 4)),
            ("reconstruction", as_rgb(back, 4)),
            (f"difference x {factor:.0f}", as_rgb(difference, 4)),
        ),
        "The middle of a card, enlarged 4 times; every regular pattern is the model's own.",
    )
