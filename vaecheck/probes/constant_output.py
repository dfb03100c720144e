"""A reconstruction that does not depend on the picture: silent black, one grey, one mean picture for all.

Why the variance over pictures, place by place: one fixed picture has contrast and detail, and only another input
tells that it is fixed. Why inside each picture too: an overflow blackens some pictures and leaves the others, so the
least of both is judged; but where the levels of all others are off too, a picture that is crushed to black follows
from that, and contrast_shift leads. Why only what is linear in the original: noise varies too, and holds nothing of
the picture.

Why these limits: over photographs healthy models return 0.94 to 1.04 of the variance, and inside a single one 0.79
and more (0.74 on slow gradients); blur of 4 pixels leaves 0.54. At 0.15 (contrast times 0.39) a picture can hardly be
told; below 0.05 (times 0.22) nineteen parts in twenty are gone and the output is a constant with a trace of the
picture. Between them contrast_shift leads, with the gain.
"""

from __future__ import annotations

from dataclasses import replace

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.contrast_shift import ContrastShift, off_by, tone_curve
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.tones import Tones, of_clouds, varied_in_each
from vaecheck.probes.worst import Worst
from vaecheck.results.types import Panel

VARIED = 0.05
"""The least std of originals that can tell, of pixels in [-1, 1]: 6 levels of 8 bits."""
FAULT, WARNING = 0.05, 0.15


class ConstantOutput:
    """The share of the originals' variance that the reconstructions return.

    Over pictures (Tones.varied) or inside the one that returns least (varied_in_each), whichever is lower.
    """

    id = "constant_output"
    title = "The same output for every picture"
    limit = Limit(
        (WARNING, None),
        (FAULT, None),
        "share of the originals' variance",
        "healthy models return nearly all of the variance; below 0.05 nineteen parts in twenty are lost, and below "
        "0.15 a picture can hardly be told.",
    )
    remedy = (
        "Run it in float32 first; if that is no help, check that the latents reach the decoder (their scale, the "
        "weights of both halves), for it draws the same whatever it is given."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.tones = Tones(flat=0.0)
        self.others = Tones()
        self.worst = Worst()
        self.least = 1.0
        self.constant = 0

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        assert batch.finite is not None
        self.tones.watch(batch)
        std, share = varied_in_each(batch.pixels, batch.reconstruction_pixels.nan_to_num(0.0))
        told = (std >= VARIED) & batch.finite.cpu()
        constant = told & (share < FAULT)
        self.constant += int(constant.sum())
        rest = batch.finite & ~constant.to(batch.finite.device)
        self.others.watch(replace(batch, finite=rest))
        self.least = min([self.least, *share[told].tolist()])
        self.worst.watch(batch, (1 - share).where(std >= VARIED, float("nan")))

    def examine(self, subject: Subject) -> Examined:
        tones, of = self.tones, f"{self.tones.count} pictures"
        if tones.varied()[0] < VARIED:
            tones = of_clouds(subject)
            of = f"{tones.count} cards (the pictures themselves differ too little)"
        std, share = tones.varied()
        if std < VARIED and not self.worst.id:
            why = "The pictures differ too little from each other to tell, and no card came back."
            return Examined(unavailable(self, why, "Give two pictures or more that differ."))
        share = share if std >= VARIED else self.least
        evidence = f"Of the variance over {of}, place by place, {100 * share:.3g} % comes back"
        if self.worst.id:
            evidence += f"; inside {self.worst.id}, which returns least, {100 * self.least:.3g} %"
        if self.constant:
            evidence += f"; {self.constant} of {self.tones.count} pictures come back all but constant"
        figures = {"over_pictures": share, "least_inside_a_picture": self.least, "constant": float(self.constant)}
        value = share if self._crushed() else min(share, self.least)
        finding = self.limit.finding(self, value, f"{evidence}.", figures=figures)
        return Examined(finding, panels=() if finding.severity == "healthy" else self._panels())

    def _crushed(self) -> bool:
        """Whether the levels of the pictures that are not constant are off by a fault of contrast_shift."""
        fit = self.others.fit()
        return fit is not None and ContrastShift.limit.severity(off_by(tone_curve(fit)[1])) == "fault"

    def _panels(self) -> tuple[Panel, ...]:
        if not self.worst.id:
            return ()
        note = "Nothing, or next to nothing, of the original is left."
        return (Panel("constant_output", self.id, f"What is left of {self.worst.id}", self.worst.images(), note),)
