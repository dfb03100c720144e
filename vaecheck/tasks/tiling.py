"""What tiling itself changes: the same pictures in tiles and whole, beside each other.

Why windows: whoever tiles does so because whole pictures do not fit, or take long. A window of one tile and a half is
cut into four tiles that all meet in it, and whole it takes little more than twice the memory of a tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.images.loader import Images
from vaecheck.metrics.per_image import NON_FINITE, mean_measure
from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.results.types import Measure
from vaecheck.tasks.settings import Bench
from vaecheck.vae.tiling import Tiled

NAME = "tiling_psnr_db"
DEFINITION = (
    "PSNR between reconstruction in tiles and whole, of the central window of 1.5 tiles a side, mean over {n} pictures"
)
PICTURES = 4
"""How many are measured: what tiling changes is of the VAE more than of the picture."""


class _Keep:
    """Every reconstruction, and whether it is finite."""

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.seen: dict[str, tuple[Tensor, bool]] = {}

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        assert batch.finite is not None
        for image_id, image, finite in zip(batch.ids, batch.reconstruction, batch.finite.tolist(), strict=True):
            self.seen[image_id] = image, finite


def tiling_psnr(bench: Bench, vae: Tiled, ids: Sequence[str]) -> Measure:
    """tiling_psnr_db over these pictures, all larger than a tile; `unavailable` where a window does not fit whole."""
    settings, (tiled, whole) = bench.settings, (_Keep(), _Keep())
    bench.listener.start("Tiles against whole", len(ids))
    try:
        evaluate(
            [Run(model, [keep], Stopwatch(bench.device)) for model, keep in ((vae, tiled), (vae.whole, whole))],
            windows(bench.loader(bench.images.only(ids)), vae),
            device=bench.device,
            posterior=settings.posterior,
            seed=settings.seed,
            progress=bench.listener.advance,
        )
    except SetupError as error:
        definition = DEFINITION.format(n=0)
        return Measure(NAME, None, "dB", "higher", 0, definition, status="unavailable", reason=error.message)
    values = []
    for image_id, (image, finite) in tiled.seen.items():
        other, other_finite = whole.seen[image_id]
        values.append(float(psnr_db(other[None], image[None])) if finite and other_finite else NON_FINITE)
    definition = DEFINITION.format(n=len(values))
    return mean_measure(
        np.array(values), name=NAME, unit="dB", better="higher", definition=definition, seed=settings.seed
    )


def windows(batches: Iterable[Images], vae: Tiled) -> Iterator[Images]:
    """The middle of each picture, as much of it as one tile and a half, whole latents at whole latents' places."""
    f = vae.card.f
    most = vae.side * 3 // (2 * f) * f
    for images in batches:
        height, width = images.image.shape[-2:]
        rows, columns = min(height, most), min(width, most)
        top, left = ((side - part) // 2 // f * f for side, part in ((height, rows), (width, columns)))
        window = images.image[..., top : top + rows, left : left + columns]
        yield replace(images, image=window.contiguous(), valid=(rows, columns))
