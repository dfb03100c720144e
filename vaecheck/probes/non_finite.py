"""NaN and infinity: what the encoder or the decoder gives on the user's own pictures."""

from __future__ import annotations

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, Subject


class NonFinite:
    """The share of pictures whose latents or whose reconstruction hold NaN or infinity.

    Why one picture is a fault: a training run that meets one such latent has NaN weights from there on.
    """

    id = "non_finite"
    title = "NaN or infinity"
    limit = Limit(None, (None, 0.0), "share of pictures", "one such picture ends a training run, so there is no margin")
    remedy = "Run the VAE in float32 (or bfloat16); if it stays, load undamaged weights: these hold or make NaN."
    needs = frozenset({Need.POSTERIOR, Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.count = self.latents = self.pictures = 0
        self.first: list[str] = []

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None and batch.latents is not None
        assert batch.finite is not None
        latents = batch.posterior.mean.isfinite().flatten(1).all(1) & batch.latents.isfinite().flatten(1).all(1)
        good = latents & batch.finite
        self.count += len(batch.ids)
        self.latents += int((~latents).sum())
        self.pictures += int((~good).sum())
        self.first += [name for name, fine in zip(batch.ids, good.tolist(), strict=True) if not fine][
            : 3 - len(self.first)
        ]

    def examine(self, subject: Subject) -> Examined:
        evidence = f"All {self.count} pictures came back finite."
        if self.pictures:
            evidence = (
                f"{self.pictures} of {self.count} pictures came back with NaN or infinity ({', '.join(self.first)}); "
                f"of {self.latents} the latents hold it already, so the encoder makes it."
            )
        return Examined(self.limit.finding(self, self.pictures / self.count, evidence))
