"""What to do about a document, in the order in which it is worth doing: a few sentences, with commands to paste."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vaecheck.results.comparison import Comparison
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History

MOST = 8
"""Steps that a person reads."""


@dataclass(frozen=True)
class Step:
    """One sentence, and the command that does it, where there is one."""

    words: str
    command: str = ""


def of_gate(report: GateReport) -> tuple[Step, ...]:
    """The remedies of what is missing, then of what fails, then of what is near."""
    graded = [one for outcome in ("error", "fail", "warn") for one in report.checks if one.outcome == outcome]
    return _first(Step(one.remedy) for one in graded if one.remedy)


def of_history(history: History) -> tuple[Step, ...]:
    """Whether to stop, and the checkpoint to go on with."""
    steps = []
    if history.stop:
        steps.append(Step(f"Stop the training: {', '.join(history.stopped)} no longer improve."))
    if history.best_checkpoint:
        steps.append(Step(f"Take {history.best_checkpoint}, and look at what it cannot do.", ""))
    return _first(steps)


def of_comparison(comparison: Comparison) -> tuple[Step, ...]:
    return ()


def _first(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Each once."""
    return tuple(dict.fromkeys(steps))[:MOST]
