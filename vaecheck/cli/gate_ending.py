"""How `gate` ends: its files, its report, and what GitHub is told.

Why printing comes last: a CI keeps the verdict by the files, whatever becomes of stdout.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vaecheck.cli import screen
from vaecheck.errors import InputError

if TYPE_CHECKING:
    from vaecheck.results.calibration import Calibration
    from vaecheck.results.gate import GateReport

JUNIT_FILE, RULES_FILE = "junit.xml", "gate.toml"


def finish(report: GateReport, *, out: Path | None, junit: Path | None, as_json: bool) -> GateReport:
    """Write the files, tell GitHub where it runs this, and print the report, even where a file cannot be written."""
    from vaecheck.render.junit import to_junit
    from vaecheck.results.files import write_atomically

    unwritten: InputError | None = None
    for path in filter(None, (out and out / JUNIT_FILE, junit)):
        try:
            write_atomically(path, to_junit(report))
        except InputError as error:
            unwritten = error
    _tell_github(report)
    if out is not None:
        report = replace(report, artifacts={**report.artifacts, "junit": JUNIT_FILE})
    report = screen.finish(report, out=out, as_json=as_json)
    broken = [check.rule for check in report.checks if check.outcome in ("error", "fail")]
    if broken:
        label = "error:" if report.verdict == "error" else "failed:"
        screen.said(label, "bold red", f"the gate says no: {', '.join(broken)}")
    if unwritten:
        raise unwritten
    return report


def print_limits(found: Calibration, out: Path | None, *, as_json: bool) -> None:
    """The rules in `out`, and on stdout."""
    from vaecheck.render.calibration import to_toml
    from vaecheck.results.files import write_atomically

    if out is not None:
        write_atomically(out / RULES_FILE, to_toml(found))
    if as_json:
        screen.print_json(asdict(found))
    else:
        with screen.stdout():
            print(to_toml(found), end="")
    if out is not None:
        path = out / RULES_FILE
        screen.said("written:", "bold", f"{path}; use it with --rules {path} --baseline {found.baseline_folder or out}")


def _tell_github(report: GateReport) -> None:
    """Annotations where GitHub Actions runs this, and the summary where it asks for one; what stands there is kept."""
    from vaecheck.render.actions import workflow_commands
    from vaecheck.render.gate import to_markdown

    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(*workflow_commands(report), sep="\n", file=sys.stderr, flush=True)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8") as summary:
                summary.write(to_markdown(report) + "\n")
        except OSError as error:
            screen.warn(f"the summary {path} cannot be written: {error.strerror}")
