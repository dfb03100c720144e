"""Every probe there is, by the contract's ids."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

from vaecheck.errors import InputError
from vaecheck.probes.protocol import Probe

HOMES = {
    "non_finite": "non_finite:NonFinite",
    "constant_output": "constant_output:ConstantOutput",
    "detail_loss": "detail_loss:DetailLoss",
    "noise_artifacts": "noise_artifacts:NoiseArtifacts",
    "colour_shift": "colour_shift:ColourShift",
    "contrast_shift": "contrast_shift:ContrastShift",
    "blur": "blur:Blur",
    "checkerboard": "checkerboard:Checkerboard",
    "posterior_collapse": "posterior_collapse:PosteriorCollapse",
    "latent_scale": "latent_scale:LatentScale",
    "latent_outliers": "latent_outliers:LatentOutliers",
    "dead_channels": "dead_channels:DeadChannels",
    "global_leak": "global_leak:GlobalLeak",
    "precision_float16": "precision:PrecisionFloat16",
    "precision_bfloat16": "precision:PrecisionBFloat16",
    "tiling_seams": "tiling_seams:TilingSeams",
    "text_loss": "text_loss:TextLoss",
    "face_loss": "face_loss:FaceLoss",
    "off_size": "off_size:OffSize",
}


def check_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids in the order of the list. Raises InputError for an unknown one, with the nearest."""
    asked = list(dict.fromkeys(ids))
    for name in asked:
        if name not in HOMES:
            near = difflib.get_close_matches(name, HOMES, n=3, cutoff=0.4)
            raise InputError(
                f"there is no probe named {name!r}",
                hint=f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(HOMES)}.",
            )
    return tuple(name for name in HOMES if name in asked)


def build(ids: Iterable[str] | None = None) -> tuple[Probe, ...]:
    """Fresh probes, all of them where none are named."""
    probes = []
    for name in check_ids(ids or HOMES):
        module, kind = HOMES[name].split(":")
        probes.append(getattr(importlib.import_module(f"vaecheck.probes.{module}"), kind)())
    return tuple(probes)
