"""What `watch` has seen: one evaluation for each checkpoint of a running training, and the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vaecheck.results.types import SCHEMA, DataCard, Environment, Measure


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint. name: relative to the watched folder. step: read from its name, else its place in order.

    problem: why it could not be evaluated; its measures are then empty.
    """

    name: str
    step: int
    sha256: str | None
    written: str
    measures: Mapping[str, Measure] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class History:
    """All evaluations in the order of steps.

    best: by metric, the checkpoint's name. best_overall: by the metrics that decide, in words why. stopped: the
    metrics that have stopped improving, each with the step since when; stop: whether all that decide have.
    """

    folder: str
    data: DataCard
    environment: Environment
    evaluations: tuple[Evaluation, ...]
    best: Mapping[str, str]
    best_overall: str = ""
    stopped: Mapping[str, int] = field(default_factory=dict)
    stop: bool = False
    artifacts: Mapping[str, str] = field(default_factory=dict)
    kind: str = "watch"
    schema: int = SCHEMA
