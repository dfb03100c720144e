"""Speed and memory of the VAE alone."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import stdtrit

from vaecheck.results.types import Measure

DEFINITIONS = {
    "encode_images_per_second": "pictures over seconds inside encode, the first batch left out as warm-up",
    "decode_images_per_second": "pictures over seconds inside decode, the first batch left out as warm-up",
    "peak_memory_bytes": "most accelerator memory allocated, or on a CPU the most memory the process held",
}
FEWEST_LAPS = 4
"""Timed batches that an interval takes: of fewer, Student's t knows next to nothing."""
Laps = Sequence[tuple[int, float]]


def speed_measure(name: str, laps: Laps) -> Measure:
    """Images per second over all laps but the first. laps: (images, seconds) for each batch."""
    timed = laps[1:] or laps
    images = sum(count for count, _ in timed)
    reason = (
        "" if len(laps) > 1 else "one batch only, so warm-up is in it; give more pictures or a smaller --batch-size"
    )
    return Measure(
        name,
        images / sum(seconds for _, seconds in timed),
        "images/s",
        "higher",
        images,
        DEFINITIONS[name],
        ci95=speed_ci95(timed),
        status="unreliable" if reason else "ok",
        reason=reason,
    )


def speed_ci95(laps: Laps) -> tuple[float, float] | None:
    """95 % interval of images per second, from how the seconds of a picture scatter over batches.

    Formula: the ratio r of seconds to images +- t se, se^2 = n / (n - 1) sum (s_i - r c_i)^2 / (sum c_i)^2, Student's t
    with n - 1 degrees, turned over. None for fewer than FEWEST_LAPS batches, or where the slow end has no bound.
    Source: Cochran 1977, chapter 6, the ratio estimator.
    """
    if len(laps) < FEWEST_LAPS:
        return None
    images, seconds = np.array(laps, np.float64).T
    n, ratio = len(laps), float(seconds.sum() / images.sum())
    spread = math.sqrt(n / (n - 1) * float(((seconds - ratio * images) ** 2).sum())) / float(images.sum())
    half_width = float(stdtrit(n - 1, 0.975)) * spread
    return (1 / (ratio + half_width), 1 / (ratio - half_width)) if half_width < ratio else None


def speed_measures(laps: Mapping[str, Laps], device: torch.device) -> dict[str, Measure]:
    """Speed of each stage that ran, and the peak memory, by name."""
    speeds = [
        speed_measure(f"{stage}_images_per_second", laps[stage]) for stage in ("encode", "decode") if stage in laps
    ]
    measures = [*speeds, peak_memory(device, speeds[0].n if speeds else 0)]
    return {measure.name: measure for measure in measures}


def peak_memory(device: torch.device, images: int) -> Measure:
    name = "peak_memory_bytes"
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Measure(name, float(peak), "bytes", "lower", images, DEFINITIONS[name])
