"""`doctor`: what this machine and this installation can do, and what to do about what they cannot.

Why nothing here raises: a doctor that dies of the illness is of no use. Whatever a check runs into becomes its line.
Why half precision is timed: no flag says whether a CPU computes bfloat16 itself or ten times as slowly as float32.
"""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from vaecheck import provenance, weights

Mark = Literal["ok", "note", "missing"]

OLDEST_PYTHON = (3, 11)
EXTRAS = ("data", "offline")
GIB = 2**30
LITTLE_DISK, LITTLE_SHARED = 5 * GIB, GIB // 4
NVIDIA_DRIVER = "/proc/driver/nvidia/version"
SLOW_HALF = 2.0
COUNT_SECONDS = 1.0

# Measured: the process that encodes and decodes one picture of 512 x 512 with Stable Diffusion's VAE in float32 on a
# CPU peaks at 2.70 GiB, of which 0.81 GiB are Python, torch and the weights.
KL_F8_FIXED, KL_F8_PICTURE = 0.81 * GIB, 1.89 * GIB


@dataclass(frozen=True)
class Check:
    """mark: "missing" where something needed is not there. remedy: empty where there is nothing to do."""

    mark: Mark
    subject: str
    state: str
    remedy: str = ""


def doctor() -> tuple[Check, ...]:
    """Every check, in the order in which to mend things. Needs no network, and no package but vaecheck's own files."""
    checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("Python", _python),
        ("packages", _packages),
        ("torch", _torch),
        ("threads", _threads),
        ("metric weights", _weights),
        ("hub", _hub),
        ("disk", _disk),
        ("memory", _memory),
        ("text", _text),
    )
    return tuple(found for subject, check in checks for found in _safely(subject, check))


def _safely(subject: str, check: Callable[[], Iterator[Check]]) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(check())  # extend keeps what came before an error
    except Exception as error:
        found.append(Check("note", subject, f"could not be looked at: {_one_line(error)}"))
    return found


# --- software ---------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    new_enough = sys.version_info[:2] >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    yield Check(
        "ok" if new_enough else "missing",
        "Python",
        f"{platform.python_version()}, {platform.machine()}, {platform.system()}",
        "" if new_enough else f"vaecheck needs Python {oldest} or newer.",
    )
    yield Check("ok", "vaecheck", provenance.versions()["vaecheck"])


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in metadata.requires("vaecheck") or ()]
    except metadata.PackageNotFoundError:
        yield Check(
            "note", "packages", "vaecheck is not installed here, so its needs are not known", "pip install vaecheck"
        )
        return
    for need in sorted(wanted, key=lambda need: need.name.lower()):
        extra = next((name for name in EXTRAS if need.marker and need.marker.evaluate({"extra": name})), None)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield _package(need.name, need.specifier, "missing", f"pip install '{need.name}{need.specifier}'")
        elif extra:
            yield _package(need.name, need.specifier, "note", f"pip install 'vaecheck[{extra}]'")


def _package(name: str, specifier: Any, otherwise: Mark, remedy: str) -> Check:
    optional = " (optional)" if otherwise == "note" else ""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(otherwise, name, f"not installed; {specifier} is wanted{optional}", remedy)
    if specifier.contains(version, prereleases=True):
        return Check("ok", name, f"{version}{optional}")
    return Check(otherwise, name, f"{version}, but {specifier} is wanted{optional}", remedy)


def _torch() -> Iterator[Check]:
    try:
        import torch
    except Exception as error:
        yield Check(
            "missing",
            "torch",
            f"cannot be imported: {_one_line(error)}",
            "Install it for this machine, as pytorch.org says, then run vaecheck doctor again.",
        )
        return
    yield _cuda(torch)
    for place in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(place)
        state = f"{torch.cuda.get_device_name(place)}, {_gib(free)} of {_gib(total)} free"
        half = "native" if torch.cuda.is_bf16_supported(including_emulation=False) else "emulated, and slow"
        yield Check("ok", f"cuda:{place}", f"{state}, bfloat16 {half}; {_fits(free)}")
    if torch.backends.mps.is_available():
        yield Check("ok", "mps", "Apple's GPU can be used; it shares the memory below")
    yield _half(torch, "bfloat16")
    yield _half(torch, "float16")


def _cuda(torch: Any) -> Check:
    version, build = torch.__version__, torch.version.cuda
    if build is None:
        other = f"ROCm {torch.version.hip}" if torch.version.hip else "no CUDA in this build"
        card = Path(NVIDIA_DRIVER).exists()
        remedy = "There is an NVIDIA driver: install a CUDA build of torch to use it." if card else ""
        return Check("note" if card else "ok", "torch", f"{version}, {other}", remedy)
    if torch.cuda.is_available():
        return Check("ok", "torch", f"{version}, built for CUDA {build}, driver {_driver(torch)}")
    state = f"{version}, built for CUDA {build}, driver {_driver(torch)}"
    if not Path(NVIDIA_DRIVER).exists():
        return Check("ok", "torch", f"{state}: runs on the CPU")
    remedy = f"Install a driver for CUDA {build} or newer, or a build of torch for the driver's CUDA."
    return Check("note", "torch", f"{state}: no CUDA device can be used", remedy)


def _driver(torch: Any) -> str:
    try:
        number = torch._C._cuda_getDriverVersion()
    except Exception:
        return "absent"
    return f"for CUDA {number // 1000}.{number % 1000 // 10}" if number else "absent"


def _half(torch: Any, name: str) -> Check:
    """How long a convolution of the type takes on the CPU, against float32."""

    def seconds(dtype: Any) -> float:
        pixels, kernel = torch.ones(1, 32, 64, 64, dtype=dtype), torch.ones(32, 32, 3, 3, dtype=dtype)
        laps = []
        for _ in range(4):
            started = time.perf_counter()
            torch.nn.functional.conv2d(pixels, kernel)
            laps.append(time.perf_counter() - started)
        return min(laps)

    subject = f"{name} on the CPU"
    try:
        ratio = seconds(getattr(torch, name)) / seconds(torch.float32)
    except RuntimeError as error:
        return Check("note", subject, f"not possible: {_one_line(error)}", "Use --dtype float32, as auto does.")
    if ratio > SLOW_HALF:
        state = f"{ratio:.0f} times as slow as float32 in a convolution timed now"
        return Check("note", subject, state, "Use --dtype float32 on this CPU, as auto does.")
    return Check("ok", subject, f"takes {ratio:.1f} times as long as float32 in a convolution timed now")


def _threads() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)}
    settings = ", ".join(f"{name}={value}" for name, value in named.items()) or "OMP_NUM_THREADS not set"
    torch: Any = sys.modules.get("torch")
    threads = torch.get_num_threads() if hasattr(torch, "get_num_threads") else 0
    state = f"{provenance.cpu_model()}; {usable} usable" + (f", torch takes {threads}" if threads else "")
    if threads > usable:
        yield Check("note", "processor", f"{state}; {settings}", f"Set OMP_NUM_THREADS={usable}.")
    elif threads and threads * 2 <= usable and named:
        yield Check("note", "processor", f"{state}; {settings}", f"OMP_NUM_THREADS={usable} would use them all.")
    else:
        yield Check("ok", "processor", f"{state}; {settings}")


# --- files ------------------------------------------------------------------------------------------------


def _weights() -> Iterator[Check]:
    own = weights.own_folder()
    if own is not None and not own.is_dir():
        state = f"{own} is {'no folder' if own.exists() else 'not there'}"
        yield Check("note", weights.FOLDER_VARIABLE, state, "Make the folder, or unset VAECHECK_WEIGHTS.")
    for row in weights.listing():
        subject = f"weights {row.name}"
        needs = ", ".join(row.published.needed_by)
        if row.found is None:
            state = f"absent; {needs} cannot be measured offline"
            yield Check("note", subject, state, _remedy(row))
        elif not row.found.published:
            state = f"not the published file: {row.found.path}; {needs} will be marked unreliable"
            remedy = f"Remove it, or unset {weights.FOLDER_VARIABLE}, then: vaecheck weights fetch {row.name}"
            yield Check("note", subject, state, remedy)
        else:
            yield Check("ok", subject, f"{row.found.path} ({row.found.origin})")


def _remedy(row: weights.Listed) -> str:
    absent = f"vaecheck weights fetch {row.name} ({row.published.megabytes} MB), or from a file: "
    return row.problem if "not the published" in row.problem else f"{absent}vaecheck weights import {row.name} FILE"


def _hub() -> Iterator[Check]:
    folder = hub_cache()
    yield Check("ok", "hub cache", f"{folder}, {_size_of(folder)}")
    yield Check("ok", "hub token", "set" if _has_token() else "not set; only gated models (SD 3, FLUX) need one")
    flags = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE") if _is_on(name)]
    if flags:
        yield Check("note", "hub offline", f"{', '.join(flags)} set: nothing is fetched", f"unset {' '.join(flags)}")
    if endpoint := os.environ.get("HF_ENDPOINT"):
        yield Check("ok", "hub endpoint", f"{endpoint.partition('//')[2].rpartition('@')[2] or endpoint} (HF_ENDPOINT)")


def hub_cache() -> Path:
    """Where huggingface_hub keeps repositories, by its own rules, read from the environment now."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named)).expanduser() if named else _hub_home() / "hub"


def _hub_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.path.expandvars(os.environ.get("HF_HOME", f"{cache}/huggingface"))).expanduser()


def _has_token() -> bool:
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    path = Path(os.environ.get("HF_TOKEN_PATH", _hub_home() / "token"))
    return path.is_file() and path.stat().st_size > 0


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}


def _size_of(folder: Path) -> str:
    """The folder's size; "more than ..." where counting takes too long."""
    if not folder.is_dir():
        return "not there yet"
    total, started = 0, time.perf_counter()
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                total += os.stat(path).st_size  # noqa: PTH116
        if time.perf_counter() - started > COUNT_SECONDS:
            return f"more than {_gib(total)}"
    return _gib(total)


def _disk() -> Iterator[Check]:
    places = {
        "hub cache": (hub_cache(), "Set HF_HOME to a folder that you may write to."),
        "metric weights": (weights.torch_checkpoints(), "Set TORCH_HOME to a folder that you may write to."),
        "temporary": (Path(tempfile.gettempdir()), "Set TMPDIR to a folder that you may write to."),
        "this folder": (Path.cwd(), "Give --out a folder that can be."),
    }
    for name, (folder, remedy) in places.items():
        there = _nearest_folder(folder)
        free = shutil.disk_usage(there).free
        state = f"{_gib(free)} free at {folder}"
        if not _writable(folder):
            yield Check("note", f"disk, {name}", f"{folder} cannot be written", remedy)
        elif free < LITTLE_DISK:
            yield Check("note", f"disk, {name}", state, "Models take 0.1 to 1 GiB each: make room.")
        else:
            yield Check("ok", f"disk, {name}", state)


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _writable(folder: Path) -> bool:
    """Whether files can be put there, once the folders are made that are not there yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


# --- memory and text --------------------------------------------------------------------------------------


def _memory() -> Iterator[Check]:
    free = available_memory()
    if free is None:
        yield Check("note", "memory", "cannot be told on this system")
    else:
        little = free < KL_F8_FIXED + KL_F8_PICTURE
        remedy = "Use a smaller --size, --tiling or --slicing." if little else ""
        yield Check("note" if little else "ok", "memory", f"{_gib(free)} available; {_fits(free)}", remedy)
    shared = Path("/dev/shm")
    if shared.is_dir():
        left = shutil.disk_usage(shared).free
        little = left < LITTLE_SHARED
        remedy = "Loader processes pass pictures through it: use --workers 0, or docker run --shm-size 1g."
        yield Check("note" if little else "ok", "shared memory", f"{_gib(left)} free at {shared}", remedy * little)


def available_memory() -> int | None:
    """Bytes that a new process can take, by the kernel and by the container's limit; None where it cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        try:
            import psutil  # type: ignore[import-untyped]
        except ImportError:
            return None
        return int(psutil.virtual_memory().available)
    limits = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    for limit, used in limits:
        try:
            left = [int((Path("/sys/fs/cgroup") / name).read_text()) for name in (limit, used)]
        except (OSError, ValueError):
            continue
        cached = _reclaimable(Path("/sys/fs/cgroup") / used)
        free = min(free, max(left[0] - left[1] + cached, 0))
    return free


def _reclaimable(usage: Path) -> int:
    """Bytes of files that a container's usage counts, and that the kernel drops where memory is wanted."""
    try:
        lines = usage.with_name("memory.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return 0
    return stat.get("total_inactive_file", stat.get("inactive_file", 0))


def _fits(free: float) -> str:
    pictures = int((free - KL_F8_FIXED) // KL_F8_PICTURE)
    need = f"Stable Diffusion's VAE at 512 px in float32 takes about {_gib(KL_F8_FIXED + KL_F8_PICTURE)} for a picture"
    return f"{need}: a batch of about {pictures} fits" if pictures > 0 else f"{need}, which does not fit"


def _text() -> Iterator[Check]:
    encoding = (getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)).lower()
    state = f"stdout is {encoding}, file names are {sys.getfilesystemencoding()}"
    if encoding.replace("-", "") == "utf8":
        yield Check("ok", "text", state)
    else:
        yield Check("note", "text", f"{state}: letters that it lacks are escaped", "Set PYTHONUTF8=1, or LANG=C.UTF-8.")


def _gib(amount: float) -> str:
    return f"{amount / GIB:,.1f} GiB" if amount >= GIB / 10 else f"{amount / 2**20:,.1f} MiB"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
