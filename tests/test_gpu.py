"""The same figures on a CUDA device as on the CPU. Run with `pytest -m gpu` where there is one."""

from __future__ import annotations

import pytest
import torch

from vaecheck.pipeline import Stopwatch
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def test_a_gpu_gives_the_figures_of_the_cpu() -> None:
    metrics = ("fd_efficientnet_lite0", "psnr_db", "ssim", "kl_nats_per_image", "latent_std")
    cpu, gpu = (
        reconstruct("samples", "kl-f8-tiny", Settings(device=device, metrics=metrics, yardstick="none"))[0]
        for device in ("cpu", "cuda")
    )
    for name in metrics:
        assert gpu.measures[name].value == pytest.approx(cpu.measures[name].value, rel=1e-3)
    assert gpu.measures["peak_memory_bytes"].value != cpu.measures["peak_memory_bytes"].value


def test_half_precision_on_a_gpu_is_near_float32() -> None:
    full, half = (
        reconstruct("samples", "kl-f8-tiny", Settings(device="cuda", dtype=dtype, metrics=("psnr_db",)))[0]
        for dtype in ("float32", "bfloat16")
    )
    assert half.measures["psnr_db"].value == pytest.approx(full.measures["psnr_db"].value, abs=0.5)


def test_a_lap_is_the_time_of_its_own_work() -> None:
    """As long as where it is waited for, and none of what was queued before it."""
    watch, square = Stopwatch(torch.device("cuda")), torch.rand(4096, 4096, device="cuda")
    for _ in range(5):
        for _ in range(20):
            square @ square
        with watch.lap("one", 1):
            square @ square
        with watch.lap("ten", 1):
            for _ in range(10):
                square @ square
    one, ten = (sorted(seconds for _, seconds in watch.laps[name])[2] for name in ("one", "ten"))
    assert 5 < ten / one < 15
