"""The picture that shows a fault best, kept while the pictures walk by."""

from __future__ import annotations

from torch import Tensor

from vaecheck.metrics.protocol import Batch
from vaecheck.probes.shown import Shown, rgb


class Worst:
    """The picture of the highest score so far (of equals the first by id), before and after, as a viewer sees it."""

    def __init__(self) -> None:
        self._kept: tuple[float, str, Shown, Shown] | None = None

    def watch(self, batch: Batch, scores: Tensor) -> None:
        """scores: (B,); a picture that is not finite is left out."""
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        assert batch.finite is not None
        for i, name in enumerate(batch.ids):
            score = float(scores[i])
            if not bool(batch.finite[i]) or score != score:
                continue
            if self._kept is None or (-score, name) < (-self._kept[0], self._kept[1]):
                before, after = (rgb(side[i : i + 1])[0] for side in (batch.pixels, batch.reconstruction_pixels))
                self._kept = score, name, before, after

    @property
    def id(self) -> str:
        return self._kept[1] if self._kept else ""

    def images(self) -> tuple[tuple[str, Shown], ...]:
        """Original and reconstruction, as a Panel has them; empty before any picture."""
        return (("original", self._kept[2]), ("reconstruction", self._kept[3])) if self._kept else ()
