"""The same figures on a CUDA device as on the CPU. Run with `pytest -m gpu` where there is one."""

from __future__ import annotations

import pytest
import torch

from vaecheck.gallery import Gallery
from vaecheck.images.loader import Images
from vaecheck.metrics.kl import KL
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.pixel import psnr_db, ssim
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings
from vaecheck.vae.load import load_vae

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


def test_a_cuda_graph_gives_the_same() -> None:
    """Three batches, so that outputs of the first replays would be written over, and a last one of another shape."""
    plain, compiled = (
        reconstruct(
            "samples",
            "kl-f8-tiny",
            Settings(device="cuda", size=128, batch_size=4, compile=compile, metrics=("psnr_db", "ssim", "latent_std")),
        )[0]
        for compile in (False, True)
    )
    assert compiled.settings["compile"], compiled.warnings
    for name in ("psnr_db", "ssim", "latent_std"):
        assert compiled.measures[name].value == pytest.approx(plain.measures[name].value, rel=1e-3)


def test_nothing_in_a_batch_waits_for_the_device_by_itself() -> None:
    """torch itself says where the host waits. The one wait that is meant, and asked for by name, it lets pass."""
    vae, device = load_vae("kl-f8-tiny", offline=True, device="cuda"), torch.device("cuda")
    psnr = PerImage("psnr_db", psnr_db, unit="dB", better="higher", definition="")
    similarity = PerImage("ssim", ssim, unit="", better="higher", definition="")
    observers = [psnr, similarity, KL(), LatentMoments(), Gallery([psnr])]
    images = torch.randint(0, 256, (12, 3, 64, 64), dtype=torch.uint8)
    batches = [
        Images(tuple(f"{i}" for i in range(start, start + 4)), images[start : start + 4], (64, 64))
        for start in (0, 4, 8)
    ]
    evaluate([Run(vae, observers, Stopwatch(device))], batches[:1], device=device)  # what is made once is made
    torch.cuda.set_sync_debug_mode("error")
    try:
        evaluate([Run(vae, observers, Stopwatch(device))], batches[1:], device=device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(psnr.rows) == 12


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
