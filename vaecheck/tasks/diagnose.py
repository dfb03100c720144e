"""`diagnose`: which known faults does this VAE have?"""

from __future__ import annotations

import time
from collections.abc import Sequence

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.probes import catalogue
from vaecheck.probes.causes import ordered
from vaecheck.probes.protocol import Examined, Keeper, ModelRefused, Probe, Subject, unavailable
from vaecheck.results.types import Finding, Panel, Result
from vaecheck.tasks.machine import DTYPES
from vaecheck.tasks.opening import Bench, open_bench, open_vae, whole
from vaecheck.tasks.reconstruct import picture_warnings
from vaecheck.tasks.settings import Listener, Settings

NAMES_OF = {dtype: name for name, dtype in DTYPES.items()}


def diagnose(
    source: str,
    ref: str,
    settings: Settings,
    listener: Listener | None = None,
    probes: Sequence[str] | None = None,
) -> tuple[Result, tuple[Panel, ...]]:
    """One walk of the pictures with every probe watching, then each probe's own passes; and the panels to show.

    probes: ids, None for all. Raises InputError for an id that there is not.
    """
    started = time.perf_counter()
    catalogue.check_ids(probes or ())  # a misspelt probe costs nothing
    bench = open_bench(source, ref, settings, listener or Listener())
    settings = bench.settings
    built = catalogue.build(probes)
    keeper, stopwatch, loader = Keeper(settings.seed), Stopwatch(bench.device), bench.loader()
    run = Run(bench.vae, [*built, keeper], stopwatch)
    bench.listener.start("Reconstructing", bench.images.count)
    evaluate(
        [run],
        loader,
        device=bench.device,
        posterior=settings.posterior,
        seed=settings.seed,
        progress=bench.listener.advance,
    )
    walked = time.perf_counter()
    subject = _subject(bench, ref, keeper, run, loader.count)
    bench.listener.start("Probing", len(built))
    examined = []
    for probe in built:
        examined.append(_examine(probe, subject))
        bench.listener.advance(1)
    findings = ordered(one.finding for one in examined)
    seconds = {
        "pictures": loader.seconds,
        "vae": stopwatch.seconds("encode") + stopwatch.seconds("decode"),
        "probes": time.perf_counter() - walked,
        "total": time.perf_counter() - started,
    }
    result = Result(
        kind="diagnose",
        vae=bench.vae.card,
        data=bench.data_card(loader),
        settings=bench.document(run) | {"probes": [probe.id for probe in built]},
        environment=provenance.environment(str(bench.device), seconds),
        measures={},
        warnings=(*bench.warnings(run), *picture_warnings(loader)),
        findings=findings,
        plots=tuple(plot for one in examined for plot in one.plots),
    )
    return result, tuple(panel for one in examined for panel in one.panels)


def found_on_demand(findings: Sequence[Finding], fail_on: str | None) -> tuple[Finding, ...]:
    """The findings that --fail-on asks to fail on; "warning" counts faults too. Raises InputError for another word."""
    graver = {None: (), "fault": ("fault",), "warning": ("fault", "warning")}
    if fail_on not in graver:
        raise InputError(f"--fail-on {fail_on} is not a severity", hint="Use fault or warning.")
    return tuple(one for one in findings if one.severity in graver[fail_on])


def _subject(bench: Bench, ref: str, keeper: Keeper, run: Run, count: int) -> Subject:
    return Subject(
        vae=whole(bench.vae),
        device=bench.device,
        pictures=keeper.pictures(),
        catalogue=bench.catalogue,
        reload=lambda dtype: whole(open_vae(ref, bench.settings, bench.device, NAMES_OF[dtype])),
        count=count,
        posterior=bench.settings.posterior,
        seed=bench.settings.seed,
        room=run.room,
    )


def _examine(probe: Probe, subject: Subject) -> Examined:
    """Why a refusal is no end: a model that takes no card of another size still has eighteen other findings."""
    try:
        return probe.examine(subject)
    except ModelRefused as error:
        return Examined(unavailable(probe, f"{error.message}.", error.hint))
