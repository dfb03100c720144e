"""Lists of things with several facts each: a table where the window is wide, a block of lines each where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from vaecheck.render.terminal import WIDE, Screen

SUBJECT = 22
"""Width of a check's subject; a longer one pushes its state aside."""


def entries(head: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    """rows: a name, what it is, then its facts, in the order of `head`."""
    screen = Screen(console)
    if console.width >= WIDE:
        screen.table([(name, False) for name in head], [[screen.text(cell) for cell in row] for row in rows])
        return
    for name, about, *facts in rows:
        screen.line(name, "bold")
        screen.entries([about, *(f"{called}: {fact}" for called, fact in zip(head[2:], facts, strict=True))])


def facts(name: str, rows: Iterable[tuple[str, str]], console: Console) -> None:
    """A name, then its facts, wrapped beside what they are called; addresses and paths stay whole."""
    screen = Screen(console)
    screen.line(name, "bold")
    for called, fact in rows:
        screen.whole(fact, f"  {called:8}", " " * 10)


def paragraphs(groups: Iterable[tuple[str, Sequence[str]]], console: Console) -> None:
    """A heading, then its lines, wrapped; a line that begins with two spaces belongs to the one before."""
    screen = Screen(console)
    for place, (heading, lines) in enumerate(groups):
        if place:
            screen.line()
        screen.line(heading, "bold")
        screen.entries(lines)


def evaluation(about: str, source: str, sets: Mapping[str, str], not_reproduced: Sequence[str]) -> tuple[str, ...]:
    """A protocol's lines: what it is, where from, what it sets, what it cannot reproduce."""
    settings = (f"  {name}: {words}" for name, words in sets.items())
    cannot = ("does not reproduce", *(f"  {words}" for words in not_reproduced)) if not_reproduced else ()
    return (about, source, "sets", *settings, *cannot)


def marked(rows: Iterable[tuple[str, str, str, str]], console: Console) -> None:
    """Mark, subject, state and remedy, one row each; the remedy on a line of its own."""
    styles = {"ok": "green", "note": "yellow", "missing": "bold red"}
    screen = Screen(console)
    for mark, subject, state, remedy in rows:
        lead = f"{mark:7}  {subject:{SUBJECT}}  "
        screen.line(f"{lead}{state}", styles.get(mark, ""), "", " " * (9 + SUBJECT + 2))
        if remedy:
            screen.line(f"-> {remedy}", "", " " * 9, " " * 12)
