"""How much of a quantised model's codebook the pictures use.

Why a floor on the number of codes: neither figure can exceed the number of codes seen, and both are too low while it
is small. With 10 codes for each entry, a codebook that is used evenly misses exp(-10), 0.005 %, of its entries by
chance, and the entropy is short by about (K - 1) / (2 n), 0.05 nats (Miller 1955), 5 % of the perplexity. Below
that the figures are given as unreliable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows, Sum
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.per_image import NON_FINITE, finite_or_none
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.results.types import Measure

DEFINITIONS = {
    "codebook_use": "share of the codebook's entries that at least one position of one picture is quantised to",
    "codebook_perplexity": "exp of the entropy of the entries' frequencies over all positions of all pictures",
}
NO_CODEBOOK = "this VAE is not quantised: it has no codebook"
CODES_PER_ENTRY = 10


def perplexity(counts: NDArray[np.float64]) -> float:
    """exp(-sum p ln p) of the frequencies p = counts / their sum, 0 ln 0 being 0: 1 to the number of entries.

    Source: van den Oord et al. 2017, "Neural discrete representation learning"; the perplexity as its authors' public
    code (Sonnet's VectorQuantizer) logs it for a batch, here over all pictures and without its epsilon of 1e-10.
    Checked against torchmetrics' Perplexity and SciPy's entropy, 1e-9 relative (its epsilon aside).
    """
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


class Codebook:
    """codebook_use and codebook_perplexity from one count for each entry.

    size: entries of the codebook. A picture whose latents are not finite is left out and counted.
    Differs from the mean over batches of each batch's perplexity, which training logs show and which is lower.
    """

    name = "codebook"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = Rows(1)
        self.counts = Sum()

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        assert batch.posterior.codes is not None
        finite = batch.posterior.mean.flatten(1).isfinite().all(1)
        batch.bring(partial(self._keep, batch.ids), batch.posterior.codes.flatten(1), finite)

    def _keep(self, ids: Sequence[str], codes: Tensor, finite: Tensor) -> None:
        """codes: (B, h*w). finite: (B,)."""
        used = torch.tensor([len(torch.unique(one)) for one in codes], dtype=torch.float64)
        self.rows.add(ids, used.masked_fill(~finite, NON_FINITE).numpy()[:, None])
        self.counts.add(self._counted(codes[finite]))

    def _counted(self, codes: Tensor) -> NDArray[np.float64]:
        return torch.bincount(codes.flatten(), minlength=self.size).double().numpy()

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "counts": self.counts}

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        """codebook_entries: how many different entries each picture uses."""
        return {"codebook_entries": finite_or_none(self.rows.ordered()[:, 0])}

    def compute(self) -> tuple[Measure, ...]:
        if self.counts.value is None:
            raise NotEnoughImages("codebook_use needs at least one picture", hint="Check the IMAGES given.")
        counts, values = self.counts.value, self.rows.ordered()[:, 0]
        n = int(np.isfinite(values).sum())
        broken = len(values) - n
        reasons = [f"{broken} of {len(values)} pictures have NaN or infinity in their latents"] if broken else []
        found: dict[str, float | None] = dict.fromkeys(DEFINITIONS)
        if n:
            found = {"codebook_use": float((counts > 0).mean()), "codebook_perplexity": perplexity(counts)}
            reasons += self._too_few(counts.sum(), n)
        status = "unavailable" if not n else "unreliable" if reasons else "ok"
        return tuple(
            Measure(
                name,
                found[name],
                "",
                None,
                n,
                text,
                status=status,  # type: ignore[arg-type]  # one of the three above
                reason="; ".join(reasons),
                counts={"non_finite": broken} if broken else {},
            )
            for name, text in DEFINITIONS.items()
        )

    def _too_few(self, seen: float, pictures: int) -> list[str]:
        """The reason why these codes are too few to judge the codebook by, if they are."""
        if seen >= CODES_PER_ENTRY * self.size:
            return []
        enough = math.ceil(CODES_PER_ENTRY * self.size * pictures / seen)
        return [
            f"{seen:,.0f} codes were seen of {self.size:,} entries, of which at most "
            f"{min(1.0, seen / self.size):.1%} can have been used; {CODES_PER_ENTRY} codes for each entry, here "
            f"{enough:,} pictures, settle it"
        ]
