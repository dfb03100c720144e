"""What `gate --calibrate` found: how far the figures of one VAE scatter, and the limits that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FACTOR = 2.8
"""Standard deviations that a limit is away: 1.96 * sqrt(2), the repeatability limit of ISO 5725-6."""


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a difference to the baseline that one cause makes.

    cause: "seeds", "pictures", "devices" or "batch sizes". n: runs, or pictures, that it was measured on.
    """

    cause: str
    sd: float
    n: int


@dataclass(frozen=True)
class CalibratedLimit:
    """The limit of one metric: FACTOR standard deviations of all causes together, but no less than the floor.

    value: the baseline's figure. worse: how much worse the calibrated VAE is, negative where it is better.
    floor: what rounding and the last digit shown can make of it. worse_by: the limit, in the metric's unit.
    """

    metric: str
    unit: str
    value: float
    worse: float
    spreads: tuple[Spread, ...]
    sd: float
    floor: float
    worse_by: float


@dataclass(frozen=True)
class Calibration:
    """Every limit, and the metrics that got none, with the reason.

    vae, baseline: as named; the same where a VAE was held against itself. baseline_folder: where a saved one lies.
    runs: how many there were under what conditions, in words.
    """

    vae: str
    baseline: str
    pictures: str
    runs: str
    limits: tuple[CalibratedLimit, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    baseline_folder: str = ""
    kind: str = "calibration"
