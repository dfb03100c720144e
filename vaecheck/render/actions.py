"""A gate as annotations of GitHub Actions, which are lines of a step's output: `::error title=...::message`.

Source: docs.github.com, "Workflow commands for GitHub Actions"; its toolkit's command.ts for what is escaped. The
runner reads both stdout and stderr of a step.
"""

from __future__ import annotations

from vaecheck.render.printable import printable
from vaecheck.results.gate import GateReport

MOST = 10
"""Of one level that GitHub shows for a step."""
_IN_MESSAGES = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_IN_PROPERTIES = (*_IN_MESSAGES, (":", "%3A"), (",", "%2C"))


def workflow_commands(report: GateReport) -> list[str]:
    """One line for each rule that is broken or near its limit, and for each note."""
    broken = [check for check in report.checks if check.outcome in ("error", "fail")]
    near = [check for check in report.checks if check.outcome == "warn"]
    lines = [
        *_level("error", [(check.rule, f"{check.reason}\n{check.remedy}".strip()) for check in broken]),
        *_level("warning", [(check.rule, f"{check.reason}\n{check.remedy}".strip()) for check in near]),
        *_level("notice", [("a slack rule", note) for note in report.notes]),
    ]
    return lines


def _level(level: str, told: list[tuple[str, str]]) -> list[str]:
    shown = told if len(told) <= MOST else told[: MOST - 1]
    lines = [
        f"::{level} title={_escaped(f'vaecheck gate: {title}', _IN_PROPERTIES)}::{_escaped(message, _IN_MESSAGES)}"
        for title, message in shown
    ]
    if rest := told[len(shown) :]:
        names = ", ".join(title for title, _ in rest)
        lines.append(f"::{level} title=vaecheck gate::{_escaped(f'and {len(rest)} more: {names}', _IN_MESSAGES)}")
    return lines


def _escaped(text: str, table: tuple[tuple[str, str], ...]) -> str:
    text = "\n".join(map(printable, text.splitlines()))
    for character, code in table:
        text = text.replace(character, code)
    return text
