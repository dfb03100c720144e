"""What two simple codecs score on a sample of the pictures, beside the VAE's own figures of the same pictures.

Why a sample: their per-image figures settle with a few dozen pictures, and half a minute of the user's time is worth
more than a third digit. Frechet distances need every picture, so they are measured only where the sample is
everything (few pictures, or --yardstick all).

Why they are kept in the feature cache: they are of the originals and the latents' shape alone, and whoever watches a
training measures every checkpoint on the same ones. Distances of a set are not kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vaecheck import feature_cache, provenance
from vaecheck.images.loader import Loader
from vaecheck.metrics.catalogue import Built
from vaecheck.metrics.per_image import PerImage as MeanOverImages
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.results.types import Measure, PerImage, Yardstick
from vaecheck.tasks.opening import Bench, levels_of
from vaecheck.vae.yardsticks import Bicubic, Linear

Digests = Mapping[str, bytes]
"""By image id, sha256 of the pixels."""
YARDSTICK_SAMPLE = 24
"""Pictures that the yardsticks are measured on by default, evenly spaced over the set."""
REVISION = 1
"""Counted up where a codec or one of the metrics comes to compute something else: what was kept before is of no use."""


def yardsticks(
    bench: Bench, loader: Loader, names: Sequence[str], columns: PerImage, measures: Mapping[str, Measure]
) -> tuple[Yardstick, ...]:
    """The bicubic and the linear codec, by those of the names that they have.

    loader, columns, measures: of the VAE's own walk over all pictures. None with --yardstick none.
    """
    if bench.settings.yardstick == "none":
        return ()
    everything = bench.settings.yardstick == "all" or loader.count <= YARDSTICK_SAMPLE
    chosen = evenly(loader.ids, loader.count if everything else YARDSTICK_SAMPLE)
    comparable = [name for name in names if name in ("psnr_db", "ssim") or name.startswith("lpips_")]
    if everything:
        comparable += [name for name in names if name in ("rfid", "kid") or name.startswith("fd_")]
    comparable = [name for name in comparable if measures[name].value is not None]
    if not comparable:
        return ()
    bicubic = Bicubic(bench.vae.card.f, bench.vae.card.image_channels)
    built = {"bicubic": bench.catalogue.build(comparable), "linear": bench.catalogue.build(comparable)}
    all_digests = loader.digests
    digests = {image_id: all_digests[image_id] for image_id in chosen}
    kept = _Kept(bench, digests, built)
    if not kept.read() and _measure(bench, chosen, bicubic, built) == [digests, digests]:
        kept.write()
    own = {name: _own_mean(measures[name], name, columns, chosen) for name in comparable}
    descriptions = {"bicubic": bicubic.description, "linear": Linear.description}
    return tuple(Yardstick(name, descriptions[name], len(chosen), one.measures(), own) for name, one in built.items())


def _measure(bench: Bench, chosen: Sequence[str], bicubic: Bicubic, built: Mapping[str, Built]) -> list[Digests]:
    """Fit the linear codec to the pictures, and show those to the metrics of both; what was read, both times."""
    images = bench.images.only(chosen)
    bench.listener.start("Yardsticks", 2 * len(chosen))
    to_fit, to_score = bench.loader(images), bench.loader(images)
    linear = Linear.fit((batch.image for batch in to_fit), bicubic.f, bench.vae.card.latent_channels)
    codecs: dict[str, Bicubic | Linear] = {"bicubic": bicubic, "linear": linear}
    evaluate(
        [Run(codecs[name], one.metrics, Stopwatch(bench.device)) for name, one in built.items()],
        to_score,
        device=bench.device,
        levels=levels_of(bench.protocol),
        progress=lambda count: bench.listener.advance(2 * count),
    )
    return [to_fit.digests, to_score.digests]


class _Kept:
    """The rows of both codecs' metrics as one entry of the feature cache, where every metric is a mean over images.

    Only what was measured on the pixels that the key is of may be written: files can change between two readings.
    """

    def __init__(self, bench: Bench, digests: Digests, built: Mapping[str, Built]) -> None:
        """digests: of all the pictures: the linear codec depends on every one of them."""
        metrics = [metric for one in built.values() for metric in one.metrics]
        means = [metric for metric in metrics if isinstance(metric, MeanOverImages)]
        self._ids = sorted(digests)
        self._rows = [metric.rows for metric in means]
        self._cache = bench.catalogue.options.cache if means and len(means) == len(metrics) else None
        card = bench.vae.card
        made_by = (
            *("yardsticks", REVISION, card.f, card.latent_channels, card.image_channels, bench.settings.document()),
            *([(metric.name, metric.definition) for metric in means], bench.catalogue.hashes()),
            *(bench.device.type, provenance.versions()),
        )
        of_all = hashlib.sha256(b"".join(digests[image_id] for image_id in self._ids)).digest()
        (self._key,) = feature_cache.keys(made_by, [of_all])

    def read(self) -> bool:
        """Give every metric its rows; False where they are not there."""
        found = self._cache.get([self._key]) if self._cache else {}
        if self._key not in found:
            return False
        columns = np.frombuffer(found[self._key], "<f8").reshape(len(self._rows), len(self._ids))
        for rows, column in zip(self._rows, columns, strict=True):
            rows.add(self._ids, column[:, None])
        return True

    def write(self) -> None:
        if self._cache:
            columns = np.stack([rows.of(self._ids)[:, 0] for rows in self._rows])
            self._cache.add({self._key: columns.astype("<f8").tobytes()})


def evenly(ids: Sequence[str], n: int) -> tuple[str, ...]:
    """n of them, evenly spaced over their order; all where there are fewer."""
    count = min(n, len(ids))
    return tuple(ids[(2 * i + 1) * len(ids) // (2 * count)] for i in range(count))


def _own_mean(measure: Measure, name: str, columns: PerImage, ids: Sequence[str]) -> Measure:
    """The VAE's figure over the yardsticks' pictures alone."""
    if name not in columns.columns:
        return measure
    value_of = dict(zip(columns.ids, columns.columns[name], strict=True))
    values = [value for value in map(value_of.get, ids) if value is not None]
    mean = math.fsum(values) / len(values) if values else None
    return replace(measure, value=mean, n=len(values), sd=None, ci95=None, counts={})
