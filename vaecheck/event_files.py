"""TensorBoard event files, written by the tensorboard package where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

MISSING = "tensorboard is not installed: no event files are written. pip install 'vaecheck[tensorboard]'"


class EventFile:
    """Scalars by step, in a new file of a folder; opened at the first figure, so that no run leaves an empty one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    @staticmethod
    def is_possible() -> bool:
        return importlib.util.find_spec("tensorboard") is not None

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """One point for each figure, on the disk when this returns."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
