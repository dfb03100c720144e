"""A watch in the terminal and as Markdown: the best checkpoint, whether to stop, and every checkpoint in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vaecheck.render import figures, markdown, tables
from vaecheck.render.illustrations import Illustration
from vaecheck.render.next_steps import Step, of_history
from vaecheck.render.printable import shortened
from vaecheck.render.terminal import Screen
from vaecheck.render.verdict import Verdict
from vaecheck.results.history import Evaluation, History

BEST = " *"
"""Behind the best figure of a column."""
LONGEST_NAME = 32
_STYLES = {"good": "bold green", "caution": "bold yellow", "bad": "bold red", "info": "bold"}


def show(history: History, console: Console, out: Path | None = None) -> None:
    """Print it; where not all metrics fit side by side, those that decide come first and the others are left out."""
    screen = Screen(console)
    screen.line(tables.title(history), "bold")
    for line in _head(history):
        screen.line(line)
    judged = verdict(history)
    screen.line()
    screen.line(judged.sentence, _STYLES[judged.level])
    names, rest = _fitting(history, console.width)
    if names:
        screen.heading("Checkpoints")
        columns = [("step", True), ("checkpoint", False), *((name, True) for name in names)]
        rows = [_row(one, names, history, LONGEST_NAME) for one in history.evaluations if not one.problem]
        screen.table(columns, [[screen.text(cell) for cell in row] for row in rows])
        screen.line(f"{BEST.strip()} the best figure{_elsewhere(rest)}")
    screen.listed("Not evaluated", _problems(history), "yellow")
    screen.listed("What to do", [_in_words(step) for step in of_history(history)])
    screen.listed("Warnings", tables.warnings(history), "yellow")
    if out is not None:
        screen.listed("Written", [str(out / name) for name in history.artifacts.values() if "/" not in name])


def to_markdown(history: History, illustrated: Sequence[Illustration] = ()) -> str:
    """The whole report as GitHub-flavoured Markdown; pictures are named by their files beside it."""
    parts = [f"# {markdown.escape(tables.title(history))}", f"**{markdown.escape(verdict(history).sentence)}**"]
    parts += [markdown.paragraph(line) for line in _head(history)]
    parts += markdown.listed("What to do", (_in_words(step) for step in of_history(history)))
    names = _names(history)
    shown = [one for one in history.evaluations if not one.problem]
    rows = [[cell.rstrip() for cell in _row(one, names, history)] for one in shown]
    if rows:
        parts += ["## Checkpoints", markdown.table(["step", "checkpoint", *names], rows)]
        parts.append(f"{markdown.escape(BEST.strip())} the best figure")
    parts += markdown.listed("Not evaluated", _problems(history))
    for one in illustrated:
        parts += [f"![{markdown.escape(one.alt)}]({one.file})", markdown.paragraph(one.note)]
    parts += markdown.listed("Warnings", tables.warnings(history))
    parts += ["## Settings", markdown.table(["setting", "value"], tables.settings(history))]
    parts += ["## Environment", markdown.table(["", ""], tables.environment(history))]
    return "\n\n".join(parts) + "\n"


def verdict(history: History) -> Verdict:
    """The best so far, and whether it is worth going on."""
    seen = [one for one in history.evaluations if not one.problem]
    if not seen:
        return Verdict("No checkpoint has been evaluated yet.", "info")
    best = history.best_overall or "No checkpoint is the best in what decides."
    sentence = f"{best.rstrip('.')}. {figures.count(len(seen), 'checkpoint')} evaluated."
    if history.stop:
        return Verdict(f"{', '.join(history.stopped)} stopped improving. {sentence}", "caution")
    if history.stopped:
        sentence += f" Stopped improving: {', '.join(history.stopped)}; what else decides has not."
    return Verdict(sentence, "info")


def _head(history: History) -> tuple[str, ...]:
    lines = [f"Checkpoints of {history.folder}", tables.data_in_words(history)]
    if patience := history.settings.get("patience"):
        decide = tables.setting_in_words(history.settings.get("stop_on", ()))
        lines.append(f"What decides: {decide}; each stops after {patience} evaluations without a gain")
    return tuple(lines)


def _names(history: History) -> list[str]:
    """The metrics that have a figure, those that decide first."""
    seen = [
        name
        for one in history.evaluations
        for name, measure in one.measures.items()
        if isinstance(measure.value, (int, float))
    ]
    return list(dict.fromkeys([*(name for name in history.settings.get("stop_on", ()) if name in seen), *seen]))


def _fitting(history: History, width: int) -> tuple[list[str], list[str]]:
    """The metrics that fit beside each other, at least one, and the rest."""
    names = _names(history)
    shown = [one for one in history.evaluations if not one.problem]
    taken = 8 + min(LONGEST_NAME, max((len(one.name) for one in shown), default=0))
    for place, name in enumerate(names):
        cells = [_cell(one, name, history) for one in shown]
        taken += 1 + max(len(name), *map(len, cells))
        if taken > width and place:
            return names[:place], names[place:]
    return names, []


def _row(one: Evaluation, names: Sequence[str], history: History, longest: int | None = None) -> list[str]:
    name = f"{one.name} (gone)" if one.gone else one.name
    return [
        f"{one.step:,}",
        shortened(name, longest) if longest else name,
        *(_cell(one, metric, history) for metric in names),
    ]


def _cell(one: Evaluation, metric: str, history: History) -> str:
    """To four digits whatever the interval: checkpoints are told apart picture by picture, which is finer."""
    measure = one.measures.get(metric)
    if measure is None:
        return figures.ABSENT
    mark = BEST if history.best.get(metric) == one.name else " " * len(BEST)
    return f"{figures.value(replace(measure, ci95=None), unit=False)}{mark}"


def _elsewhere(names: Sequence[str]) -> str:
    return f"; for {', '.join(names)} see the report or history.csv" if names else ""


def _problems(history: History) -> list[str]:
    return [f"{one.name}: {one.problem}" for one in history.evaluations if one.problem]


def _in_words(step: Step) -> str:
    return f"{step.words} {step.command}".strip()
