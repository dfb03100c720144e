"""Blur: how soft the reconstruction looks beside the original, as the sigma of a Gaussian that is as soft.

Why a warning from what is seen and a fault from what is beyond the lost detail: a decoder of least squared error leaves
out what it does not know, so that few latent channels (or a KL weight that is too high) give a real blur, and no
filter would mend it. That is a limit of capacity. Softer by a Gaussian of 1 px than the lost detail explains is a
decoder that spoils what it has: at sigma 1 half the contrast is left at 0.19 cycles per pixel, as in a picture enlarged
from two fifths of its side. Variances of Gaussians add, so the fault's limit is sqrt(1 + explained^2).
Sigma 0.5 leaves half the contrast at 0.37 cycles per pixel, three quarters of the way to the finest grid: the least
that is seen side by side. Measured: taef2 0.00 on photographs of 128 to 512 px, grey ones and drawings (one picture in
a hundred alone 0.4); kl-f8-tiny 0.72 to 0.95, of which its lost detail explains 0.61 to 0.94.
"""

from __future__ import annotations

import math
from dataclasses import replace

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.closeup import busiest
from vaecheck.probes.detail_loss import NEEDS_DETAIL, ratio_by_ring, too_plain
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.transfer import Transfer, transfer_of
from vaecheck.results.types import Line, Panel, Plot

SOFT, BEYOND = 0.5, 1.0


class Blur:
    """Sigma in px with sum Sxx exp(-4 pi^2 sigma^2 f^2) = sum Syy over f >= 1 / 16 cycles per pixel (transfer.py)."""

    id = "blur"
    title = "blur"
    limit = Limit(
        (None, SOFT),
        (None, BEYOND),
        "px (sigma of an equal Gaussian)",
        f"a Gaussian of {SOFT:g} px is the least that is seen side by side; a fault is {BEYOND:g} px on top of what "
        "the lost detail explains",
    )
    remedy = (
        "Train the decoder further with a perceptual and an adversarial loss or lower the KL weight, and look for "
        "smoothing or resizing of its output."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.sums = Transfer()

    def update(self, batch: Batch) -> None:
        self.sums.merge(transfer_of(batch))

    def examine(self, subject: Subject) -> Examined:
        sums = self.sums
        if refusal := too_plain(sums):
            return Examined(unavailable(self, refusal, NEEDS_DETAIL))
        sigma, explained = sums.blur(), sums.explained_blur()
        fault = math.hypot(BEYOND, explained)
        evidence = (
            f"Reconstructions are as soft as the originals blurred by {sigma:.2f} px; leaving out the detail that is "
            f"lost explains {explained:.2f} px."
            if sigma > 0
            else "Reconstructions hold as much energy of detail as the originals: no blur."
        )
        limit = replace(self.limit, fault=(None, fault))
        figures = {"explained_by_lost_detail": explained, "detail_std": sums.detail_std}
        finding = limit.finding(self, sigma, evidence, figures=figures)
        panels: tuple[Panel, ...] = ()
        if finding.severity != "healthy":
            panels = busiest(subject, self.id, "Sharpness", "Edges on the right should be as steep as on the left.")
        return Examined(finding, (_plot(sums, sigma),), panels)


def _plot(sums: Transfer, sigma: float) -> Plot:
    x, seen = ratio_by_ring(sums.clean(), sums.original)
    _, kept = ratio_by_ring(sums.kept().clamp(min=0.0), sums.original)
    gaussian = tuple(math.exp(-2 * (math.pi * sigma * f) ** 2) for f in x)
    return Plot(
        "sharpness",
        Blur.id,
        "lines",
        "Contrast of detail beside the original's",
        "cycles per pixel",
        "amplitude over the original's",
        (
            Line("this VAE", x, tuple(math.sqrt(one) for one in seen)),
            Line("explained by lost detail", x, tuple(math.sqrt(one) for one in kept)),
            Line(f"Gaussian of {sigma:.2f} px", x, gaussian),
        ),
        note="1 is as sharp as the original; below the second curve, the decoder blurs what it has.",
        marks={"detail": 1 / 16},
    )
