"""What tiling itself changes: the same pictures in tiles and whole, beside each other.

Why windows: whoever tiles does so because whole pictures do not fit, or take long. A window of one tile and a half is
cut into four tiles that all meet in it, and whole it takes little more than twice the memory of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from vaecheck.cells import Cell, Items
from vaecheck.errors import NotEnoughImages, SetupError, VaecheckError
from vaecheck.images.loader import Images
from vaecheck.metrics.catalogue import TILING_NAMES, definition, unavailable
from vaecheck.metrics.edges import SEAM, TILING, seam_error_ratio
from vaecheck.metrics.per_image import NON_FINITE, mean_measure
from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.results.types import Measure
from vaecheck.tasks.opening import Bench
from vaecheck.vae.tiling import Tiled

PICTURES = 8
"""How many are measured: what tiling changes is of the VAE more than of the picture."""


@dataclass
class LargerThanATile:
    """The ids of the pictures that went through a VAE in tiles."""

    vae: object
    found: Items = field(default_factory=Items)
    needs: frozenset[Need] = frozenset()

    def update(self, batch: Batch) -> None:
        rows, columns = (side + more for side, more in zip(batch.original.shape[-2:], batch.padded, strict=True))
        if isinstance(self.vae, Tiled) and self.vae.pixels.cuts(rows, columns):
            self.found.add(batch.ids)

    @property
    def ids(self) -> list[str]:
        return list(self.found.values)

    def cells(self) -> Mapping[str, Cell]:
        return {"found": self.found}


@dataclass
class _Keep:
    """Every picture with its reconstruction, by id, None where that is not finite."""

    needs: frozenset[Need] = frozenset({Need.RECONSTRUCTION})
    seen: dict[str, tuple[Tensor, Tensor] | None] = field(default_factory=dict)

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        assert batch.finite is not None
        pairs = zip(batch.original, batch.reconstruction, strict=True)
        for image_id, pair, finite in zip(batch.ids, pairs, batch.finite.tolist(), strict=True):
            self.seen[image_id] = pair if finite else None


def tiling_measures(bench: Bench, names: Sequence[str], ids: Sequence[str]) -> dict[str, Measure]:
    """seam_error_ratio and tiling_psnr_db, as far as `names` asks for them, over these pictures.

    ids: of pictures larger than a tile. `unavailable` where there is none, or where a window does not fit whole.
    """
    asked = [name for name in TILING_NAMES if name in names]
    if not asked:
        return {}
    try:
        tiled, whole = _both(bench, ids)
    except (NotEnoughImages, SetupError) as error:
        return _lost(asked, error)
    scores: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
        SEAM: seam_error_ratio,
        TILING: lambda original, tiles, picture, seams: psnr_db(picture, tiles),
    }
    measures = {}
    for name in asked:
        values = [_score(bench.vae, scores[name], tiled.seen[one], whole.seen[one]) for one in sorted(tiled.seen)]
        measures[name] = mean_measure(
            np.array(values),
            name=name,
            unit="dB" if name == TILING else "",
            better="higher" if name == TILING else "lower",
            definition=definition(name),
            seed=bench.settings.seed,
        )
    return measures


def _both(bench: Bench, ids: Sequence[str]) -> tuple[_Keep, _Keep]:
    """Windows of these pictures through the VAE in tiles, and whole."""
    vae, settings = bench.vae, bench.settings
    if not isinstance(vae, Tiled):
        raise NotEnoughImages("nothing was tiled", hint="Give --tiling SIDE.")
    if not ids:
        raise NotEnoughImages("no picture is larger than a tile", hint="Give a smaller --tiling.")
    tiled, whole = _Keep(), _Keep()
    bench.listener.start("Tiles against whole", len(ids))
    evaluate(
        [Run(model, [keep], Stopwatch(bench.device)) for model, keep in ((vae, tiled), (vae.whole, whole))],
        windows(bench.loader(bench.images.only(ids)), vae),
        device=bench.device,
        posterior=settings.posterior,
        seed=settings.seed,
        progress=bench.listener.advance,
    )
    return tiled, whole


def _score(
    vae: object,
    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    tiled: tuple[Tensor, Tensor] | None,
    whole: tuple[Tensor, Tensor] | None,
) -> float:
    assert isinstance(vae, Tiled)
    if tiled is None or whole is None:
        return NON_FINITE
    (original, tiles), (_, picture) = tiled, whole
    height, width = original.shape[-2:]
    seams = vae.seams(height, width)
    assert seams is not None
    return float(function(original[None], tiles[None], picture[None], seams.mask(height, width)))


def _lost(names: Sequence[str], error: VaecheckError) -> dict[str, Measure]:
    return {measure.name: measure for measure in unavailable(names, error)}


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
