"""A comparison in the terminal and as Markdown: who wins what, by how much, and at what cost.

Why letters where names are long: a table with six paths in its head has no room for figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from string import ascii_uppercase

from rich.console import Console

from vaecheck.render import contests, markdown, tables
from vaecheck.render.figures import ABSENT
from vaecheck.render.illustrations import Illustration
from vaecheck.render.next_steps import Step, of_comparison
from vaecheck.render.terminal import NARROW, Screen
from vaecheck.results.comparison import Comparison

SHEET_ALT = (
    "the pictures on which they differ most: the original and every VAE, and the window of the largest difference"
)
LONGEST_NAME = 18
ALL_DIFFERENCES = 3
"""VAEs of which every pair is shown in the terminal; of more, the best against the others."""
_STYLES = {"good": "bold green", "caution": "bold yellow", "bad": "bold red", "info": "bold"}
_ARROWS = {"higher": "↑", "lower": "↓", "": "–"}


def show(comparison: Comparison, console: Console, out: Path | None = None) -> None:
    """Print it; out: the folder that holds its files, if they were written."""
    screen = Screen(console)
    label = _labels(comparison, console.width)
    screen.line(tables.title(comparison), "bold")
    for line in _head(comparison, label):
        screen.line(line)
    judged = contests.verdict(comparison)
    screen.line()
    screen.line(judged.sentence, _STYLES[judged.level])
    for theme, rows in contests.sections(comparison).items():
        _section(screen, theme, rows, label)
    screen.line(contests.MARKS)
    _differences(screen, comparison, label)
    if pareto := contests.pareto(comparison, label):
        screen.heading("Quality against cost (Pareto fronts)")
        _table(screen, pareto.head, pareto.rows, words={0, len(pareto.head) - 2, len(pareto.head) - 1})
        screen.entries(pareto.left_out)
    screen.listed("Notes", contests.notes(comparison))
    screen.listed("What to do", [_in_words(step) for step in of_comparison(comparison)])
    screen.listed("Pictures", tables.intake(comparison))
    screen.listed("Warnings", tables.warnings(comparison), "yellow")
    if out is not None:
        screen.listed("Written", [str(out / name) for name in comparison.artifacts.values() if "/" not in name])


def to_markdown(comparison: Comparison, illustrated: Sequence[Illustration] = ()) -> str:
    """The whole report as GitHub-flavoured Markdown; pictures are named by their files beside it."""
    refs = list(comparison.sources)
    own = {ref: ref for ref in refs}
    parts = [
        f"# {markdown.escape(tables.title(comparison))}",
        f"**{markdown.escape(contests.verdict(comparison).sentence)}**",
    ]
    parts += [markdown.paragraph(line) for line in _head(comparison, own)]
    parts += markdown.listed("What to do", (_in_words(step) for step in of_comparison(comparison)))
    for theme, rows in contests.sections(comparison).items():
        head = ["metric", "better", *map(markdown.escape, refs), "winner"]
        cells = [[row.name, row.better or ABSENT, *row.values, row.winner or ABSENT] for row in rows]
        parts += [f"## {theme}", markdown.table(head, cells)]
    parts.append(markdown.escape(contests.MARKS))
    if differences := contests.differences(comparison):
        rows_ = [[one.name, f"{one.a} less {one.b}", one.value, one.interval, one.p, one.better] for one in differences]
        head = ["metric", "pair", "difference", "95 % interval", "p (Holm)", "better"]
        parts += ["## Differences on the same pictures", markdown.table(head, rows_)]
        parts.append(markdown.paragraph(contests.BEYOND_CHANCE))
    if pareto := contests.pareto(comparison, own):
        parts += ["## Quality against cost (Pareto fronts)", markdown.table(pareto.head, pareto.rows)]
        parts += ["\n".join(f"- {markdown.paragraph(note)}" for note in pareto.left_out)] * bool(pareto.left_out)
    for one in illustrated:
        parts += [f"![{markdown.escape(one.alt)}]({one.file})", *([markdown.paragraph(one.note)] if one.note else [])]
    if sheet := comparison.artifacts.get("grid"):
        parts.append(f"![{SHEET_ALT}]({PurePath(sheet).name})")
    parts += markdown.listed("Notes", contests.notes(comparison))
    parts += markdown.listed("Pictures", tables.intake(comparison))
    parts += markdown.listed("Warnings", tables.warnings(comparison))
    parts += ["## Settings", markdown.table(["setting", "value"], tables.settings(comparison))]
    parts += ["## Environment", markdown.table(["", ""], tables.environment(comparison))]
    return "\n\n".join(parts) + "\n"


def _labels(comparison: Comparison, width: int) -> dict[str, str]:
    """What each VAE is called in tables: its name where all are short and fit side by side, else a letter."""
    refs = list(comparison.sources)
    longest = max(map(len, refs))
    if longest <= LONGEST_NAME and (longest + 2) * (len(refs) + 1) + 32 <= width:
        return {ref: ref for ref in refs}
    letters = [*ascii_uppercase, *(f"{a}{b}" for a in ascii_uppercase for b in ascii_uppercase)]
    return dict(zip(refs, letters, strict=False))


def _head(comparison: Comparison, label: dict[str, str]) -> list[str]:
    lines = []
    for ref, source in comparison.sources.items():
        called = f"{label[ref]}: " if label[ref] != ref else ""
        words = tables.vae_in_words(comparison.vaes.get(ref)) or "no VAE"
        lines.append(f"{called}{words}" + (f"; saved in {source}" if source else ""))
    return [*lines, tables.data_in_words(comparison)]


def _section(screen: Screen, theme: str, rows: Sequence[contests.ContestRow], label: dict[str, str]) -> None:
    screen.heading(theme)
    called = list(label.values())
    head = ["metric", "", *called, *(["winner"] if any(row.winner for row in rows) else [])]
    cells = [
        [row.name, _ARROWS[row.better], *row.values, label.get(row.winner, row.winner or ABSENT)][: len(head)]
        for row in rows
    ]
    _table(screen, head, cells, words={0, 1, len(called) + 2})


def _differences(screen: Screen, comparison: Comparison, label: dict[str, str]) -> None:
    many = len(label) > ALL_DIFFERENCES
    rows = contests.differences(comparison, of_the_best=many)
    if not rows:
        return
    screen.heading("Differences on the same pictures" + " (best against the others; all in report.md)" * many)
    head = ["metric", "pair", "difference", "95 % interval", "p", "better"]
    cells = [
        [
            *(one.name, f"{label[one.a]} - {label[one.b]}", one.value, one.interval, one.p),
            label.get(one.better, one.better),
        ]
        for one in rows
    ]
    _table(screen, head, cells, words={0, 1, 5})
    screen.line(contests.BEYOND_CHANCE)


def _table(screen: Screen, head: Sequence[str], rows: Sequence[Sequence[str]], words: set[int]) -> None:
    """A table, or in a window that would break its cells one line for each row. words: the columns of text."""
    width = sum(max(map(len, column)) + 2 for column in zip(head, *rows, strict=True))
    if screen.console.width < min(NARROW, width):
        screen.entries(
            f"{row[0]}: {', '.join(f'{name} {cell}'.strip() for name, cell in zip(head[1:], row[1:], strict=True))}"
            for row in rows
        )
        return
    columns = [(name, place not in words) for place, name in enumerate(head)]
    screen.table(columns, [[screen.text(cell) for cell in row] for row in rows])


def _in_words(step: Step) -> str:
    return f"{step.words} {step.command}".rstrip()
