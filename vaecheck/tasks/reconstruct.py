"""`reconstruct`: is this VAE good enough on these pictures?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vaecheck import provenance, published
from vaecheck.errors import SetupError
from vaecheck.gallery import Gallery
from vaecheck.images.entries import Listing
from vaecheck.images.loader import Loader
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.metrics import catalogue
from vaecheck.metrics.catalogue import Built
from vaecheck.metrics.protocol import HasColumns
from vaecheck.metrics.throughput import speed_measures
from vaecheck.pipeline import Run, Stopwatch
from vaecheck.results.types import Measure, PerImage, Result, Shown, SkippedImage
from vaecheck.saving import SaveReconstructions
from vaecheck.tasks.opening import Bench, levels_of, open_bench
from vaecheck.tasks.settings import Listener, Settings, protocol_warnings
from vaecheck.tasks.tiling import PICTURES, LargerThanATile, tiling_measures
from vaecheck.tasks.walk import walk
from vaecheck.tasks.yardsticks import evenly, yardsticks
from vaecheck.unet_cost import unet_costs
from vaecheck.world import ALONE, World


def reconstruct(
    source: str, ref: str, settings: Settings, listener: Listener | None = None, world: World = ALONE
) -> tuple[Result, tuple[Shown, ...]]:
    """Round trip of every picture through the VAE: every measure, the yardsticks, and the pictures to show.

    Raises PartDone in all processes but the first.
    """
    started = time.perf_counter()
    catalogue.check_names(settings.metrics or ())  # a misspelt metric costs nothing
    bench = open_bench(source, ref, settings, listener or Listener(), world)
    settings, protocol = bench.settings, bench.protocol
    names = names_of(bench)
    built = bench.catalogue.build(names)
    opened = time.perf_counter()

    gallery = Gallery(built.metrics)
    folder = settings.save_reconstructions
    originals = [Path(source), *map(Path, bench.images.files())]
    saver = (
        [SaveReconstructions(folder, originals, bench.images.ids if isinstance(bench.images, Listing) else ())]
        if folder
        else []
    )
    stopwatch = Stopwatch(bench.device)
    tiled = LargerThanATile(bench.vae)
    run = Run(bench.vae, [*built.metrics, tiled, gallery, *saver], stopwatch)
    walked = walk("reconstruct", "Reconstructing", bench, [run], levels_of(protocol))
    loader = walked.loader
    evaluated = time.perf_counter()
    columns = per_image(built)
    speed = speed_measures(stopwatch.laps, bench.device)  # before whole pictures take more memory than tiles
    measures = built.measures() | tiling_measures(bench, names, evenly(sorted(tiled.ids), PICTURES)) | speed
    computed = time.perf_counter()
    beside = yardsticks(bench, loader, names, columns, measures)
    seconds = {
        "open": opened - started,
        "pictures": loader.seconds,
        "vae": stopwatch.seconds("encode") + stopwatch.seconds("decode"),
        "loop": evaluated - opened,
        "compute": computed - evaluated,
        "yardsticks": time.perf_counter() - computed,
        "total": time.perf_counter() - started,
    }
    card = bench.vae.card
    data = bench.data_card(loader)
    return Result(
        kind="reconstruct",
        vae=card,
        data=data,
        settings=bench.document(run) | {"metrics": list(names), "metric_weights": bench.catalogue.hashes()},
        environment=provenance.environment(str(bench.device), seconds, resumed_from=walked.resumed_from),
        measures=measures,
        warnings=(
            *bench.warnings(run),
            *protocol_warnings(protocol),
            *picture_warnings(loader),
            *broken_warning(gallery.non_finite, gallery.count, card.dtype),
        ),
        yardsticks=beside,
        unet_cost=unet_costs(card.f, card.latent_channels, settings.size) if settings.fit not in OWN_SIZE else (),
        published=published.beside(card, data, settings.document(), measures),
        per_image=columns,
    ), gallery.shown()


def names_of(bench: Bench) -> tuple[str, ...]:
    """What was asked for, else what suits this VAE and these settings, in the order of the tables."""
    settings = bench.settings
    return catalogue.check_names(
        settings.metrics
        or catalogue.default_names(
            settings.lpips_net,
            codebook=bench.vae.card.codebook_size is not None,
            protocol=bench.protocol,
            padded=settings.fit == "pad",
            tiled=settings.tiling is not None,
        )
    )


def missing_on_demand(result: Result, asked: tuple[str, ...] | None) -> SetupError | None:
    """The error to end with where a metric that was asked for by name cannot be had; else None."""
    lost = [
        f"{name}: {result.measures[name].reason}"
        for name in asked or ()
        if name in result.measures and could_not_be_had(result.measures[name])
    ]
    if not lost:
        return None
    count = "a metric that was" if len(lost) == 1 else f"{len(lost)} metrics that were"
    return SetupError("\n  ".join([f"{count} asked for by name cannot be had:", *lost]))


def could_not_be_had(measure: Measure) -> bool:
    """Pictures that come back identical, or as NaN, have no value, but nothing is missing."""
    return measure.status == "unavailable" and not {"identical", "non_finite"} & set(measure.counts)


def per_image(built: Built) -> PerImage:
    """The per-image columns of every metric that has them; None where a metric left a picture out."""
    found = [(metric.rows.ids, metric.columns()) for metric in built.metrics if isinstance(metric, HasColumns)]
    ids = tuple(sorted({image_id for seen, columns in found if columns for image_id in seen}))
    values: dict[str, tuple[float | None, ...]] = {}
    for seen, columns in found:
        for name, column in columns.items():
            value_of = dict(zip(seen, column, strict=True))
            values[name] = tuple(map(value_of.get, ids))
    return PerImage(ids, values)


def picture_warnings(loader: Loader, skipped: Sequence[SkippedImage] | None = None) -> tuple[str, ...]:
    """What a person must know of the pictures that were read. skipped: where more were than by the loader."""
    warnings = []
    skipped = loader.skipped if skipped is None else skipped
    if skipped:
        first = "; ".join(f"{image.id} {image.reason}" for image in skipped[:3])
        warnings.append(f"{_were(len(skipped))} skipped: {first}{' ...' * (len(skipped) > 3)}")
    if loader.size_remedy:
        warnings.append(f"pictures were left out for their size: {loader.size_remedy}")
    if enlarged := loader.notes.get("enlarged"):
        warnings.append(f"{_were(enlarged)} smaller than the size and enlarged, of {loader.count}")
    if clipped := loader.notes.get("clipped"):
        warnings.append(f"{_were(clipped)} clipped: values outside --value-range were cut off, of {loader.count}")
    if loader.intake.value_range and not {"sixteen_bit_scaled", "kept_as_float"} & set(loader.notes):
        warnings.append("--value-range was not used: no picture has more than 8 bits or is an .npy file")
    return tuple(warnings)


def broken_warning(non_finite: int, count: int, dtype: str) -> tuple[str, ...]:
    """What to say of reconstructions that are not finite; nothing where there are none."""
    if not non_finite:
        return ()
    which = "every reconstruction has" if non_finite == count else f"{non_finite} of {count} reconstructions have"
    return (f"{which} NaN or infinity: {broken_remedy(dtype)}",)


def broken_remedy(dtype: str) -> str:
    """What to do about a VAE that gives NaN or infinity."""
    if dtype == "float32":
        return "the weights are broken, or were loaded wrongly"
    return f"try --dtype float32 instead of {dtype}; if it stays, the weights are broken"


def _were(count: int) -> str:
    return "1 picture was" if count == 1 else f"{count} pictures were"
