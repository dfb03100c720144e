"""NaN, infinity and numbers on their way there: what encoder and decoder give on the user's pictures and on cards.

Why cards too: a model that divides by the spread of what it sees breaks on flat pictures alone, and a training set
of a million pictures holds some. Why numbers beyond 65504 count: that is the largest of float16, so that what is a
number in float32 is infinity there; and a pixel is at most 1. A log-variance above 88.7 is as bad: its exponential,
the variance that KL and sampling need, is infinite in float32.
"""

from __future__ import annotations

from torch import Tensor

from vaecheck.images.synthetic import Card, colours, greys, patches
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, ModelRefused, Subject
from vaecheck.vae.protocol import Posterior

LARGEST = 65504.0
"""Of float16."""
NAMED = 3


class NonFinite:
    """The share of pictures, or of flat cards, that come back with NaN, infinity, or numbers beyond float16.

    Why one picture is a fault: a training run that meets one such latent has NaN weights from there on.
    """

    id = "non_finite"
    title = "NaN or infinity"
    limit = Limit(
        None, (None, 0.0), "share of pictures", "one such picture ends a training run, so there is no margin."
    )
    remedy = (
        "Run the VAE in float32 (or bfloat16); if it stays, look for a division or a logarithm that meets zero, and "
        "load undamaged weights."
    )
    needs = frozenset({Need.POSTERIOR, Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.count = self.latents = self.pictures = 0
        self.first: list[str] = []

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        assert batch.latents is not None
        assert batch.reconstruction_pixels is not None
        latents = sound_latents(batch.posterior) & batch.latents.isfinite().flatten(1).all(1)
        good = latents & sound_pixels(batch.reconstruction_pixels)
        self.count += len(batch.ids)
        self.latents += int((~latents).sum())
        self.pictures += int((~good).sum())
        bad = [name for name, fine in zip(batch.ids, good.tolist(), strict=True) if not fine]
        self.first += bad[: NAMED - len(self.first)]

    def examine(self, subject: Subject) -> Examined:
        tried, broken = (0, []) if self.pictures else _cards(subject)
        figures = {
            "pictures": float(self.pictures),
            "pictures_in_latents": float(self.latents),
            "cards": float(len(broken)),
        }
        if self.pictures:
            value = self.pictures / self.count
            evidence = (
                f"{self.pictures} of {self.count} pictures came back with NaN, infinity or numbers beyond float16 "
                f"({', '.join(self.first)}); "
                f"{self._maker()}."
            )
        elif broken:
            value = len(broken) / tried
            evidence = (
                f"All {self.count} pictures came back finite, but {len(broken)} of {tried} flat cards did not "
                f"({', '.join(broken[:NAMED])})."
            )
        else:
            value = 0.0
            cards = f", and so did {tried} flat cards" if tried else ""
            evidence = f"All {self.count} pictures came back finite{cards}."
        return Examined(self.limit.finding(self, value, evidence, figures=figures))

    def _maker(self) -> str:
        if self.latents:
            return f"of {self.latents} the latents hold it already, so the encoder makes it"
        return "their latents are finite, so the decoder makes it"


def sound_latents(posterior: Posterior) -> Tensor:
    """bool (B,): whether means, log-variances and variances are all numbers."""
    sound = posterior.mean.isfinite().flatten(1).all(1)
    if posterior.log_var is not None:
        variance = posterior.log_var.float().exp()
        sound &= (posterior.log_var.isfinite() & variance.isfinite()).flatten(1).all(1)
    return sound


def sound_pixels(pixels: Tensor) -> Tensor:
    """bool (B,): whether all are numbers that float16 holds; NaN compares as no."""
    return (pixels.abs() <= LARGEST).flatten(1).all(1)


def _cards(subject: Subject) -> tuple[int, list[str]]:
    """How many flat cards went through, and the names of those that broke; a refused card breaks nothing."""
    tried, broken = 0, []
    for make in (greys, colours, patches):
        card: Card = make(subject.card_side, subject.image_channels)
        try:
            sound = sound_pixels(subject.back(card)) & sound_latents(subject.encode(card.pixels)).cpu()
        except ModelRefused:
            continue
        tried += len(card.labels)
        broken += [f"{card.name} {label}" for label, fine in zip(card.labels, sound.tolist(), strict=True) if not fine]
    return tried, broken
