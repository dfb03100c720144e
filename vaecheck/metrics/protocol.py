"""What a metric is: a name, the fields it needs, an update, cells, and a pure compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from torch import Tensor

from vaecheck.cells import Cell, Rows, Smallest
from vaecheck.results.types import Measure
from vaecheck.transfers import Keep, Transfers
from vaecheck.vae.protocol import Posterior


class Need(StrEnum):
    """Fields of Batch; nothing that no metric needs is computed."""

    POSTERIOR = "posterior"
    RECONSTRUCTION = "reconstruction"


@dataclass(frozen=True)
class Batch:
    """One batch after its walk through the VAE: built once, read by every metric.

    ids: B image ids. original, reconstruction: (B, image channels, H, W) in [0, 255], of one dtype: uint8, clamped
    and rounded; float32 where the pictures have more than 8 bits, or the protocol compares floats (pixels.Levels).
    posterior: over raw latents (B, C, h, w); latents: those that were decoded (mode or sample).
    finite: bool (B,), False where the decoder gave NaN or infinity; such a picture has no per-image value.
    pixels, reconstruction_pixels: float32 in [-1, 1], as encoded and as decoded, the latter not clamped.
    padded: (rows, columns) that were added to reach the VAE's multiple and cropped off again.
    places: of the pictures in the order of their source, counted from 0.
    digests: sha256 of the pixels of each; empty where they are not known.
    transfers: of the loop; None where there is none, and what is brought comes at once.
    """

    ids: tuple[str, ...]
    original: Tensor
    posterior: Posterior | None = None
    latents: Tensor | None = None
    reconstruction: Tensor | None = None
    reconstruction_pixels: Tensor | None = None
    finite: Tensor | None = None
    pixels: Tensor | None = None
    padded: tuple[int, int] = (0, 0)
    places: tuple[int, ...] = ()
    digests: tuple[bytes, ...] = ()
    transfers: Transfers | None = None

    def bring(self, keep: Keep, *tensors: Tensor) -> None:
        """Call keep(*tensors) when these are in main memory: at the end of the batch, in the order of the calls.

        An observer that looks at a tensor's values in `update` makes the device wait (vaecheck/transfers.py).
        """
        if self.transfers is not None:
            self.transfers.bring(keep, *tensors)
        else:
            keep(*(tensor.cpu() for tensor in tensors))


View = Callable[[Batch], tuple[Tensor, Tensor]]
"""What of a batch a metric of pictures compares: its original and its reconstruction."""


def compared(batch: Batch) -> tuple[Tensor, Tensor]:
    """The view of most metrics: both sides at the levels of the run."""
    assert batch.reconstruction is not None
    return batch.original, batch.reconstruction


class Metric(Protocol):
    """Laws, held by tests/metrics/laws.py: split updates and merge == one update; batch size does not
    matter; merging with empty changes nothing; compute is pure and idempotent."""

    name: str
    needs: frozenset[Need]

    def update(self, batch: Batch) -> None: ...

    def cells(self) -> Mapping[str, Cell]:
        """All mutable state there is."""
        ...

    def compute(self) -> tuple[Measure, ...]:
        """The measures so far. Raises NotEnoughImages, never gives a stand-in."""
        ...


@runtime_checkable
class HasColumns(Protocol):
    """A metric with per-image values: one row for each image id, and the columns that go to the CSV file."""

    @property
    def rows(self) -> Rows | Smallest: ...

    def columns(self) -> dict[str, tuple[float | None, ...]]: ...
