"""`latents`: how hard will these latents be for a U-Net or a transformer to learn?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaecheck import provenance
from vaecheck.errors import InputError, NotEnoughImages, SetupError, VaecheckError
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.metrics import latent_catalogue
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.latent_catalogue import Built, Model
from vaecheck.metrics.latent_maps import LatentMaps
from vaecheck.metrics.protocol import HasColumns, Metric
from vaecheck.metrics.robustness import BEYOND
from vaecheck.pipeline import Observer, Run, Stopwatch, evaluate
from vaecheck.results.types import Measure, Panel, PerImage, Plot, Result
from vaecheck.tasks.opening import Bench, open_bench
from vaecheck.tasks.reconstruct import missing_on_demand, picture_warnings
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.walk import walk
from vaecheck.tasks.yardsticks import evenly
from vaecheck.vae.adapter import one_line
from vaecheck.vae.protocol import Posterior, joined
from vaecheck.vae.room import Room, is_out_of_memory
from vaecheck.world import ALONE, World

Output = TypeVar("Output")


def latents(
    source: str, ref: str, settings: Settings, listener: Listener | None = None, world: World = ALONE
) -> tuple[Result, tuple[Panel, ...]]:
    """One walk of all pictures through the encoder, a closer look at a few of them, and the panels to show.

    Raises PartDone in all processes but the first.
    """
    started = time.perf_counter()
    names = latent_catalogue.check_names(settings.metrics or latent_catalogue.default_names())
    bench = open_bench(source, ref, settings, listener or Listener(), world)
    settings = bench.settings
    room, stopwatch = Room(), Stopwatch(bench.device)
    model = _model(bench, room)
    built = latent_catalogue.build(names, bench.catalogue, model)
    moments, maps = LatentMoments(seed=settings.seed), LatentMaps(seed=settings.seed)
    run = Run(bench.vae, [*built.metrics, moments, maps], stopwatch, room)
    done = walk("latents", "Encoding", bench, [run])
    loader, walked = done.loader, time.perf_counter()
    closer = _closer(bench, names, model, moments, loader.ids, room)
    looked = time.perf_counter()
    everything = (built, *closer)
    measures = _in_order(names, [one.measures() for one in everything])
    metrics = [metric for one in everything for metric in one.metrics]
    plots = _all(metrics, "plots")
    panels = _all([maps, *metrics], "panels")
    seconds = {
        "pictures": loader.seconds,
        "vae": stopwatch.seconds("encode"),
        "closer": looked - walked,
        "compute": time.perf_counter() - looked,
        "total": time.perf_counter() - started,
    }
    return Result(
        kind="latents",
        vae=bench.vae.card,
        data=bench.data_card(loader),
        settings=bench.document(run) | {"metrics": list(names), "metric_weights": bench.catalogue.hashes()},
        environment=provenance.environment(str(bench.device), seconds, resumed_from=done.resumed_from),
        measures=measures,
        warnings=(*bench.warnings(run), *picture_warnings(loader)),
        channels=_channels(metrics),
        plots=plots,
        per_image=_per_image(metrics, loader.count),
    ), panels


def missing(result: Result, asked: tuple[str, ...] | None) -> SetupError | None:
    """The error to end with where a measure that was asked for by name cannot be had; else None.

    A doubling that lies beyond the noise that was tried has no value, but nothing is missing.
    """
    return missing_on_demand(result, tuple(name for name in asked or () if BEYOND not in result.measures[name].counts))


def _model(bench: Bench, room: Room) -> Model:
    card, settings = bench.vae.card, bench.settings
    side = settings.size // card.f

    def means(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            parts = _guarded(lambda: room.through("encode", bench.vae, bench.vae.encode, pixels))
            return Posterior.joined(parts).mean

    def pixels_of(latents: Tensor) -> Tensor:
        with torch.inference_mode():
            return joined(room.through("decode", bench.vae, bench.vae.decode, latents))

    return Model(
        encode=means,
        decode=pixels_of,
        f=card.f,
        channels=card.latent_channels,
        shape=None if settings.fit in OWN_SIZE else (card.latent_channels, side, side),
    )


def _guarded(run: Callable[[], Output]) -> Output:
    """What the model itself raises, as an InputError: for a size that it does not take there is no other sign."""
    try:
        return run()
    except VaecheckError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"the model raised {type(error).__name__}: {one_line(error)}") from error


def _closer(
    bench: Bench, names: Sequence[str], model: Model, moments: LatentMoments, ids: Sequence[str], room: Room
) -> tuple[Built, ...]:
    """What puts pictures through the model several times more, on evenly spaced ones."""
    asked = [name for group in latent_catalogue.CLOSER for name in group if name in names]
    if not asked:
        return ()
    try:
        stds = [channel.std_of_means for channel in moments.channel_moments()]
    except NotEnoughImages as error:
        return (Built((), latent_catalogue.unavailable(asked, error)),)
    found = latent_catalogue.build_closer(asked, bench.catalogue, model, bench.settings.lpips_net, stds)
    for count, built in found.items():
        if built.metrics:
            chosen = evenly(ids, count)
            bench.listener.start("Looking closer", len(chosen))
            watchers: Sequence[Observer] = built.metrics
            evaluate(
                [Run(bench.vae, watchers, Stopwatch(bench.device), room)],
                bench.loader(bench.images.only(chosen)),
                device=bench.device,
                posterior=bench.settings.posterior,
                seed=bench.settings.seed,
                progress=bench.listener.advance,
            )
    return tuple(found.values())


def _in_order(names: Sequence[str], parts: Iterable[Mapping[str, Measure]]) -> dict[str, Measure]:
    found = {name: measure for part in parts for name, measure in part.items()}
    return {name: found[name] for name in names}


def _all(metrics: Iterable[object], what: str) -> tuple[Any, ...]:
    """Every plot or panel that a metric has; one that saw too few pictures has none."""
    found: list[Plot | Panel] = []
    for metric in metrics:
        if hasattr(metric, what):
            try:
                found += getattr(metric, what)()
            except NotEnoughImages:
                continue
    return tuple(found)


def _channels(metrics: Iterable[Metric]) -> tuple[Mapping[str, float | None], ...]:
    """One mapping for each latent channel, of all metrics' figures."""
    merged: list[dict[str, float | None]] = []
    for figures in (_all([metric], "channels") for metric in metrics):
        merged = merged or [{} for _ in figures]
        for place, one in enumerate(figures):
            merged[place] |= one
    return tuple(merged)


def _per_image(metrics: Iterable[Metric], count: int) -> PerImage:
    """The columns of the metrics that saw every picture."""
    values: dict[str, tuple[float | None, ...]] = {}
    ids: tuple[str, ...] = ()
    for metric in metrics:
        if isinstance(metric, HasColumns) and len(metric.rows) == count:
            values |= metric.columns()
            ids = tuple(metric.rows.ids)
    return PerImage(ids, values)
