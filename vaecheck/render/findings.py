"""Findings as text, before any form: what a person is to read of a fault, and in which order.

Why the titles stand here too: a saved result is shown without the probes, which need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.results.types import Finding, Result, Severity

TITLES: Mapping[str, str] = {
    "non_finite": "NaN or infinity",
    "constant_output": "The same output for every picture",
    "detail_loss": "Loss of fine detail",
    "noise_artifacts": "Added noise and artefacts",
    "colour_shift": "Shift of colour",
    "contrast_shift": "Shift of contrast or brightness",
    "blur": "Blur",
    "checkerboard": "Checkerboard of the upsampling",
    "posterior_collapse": "Latents that do not follow the picture",
    "latent_scale": "Scale of the latents",
    "latent_outliers": "Outliers in the latents",
    "dead_channels": "Dead latent channels",
    "global_leak": "A latent cell that reaches the whole picture",
    "precision_float16": "Use in float16",
    "precision_bfloat16": "Use in bfloat16",
    "tiling_seams": "Seams of tiling",
    "text_loss": "Loss of small text",
    "face_loss": "Loss of small faces",
    "off_size": "Sizes that are no multiple of f",
}

WORDS: Mapping[Severity, str] = {
    "fault": "Fault",
    "warning": "Warning",
    "info": "Info",
    "healthy": "Healthy",
    "unavailable": "Not measured",
}
SYMBOLS: Mapping[Severity, str] = {"fault": "✖", "warning": "▲", "info": "→", "healthy": "✓", "unavailable": "?"}
_SIGNS = {"at most": "≤", "at least": "≥", "": ""}
GRAVE: tuple[Severity, ...] = ("fault", "warning")
"""What is told in full."""


@dataclass(frozen=True)
class Told:
    """One finding as text. figure: "0.31 of the energy, limit: at most 0.02"; empty without a value.

    value, limit, unit: the same for a table, "0.31", "≤ 0.02", "of the energy". about: what `info` follows from, in
    words. limit_source: told of faults and warnings only.
    """

    id: str
    title: str
    severity: Severity
    figure: str
    value: str
    limit: str
    unit: str
    evidence: str
    remedy: str
    limit_source: str
    about: str

    @property
    def word(self) -> str:
        return WORDS[self.severity]

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.severity]

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """The lines of a block after its heading: what each is called (empty for plain text), and its words."""
        lines = (
            ("", self.figure),
            ("", self.about),
            ("", self.evidence),
            ("Remedy", self.remedy),
            ("Limit from", self.limit_source),
        )
        return tuple((called, words) for called, words in lines if words)


def of_severity(result: Result, *severities: Severity) -> tuple[Told, ...]:
    """The findings of these severities, in the result's order."""
    return tuple(told(finding) for finding in result.findings if finding.severity in severities)


def told(finding: Finding) -> Told:
    value, limit = against(finding.value, finding.limit)
    unit = "" if finding.unit == "1" else finding.unit
    figure = f"{value} {unit}".strip()
    side = _side(finding)
    if finding.value is not None and finding.limit is not None:
        figure += f", limit: {side} {limit}" if side else f", limit {limit}"
    cause = finding.follows_from
    return Told(
        id=finding.id,
        title=title_of(finding.id),
        severity=finding.severity,
        figure=figure if finding.value is not None else "",
        value=value,
        limit=f"{_SIGNS[side]} {limit}".strip(),
        unit=unit,
        evidence=finding.evidence,
        remedy="" if finding.severity == "info" and cause else finding.remedy,
        limit_source=finding.limit_source if finding.severity in GRAVE else "",
        about=f"Follows from {cause}; measure it again when that is mended." if cause else "",
    )


def _side(finding: Finding) -> str:
    """Whether large or small is bad, which a figure past its limit tells, and one within it."""
    value, limit = finding.value, finding.limit
    if value is None or limit is None or value == limit:
        return ""
    return "at most" if (value > limit) == (finding.past_limit > 0) else "at least"


def title_of(finding_id: str) -> str:
    """In plain words; an unknown id is its own title."""
    return TITLES.get(finding_id, finding_id.replace("_", " "))


def against(value: float | None, limit: float | None) -> tuple[str, str]:
    """A figure and its limit to three digits; to more where the two would read the same."""
    if value is None:
        return ABSENT, ABSENT
    if limit is None:
        return figures.number(float(value), significant=3), ABSENT
    for significant in (3, 4, 5, 6, 8):
        pair = tuple(figures.number(float(amount), significant=significant) for amount in (value, limit))
        if value == limit or len({float(text.replace(",", "")) for text in pair}) == 2:
            break
    return pair[0], pair[1]
