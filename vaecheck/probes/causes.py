"""Which fault comes first: one defect moves many figures, and a person must mend the cause.

Why a literal table of causes: a picture that is one grey has lost its detail, its contrast and its text, and a list of
nineteen faults would hide the one that is to be mended. A finding past its limit that follows from a fault is told as
`info`, with the cause's id; it is measured again once the cause is mended. Only faults explain, and only those that
stay faults themselves: so whatever is found, one of them is left.

Why two kinds: a fault of DEEP takes the ground from all others, however far past their limits those are. Faults of how
pictures look are judged from the farthest past its limit downwards, so that a small one never hides a great one; text
comes last, since any of them spoils it. Faces do not: `face_loss` is the error beside that of the same model elsewhere,
which a fault of the whole picture leaves as it is, so where it is the farthest past its limit it is the cause.
"""

from __future__ import annotations

from collections.abc import Iterable

from vaecheck.probes.protocol import info, unmeasured
from vaecheck.results.types import Finding

_LOOKS = ("detail_loss", "noise_artifacts", "colour_shift", "contrast_shift", "blur", "checkerboard")
_CONTENT = ("text_loss", "face_loss")
_PASSES = ("precision_float16", "precision_bfloat16", "tiling_seams", "off_size", "global_leak")
_LATENTS = ("latent_scale", "latent_outliers", "dead_channels")

DEEP: dict[str, tuple[str, ...]] = {
    "non_finite": ("constant_output", *_LOOKS, *_CONTENT, *_PASSES, *_LATENTS),
    "posterior_collapse": ("constant_output", *_LOOKS, *_CONTENT, *_PASSES, *_LATENTS),
    "dead_channels": ("latent_scale", "constant_output", *_LOOKS, *_CONTENT),
    "constant_output": (*_LOOKS, *_CONTENT, *_PASSES),
    "global_leak": ("latent_outliers", "latent_scale", *_LOOKS, *_CONTENT, "tiling_seams", "off_size"),
    "latent_outliers": ("latent_scale", *_LOOKS, *_CONTENT),
}
"""What may follow from each, the deepest first; one follows only from those above it."""

LOOKS: dict[str, tuple[str, ...]] = {
    "contrast_shift": ("colour_shift", *_CONTENT),
    "colour_shift": _CONTENT,
    "checkerboard": ("noise_artifacts", "detail_loss", *_CONTENT),
    "noise_artifacts": ("detail_loss", "global_leak", "tiling_seams", "off_size", *_CONTENT),
    "blur": ("detail_loss", *_CONTENT),
    "detail_loss": ("blur", "noise_artifacts", "checkerboard", *_CONTENT),
    "face_loss": ("detail_loss", "blur", "text_loss"),
    "tiling_seams": ("contrast_shift", "colour_shift"),
}
"""What may follow from each where it is farther past its limit; `text_loss` however far."""

BLINDS = ("non_finite", "constant_output")
"""Faults that leave nothing to measure: what they would explain is not called healthy either."""

_ORDER = ("fault", "warning", "info", "healthy", "unavailable")


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Faults, warnings, info, healthy, unavailable; within each by how far past the limit. What follows is told so."""
    found = list(findings)
    causes: list[Finding] = []
    for fault in sorted((one for one in found if one.severity == "fault"), key=_depth):
        if _cause(fault, causes) is None:
            causes.append(fault)
    told = [one if one in causes else _told(one, causes) for one in found]
    return tuple(sorted(told, key=lambda one: (_ORDER.index(one.severity), -one.past_limit, one.id)))


def _depth(fault: Finding) -> tuple[int, float, str]:
    """The order in which faults are judged: DEEP as it stands, then by how far past the limit, then text."""
    deep = list(DEEP)
    place = deep.index(fault.id) if fault.id in DEEP else len(deep) + (fault.id == "text_loss")
    return place, -fault.past_limit, fault.id


def _cause(finding: Finding, causes: Iterable[Finding]) -> str | None:
    """The first of the causes that the finding follows from."""
    return next((one.id for one in causes if finding.id in DEEP.get(one.id, LOOKS.get(one.id, ()))), None)


def _told(finding: Finding, causes: list[Finding]) -> Finding:
    """A finding past its limit as what follows from a fault, if it does; a healthy one as unavailable, if it blinds."""
    if finding.severity == "healthy":
        blind = next((one.id for one in causes if _blinds(one) and finding.id in DEEP[one.id]), None)
        return finding if blind is None else unmeasured(finding, blind)
    if finding.severity not in ("fault", "warning"):
        return finding
    cause = _cause(finding, causes)
    return finding if cause is None else info(finding, cause)


def _blinds(fault: Finding) -> bool:
    """Whether nothing of any picture comes back."""
    if fault.id not in BLINDS:
        return False
    return fault.value == 1.0 if fault.id == "non_finite" else fault.figures.get("over_pictures") == fault.value
