"""The runs of `gate`, and their own reports below its --out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vaecheck.cli.gate_usage import read

if TYPE_CHECKING:
    from vaecheck.results.calibration import Calibration
    from vaecheck.results.gate import GateReport
    from vaecheck.tasks.gate_run import Ran
    from vaecheck.tasks.settings import Listener, Settings
    from vaecheck.world import World


def judge(
    source: str,
    vaes: Sequence[str],
    folders: Sequence[Path] | None,
    rules: Path | None,
    baseline: Path | None,
    settings: Settings,
    listener: Listener,
    out: Path | None,
    world: World,
) -> GateReport:
    """Of saved results, or of what the rules need to be measured."""
    from vaecheck.tasks.gate import judge, open_results

    asked = read(rules, has_baseline=baseline is not None)
    old, named = open_results(baseline) if baseline else (), str(baseline or "")  # before a run takes its minutes
    if folders:
        results = [result for folder in folders for result in open_results(folder)]
        return judge(results, asked, old, result=", ".join(map(str, folders)), baseline_name=named)
    from vaecheck.tasks.gate_run import measure

    runs = measure(source, vaes[0], asked, settings, listener, world)
    report = judge([run.result for run in runs], asked, old, result=f"{vaes[0]} on {source}", baseline_name=named)
    return replace(report, artifacts=_write(runs, out))


def calibrate(
    source: str,
    vaes: Sequence[str],
    baseline: Path | None,
    repeats: int,
    settings: Settings,
    listener: Listener,
    out: Path | None,
) -> Calibration:
    """The limits; the runs that they are of are kept below `out`, to be the baseline."""
    from vaecheck.tasks.gate import open_results
    from vaecheck.tasks.gate_calibrate import calibrate

    found, runs = calibrate(
        source,
        vaes[0],
        replace(settings, out=None, resume=False),  # of many runs, none of which is gone on with
        listener,
        candidate=vaes[1] if len(vaes) > 1 else None,
        baseline=open_results(baseline) if baseline else (),
        baseline_folder=str(baseline or ""),
        repeats=repeats,
    )
    _write(runs, out)
    return found


def _write(runs: Sequence[Ran], out: Path | None) -> dict[str, str]:
    """The reports of the runs, as artifacts by kind."""
    from vaecheck.render.report import PAGE_FILE, write_report

    for run in runs if out else ():
        write_report(run.result, run.shown, Path(out or ".") / run.result.kind, run.panels)
    return {run.result.kind: f"{run.result.kind}/{PAGE_FILE}" for run in runs if out}
