"""A result in the terminal: the verdict, the figures, why some are not to be relied on, and where files went.

Why tables hold figures and sentences stand below them where the window is narrow: a reason cut off at "..."
explains nothing, and a cell wrapped to one word a line is as bad.

Why lines are wrapped here and not by Rich: it pads them to the window with spaces, which a pipe keeps, and it breaks
a command that a remedy names, which then cannot be copied.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from rich import box
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from vaecheck.render import figures, published, tables
from vaecheck.render.channels import Channels, channels, turned
from vaecheck.render.drawn import files_about, is_drawn
from vaecheck.render.findings import Told, of_severity
from vaecheck.render.printable import printable
from vaecheck.render.tables import Row, Section
from vaecheck.render.verdict import verdict
from vaecheck.results.types import Result, Scaling, VAECard

WIDE, NARROW = 132, 72
MOST_READABLE = 110
"""Characters in a line of the sentences of a finding, however wide the window."""
MOST_CHANNELS, FEW_CHANNELS = 32, 8
"""Rows of a table of channels, and of lines where no table fits."""
SKIPPED_SHOWN = 5

_LEVEL_STYLES = {"good": "bold green", "caution": "bold yellow", "bad": "bold red", "info": "bold"}
_SEVERITY_STYLES = {"fault": "bold red", "warning": "bold yellow", "info": "bold"}
_STATUS_STYLES = {"unreliable": "yellow", "unavailable": "dim"}
_ARROWS = {"higher": "↑", "lower": "↓", "": "–"}
_PLAINER = {"×": "x", "↑": "higher", "↓": "lower", "–": "-", "…": "...", "≤": "<=", "≥": ">="}
"""For an encoding that lacks the letter."""
_COMMAND = re.compile(r"\bvaecheck(?: [^\s;,]+){1,4}")
_GLUE = "\ue000"


def show(result: Result, console: Console, out: Path | None = None) -> None:
    """Print the result; out: the folder that holds its files, if they were written.

    Colour follows the console, and so NO_COLOR. Text that the console's encoding cannot hold is escaped.
    """
    screen = Screen(console)
    screen.line(tables.title(result), "bold")
    for line in tables.head(result):
        screen.line(line)
    judged = verdict(result)
    screen.line()
    screen.line(judged.sentence, _LEVEL_STYLES[judged.level])
    if result.scaling is not None:
        screen.scaling(result.scaling, result.vae)
    screen.findings(result, out)
    for section in tables.sections(result):
        screen.section(section)
    screen.listed("Evidence", [words for section in tables.sections(result) for words in section.evidence])
    screen.latent_channels(result)
    screen.listed("Yardsticks", tables.yardstick_notes(result))
    screen.listed("Notes", [f"{note.subject}: {note.reason}" for note in tables.notes(result)])
    screen.published(result)
    screen.unet_cost(result)
    screen.listed("Pictures", _pictures(result))
    screen.listed("Warnings", tables.warnings(result), "yellow")
    if out is not None:
        screen.listed("Written", _written(result, out))


def wrapped(words: str, width: int, indent: str = "", hang: str = "", *, break_long_words: bool = True) -> list[str]:
    """The lines of a paragraph; hang: what later lines begin with. A command that fits in a line is kept whole."""
    hang = hang if width > 2 * len(hang) else "  "
    whole = width - len(hang)
    glued = _COMMAND.sub(lambda found: found[0].replace(" ", _GLUE) if len(found[0]) <= whole else found[0], words)
    lines = textwrap.wrap(
        glued,
        width,
        initial_indent=indent,
        subsequent_indent=hang,
        break_on_hyphens=False,
        break_long_words=break_long_words,
    )
    return [line.replace(_GLUE, " ") for line in lines] or [""]


class Screen:
    """A console that takes outside text literally: no markup, no control characters, no unknown letters."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.encoding = console.encoding or "utf-8"
        self.is_wide = console.width >= WIDE

    def text(self, words: str, style: str = "") -> Text:
        shown = printable(words)
        try:
            shown.encode(self.encoding)
        except UnicodeEncodeError:
            for letter, plain in _PLAINER.items():
                shown = shown.replace(letter, plain)
            shown = shown.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return Text(shown, style=style, overflow="fold")

    def line(self, words: str = "", style: str = "", indent: str = "", hang: str = "") -> None:
        """A paragraph, wrapped and never cut; hang: what later lines begin with. A command that fits is kept whole."""
        for line in wrapped(self.text(words).plain, self.console.width, indent, hang):
            self.put(Text(line, style=style, overflow="fold"))

    def whole(self, words: str, indent: str, hang: str) -> None:
        """The same, but a long word, an address or a path, runs past the edge, so that it can be copied."""
        for line in wrapped(self.text(words).plain, self.console.width, indent, hang, break_long_words=False):
            self.console.print(Text(line), soft_wrap=True, highlight=False)

    def put(self, renderable: Text | Table) -> None:
        """Print without the spaces that Rich fills lines with."""
        for line in self.console.render_lines(renderable, self.console.options.update(highlight=False), pad=False):
            self.console.print(Segments([*_trimmed(line), Segment.line()]), end="")

    def heading(self, words: str) -> None:
        self.line()
        self.line(words, "bold")

    def listed(self, heading: str, entries: Iterable[str], style: str = "") -> None:
        entries = list(entries)
        if entries:
            self.heading(heading)
        self.entries(entries, style)

    def entries(self, entries: Iterable[str], style: str = "") -> None:
        """One entry a paragraph, indented; an entry that begins with two spaces belongs to the one before."""
        for entry in entries:
            deeper = "  " if entry.startswith("  ") else ""
            self.line(entry.removeprefix(deeper), style, deeper + "  ", deeper + "    ")

    def table(
        self, columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[Text]], widths: Sequence[int] | None = None
    ) -> None:
        """columns: heading, and whether the column holds numbers. widths: of the columns, where headings must fold."""
        named = any(name for name, _ in columns)
        table = Table(
            box=box.SIMPLE_HEAD if named else None,
            show_header=named,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="dim",
        )
        for place, (name, is_number) in enumerate(columns):
            width = widths[place] if widths else None
            table.add_column(self.text(name), justify="right" if is_number else "left", overflow="fold", width=width)
        for row in rows:
            table.add_row(*row)
        self.put(table)

    def section(self, section: Section) -> None:
        if self.console.width < NARROW:
            self.heading(section.title)
            self.entries([_in_a_line(row, section.yardsticks) for row in section.rows])
            self.listed("In words", [f"{row.name}: {row.judgement}" for row in section.rows if row.says_more])
            return
        columns = [("metric", False), ("value", True), ("95 % interval", True), ("better", False)]
        columns += [(name, True) for name in section.yardsticks]
        columns += [("n", True)] + [("verdict", False)] * self.is_wide
        rows = []
        for row in section.rows:
            style = _STATUS_STYLES.get(row.status, "")
            cells = [row.name, row.value, row.interval, _ARROWS[row.better], *row.yardsticks, row.n]
            rows.append([self.text(cell, style) for cell in cells + [row.judgement] * self.is_wide])
        self.heading(section.title)
        self.table(columns, rows)
        if not self.is_wide:
            self.listed("In words", [f"{row.name}: {row.judgement}" for row in section.rows if row.says_more])

    def findings(self, result: Result, out: Path | None) -> None:
        """Faults, warnings and what follows from them as blocks, the healthy as a table, then what is not measured."""
        for one in of_severity(result, "fault", "warning", "info"):
            self.line()
            self.block(one, _SEVERITY_STYLES[one.severity])
            for path in [out / file for file in files_about(result, one.id)] if out is not None else ():
                self.whole(f"See {path}", "  ", "    ")
        if healthy := of_severity(result, "healthy"):
            self.heading(f"Healthy ({len(healthy)}), nearest to its limit first")
            self.healthy(healthy)
        absent = of_severity(result, "unavailable")
        if absent:
            self.heading(f"Not measured ({len(absent)})")
        for one in absent:
            self.readable(f"{one.id}: {one.evidence} {one.remedy}", "", "  ", "    ")

    def block(self, one: Told, style: str) -> None:
        self.readable(f"{one.word.upper()} {one.id}: {one.title}", style, "", "  ")
        for called, words in one.details:
            self.readable(f"{called}: {words}" if called else words, "", "  ", "    " if called else "  ")

    def readable(self, words: str, style: str, indent: str, hang: str) -> None:
        """A paragraph no wider than a reader's eye follows."""
        for line in wrapped(self.text(words).plain, min(self.console.width, MOST_READABLE), indent, hang):
            self.put(Text(line, style=style, overflow="fold"))

    def healthy(self, found: Sequence[Told]) -> None:
        if self.console.width < NARROW:
            self.entries([f"{one.id}: {one.figure or one.evidence}" for one in found])
            return
        columns = [("id", False), ("value", True), ("limit", True), ("unit", False)]
        columns += [("what", False)] * self.is_wide
        rows = [[one.id, one.value, one.limit, one.unit, *[one.title] * self.is_wide] for one in found]
        self.table(columns, [[self.text(cell) for cell in row] for row in rows])

    def latent_channels(self, result: Result) -> None:
        """One row a channel, the notable ones where there are many; on its side or in parts where it is too wide."""
        found = channels(result, MOST_CHANNELS)
        if found is None:
            return
        self.heading("Per channel, raw latents")
        columns, tall = _columns(found), _columns(turned(found))
        if _width(columns) <= self.console.width:
            self.grouped(found.head, found.rows)
        elif _width(columns, folded=True) <= self.console.width:
            self.folded(columns)
        elif _width(tall) <= self.console.width:
            self.folded(tall)
        else:
            found = channels(result, FEW_CHANNELS) or found
            self.parts(_columns(found))
        if found.note:
            self.line(found.note)

    def parts(self, columns: Sequence[Sequence[str]]) -> None:
        """A table too wide for the window as tables below each other, each with the first column."""
        first, *rest = columns
        part = [first]
        for column in rest:
            if len(part) > 1 and _width([*part, column], folded=True) > self.console.width:
                self.folded(part)
                self.line()
                part = [first]
            part.append(column)
        self.folded(part)

    def folded(self, columns: Sequence[Sequence[str]]) -> None:
        """Numbers in a table whose headings have a line for each word, where that is narrower."""
        narrow = _width(columns) > self.console.width
        head, *rows = zip(*columns, strict=True)
        widths = [_cell_width(column, folded=narrow) for column in columns]
        self.table([(name, True) for name in head], [[self.text(cell) for cell in row] for row in rows], widths)

    def published(self, result: Result) -> None:
        beside = published.beside(result)
        if beside is None:
            return
        self.heading(published.TITLE)
        columns = [(name, bool(place)) for place, name in enumerate(beside.head)]
        self.table(columns, [[self.text(cell) for cell in row] for row in beside.rows])
        self.line()
        self.entries(beside.notes)

    def unet_cost(self, result: Result) -> None:
        rows = tables.unet_cost(result)
        if not rows:
            return
        self.heading("What one U-Net step costs on these latents")
        columns = [("f", False), ("latents", False), ("tokens", True), ("FLOPs", True), ("", False)]
        marked = [(*cells, "<- this VAE" if own else "") for *cells, own in rows]
        self.table(columns, [[self.text(cell, "bold" if cells[-1] else "") for cell in cells] for cells in marked])
        if note := tables.unet_cost_note(result):
            self.line(note)

    def scaling(self, scaling: Scaling, vae: VAECard | None) -> None:
        self.heading("Scaling")
        self.table(
            [("", False), ("", False)],
            [[self.text(name), self.text(words)] for name, words in tables.scaling_summary(scaling, vae)],
        )
        self.channels(scaling)
        for name, code in scaling.snippets.items():
            self.heading(name)
            for line in code.splitlines():
                self.console.print(self.text(line), highlight=False, soft_wrap=True)

    def channels(self, scaling: Scaling) -> None:
        rows = tables.channels(scaling)
        if rows:
            self.heading("Per channel, raw latents")
            self.grouped(("channel", "mean", "std"), rows)

    def grouped(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows of numbers, side by side in as many groups as the window holds."""
        width = 2 + sum(max(map(len, column)) + 3 for column in zip(*rows, head, strict=True))
        across = min(max(1, self.console.width // width), -(-len(rows) // 8))
        down = -(-len(rows) // across)
        columns = [*((name, True) for name in head), ("  ", False)] * across
        padded = [*rows, *[("",) * len(head)] * (across * down - len(rows))]
        lines = [
            [self.text(cell) for place in range(across) for cell in (*padded[place * down + line], "  ")]
            for line in range(down)
        ]
        self.table(columns[:-1], [line[:-1] for line in lines])


def _columns(found: Channels) -> list[tuple[str, ...]]:
    """Each with its heading first."""
    return list(zip(found.head, *found.rows, strict=True))


def _width(columns: Iterable[Sequence[str]], *, folded: bool = False) -> int:
    """Of a table with these columns; folded: with a line for each word of a heading."""
    return sum(_cell_width(column, folded=folded) + 2 for column in columns)


def _cell_width(column: Sequence[str], *, folded: bool) -> int:
    head, *cells = column
    return max(map(len, [*(head.split() if folded else [head]), *cells]))


def _written(result: Result, out: Path) -> list[str]:
    """Every file, but plots and panels by their folder."""
    files = [name for name in result.artifacts.values() if not is_drawn(name)]
    drawn = Counter(PurePosixPath(name).parts[0] for name in result.artifacts.values() if is_drawn(name))
    folders = [f"{out / folder} ({figures.count(number, 'picture')})" for folder, number in drawn.items()]
    return [str(out / name) for name in files] + folders or [str(out)]


def _in_a_line(row: Row, yardsticks: Sequence[str]) -> str:
    """A row of a table for a window that would break its cells."""
    beside = zip(yardsticks, row.yardsticks, strict=True)
    facts = [("95 % interval", row.interval), *beside, ("n", row.n)]
    said = [f"{name} {text}" for name, text in facts if text != figures.ABSENT]
    better = f" ({row.better} is better)" if row.better else ""
    return f"{row.name}{better}: {', '.join([row.value, *said])}"


def _pictures(result: Result) -> list[str]:
    skipped = result.data.skipped
    lines = list(tables.intake(result))
    if skipped:
        lines.append(f"{figures.count(len(skipped), 'picture')} skipped:")
        lines += [f"  {printable(picture.id)}: {picture.reason}" for picture in skipped[:SKIPPED_SHOWN]]
    if len(skipped) > SKIPPED_SHOWN:
        lines.append(f"  and {len(skipped) - SKIPPED_SHOWN:,} more, in result.json")
    return lines


def _trimmed(line: Sequence[Segment]) -> list[Segment]:
    """The line without the spaces at its end."""
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style)
    return kept
