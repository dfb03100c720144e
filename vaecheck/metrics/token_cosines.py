"""LDS and CDS: how much more alike two neighbouring latent cells are than two distant ones.

Why a window of each picture: LDS and CDS need every channel's mean and spread over all pictures before a cosine can be
taken, so the latents are kept until then; of each picture a window of 16 x 16 cells, the grid of the encoders that the
measures were made for, at a place drawn by the picture's id; and of at most MOST_WINDOWS pictures, those whose ids
have the smallest hashes, so that they fit into memory and no order decides which.
Why channels are brought to mean 0 and std 1 over all pictures: a cosine follows the channels of the largest offset and
spread, which the scaling in front of a U-Net changes. The published study of LDS took raw features of encoders; the
one of tokenizers standardised them so (arXiv 2606.03578).
Why Manhattan distance: it is the published measures' own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Smallest
from vaecheck.metrics.latent_sums import Array

WINDOW = 16
FAR = 6
FARTHEST = 8
MOST_WINDOWS = 1000


class Windows:
    """The windows of at most MOST_WINDOWS pictures, as rows."""

    def __init__(self, channels: int) -> None:
        self.rows = Smallest(2 + channels * WINDOW**2, np.float32, MOST_WINDOWS)

    def add(self, ids: Sequence[str], latents: Tensor) -> None:
        """latents: (B, C, h, w), finite."""
        windows = [_window(_digest(image_id), one) for image_id, one in zip(ids, latents, strict=True)]
        if windows:
            self.rows.add(ids, np.stack(windows))

    def mean_cosines(self, varied: NDArray[np.bool_], centre: Array, std: Array) -> Array:
        """Each picture's mean cosine at the distances 1 to FARTHEST, and at FAR or more: (n, FARTHEST + 1).

        varied: (C,), the channels to take. centre, std: of these. n is at most MOST_WINDOWS.
        """
        return np.stack([_cosines(_tokens(row)[varied], centre, std) for row in self.rows.ordered()])


def _digest(image_id: str) -> bytes:
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()


def _window(draw: bytes, latents: Tensor) -> NDArray[np.float32]:
    """(C, h, w) -> (2 + C x WINDOW^2,): its sides, and at most WINDOW x WINDOW cells, NaN where there are none."""
    sides = [min(WINDOW, length) for length in latents.shape[1:]]
    top, left = (
        int.from_bytes(draw[8 * i : 8 * i + 8], "big") % (length - side + 1)
        for i, (length, side) in enumerate(zip(latents.shape[1:], sides, strict=True))
    )
    window = np.full((latents.shape[0], WINDOW, WINDOW), np.nan, np.float32)
    cut = latents[:, top : top + sides[0], left : left + sides[1]]
    window[:, : sides[0], : sides[1]] = cut.cpu().numpy()
    return np.concatenate([np.array(sides, np.float32), window.ravel()])


def lds(cosines: Array) -> Array:
    """(n, FARTHEST + 1) -> (n,)."""
    return np.asarray(cosines[:, 0] - cosines[:, FARTHEST])


def cds(cosines: Array) -> Array:
    """(n, FARTHEST + 1) -> (n,): minus the slope over the distances that the window has; NaN for fewer than two."""
    found = np.full(len(cosines), np.nan)
    for i, curve in enumerate(cosines[:, :FARTHEST]):
        there = np.flatnonzero(np.isfinite(curve))
        if len(there) > 1:
            x = there - there.mean()
            found[i] = -(x @ curve[there]) / (x @ x)
    return found


def _tokens(row: NDArray[np.float32]) -> Array:
    """One row of windows -> (C, at most WINDOW, at most WINDOW)."""
    height, width = int(row[0]), int(row[1])
    return row[2:].reshape(-1, WINDOW, WINDOW)[:, :height, :width].astype(np.float64)


def _cosines(window: Array, centre: Array, std: Array) -> Array:
    """Mean cosine at each distance of 1 to FARTHEST, and at FAR or more; NaN where there is no such pair.

    window: (C, h, w). centre, std: (C,). A token that is the mean itself has the cosine 0 with every other.
    """
    tokens = ((window - centre[:, None, None]) / std[:, None, None]).reshape(len(window), -1)
    norms = np.linalg.norm(tokens, axis=0)
    tokens = np.divide(tokens, norms, out=np.zeros_like(tokens), where=norms > 0)
    distance = _distances(window.shape[1], window.shape[2])
    sums = np.bincount(distance, (tokens.T @ tokens).ravel(), minlength=FARTHEST + 1)
    counts = np.bincount(distance, minlength=FARTHEST + 1).astype(np.float64)
    sums = np.append(sums[1 : FARTHEST + 1], sums[FAR:].sum())
    counts = np.append(counts[1 : FARTHEST + 1], counts[FAR:].sum())
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))


@lru_cache(maxsize=16)
def _distances(height: int, width: int) -> NDArray[np.int64]:
    """(cells^2,) Manhattan distance of every two cells of a grid."""
    rows, columns = (index.ravel() for index in np.indices((height, width)))
    return np.asarray((np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns)).ravel())
