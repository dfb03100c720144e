"""Which fault comes first: one defect moves many figures, and a person must mend the cause.

Why a literal table of causes: a picture that is one grey has lost its detail, its contrast and its text, and a list of
nineteen faults would hide the one that is to be mended. A finding past its limit that follows from a fault is told as
`info`, with the cause's id; it is measured again once the cause is mended. Only faults explain: a warning is no cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vaecheck.probes.protocol import info
from vaecheck.results.types import Finding

_OUTPUT = ("detail_loss", "noise_artifacts", "colour_shift", "contrast_shift", "blur", "checkerboard")
_CONTENT = ("text_loss", "face_loss")
_PASSES = ("precision_float16", "precision_bfloat16", "tiling_seams", "off_size", "global_leak")

FOLLOWS: dict[str, tuple[str, ...]] = {
    "non_finite": (
        "constant_output",
        *_OUTPUT,
        *_CONTENT,
        *_PASSES,
        "latent_outliers",
        "dead_channels",
        "latent_scale",
    ),
    "posterior_collapse": ("constant_output", "dead_channels", *_OUTPUT, *_CONTENT, *_PASSES),
    "constant_output": (*_OUTPUT, *_CONTENT, *_PASSES, "dead_channels"),
    "tiling_seams": ("contrast_shift", "colour_shift"),
    "global_leak": ("latent_outliers", "latent_scale", *_OUTPUT, *_CONTENT, "tiling_seams", "off_size"),
    "latent_outliers": ("latent_scale", *_OUTPUT, *_CONTENT, "dead_channels"),
    "dead_channels": ("latent_scale", "constant_output", *_OUTPUT, *_CONTENT),
    "contrast_shift": ("colour_shift", *_CONTENT),
    "colour_shift": _CONTENT,
    "checkerboard": ("noise_artifacts", "detail_loss", *_CONTENT),
    "noise_artifacts": ("detail_loss", "global_leak", "tiling_seams", "off_size", *_CONTENT),
    "blur": ("detail_loss", *_CONTENT),
    "detail_loss": ("blur", "noise_artifacts", "checkerboard", *_CONTENT),
}
"""What may follow from each fault, causes first: where two explain each other, the one farther past its limit leads."""

_ORDER = ("fault", "warning", "info", "healthy", "unavailable")


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Faults, warnings, info, healthy, unavailable; within each by how far past the limit. What follows is told so."""
    found = list(findings)
    faults = {one.id: one for one in found if one.severity == "fault"}
    told = [_told(one, faults) for one in found]
    return tuple(sorted(told, key=lambda one: (_ORDER.index(one.severity), -one.past_limit, one.id)))


def _told(finding: Finding, faults: Mapping[str, Finding]) -> Finding:
    """A finding past its limit as what follows from a fault, if it does."""
    if finding.severity not in ("fault", "warning"):
        return finding
    cause = next((name for name in FOLLOWS if name in faults and _follows(finding, faults[name])), None)
    return finding if cause is None else info(finding, cause)


def _follows(finding: Finding, cause: Finding) -> bool:
    if finding.id not in FOLLOWS[cause.id]:
        return False
    mutual = finding.severity == "fault" and cause.id in FOLLOWS.get(finding.id, ())
    return not mutual or (cause.past_limit, cause.id) > (finding.past_limit, finding.id)
