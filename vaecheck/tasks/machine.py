"""What the machine can do: devices, types, batches that suit it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from vaecheck.errors import InputError, SetupError
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.tasks.settings import Settings
from vaecheck.world import ALONE, World, local_rank

AUTO_BATCH = {"cpu": 8, "cuda": 32, "mps": 8}
AUTO_BATCH_PIXELS = 256 * 256
NATIVE = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""What a CPU may have that computes in a type itself, in torch's words."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str, world: World = ALONE) -> torch.device:
    """auto: CUDA, then MPS, then the CPU; of several processes each takes its own GPU.

    Raises SetupError for a device that is not there.
    """
    device = _device(name)
    if device.type == "cuda" and device.index is None and world.size > 1:
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    return device


def _device(name: str) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name} is not a device", hint="Use auto, cpu, cuda, cuda:N or mps.") from error
    if not there.get(device.type, False):
        raise SetupError(f"there is no {device.type} device here", hint="Use --device auto or --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SetupError(
            f"--device {name}: there are {torch.cuda.device_count()} CUDA devices",
            hint="Devices are numbered from cuda:0.",
        )
    return device


def training_device(name: str) -> str:
    """As `choose_device`, for trainings, whose GPUs accelerate deals out. Raises InputError for one by its number."""
    device = choose_device(name)
    if device.index is not None:
        raise InputError(
            f"--device {name}: a training takes the GPUs that it sees, one for each process",
            hint=f"Say which it sees: CUDA_VISIBLE_DEVICES={device.index}, and --device cuda.",
        )
    return "cpu" if device.type == "cpu" and name != "auto" else "auto"


def choose_dtype(name: str, device: torch.device) -> str:
    """auto: float32 on every device, because half precision changes what is measured; else as asked.

    Why not by the memory there is: the figures of one VAE would then depend on the machine. Where float32 does not
    fit, the error names --dtype bfloat16.
    """
    if name == "auto":
        return "float32"
    if name not in DTYPES:
        raise InputError(f"--dtype {name} is not a type", hint=f"Use auto, {', '.join(DTYPES)}.")
    return name


def slow_dtype(dtype: str, device: torch.device) -> tuple[str, ...]:
    """A warning where the device does not compute in this type itself.

    Measured on one core, a 3 x 3 convolution of 128 channels: bfloat16 where it is native 2.6 times as fast as
    float32, float16 where it is not 350 times as slow.
    """
    if dtype == "float32" or _is_native(dtype, device):
        return ()
    where = "this CPU" if device.type == "cpu" else str(device)
    return (f"{where} does not compute in {dtype} itself: it is ten times slower than float32, or worse",)


def _is_native(dtype: str, device: torch.device) -> bool:
    if device.type == "cuda":
        return dtype != "bfloat16" or torch.cuda.is_bf16_supported(including_emulation=False)
    features = cpu_features()
    return device.type != "cpu" or not features or bool(features & set(NATIVE[dtype]))


def cpu_features() -> set[str]:
    """The instruction sets of this CPU, as torch >= 2.10 names them, else as Linux does; empty where nobody says."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return {"fp16_arith" if name == "asimdhp" else name for name in listed.split()}


def auto_batch_size(device: torch.device, settings: Settings) -> int:
    """As many pictures as AUTO_BATCH names at 256 x 256, and fewer of larger ones.

    At their own sizes as many at most; auto_batch_pixels then makes it fewer where they are larger.
    """
    most = AUTO_BATCH.get(device.type, 8)
    if settings.fit in OWN_SIZE:
        return most
    scale = AUTO_BATCH_PIXELS / max(settings.size**2, AUTO_BATCH_PIXELS)
    return max(1, int(most * scale))


def auto_batch_pixels(device: torch.device) -> int:
    """What AUTO_BATCH pictures of 256 x 256 have together."""
    return AUTO_BATCH.get(device.type, 8) * AUTO_BATCH_PIXELS


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
