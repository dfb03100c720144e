"""The page of a watched training: the best checkpoint, every metric against the step, and every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from vaecheck.render import figures, tables
from vaecheck.render.history import verdict
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.next_steps import of_history
from vaecheck.render.page import parts
from vaecheck.render.page.template import render
from vaecheck.render.titles import title_of
from vaecheck.results.history import Evaluation, History


def history_page(history: History, illustrated: Sequence[Illustration]) -> str:
    context = {
        "title": tables.title(history),
        "subject": history.folder,
        "verdict": verdict(history),
        "level_word": "Stop" if history.stop else "",
        "facts": (tables.data_in_words(history),),
        "steps": of_history(history),
        "best": [
            (title_of(name), f"{checkpoint}{_value(history, name, checkpoint)}")
            for name, checkpoint in history.best.items()
        ],
        "stopped": [(title_of(name), f"no better than at step {step:,}") for name, step in history.stopped.items()],
        "checkpoints": _table(history),
        "warnings": tables.warnings(history),
        **parts.last(history),
    }
    return render("history", context, drawn=embedded(illustrated))


def _value(history: History, name: str, checkpoint: str) -> str:
    """ ", 24.31 dB"; empty where it is not known."""
    found = next((one.measures.get(name) for one in history.evaluations if one.name == checkpoint), None)
    return f", {figures.value(found)}" if found is not None else ""


def _table(history: History) -> parts.Table | None:
    """A row for each checkpoint, a column for each metric that has a figure of one."""
    if not history.evaluations:
        return None
    measured = [one for each in history.evaluations for one in each.measures.values() if one.value is not None]
    names = list(dict.fromkeys(one.name for one in measured))
    head = ("checkpoint", "step", *map(title_of, names), "note")
    numbers = (False, True, *(True for _ in names), False)
    caption = "The best figure of each metric is underlined." if history.best else ""
    rows = tuple(_row(one, names, history) for one in history.evaluations)
    return parts.Table("Checkpoints", caption, head, numbers, rows)


def _row(one: Evaluation, names: Sequence[str], history: History) -> tuple[parts.Cell, ...]:
    notes = [
        "best overall" if one.name == history.best_checkpoint else "",
        one.problem,
        "gone since" if one.gone else "",
    ]
    return (
        parts.Cell(one.name, below=one.written[:16].replace("T", " ")),
        parts.Cell(f"{one.step:,}", one.step),
        *(parts.figure(one.measures.get(name), "best" if history.best.get(name) == one.name else "") for name in names),
        parts.Cell("; ".join(filter(None, notes))),
    )
