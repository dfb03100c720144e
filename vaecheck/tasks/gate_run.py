"""The runs that a gate's rules need, and no more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from vaecheck.errors import InputError, PartDone
from vaecheck.metrics import catalogue, latent_catalogue
from vaecheck.metrics.throughput import DEFINITIONS as SPEED
from vaecheck.results.types import Panel, Result, Shown
from vaecheck.tasks.diagnose import diagnose
from vaecheck.tasks.gate_rules import Rules
from vaecheck.tasks.latents import latents
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.scale_factor import scale_factor
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.world import ALONE, World

OF_SCALING = ("scaling_factor", "std_after")
CHEAPEST = ("psnr_db",)
"""What is measured where a rule asks for speed alone."""


@dataclass(frozen=True)
class Ran:
    """One run's result, with what its report shows."""

    result: Result
    shown: tuple[Shown, ...] = ()
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Which commands must run: the metrics of reconstruct and of latents, whether scale-factor, and which probes."""

    reconstruct: tuple[str, ...]
    latents: tuple[str, ...]
    scale_factor: bool
    probes: tuple[str, ...]


def measure(
    source: str,
    ref: str,
    rules: Rules,
    settings: Settings | None = None,
    listener: Listener | None = None,
    world: World = ALONE,
) -> tuple[Ran, ...]:
    """Run what the rules need on the pictures. A metric that cannot be had is an unavailable measure, as ever.

    Raises PartDone in all processes but the first, when each run has its part.
    """
    plan, asked = plan_of(rules), replace(settings or Settings(), yardstick="none")
    runs: list[Callable[[], Ran]] = []
    if plan.reconstruct:
        chosen = replace(asked, metrics=plan.reconstruct)
        runs.append(lambda: Ran(*reconstruct(source, ref, chosen, listener, world)))
    if plan.latents:
        runs.append(lambda: _latents(source, ref, replace(asked, metrics=plan.latents), listener, world))
    if plan.scale_factor:
        runs.append(lambda: Ran(scale_factor(source, ref, asked, listener, world)))
    if plan.probes and world.is_first:  # probes look at few pictures, and are not shared
        runs.append(lambda: _diagnose(source, ref, asked, listener, plan.probes))
    if not runs and world.is_first:
        raise InputError(
            f"{rules.source} asks only for {', '.join(rules.metrics)}, which need no pictures",
            hint="Measure them with vaecheck bench --out DIR, and give --result DIR.",
        )
    if world.is_first:
        return tuple(run() for run in runs)
    for run in runs:
        with suppress(PartDone):
            run()
    raise PartDone(f"process {world.rank} has given its parts to the first")


def plan_of(rules: Rules) -> Plan:
    """Figures of the latents come from `latents`, which decodes nothing, unless pictures are decoded anyway."""
    asked = rules.metrics
    of_both = [name for name in asked if name in catalogue.NAMES and name in latent_catalogue.NAMES]
    of_images = [name for name in asked if name in catalogue.NAMES and name not in of_both]
    of_latents = [name for name in asked if name in latent_catalogue.NAMES and name not in of_both]
    timed = any(name in SPEED for name in asked)
    decodes = bool(of_images or timed)
    return Plan(
        reconstruct=tuple([*of_images, *of_both] or CHEAPEST) if decodes else (),
        latents=tuple(of_latents if decodes else [*of_latents, *of_both]),
        scale_factor=any(name in OF_SCALING for name in asked),
        probes=rules.diagnosis.ids if rules.diagnosis else (),
    )


def _latents(source: str, ref: str, settings: Settings, listener: Listener | None, world: World) -> Ran:
    result, panels = latents(source, ref, settings, listener, world)
    return Ran(result, panels=panels)


def _diagnose(source: str, ref: str, settings: Settings, listener: Listener | None, probes: tuple[str, ...]) -> Ran:
    result, panels = diagnose(source, ref, settings, listener, probes)
    return Ran(result, panels=panels)
