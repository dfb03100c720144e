"""A reconstruction that does not depend on the picture: silent black, one grey, one mean picture for all.

Why the variance over pictures, place by place: one fixed picture has contrast and detail, and only another input
tells that it is fixed. Why only what is linear in the original: noise varies too, and holds nothing of the picture.

Why these limits: healthy models return 0.96 to 1.03 of the variance of photographs. At 0.15 (contrast times 0.39) the
picture can hardly be told; below 0.05 (times 0.22) nineteen parts in twenty are gone and the output is a constant
with a trace of the picture. Between them contrast_shift leads, with the gain.
"""

from __future__ import annotations

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.shown import Shown, rgb
from vaecheck.probes.tones import Tones, of_clouds
from vaecheck.results.types import Panel

VARIED = 0.05
"""The least std over pictures that can tell, of pixels in [-1, 1]: 6 levels of 8 bits."""
SHOWN = 2


class ConstantOutput:
    """The share of the originals' variance over pictures that the reconstructions return (see Tones.varied)."""

    id = "constant_output"
    title = "The same output for every picture"
    limit = Limit(
        (0.15, None),
        (0.05, None),
        "share of the originals' variance",
        "healthy models return 0.96 to 1.03 of the variance over pictures; below 0.05 nineteen parts in twenty are "
        "lost, and below 0.15 a picture can hardly be told.",
    )
    remedy = (
        "Check that the latents reach the decoder (their scale, their dtype, the weights of both halves): it draws "
        "the same picture whatever it is given."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.tones = Tones(flat=0.0)
        self.first: list[tuple[str, Shown, Shown]] = []

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        assert batch.finite is not None
        self.tones.watch(batch)
        for i, name in enumerate(batch.ids):
            if len(self.first) < SHOWN and bool(batch.finite[i]):
                before, after = (rgb(side[i : i + 1])[0] for side in (batch.pixels, batch.reconstruction_pixels))
                self.first.append((name, before, after))

    def examine(self, subject: Subject) -> Examined:
        tones, of = self.tones, f"{self.tones.count} pictures"
        if tones.varied()[0] < VARIED:
            tones = of_clouds(subject)
            of = f"{tones.count} cards (the pictures themselves differ too little)"
        std, share = tones.varied()
        if std < VARIED:
            return Examined(
                unavailable(
                    self,
                    "The pictures differ too little from each other to tell, and no card came back.",
                    "Give two pictures or more that differ.",
                )
            )
        evidence = (
            f"Of the variance over {of}, place by place, {100 * share:.3g} % comes back in the reconstructions "
            f"(std of the originals {std:.2f})."
        )
        finding = self.limit.finding(self, share, evidence, figures={"std_of_originals": std})
        return Examined(finding, panels=() if finding.severity == "healthy" else self._panels())

    def _panels(self) -> tuple[Panel, ...]:
        images = [
            image
            for name, before, after in self.first
            for image in ((f"original {name}", before), (f"reconstruction {name}", after))
        ]
        if not images:
            return ()
        note = "Different originals, and nearly the same reconstruction."
        return (Panel("constant_output", self.id, "What comes back of different pictures", tuple(images), note),)
