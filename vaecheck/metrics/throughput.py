"""Speed and memory of the VAE alone."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence

import torch

from vaecheck.results.types import Measure

DEFINITIONS = {
    "encode_images_per_second": "pictures over seconds inside encode, the first batch left out as warm-up",
    "decode_images_per_second": "pictures over seconds inside decode, the first batch left out as warm-up",
    "peak_memory_bytes": "most accelerator memory allocated, or on a CPU the most memory the process held",
}
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
        status="unreliable" if reason else "ok",
        reason=reason,
    )


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
