"""`gate --calibrate`: how far the difference to a baseline scatters by itself, and the limits that follow from it.

Why 2.8 standard deviations: two results of one method differ by less in 95 % of cases, 1.96 * sqrt(2) being 2.77 (the
repeatability limit of ISO 5725-6). Hand-picked tolerances fail both ways.

Why pictures count only against another VAE: a gate refuses a baseline of other pictures, and one VAE against itself
differs by its seeds alone, which are measured. The scatter over pictures is the standard error of the paired
difference: random halves of N pictures scatter by just that, as a half drawn without replacement has variance S^2 / N.

Why a floor: a deterministic model measured twice on one machine does not scatter at all, and on the next machine it is
off in the last digit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from vaecheck.errors import InputError, SetupError
from vaecheck.metrics import catalogue
from vaecheck.metrics.throughput import DEFINITIONS as SPEED
from vaecheck.results.calibration import FACTOR, CalibratedLimit, Calibration, Spread
from vaecheck.results.comparable import check_comparable
from vaecheck.results.types import Result
from vaecheck.tasks.gate_checks import Pair, pairs
from vaecheck.tasks.gate_rules import METRICS, AgainstBaseline, Rules, better
from vaecheck.tasks.gate_run import Ran, measure
from vaecheck.tasks.settings import Listener, Settings

FRECHET = ("rfid", "kid", "fd_efficientnet_lite0", "fd_pytorch_fid", "ifid", "ifd_efficientnet_lite0")
ROUNDING, FRECHET_ROUNDING = 1e-5, 1e-4
"""What other batch sizes and devices make of a per-image figure and of a Frechet distance, relative above 1."""
SHOWN_DIGITS = 4
OF_THE_MACHINE = "it is the machine's and not the model's; set its limit by hand"
UNPAIRED = "it has no values by picture, so that what other pictures make of the difference is not known"

Runs = Sequence[Result]
"""What one measurement left: a result for each command that it took."""


def calibrate(
    source: str,
    ref: str,
    settings: Settings,
    listener: Listener | None = None,
    *,
    candidate: str | None = None,
    baseline: Sequence[Result] = (),
    baseline_folder: str = "",
    repeats: int = 5,
) -> tuple[Calibration, tuple[Ran, ...]]:
    """The limits, and the runs that a later gate may take as its baseline (none where one was given).

    ref: the VAE, which is run again and again; with a `candidate` it is the baseline, and that is run so. repeats:
    runs with other seeds, where posteriors are sampled. Raises InputError for metrics that have no better direction.
    """
    if candidate and baseline:
        raise InputError("a candidate and a baseline were both given", hint="Give one --vae, or no --baseline.")
    rules = _rules(settings)
    own: tuple[Ran, ...] = ()
    baseline_name = baseline_folder
    if not baseline:
        own, baseline_name = measure(source, ref, rules, settings, listener), ref
        baseline = [one.result for one in own]
    repeated, is_itself = candidate or ref, bool(own) and candidate is None
    first = baseline if is_itself else _run(source, repeated, rules, settings, listener)
    against = pairs(rules.baseline, first, baseline)
    for pair in against:
        if pair.mine is not None and pair.theirs is not None:
            check_comparable(pair.mine.result, pair.theirs.result, repeated, baseline_name, [pair.rule.metric])
    varied: dict[str, list[Runs]] = {}
    for cause, other in _variations(settings, first[0], repeats):
        varied.setdefault(cause, [first]).append(_run(source, repeated, rules, other, listener))
    limits, left_out = [], {name: OF_THE_MACHINE for name in settings.metrics or () if name in SPEED}
    for pair in against:
        if why := _unusable(pair, is_itself=is_itself):
            left_out[pair.rule.metric] = why
        else:
            limits.append(_limit(pair, varied, is_itself=is_itself))
    if settings.metrics and not limits:
        lost = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise SetupError(f"no metric that was asked for can be calibrated: {lost}")
    data = first[0].data
    counts = [f"{len(runs)} {cause}" for cause, runs in varied.items()]
    pictures = f"{data.count} pictures of {data.source}"
    found = Calibration(repeated, baseline_name, pictures, ", ".join(counts), tuple(limits), left_out, baseline_folder)
    return found, own


def floor_of(metric: str, value: float) -> float:
    """The least difference that a limit should take for one: rounding, and one in the last of four digits."""
    rounding = (FRECHET_ROUNDING if metric in FRECHET else ROUNDING) * max(1.0, abs(value))
    last_digit = 10.0 ** (math.floor(math.log10(abs(value))) - SHOWN_DIGITS + 1) if value else 0.0
    return max(rounding, last_digit)


def _rules(settings: Settings) -> Rules:
    """What is asked for, as rules against a baseline, for a gate's own machinery to measure."""
    names = settings.metrics or catalogue.default_names(settings.lpips_net)
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        catalogue.check_names(unknown)
    if settings.metrics and (vague := [name for name in names if better(name) is None]):
        raise InputError(
            f"{', '.join(vague)} can get no limit: better is neither high nor low",
            hint="Write max and min for them by hand.",
        )
    asked = [name for name in names if better(name) is not None and name not in SPEED]
    if not asked:
        raise InputError(f"{', '.join(names)} cannot be calibrated: {OF_THE_MACHINE}", hint="Try --metrics psnr_db.")
    return Rules("--metrics", baseline=tuple(AgainstBaseline(name) for name in asked))


def _run(source: str, ref: str, rules: Rules, settings: Settings, listener: Listener | None) -> Runs:
    return [one.result for one in measure(source, ref, rules, settings, listener)]


def _variations(settings: Settings, first: Result, repeats: int) -> Iterator[tuple[str, Settings]]:
    """What a later run may do otherwise, and the settings for it: other seeds, other devices, pictures one by one."""
    same = replace(settings, dtype=str(first.settings["dtype"]))
    if settings.posterior == "sample":
        for step in range(1, repeats):
            yield "seeds", replace(same, seed=settings.seed + step)
    for device in _devices() if settings.device == "auto" else ():
        if device != torch.device(first.environment.device).type:
            yield "devices", replace(same, device=device)
    if first.settings["batch_size"] != 1 and first.data.count > 1:
        yield "batch sizes", replace(same, batch_size=1, device=first.environment.device)


def _devices() -> tuple[str, ...]:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(device for device, is_here in found.items() if is_here)


def _unusable(pair: Pair, *, is_itself: bool) -> str:
    """Why a metric gets no limit; empty where it gets one."""
    for side in (pair.mine, pair.theirs):
        if side is None:
            return "it was not measured on both sides"
        if side.number is None or side.measure.status != "ok":
            return f"{side.measure.status}, which fails any rule: {side.measure.reason}"
    if not is_itself and (pair.difference is None or pair.difference.ci95 is None):
        return pair.difference.reason if pair.difference is not None and pair.difference.left_out else UNPAIRED
    return ""


def _limit(pair: Pair, varied: Mapping[str, Sequence[Runs]], *, is_itself: bool) -> CalibratedLimit:
    metric, theirs, difference = pair.rule.metric, pair.theirs, pair.difference
    assert theirs is not None
    assert theirs.number is not None
    assert difference is not None
    spreads = []
    for cause, runs in varied.items():
        values = [one.mine.number for each in runs for one in pairs([pair.rule], each, ()) if one.mine is not None]
        known = [value for value in values if value is not None]
        if len(known) > 1:
            spreads.append(Spread(cause, statistics.stdev(known), len(known)))
    if not is_itself and difference.ci95 is not None:
        low, high = difference.ci95
        spreads.append(Spread("pictures", (high - low) / 2 / 1.96, difference.n))
    sd = math.sqrt(sum(one.sd**2 for one in spreads))
    floor = floor_of(metric, theirs.number)
    return CalibratedLimit(
        metric=metric,
        unit=theirs.measure.unit,
        value=theirs.number,
        worse=difference.value * (-1 if better(metric) == "higher" else 1),
        spreads=tuple(spreads),
        sd=sd,
        floor=floor,
        worse_by=_rounded_up(max(FACTOR * sd, floor)),
    )


def _rounded_up(amount: float) -> float:
    """To two digits, never down."""
    step = 10.0 ** (math.floor(math.log10(amount)) - 1)
    return float(f"{math.ceil(amount / step - 1e-9) * step:.3g}")
