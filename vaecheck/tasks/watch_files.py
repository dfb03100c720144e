"""What a watch leaves for programs: history.csv, and two small files that a trainer can poll.

A training loop asks after each checkpoint that it has saved:

>>> told = Path("checkpoints/vaecheck-watch/early_stop.json")
>>> if told.exists() and json.loads(told.read_text())["stop"]:
...     break

Each is written under a temporary name and moved, so that a trainer never reads half of one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaecheck.results.files import write_atomically
from vaecheck.results.history import Evaluation, History
from vaecheck.results.types import Measure

HISTORY_FILE, BEST_FILE, STOP_FILE = "history.csv", "best", "early_stop.json"
ARTIFACTS = {"history": HISTORY_FILE, "best": BEST_FILE, "early_stop": STOP_FILE}
_HEAD = ("step", "name", "written", "sha256", "gone", "problem")


def write(history: History, folder: Path, out: Path) -> None:
    """history.csv: one line an evaluation. best: the path of the best checkpoint that is there, empty without one.
    early_stop.json: `stop`, `since_step`, `metrics`, `best`."""
    best = best_path(history, folder)
    write_atomically(out / HISTORY_FILE, to_csv(history))
    write_atomically(out / BEST_FILE, f"{best}\n" if best else "")
    write_atomically(out / STOP_FILE, json.dumps(early_stop(history, best), indent=2, allow_nan=False) + "\n")


def best_path(history: History, folder: Path) -> str:
    """As --vae takes it, from any working directory; empty without one."""
    name = history.best_checkpoint
    return str((folder if name.startswith("../") else folder / name).absolute()) if name else ""


def early_stop(history: History, best: str) -> dict[str, Any]:
    """What a trainer polls. since_step: the last step at which a metric that decides improved; None without a stop."""
    metrics = {
        name: {
            "best": _best_value(history, name),
            "improved_at_step": history.improved[name][-1] if history.improved.get(name) else None,
            "stopped": name in history.stopped,
        }
        for name in history.settings.get("stop_on", ())
    }
    since = max(history.stopped.values()) if history.stop else None
    return {"stop": history.stop, "since_step": since, "metrics": metrics, "best": best or None}


def to_csv(history: History) -> str:
    """Value and 95 % interval of every metric by evaluation; empty cells for what is not there."""
    names = list(dict.fromkeys(name for one in history.evaluations for name in one.measures))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEAD, *(f"{name}{part}" for name in names for part in ("", "_low", "_high"))])
    for one in history.evaluations:
        cells = [one.step, one.name, one.written, one.sha256 or "", int(one.gone), one.problem]
        for name in names:
            measure = one.measures.get(name)
            low, high = (measure.ci95 if measure else None) or (None, None)
            numbers = (scalar(measure) if measure else None, low, high)
            cells += ["" if number is None else repr(number) for number in numbers]
        writer.writerow(cells)
    return text.getvalue()


def scalars(measures: Mapping[str, Measure]) -> dict[str, float]:
    """The measures that are one number."""
    values = {name: scalar(measure) for name, measure in measures.items()}
    return {name: value for name, value in values.items() if value is not None}


def scalar(measure: Measure) -> float | None:
    return float(measure.value) if isinstance(measure.value, (int, float)) else None


def folder_name(evaluation: Evaluation) -> str:
    """Of plain letters, sorted by step, another for other weights."""
    plain = re.sub(r"[^A-Za-z0-9_=-]+", "_", evaluation.name).strip("_")[-60:]
    return f"{evaluation.step:08d}-{plain}-{(evaluation.sha256 or '')[:8]}"


def _best_value(history: History, name: str) -> float | None:
    of = {one.name: one.measures.get(name) for one in history.evaluations}
    best = of.get(history.best.get(name, ""))
    return scalar(best) if best else None
