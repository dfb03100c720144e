"""KL(q(z|x), N(0, I)), in the three units that people quote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from vaecheck.cells import Cell, Rows, Sum
from vaecheck.metrics.per_image import NON_FINITE, finite_or_none, mean_measure
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior

DETERMINISTIC = "the encoder is deterministic: it has no posterior variance, so no KL"
QUANTISED = (
    "quantised: no posterior, so no KL; codebook_use and codebook_perplexity say how much of the codebook is used"
)
DEFINITIONS = {
    "kl_nats_per_image": "KL(q(z|x), N(0, I)) summed over the latents of a picture, mean over pictures",
    "kl_nats_per_element": "the same, divided by the number of latent elements",
    "kl_bits_per_pixel": "the same, divided by ln 2 and by the number of pixels H x W",
}
UNITS = {"kl_nats_per_image": "nats", "kl_nats_per_element": "nats", "kl_bits_per_pixel": "bits"}


def kl_nats(posterior: Posterior) -> Tensor:
    """KL of a diagonal Gaussian to the standard normal, summed over the latents of each picture.

    mean, log_var (B, C, h, w) float32 -> float64 (B,), nats:  1/2 sum(mean^2 + var - 1 - log var).
    Source: Kingma and Welling 2014, "Auto-encoding variational Bayes", appendix B.
    Checked against diffusers' DiagonalGaussianDistribution.kl, 1e-5 relative.
    Differs from a mean over elements by C*h*w: training losses (LDM) use this sum, papers often the mean.
    """
    assert posterior.log_var is not None
    mean, log_var = to_float64(posterior.mean), to_float64(posterior.log_var)
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).flatten(1).sum(1)


class KL:
    """kl_nats_per_image, kl_nats_per_element and kl_bits_per_pixel from one row for each image."""

    name = "kl"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.rows = Rows(3)
        self.without = Sum()  # pictures without a posterior variance: of any model, of quantised ones

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        if batch.posterior.log_var is None:
            quantised = batch.posterior.codes is not None
            self.without.add(len(batch.ids) * np.array([1.0, float(quantised)]))
            return
        elements = batch.posterior.mean[0].numel()
        pixels = batch.original.shape[-1] * batch.original.shape[-2]
        batch.bring(partial(self._keep, batch.ids, elements, pixels), kl_nats(batch.posterior))

    def _keep(self, ids: Sequence[str], elements: int, pixels: int, nats: Tensor) -> None:
        finite = nats.where(nats.isfinite(), NON_FINITE).numpy()[:, None]
        self.rows.add(ids, finite / [1.0, elements, pixels * math.log(2)])

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "without": self.without}

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        if not len(self.rows):
            return {}
        return {"kl_nats_per_image": finite_or_none(self.rows.ordered()[:, 0])}

    def compute(self) -> tuple[Measure, ...]:
        if self.without.value is not None:
            reason = QUANTISED if self.without.value[1] else DETERMINISTIC
            return tuple(
                Measure(name, None, UNITS[name], None, 0, text, status="unavailable", reason=reason)
                for name, text in DEFINITIONS.items()
            )
        values = self.rows.ordered()
        return tuple(
            mean_measure(values[:, i], name=name, unit=UNITS[name], better=None, definition=text, seed=self.seed)
            for i, (name, text) in enumerate(DEFINITIONS.items())
        )
