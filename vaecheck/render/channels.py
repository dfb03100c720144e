"""The figures of every latent channel as a table, however many channels there are.

Why a terminal gets only the notable channels of a large model: 128 rows of eight figures are read by no one, and
result.json has them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.results.types import Result

NUMBER = "channel"
TINY = 1e-3


@dataclass(frozen=True)
class Channels:
    """Rows of text under `head`, whose first column is the channel's number. more: channels that are not shown."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0

    @property
    def note(self) -> str:
        if not self.more:
            return ""
        return (
            "Of every figure the channels with the lowest and the highest; "
            f"{figures.count(self.more, 'more channel')} in result.json."
        )


def channels(result: Result, most: int | None = None) -> Channels | None:
    """Every channel, or at most those with an extreme figure where there are more than `most`; None without any."""
    found = result.channels
    names = list(dict.fromkeys(name for channel in found for name in channel if name != NUMBER))
    if not names:
        return None
    columns = [[channel.get(name) for channel in found] for name in names]
    chosen = list(range(len(found)))
    if most is not None and len(found) > most:
        chosen = sorted({place for column in columns for place in _extremes(column)}) or chosen[:most]
    texts = [_aligned([column[place] for place in chosen]) for column in columns]
    numbers = [str(int(channel.get(NUMBER) or 0)) if NUMBER in channel else str(i) for i, channel in enumerate(found)]
    rows = tuple((numbers[place], *cells) for place, *cells in zip(chosen, *texts, strict=True))
    return Channels(
        (NUMBER, *(name.removesuffix("_db").replace("_", " ") + " dB" * name.endswith("_db") for name in names)),
        rows,
        len(found) - len(chosen),
    )


def turned(found: Channels) -> Channels:
    """A row for every figure and a column for every channel."""
    head, *rows = zip(found.head, *found.rows, strict=True)
    return Channels(tuple(head), tuple(tuple(row) for row in rows), found.more)


def _extremes(column: Sequence[float | None]) -> tuple[int, ...]:
    """The places of the lowest and the highest; none where all are the same."""
    known = [(value, place) for place, value in enumerate(column) if value is not None]
    if not known or min(known)[0] == max(known)[0]:
        return ()
    return min(known)[1], max(known)[1]


def _aligned(column: Sequence[float | None]) -> tuple[str, ...]:
    """One column's figures with the same decimals; whole numbers stay whole, tiny ones have a power of ten."""
    known = [float(value) for value in column if value is not None]
    if all(value.is_integer() for value in known):
        texts = [f"{value:,.0f}" for value in known]
    elif max(map(abs, known)) < TINY:
        texts = [figures.number(value, significant=3) for value in known]
    else:
        texts = list(figures.aligned(known))
    return tuple(ABSENT if value is None else texts.pop(0) for value in column)
