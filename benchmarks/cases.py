"""The cases by name: what is measured, against what, and the most that the ratio may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import processes
from benchmarks.setting import Setting


@dataclass(frozen=True)
class Case:
    """words: as the table says it. measure: a turn -> (ours, theirs). limit: None where the figure is for reading.

    unit: of both. gpu: whether it needs a CUDA device.
    """

    words: str
    measure: Callable[[Setting], tuple[float, float]]
    limit: float | None = None
    unit: str = "s"
    gpu: bool = False


def inside(name: str, device: str, setting: Setting) -> tuple[float, float]:
    """A case of benchmarks.inside; all that it printed is kept under its name, for the shares of the stages."""
    figures = _figures(name, device, setting)
    return figures["ours"], figures["theirs"]


def apart(name: str, device: str, setting: Setting) -> tuple[float, float]:
    """Two cases of benchmarks.inside, each in a process of its own: ours and theirs."""
    ours, theirs = (_figures(f"{side}-{name}", device, setting)["seconds"] for side in ("our", "their"))
    return ours, theirs


def _figures(name: str, device: str, setting: Setting) -> dict[str, float]:
    key = (setting.turn, name, device)
    if key not in setting.made:
        arguments = (name, setting.pictures, setting.vaes[0], setting.size, setting.count, device)
        cache = setting.fresh(f"cache-{name}-{device}")
        done = setting.run("-m", "benchmarks.inside", *arguments, VAECHECK_CACHE=str(cache))
        setting.made[key] = json.loads(done.out)
    found: dict[str, float] = setting.made[key]
    return found


def stages(made: dict[Any, Any]) -> dict[str, float]:
    """Of the latest turn of `bare` on the CPU; empty where it was not run."""
    turns = [figures for (_, *name), figures in made.items() if name == ["bare", "cpu"]]
    return turns[-1] if turns else {}


CASES: dict[str, Case] = {
    "bare": Case(
        "reconstruct with all metrics, first picture read to result written, against bare forward passes of the same "
        "modules",
        partial(inside, "bare", "cpu"),
        1.05,
    ),
    "plain": Case(
        "reconstruct against the plain script, whole processes, without the VAE", processes.against_plain, 0.60
    ),
    "compare": Case(
        "compare of three different VAEs against three runs of the plain script, whole processes, without the VAE",
        processes.compare,
        0.40,
    ),
    "warm": Case(
        "second run with a warm feature cache against the first, whole processes, without the VAE",
        processes.warm_cache,
        0.65,
    ),
    "warm-open": Case(
        "the same, without the start of the process and the loading of networks", processes.warm_cache_once_open
    ),
    "inception": Case(
        "Inception features against torch-fidelity's own extractor, each in its own process",
        partial(apart, "inception", "cpu"),
        0.62,
    ),
    "inception-inside": Case(
        "the same in one process, both with freed memory kept (see vaecheck/memory.py)",
        partial(inside, "inception", "cpu"),
    ),
    "vae": Case(
        "the VAE's own time, ours against a plain diffusers loop, each in its own process",
        processes.vaes_own_time,
        0.85,
    ),
    "vae-inside": Case("the same in one process, both with freed memory kept", partial(inside, "vae", "cpu")),
    "memory": Case(
        f"peak memory, {processes.MANY:,} pictures against {processes.FEW}, at {processes.SMALL} with a VAE of means",
        processes.memory,
        1.05,
        "MB",
    ),
    "help": Case("`vaecheck --help`, seconds", processes.help_seconds, 0.40),
    "gpu-bare": Case("reconstruct against bare forward passes, CUDA", partial(inside, "bare", "cuda"), gpu=True),
    "gpu-inception": Case(
        "Inception features against torch-fidelity's own extractor, CUDA",
        partial(inside, "inception", "cuda"),
        gpu=True,
    ),
    "gpu-vae": Case(
        "the VAE's own time against diffusers', one process, CUDA", partial(inside, "vae", "cuda"), gpu=True
    ),
}
