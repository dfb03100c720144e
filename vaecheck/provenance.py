"""Where a result comes from: versions, hardware, hashes.

Why versions are read from the installed packages' metadata: importing diffusers, lpips and torch-fidelity
only to ask for their versions costs some four seconds each.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from vaecheck import __version__
from vaecheck.results.types import Environment

PACKAGES = ("torch", "torchvision", "diffusers", "lpips", "torch-fidelity", "scikit-image", "pillow", "numpy")


def environment(
    device: str,
    seconds: Mapping[str, float] | None = None,
    *,
    started: str | None = None,
    resumed_from: int | None = None,
) -> Environment:
    """This machine and what is installed on it, for a run on `device` ("cpu", "cuda:0", "mps").

    seconds: timings by the name of the stage. started: ISO 8601 time at which the run began; if None, the time
    now less the timing "total", or less the sum of all of them.
    """
    import torch

    seconds = dict(seconds or {})
    return Environment(
        versions=versions() | {"torch": str(torch.__version__)},  # with its build: +cpu, +cu130
        platform=platform.platform(),
        cpu=cpu_model(),
        threads=torch.get_num_threads(),
        device=device,
        accelerator=_accelerator(device),
        started=started or _start(seconds),
        seconds=seconds,
        resumed_from=resumed_from,
    )


def versions() -> dict[str, str]:
    """Versions of vaecheck, Python and the packages that decide a figure; absent ones are left out."""
    found = {"vaecheck": __version__, "python": platform.python_version()}
    found.update({name: version for name in PACKAGES if (version := _version(name)) is not None})
    return found


def cpu_model() -> str:
    """The processor's name as its maker gives it, or its architecture where no name can be had."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name")]
    if names:
        return names[0]
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine() or "unknown"


def _start(seconds: Mapping[str, float]) -> str:
    elapsed = seconds.get("total", sum(seconds.values()))
    return (datetime.now(UTC) - timedelta(seconds=elapsed)).isoformat(timespec="seconds")


def _accelerator(device: str) -> str | None:
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name(device)
    if kind == "mps":
        return cpu_model()
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
