"""How the files of plots and panels are named among a result's artifacts: "plot:ABOUT:NAME": "plots/NAME.png"."""

from __future__ import annotations

import re

from vaecheck.results.types import Result

PLOTS, PANELS = "plots", "panels"

_FILE = re.compile(rf"(?:{PLOTS}|{PANELS})/[A-Za-z0-9_-]+\.png")


def key_of(folder: str, about: str, name: str) -> str:
    return f"{folder.removesuffix('s')}:{about}:{name}"


def about_of(key: str) -> str:
    """The finding or the measure that an artifact's key names."""
    return key.partition(":")[2].rpartition(":")[0]


def is_drawn(file: str) -> bool:
    """Whether an artifact of this name is a plot or a panel that a report drew, inside its folder."""
    return _FILE.fullmatch(file) is not None


def files_about(result: Result, about: str) -> tuple[str, ...]:
    """The plots and panels that show a finding or a measure, relative to the report's folder."""
    return tuple(file for key, file in result.artifacts.items() if is_drawn(file) and about_of(key) == about)
