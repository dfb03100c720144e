"""What `compare` found: several VAEs on the same pictures, their paired differences, and who wins what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vaecheck.results.types import SCHEMA, Better, DataCard, Environment, Measure, PerImage, Plot, VAECard

NO_DIFFERENCE = "no difference"
ALPHA = 0.01
"""The chance that a comparison names any winner where nothing differs; metrics/contests.py has why it is so small."""


@dataclass(frozen=True)
class Difference:
    """a's figure less b's, on the same pictures.

    ci95: of the difference; None where the pictures cannot tell. p: two-sided, of no difference; p_holm: the same after
    Holm's correction for all differences of the document. reason: why there is no interval, empty where there is one.
    """

    a: str
    b: str
    value: float | None
    ci95: tuple[float, float] | None
    n: int = 0
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""

    @property
    def decided(self) -> bool:
        """Whether it is more than chance: the interval is on one side of 0, and p_holm is below ALPHA."""
        if self.ci95 is None or self.p_holm is None:
            return False
        return self.p_holm < ALPHA and not self.ci95[0] <= 0 <= self.ci95[1]

    def winner(self, better: Better) -> str | None:
        """The REF that is better by this difference alone, beyond chance; None where neither is."""
        if better is None or self.value is None or not self.decided:
            return None
        return self.a if (self.value > 0) == (better == "higher") else self.b


@dataclass(frozen=True)
class Contest:
    """One metric over all VAEs.

    winner: the REF that beats every other, or "no difference", which also stands where neither direction is better.
    """

    values: Mapping[str, Measure]
    differences: tuple[Difference, ...]
    winner: str = NO_DIFFERENCE

    @property
    def better(self) -> Better:
        return better_of(self.values)


def better_of(values: Mapping[str, Measure]) -> Better:
    """Which direction of a metric is an improvement."""
    return next((measure.better for measure in values.values() if measure.better), None)


@dataclass(frozen=True)
class Front:
    """Who is on the Pareto front of one quality metric against what it costs.

    quality: a metric. axes: what else counts ("latent_values", "decode_images_per_second", "sec_25"), with the
    direction that is better. points: by REF the figures by axis, the quality's too. front: the REFs that no other
    beats in all. beaten_by: of the others, by REF, who does. note: what was left out and why.
    """

    quality: str
    axes: Mapping[str, str]
    points: Mapping[str, Mapping[str, float | None]]
    front: tuple[str, ...]
    beaten_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class SideBySide:
    """One picture kept for the grid, and what each VAE made of it: 8-bit RGB (H, W, 3) arrays.

    disagreement: grey levels (0 to 255) between two of the VAEs, root mean square over pixels and pairs.
    planes: what lies side by side in the arrays, in equal widths ("RGB", "alpha"); empty where that is RGB or grey.
    """

    id: str
    disagreement: float
    original: Any
    reconstructions: Mapping[str, Any]
    planes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """One `compare`, of VAEs or of saved results. REFs are the names as given, made unique.

    per_image: columns "METRIC:REF". sources: by REF the folder of a saved result, empty where the VAE was run.
    """

    vaes: Mapping[str, VAECard]
    data: DataCard
    settings: Mapping[str, Any]
    environment: Environment
    measures: Mapping[str, Contest]
    fronts: tuple[Front, ...] = ()
    warnings: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    per_image: PerImage = field(default_factory=PerImage)
    kind: str = "compare"
    schema: int = SCHEMA
