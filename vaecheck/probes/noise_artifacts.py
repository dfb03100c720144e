"""Noise and artefacts: what the reconstruction has where the original has nothing, or far more than the original has.

Why energy counts less where the original has texture: it hides noise (contrast masking: Legge and Foley 1980, Contrast
masking in human vision), and a decoder that invents texture of the right strength is no fault. With t = 0.02, an added
std of e over detail of std d counts as e / sqrt(1 + d^2 / (2 t^2)): as e where the picture is flat, and as t where the
energy of texture grows by half.

Why constant cards too: noise needs flat places, and not all pictures have them. On a card, what is not constant within
32 px is the model's own; the largest over greys and places counts, so that noise in one corner or in the dark is found.
A card is unlike all that a model was trained on: it counts for no more than twice what flat places of pictures show.

Why 0.02 and 0.06: 2.5 grey levels are seen in a flat place; 0.06 alone holds PSNR at 30 dB, which is what a fault is
beside VAEs that reach 25 to 35. Measured: taef2 0.003 to 0.013 on photographs (128 to 512 px), kl-f8-tiny 0.001 to
0.005 there, 0.011 on drawings and 0.012 on cards.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.images.synthetic import Card, greys
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.closeup import amplified, as_rgb
from vaecheck.probes.lattice import pattern
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.transfer import CLASSES, DETAIL, FARTHEST, FLAT_CLASSES, SIDE, Transfer, added, transfer_of
from vaecheck.results.types import Line, Panel, Plot

SEEN, PLAIN = 0.02, 0.06
CARD_AT_MOST = 2.0
WINDOW = 32
FIRST_RING = math.ceil(DETAIL * SIDE)


class NoiseArtifacts:
    """The largest std that is added, over classes of windows by the original's detail, and over constant greys."""

    id = "noise_artifacts"
    title = "noise and artefacts"
    limit = Limit(
        (None, SEEN),
        (None, PLAIN),
        "std of what is added, of [-1, 1]",
        f"{SEEN:g} is 2.5 of 255 grey levels, seen in flat places; noise of {PLAIN:g} alone holds PSNR at 30 dB",
    )
    remedy = (
        "Lower the weight of the reconstruction or of the adversarial loss and train on; if noise came without "
        "training, look for sampling or a wrong scale between encode and decode."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.sums = Transfer()

    def update(self, batch: Batch) -> None:
        self.sums.merge(transfer_of(batch))

    def examine(self, subject: Subject) -> Examined:
        classes = _by_class(self.sums)
        card = greys(subject.card_side, subject.image_channels)
        back = subject.back(card)
        own = [card_noise(one, 2 * subject.vae.card.f) if one.isfinite().all() else 0.0 for one in back]
        worst_card = max(range(len(own)), key=lambda index: own[index])
        if not classes and not back.isfinite().all():
            return Examined(unavailable(self, "Neither pictures nor constant cards came back finite."))
        worst = max(classes, key=lambda one: one[2], default=None)
        flat = _flat(self.sums)
        of_cards = own[worst_card] if flat is None else min(own[worst_card], CARD_AT_MOST * flat)
        value = max(of_cards, worst[2] if worst else 0.0)
        evidence = f"Constant grey cards come back with noise of up to {own[worst_card]:.4f}"
        if flat is not None:
            evidence += f", flat places of the pictures with {flat:.4f}"
        if worst:
            evidence += (
                f"; where the pictures have detail of std {worst[0]:.3f}, the reconstructions add {worst[1]:.4f}, "
                f"which counts as {worst[2]:.4f} after masking"
            )
        figures = {"cards": own[worst_card], "pictures": worst[2] if worst else None, "flat_places": flat}
        finding = self.limit.finding(self, value, evidence + ".", figures=figures)
        panels = (_panel(card, back, worst_card),) if finding.severity != "healthy" and own[worst_card] > 0 else ()
        return Examined(finding, (_plot(classes),) if classes else (), panels)


def card_noise(back: Tensor, cell: int) -> float:
    """One constant card as it came back, (channels, H, W) -> the largest std within Hann windows of 32 px.

    What repeats in every cell x cell pixels is the lattice's, and is left out; so are windows at the border, where
    padding makes every convolution differ, if there are others.
    """
    held = back[None].clamp(-FARTHEST, FARTHEST)
    rest = held - pattern(held, cell)
    side = min(WINDOW, *rest.shape[-2:])
    window = torch.hann_window(side, periodic=True)
    window = window[:, None] * window[None] / window.sum() ** 2
    kernel = window[None, None].expand(len(back), 1, -1, -1).contiguous()
    centred = rest - rest.mean((-2, -1), keepdim=True)
    mean = F.conv2d(centred, kernel, stride=side // 2, groups=len(back))
    square = F.conv2d(centred.square(), kernel, stride=side // 2, groups=len(back))
    variance = (square - mean.square()).clamp(min=0).mean(1)[0]
    inside = variance[1:-1, 1:-1] if min(variance.shape) > 2 else variance
    return float(inside.max().sqrt())


def _flat(sums: Transfer) -> float | None:
    """The std that is added in flat places of pictures; None where there are too few."""
    more = added(sums, slice(0, FLAT_CLASSES))
    return None if more is None else math.sqrt(float(more[FIRST_RING:].sum()))


def _by_class(sums: Transfer) -> list[tuple[float, float, float]]:
    """For every class of windows that is large enough: std of the originals' detail, of what is added, and masked."""
    found = []
    for index in range(CLASSES):
        more = added(sums, slice(index, index + 1))
        if more is None:
            continue
        detail = float(sums.original_rings[index, FIRST_RING:].sum() / sums.windows[index])
        extra = float(more[FIRST_RING:].sum())
        found.append((math.sqrt(detail), math.sqrt(extra), math.sqrt(extra / (1 + detail / (2 * SEEN**2)))))
    return found


def _plot(classes: list[tuple[float, float, float]]) -> Plot:
    texture = tuple(one[0] for one in classes)
    return Plot(
        "noise_by_texture",
        NoiseArtifacts.id,
        "lines",
        "What the reconstructions add",
        "std of the original's detail",
        "std",
        (
            Line("added", texture, tuple(one[1] for one in classes)),
            Line("after masking", texture, tuple(one[2] for one in classes)),
        ),
        log_x=all(one > 0 for one in texture),
        note=f"On the left are flat places. The second curve is judged: {SEEN:g} is a warning, {PLAIN:g} a fault.",
    )


def _panel(card: Card, back: Tensor, index: int) -> Panel:
    shown, factor = amplified(back[index])
    return Panel(
        NoiseArtifacts.id,
        NoiseArtifacts.id,
        "A constant card",
        (
            (f"card {card.labels[index]}", as_rgb(card.pixels[index], 2)),
            ("reconstruction", as_rgb(back[index], 2)),
            (f"difference from its mean x {factor:.0f}", as_rgb(shown, 2)),
        ),
        "The card is one grey; all structure is the model's own.",
    )
