"""The figures of a running training: a table with their courses for a terminal, a line for a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rich.table import Table

KEPT = 32
BARS = "▁▂▃▄▅▆▇█"


class Course:
    """The last reports of a training."""

    def __init__(self) -> None:
        self._reports: deque[Mapping[str, float]] = deque(maxlen=KEPT)
        self._step = self._steps = 0

    def add(self, step: int, steps: int, means: Mapping[str, float]) -> None:
        self._reports.append(means)
        self._step, self._steps = step, steps

    def line(self) -> str:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in self._reports[-1].items())
        return f"step {self._step} of {self._steps}  {figures}"

    def table(self) -> Table:
        """One row for each figure: its last value, and its course over the last reports."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(f"at step {self._step}")
        table.add_column("mean", justify="right")
        table.add_column(f"last {len(self._reports)} reports")
        for name, value in self._reports[-1].items():
            table.add_row(name, f"{value:.4g}", spark([one[name] for one in self._reports if name in one]))
        return table


def spark(values: list[float]) -> str:
    """A bar for each value, the lowest and the highest of them being the ends of the scale."""
    low, high = min(values), max(values)
    if high == low:
        return BARS[0] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in values)
