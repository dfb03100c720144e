"""A gate in the terminal and as Markdown for a pull request: the verdict, then every rule, the broken ones first.

Why breaches are told in sentences below the table: a row of figures says that a rule is broken, and only its reason
says whether the figure is bad, missing or not to be relied on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vaecheck.render import figures, markdown, tables
from vaecheck.render.illustrations import Illustration
from vaecheck.render.terminal import NARROW, Screen
from vaecheck.render.verdict import Level, Verdict
from vaecheck.results.gate import GRAVEST_FIRST, Check, GateReport, Outcome

WORDS: Mapping[Outcome, str] = {"error": "Error", "fail": "Fail", "warn": "Warn", "pass": "Pass"}
SYMBOLS: Mapping[Outcome, str] = {"error": "?", "fail": "✖", "warn": "▲", "pass": "✓"}
LEVELS: Mapping[Outcome, Level] = {"error": "bad", "fail": "bad", "warn": "caution", "pass": "good"}

_SAID: Mapping[Outcome, str] = {"error": "could not be judged", "fail": "broken", "warn": "warned of"}
_STYLES = {"good": "bold green", "caution": "bold yellow", "bad": "bold red", "info": "bold"}
_ROW_STYLES: dict[Outcome, str] = {"error": "bold red", "fail": "bold red", "warn": "yellow", "pass": ""}


def show(report: GateReport, console: Console, out: Path | None = None) -> None:
    """Print it: the verdict first, then every rule in a table, the broken ones first and again in words."""
    screen = Screen(console)
    judged = verdict(report)
    screen.line(judged.sentence, _STYLES[judged.level])
    for line in _head(report):
        screen.line(line)
    screen.heading("Every rule")
    if console.width < NARROW:
        screen.entries([f"{_badge(one)} {one.rule}: {' against '.join(_figures(one))}" for one in report.checks])
    else:
        columns = [("outcome", False), ("rule", False), ("value", True), ("limit", True)]
        columns += [("why", False)] * screen.is_wide
        rows = [[_badge(one), one.rule, *_figures(one), *[one.reason] * screen.is_wide] for one in report.checks]
        styles = [_ROW_STYLES[one.outcome] for one in report.checks]
        screen.table(
            columns, [[screen.text(cell, style) for cell in row] for row, style in zip(rows, styles, strict=True)]
        )
    for check in report.checks:
        if check.outcome != "pass":
            screen.line()
            screen.readable(f"{_badge(check)} {check.rule}", _ROW_STYLES[check.outcome], "", "  ")
            for words in _in_words(check):
                screen.readable(words, "", "  ", "  ")
    screen.listed("Notes", report.notes, "yellow")
    if out is not None:
        screen.listed("Written", [str(out / name) for name in report.artifacts.values()])


def to_markdown(report: GateReport, illustrated: Sequence[Illustration] = ()) -> str:
    """GitHub-flavoured Markdown: the verdict, what is broken and its remedy, then every rule."""
    parts = [f"# {markdown.escape(tables.title(report))}", f"**{markdown.escape(verdict(report).sentence)}**"]
    parts += [markdown.paragraph(line) for line in _head(report)]
    rows = [[_badge(one), one.rule, *_figures(one), one.reason] for one in report.checks]
    parts += [markdown.table(["outcome", "rule", "value", "limit", "why"], rows)]
    broken = [one for one in report.checks if one.remedy and one.outcome != "pass"]
    parts += markdown.listed("What to do", dict.fromkeys(f"{one.metric}: {one.remedy}" for one in broken))
    parts += markdown.listed("Notes", report.notes)
    return "\n\n".join(parts) + "\n"


def verdict(report: GateReport) -> Verdict:
    """How many rules were kept, and which were not."""
    by = {outcome: [one.rule for one in report.checks if one.outcome == outcome] for outcome in GRAVEST_FIRST}
    said = [
        f"{figures.count(len(by[outcome]), 'rule')} {_SAID[outcome]}: {', '.join(by[outcome])}"
        for outcome in _SAID
        if by[outcome]
    ]
    held = len(by["pass"]) + len(by["warn"])
    kept = f"{held:,} of {figures.count(len(report.checks), 'rule')} kept"
    sentence = "; ".join([*said, kept] if said else ["every rule is kept" if report.checks else "there is no rule"])
    return Verdict(f"{sentence[:1].upper()}{sentence[1:]} (exit code {report.exit_code}).", LEVELS[report.verdict])


def _head(report: GateReport) -> list[str]:
    """Who was judged, on what, by which rules."""
    named = (("Rules", report.rules), ("Result", report.result), ("Baseline", report.baseline))
    lines = [tables.vae_in_words(report.vae), tables.data_in_words(report)]
    return [line for line in lines if line] + [f"{name}: {file}" for name, file in named if file]


def _badge(check: Check) -> str:
    return f"{SYMBOLS[check.outcome]} {WORDS[check.outcome].upper()}"


def _in_words(check: Check) -> list[str]:
    return [check.reason, *([f"Remedy: {check.remedy}"] if check.remedy else [])]


def _figures(check: Check) -> tuple[str, str]:
    """Value and limit, to as many digits as tell them apart."""
    short = check.unit.partition(" (")[0]
    unit = f" {short}" if short not in ("", "1") else ""
    amounts = [check.value, check.limit]
    for significant in (4, 6, 9, 12):
        value, limit = (
            figures.ABSENT if one is None else figures.number(float(one), significant=significant) for one in amounts
        )
        if value != limit or check.value == check.limit:
            break
    return (value if check.value is None else value + unit), limit
