"""`compare`: which of these VAEs is better on these pictures, in what, and is that more than chance?

Why all VAEs in one walk: a picture is read, fitted and put through the metrics' networks once however many VAEs there
are, and their speeds are measured side by side, batch by batch.

Why saved results take the same road: they hold each picture's values, and how far each pulls a Frechet distance, so
that they can be paired as well as pictures that are walked now. Both may stand in one comparison.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vaecheck import provenance
from vaecheck.cells import Cell, Sum
from vaecheck.errors import InputError, NotEnoughImages, SetupError
from vaecheck.gallery import Disagreements
from vaecheck.images.loader import Loader
from vaecheck.metrics import catalogue
from vaecheck.metrics.catalogue import IMAGE_NAMES, TILING_NAMES, Built
from vaecheck.metrics.contests import contests
from vaecheck.metrics.pareto import LEARNABILITY, fronts
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.metrics.spectrum import Spectrum
from vaecheck.metrics.throughput import speed_measure
from vaecheck.pipeline import Observer, Run, Stopwatch
from vaecheck.results.comparable import differing_fields, differing_ids, not_comparable
from vaecheck.results.comparison import Comparison, SideBySide
from vaecheck.results.files import RESULT_FILE, load_result
from vaecheck.results.types import Measure, PerImage, Result
from vaecheck.tasks.opening import Bench, levels_of, open_benches
from vaecheck.tasks.reconstruct import broken_warning, could_not_be_had, names_of, per_image, picture_warnings
from vaecheck.tasks.settings import Listener, Settings, protocol_warnings
from vaecheck.tasks.walk import Walked, walk
from vaecheck.vae.checkpoints import PIPELINE
from vaecheck.vae.hub import SINGLE_FILES
from vaecheck.vae.scaling import CONFIG
from vaecheck.world import ALONE, World

MAY_DIFFER = ("tiling",)
"""Settings that are themselves compared: a VAE with and without tiles."""


def compare(
    refs: Sequence[str],
    source: str | None,
    settings: Settings,
    listener: Listener | None = None,
    world: World = ALONE,
) -> tuple[Comparison, tuple[SideBySide, ...]]:
    """The VAEs, and the saved results among `refs`, on the same pictures; and the pictures to show.

    source: IMAGES; None where all are saved results. Raises InputError for fewer than two, NotComparable for results of
    other pictures, sizes, dtypes, weights or definitions.
    """
    started = time.perf_counter()
    catalogue.check_names(settings.metrics or ())
    if len(refs) < 2:
        raise InputError(
            f"{len(refs)} to compare: it takes two", hint="Give two or more VAEs, or folders of saved results."
        )
    named = unique(refs)
    saved = {name: load_result(_folder(ref)) for name, ref in named.items() if is_saved(ref)}
    _refuse_differing(saved, settings.metrics)
    live = {name: ref for name, ref in named.items() if name not in saved}
    measured: dict[str, Result] = {}
    shown: tuple[SideBySide, ...] = ()
    warnings: tuple[str, ...] = ()
    if live:
        if source is None:
            raise InputError(f"{', '.join(live.values())} needs pictures", hint="Give --images IMAGES.")
        measured, shown, warnings = _walk(live, source, settings, listener or Listener(), started, saved, world)
        _refuse_differing(saved | measured, settings.metrics)
    results = {name: saved[name] if name in saved else measured[name] for name in named}
    if settings.metrics:
        results = {name: _only(result, settings.metrics) for name, result in results.items()}
    judged = contests(results)
    first = next(iter(measured.values()), next(iter(results.values())))
    return Comparison(
        vaes={name: result.vae for name, result in results.items() if result.vae is not None},
        data=first.data,
        settings=_shared([result.settings for result in results.values()]),
        environment=first.environment,
        measures=judged,
        fronts=fronts(results, judged),
        warnings=(*warnings, *_said_once({name: result.warnings for name, result in results.items()}), *_doubts(saved)),
        sources={name: str(_folder(ref)) if name in saved else "" for name, ref in named.items()},
        per_image=_columns(results),
    ), shown


def unique(refs: Sequence[str]) -> dict[str, str]:
    """The REFs by their names, which are as given; what comes again is "REF (2)"."""
    named: dict[str, str] = {}
    for ref in refs:
        name, times = ref, 1
        while name in named:
            times += 1
            name = f"{ref} ({times})"
        named[name] = ref
    return named


def is_saved(ref: str) -> bool:
    """Whether a REF is a saved result: its result.json, or the folder of one that holds no model beside it."""
    folder = _folder(ref)
    if not (folder / RESULT_FILE).is_file():
        return False
    holds_model = any((folder / name).exists() for name in (CONFIG, PIPELINE, f"vae/{CONFIG}"))
    return folder != Path(ref) or not (holds_model or any(one.suffix in SINGLE_FILES for one in folder.iterdir()))


def _folder(ref: str) -> Path:
    """Of a saved result, which may be given by its result.json."""
    path = Path(ref)
    return path.parent if path.name == RESULT_FILE and path.is_file() else path


def missing_of_all(comparison: Comparison, asked: Sequence[str] | None) -> SetupError | None:
    """The error to end with where a metric that was asked for by name cannot be had of some VAE; else None."""
    lost: dict[str, list[str]] = {}
    for name in asked or ():
        for ref, measure in comparison.measures[name].values.items():
            if could_not_be_had(measure):
                lost.setdefault(f"{name}: {measure.reason}", []).append(ref)
    if not lost:
        return None
    lines = [f"{why} ({', '.join(refs)})" for why, refs in lost.items()]
    return SetupError("\n  ".join(["a metric that was asked for by name cannot be had:", *lines]))


@dataclass
class _NonFinite:
    """Counts the pictures that come back as NaN or infinity."""

    found: Sum = field(default_factory=Sum)
    needs: frozenset[Need] = field(default=frozenset({Need.RECONSTRUCTION}))

    def update(self, batch: Batch) -> None:
        assert batch.finite is not None
        batch.bring(lambda finite: self.found.add(np.array([float((~finite).sum())])), batch.finite)

    @property
    def count(self) -> int:
        return 0 if self.found.value is None else int(self.found.value[0])

    def cells(self) -> Mapping[str, Cell]:
        return {"found": self.found}


@dataclass(frozen=True)
class _Walker:
    """One VAE on the walk."""

    bench: Bench
    built: Built
    spectrum: Spectrum | None
    broken: _NonFinite
    run: Run


def _walk(
    refs: Mapping[str, str],
    source: str,
    settings: Settings,
    listener: Listener,
    started: float,
    saved: Mapping[str, Result],
    world: World,
) -> tuple[dict[str, Result], tuple[SideBySide, ...], tuple[str, ...]]:
    """Each VAE's result from one walk of the pictures, the pictures to show, and what to warn of the pictures.

    saved: results that these must be comparable with, as far as that can be known before the walk.
    """
    benches = open_benches(source, tuple(refs.values()), settings, listener, world)
    first = benches[0]
    settings = first.settings
    one_shape = len({(bench.vae.card.f, bench.vae.card.latent_channels) for bench in benches}) == 1
    seen = Disagreements(tuple(refs))
    walkers = {
        name: _walker(bench, seen, name, learnability=one_shape and not settings.metrics)
        for name, bench in zip(refs, benches, strict=True)
    }
    for like in list(saved.values())[:1]:
        expected = {name: _expected(walker, first.loader(), like) for name, walker in walkers.items()}
        _refuse_differing({**saved, **expected})
    opened = time.perf_counter()
    title = f"Comparing {len(refs)} VAEs" if len(refs) > 1 else "Reconstructing"
    runs = [walker.run for walker in walkers.values()]
    done = walk("compare", title, first, runs, levels_of(first.protocol))
    loader, walked = done.loader, time.perf_counter()
    measures = {name: _measures(walker) for name, walker in walkers.items()}
    watches = [walker.run.stopwatch for walker in walkers.values()]
    seconds = {
        "open": opened - started,
        "pictures": loader.seconds,
        "vae": sum(watch.seconds(stage) for watch in watches for stage in ("encode", "decode")),
        "loop": walked - opened,
        "compute": time.perf_counter() - walked,
        "total": time.perf_counter() - started,
    }
    results = {name: _result(walker, done, measures[name], seconds) for name, walker in walkers.items()}
    return results, seen.shown(), (*protocol_warnings(first.protocol), *picture_warnings(loader))


def _walker(bench: Bench, seen: Disagreements, name: str, *, learnability: bool) -> _Walker:
    names = tuple(one for one in names_of(bench) if one not in TILING_NAMES)
    built = bench.catalogue.build(names)
    spectrum = Spectrum(bench.vae.card.latent_channels, seed=bench.settings.seed) if learnability else None
    broken = _NonFinite()
    observers: list[Observer] = [*built.metrics, broken, seen.observer(name)]
    observers += [spectrum] if spectrum else []
    run = Run(bench.vae, observers, Stopwatch(bench.device))
    return _Walker(bench, built, spectrum, broken, run)


def _measures(walker: _Walker) -> dict[str, Measure]:
    """Why no memory: the process's peak is of all VAEs together."""
    measures = walker.built.measures()
    if walker.spectrum is not None:
        try:
            found = {measure.name: measure for measure in walker.spectrum.compute()}
            measures[LEARNABILITY] = found[LEARNABILITY]
        except NotEnoughImages:
            pass
    laps = walker.run.stopwatch.laps
    speeds = [speed_measure(f"{stage}_images_per_second", laps[stage]) for stage in ("encode", "decode")]
    return measures | {measure.name: measure for measure in speeds}


def _result(walker: _Walker, walked: Walked, measures: dict[str, Measure], seconds: dict[str, float]) -> Result:
    bench, run, loader = walker.bench, walker.run, walked.loader
    weights = bench.catalogue.hashes()
    return Result(
        kind="reconstruct",
        vae=bench.vae.card,
        data=bench.data_card(loader),
        settings=bench.document(run) | {"metrics": list(walker.built.names), "metric_weights": weights},
        environment=provenance.environment(str(bench.device), seconds, resumed_from=walked.resumed_from),
        measures=measures,
        warnings=(
            *bench.warnings(run),
            *broken_warning(walker.broken.count, loader.count, bench.vae.card.dtype),
        ),
        per_image=per_image(walker.built),
    )


def _expected(walker: _Walker, loader: Loader, like: Result) -> Result:
    """What is known of a VAE's result before the walk; all else as in `like`."""
    card = walker.bench.data_card(loader)
    data = replace(like.data, size=card.size, fit=card.fit)
    return replace(like, data=data, settings=walker.bench.document(walker.run))


def _refuse_differing(results: Mapping[str, Result], asked: Sequence[str] | None = None) -> None:
    """Raises NotComparable, naming every field in which one differs from the first. asked: the metrics that count."""
    if not results:
        return
    (first, result), *others = results.items()
    for name, other in others:
        names = [metric for metric in asked or IMAGE_NAMES if _same_pictures(metric, result, other)]
        found = [*differing_fields(result, other, names, may_differ=MAY_DIFFER), *_apart(result, other)]
        if found:
            raise not_comparable(first, name, found)


def _same_pictures(metric: str, a: Result, b: Result) -> bool:
    """Whether a figure of images is over as many in both: others have no winner, and definitions that say how many."""
    one, other = a.measures.get(metric), b.measures.get(metric)
    return metric in IMAGE_NAMES and one is not None and other is not None and one.n == other.n


def _apart(a: Result, b: Result) -> list[str]:
    """What only pairing picture by picture asks for."""
    found = []
    nets = [result.settings.get("lpips_net") for result in (a, b)]
    if None not in nets and nets[0] != nets[1]:
        found.append(f"settings.lpips_net: {nets[0]} against {nets[1]}")
    return [*found, *differing_ids(a, b)]


def _doubts(saved: Mapping[str, Result]) -> tuple[str, ...]:
    """What does not forbid to compare these, and should be known."""
    found = [
        f"{name} was saved without the hashes of its metrics' weights: they may be others; measure it again"
        for name, result in saved.items()
        if "metric_weights" not in result.settings
    ]
    found += [
        f"{name} has no per_image.csv: no interval, no winner" for name, one in saved.items() if not one.per_image.ids
    ]
    for what, values in (
        ("versions of vaecheck", [one.environment.versions.get("vaecheck", "") for one in saved.values()]),
        ("devices", [one.environment.accelerator or one.environment.device for one in saved.values()]),
    ):
        if len(set(values)) > 1:
            found.append(f"measured with other {what}: {', '.join(dict.fromkeys(values))}")
    return tuple(found)


def _only(result: Result, names: Sequence[str]) -> Result:
    """The measures asked for; one that a saved result does not have is `unavailable`."""
    lost = {
        name: measure
        for name in names
        if name not in result.measures
        for measure in catalogue.unavailable(
            [name], SetupError("the saved result does not have it", hint="Measure it again with --metrics.")
        )
    }
    every = dict(result.measures) | lost
    speeds = [name for name in every if name.endswith("_per_second")]
    kept = [*catalogue.check_names(names), *speeds]
    return replace(result, measures={name: every[name] for name in kept})


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is the same for all."""
    first, *others = settings
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _said_once(warnings: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Warnings of single VAEs under their names; what is said of all stands once."""
    said = Counter(text for texts in warnings.values() for text in dict.fromkeys(texts))
    return tuple(
        dict.fromkeys(
            text if said[text] == len(warnings) else f"{name}: {text}"
            for name, texts in warnings.items()
            for text in texts
        )
    )


def _columns(results: Mapping[str, Result]) -> PerImage:
    """METRIC:REF by the ids of all."""
    ids = tuple(sorted({image_id for result in results.values() for image_id in result.per_image.ids}))
    columns: dict[str, tuple[float | None, ...]] = {}
    for name, result in results.items():
        for metric, column in result.per_image.columns.items():
            value_of = dict(zip(result.per_image.ids, column, strict=True))
            columns[f"{metric}:{name}"] = tuple(map(value_of.get, ids))
    return PerImage(ids, columns)
