"""What `watch` has seen: one evaluation for each checkpoint of a running training, and the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vaecheck.results.types import SCHEMA, DataCard, Environment, Measure, Plot


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint.

    name: relative to the watched folder, with its step where it has been overwritten. step: read from its name, else
    its place in order.

    written: when its newest file was, ISO 8601. stamp: names, sizes and times of its files as one hash, by which it is
    known without being read. folder: of its own result, relative to the history's; empty where there is none.
    problem: why it could not be evaluated; its measures are then empty. gone: whether its file has been deleted or
    overwritten since.
    """

    name: str
    step: int
    sha256: str | None
    written: str
    measures: Mapping[str, Measure] = field(default_factory=dict)
    problem: str = ""
    stamp: str = ""
    folder: str = ""
    gone: bool = False


@dataclass(frozen=True)
class History:
    """All evaluations in the order of steps.

    best: by metric, the checkpoint's name. best_overall: by the metrics that decide, in words why. stopped: the
    metrics that have stopped improving, each with the step since when; stop: whether all that decide have.
    best_checkpoint: the one that best_overall speaks of, empty without one. settings: those that decide the figures,
    and the rule: `stop_on`, `patience`, `min_delta`. improved: by metric that decides, the steps at which it was better
    than ever before.
    """

    folder: str
    data: DataCard
    environment: Environment
    evaluations: tuple[Evaluation, ...]
    best: Mapping[str, str]
    best_overall: str = ""
    best_checkpoint: str = ""
    stopped: Mapping[str, int] = field(default_factory=dict)
    stop: bool = False
    improved: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    kind: str = "watch"
    schema: int = SCHEMA
