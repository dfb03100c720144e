"""Lost detail: how little of the original's fine structure is in the reconstruction in any form.

Why coherence and not error: what is only blurred, paler or covered with noise is still there, and other probes name it.

Why the fault's limit is that of a plain reduction: latents of C channels at 1 / f of the side hold as many values as
the picture reduced to 1 / r of its side, r = f sqrt(3 / C). A model that keeps less than those values would as a small
picture is broken or untrained. Measured on photographs at 256 px: kl-f8-tiny (4 channels, r = 6.9) loses 0.42 to 0.52
where the reduction loses 0.80; taef2 (32 channels, r = 2.4) 0.10 to 0.19 where it loses 0.20 to 0.26. Of 8 pictures
drawn at random taef2 lost at most 0.75 of what the reduction loses, hence a warning from 0.85. More than 0.3 is a
warning for any model: there the limit of the capacity is seen with the naked eye, as on kl-f8-tiny.
"""

from __future__ import annotations

from dataclasses import replace

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.closeup import busiest
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.transfer import EITHER, RADII, SIDE, Transfer, reduction_of, rings, transfer_of
from vaecheck.results.types import Line, Panel, Plot

LEAST_STD = 0.01
"""Of the originals' detail, 1.3 grey levels: below it there is hardly more than the rounding to 8 bits."""
SEEN = 0.3
NEAR = 0.85
LEAST_WARNING, LEAST_FAULT, MOST_FAULT = 0.1, 0.15, 0.95
"""Whatever a reduction loses: a tenth of hardly any detail is no finding, and a twentieth of it left is no picture."""


class DetailLoss:
    """sum |Sxy|^2 / Syy over sum Sxx, over all frequencies finer than 1 / 16 cycles per pixel (transfer.py).

    Why what is kept and not what is lost: 5 % kept of 10 is half, but 95 % lost of 90 would seem alike.
    """

    id = "detail_loss"
    title = "detail lost"
    limit = Limit(
        (1 - SEEN, None),
        (1 - MOST_FAULT, None),
        "share of detail kept",
        "a fault is to keep less than the picture itself reduced to as many values as the latents have; a warning is "
        f"to come near that ({NEAR:g} of its loss) or to lose more than {SEEN:g}, which is plainly visible",
    )
    remedy = (
        "Use a VAE with more latent channels or a smaller f; if this one ought to keep more, check that its weights "
        "are trained and complete and that every latent channel reaches the decoder unrounded."
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
        card = subject.vae.card
        reduction = reduction_of(card)
        lost, reduced = sums.lost(), sums.reduced_lost(reduction)
        fault = max(LEAST_FAULT, min(reduced, MOST_FAULT))
        warning = min(SEEN, max(LEAST_WARNING, NEAR * reduced), fault)
        evidence = (
            f"{lost:.0%} of the detail finer than 16 px is not in the reconstruction in any form. The pictures reduced "
            f"to 1/{reduction:.1f} of their side, which is as many values as {card.latent_channels} latent channels at "
            f"1/{card.f}, lose {reduced:.0%}."
        )
        limit = replace(self.limit, warning=(1 - warning, None), fault=(1 - fault, None))
        figures = {"reduction": reduction, "kept_by_reduction": 1 - reduced, "detail_std": sums.detail_std}
        finding = limit.finding(self, 1 - lost, evidence, figures=figures)
        panels: tuple[Panel, ...] = ()
        if finding.severity != "healthy":
            panels = busiest(
                subject, self.id, "Detail", "What is missing on the right is not there in any form, not even blurred."
            )
        return Examined(finding, (_plot(sums, reduction),), panels)


NEEDS_DETAIL = "Give pictures with texture or edges, such as photographs of at least 128 px."


def too_plain(sums: Transfer) -> str:
    """Why detail cannot be measured on these pictures; empty where it can."""
    if not sums.count:
        return "No picture of at least 32 px came back finite."
    if sums.detail_std < LEAST_STD:
        return (
            f"The pictures hold hardly any detail to lose: structure finer than 16 px has a std of "
            f"{sums.detail_std:.4f} (of [-1, 1]), below {LEAST_STD:g}."
        )
    return ""


def ratio_by_ring(part: object, whole: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Cycles per pixel, and the ratio of two spectra (64, 33) there; rings without energy are left out."""
    above, below = rings(part), rings(whole)  # type: ignore[arg-type]
    there = [k for k in range(2, RADII) if float(below[k]) > 0]
    return tuple(k / SIDE for k in there), tuple(max(float(above[k] / below[k]), 0.0) for k in there)


def _plot(sums: Transfer, reduction: float) -> Plot:
    kept, plain = (
        ratio_by_ring(sums.kept(), sums.original),
        ratio_by_ring(sums.original * (0.5 / reduction >= EITHER), sums.original),
    )
    return Plot(
        "detail_kept",
        DetailLoss.id,
        "lines",
        "Detail that is in the reconstruction",
        "cycles per pixel",
        "share of the original's energy",
        (Line("this VAE", *kept), Line(f"reduced to 1/{reduction:.1f} of the side", *plain)),
        note="1 is all of it, 0 is none; what is only blurred counts as kept.",
        marks={"detail": 1 / 16},
    )
