"""What `gate` said: every rule checked, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vaecheck.results.types import SCHEMA, DataCard, Environment, VAECard

Outcome = Literal["pass", "warn", "fail", "error"]
GRAVEST_FIRST: tuple[Outcome, ...] = ("error", "fail", "warn", "pass")


@dataclass(frozen=True)
class Check:
    """One rule and what became of it.

    rule: as a person would write it ("psnr_db min 24"). metric: a measure or the id of a finding. table: where the rule
    stands ("gate.psnr_db"). outcome: "error" where the figure is missing or unavailable. value, limit: what was
    compared; limit of a baseline rule is the baseline's figure and worse_by together. reason: one sentence with the
    figures, for whatever outcome. remedy: one sentence; empty for a pass.
    """

    rule: str
    metric: str
    table: str
    outcome: Outcome
    value: float | None
    limit: float | None
    reason: str
    unit: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class GateReport:
    """The verdict: the gravest outcome of all checks, "error" above "fail" above "warn" above "pass".

    exit_code: 0 for pass and warn, 1 for fail, 3 for error. rules: the file they stand in. baseline: its folder, empty
    without. notes: limits that are far slacker than what was measured, and the like.
    """

    verdict: Outcome
    exit_code: int
    checks: tuple[Check, ...]
    rules: str
    result: str
    data: DataCard
    environment: Environment
    vae: VAECard | None = None
    baseline: str = ""
    notes: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    kind: str = "gate"
    schema: int = SCHEMA
