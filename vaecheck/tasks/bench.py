"""`bench`: how fast a VAE encodes and decodes, how much memory it takes, how many FLOPs."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vaecheck import provenance
from vaecheck.images.preprocess import check_size
from vaecheck.metrics.throughput import speed_measures
from vaecheck.pipeline import Stopwatch
from vaecheck.pixels import to_pixels
from vaecheck.results.types import DataCard, Measure, Result
from vaecheck.tasks.machine import auto_batch_size, choose_device, choose_dtype, slow_dtype
from vaecheck.tasks.opening import machine_options, open_vae
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.room import Room

FLOPS = "FLOPs of one picture's {stage}: convolutions and matrix products, a multiply-add counted as two"


@torch.inference_mode()
def bench(ref: str, settings: Settings, *, batches: int = 10, listener: Listener | None = None) -> Result:
    """Time `batches` batches of noise after one for warm-up; what is in a picture does not change its cost."""
    listener = listener or Listener()
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    vae, room = open_vae(ref, settings, device, dtype), Room()
    dtype = vae.card.dtype  # not what was asked for where there is nothing to cast
    check_size(settings.size, "crop", vae.card.f)
    batch_size = settings.batch_size or auto_batch_size(device, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (batch_size, vae.card.image_channels, settings.size, settings.size)
    pixels = to_pixels(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device))
    stopwatch = Stopwatch(device)
    listener.start("Timing", batches + 1)
    started = time.perf_counter()
    for _ in range(batches + 1):
        with stopwatch.lap("encode", batch_size):
            latents = Posterior.joined(room.through("encode", vae, vae.encode, pixels)).mean
        with stopwatch.lap("decode", batch_size):
            room.through("decode", vae, vae.decode, latents)
        listener.advance(1)
    measures = speed_measures(stopwatch.laps, device) | {
        f"{stage}_flops_per_image": _flops(stage, model, one)
        for stage, model, one in (("encode", vae.encode, pixels[:1]), ("decode", vae.decode, latents[:1]))
    }
    return Result(
        kind="bench",
        vae=vae.card,
        data=DataCard(
            f"random noise (seed {settings.seed})",
            batch_size * batches,
            (),
            "",
            settings.size,
            "none",
            image_channels=vae.card.image_channels,
        ),
        settings={
            "size": settings.size,
            "batch_size": room.batch_size(batch_size),
            "dtype": dtype,
            "batches": batches,
            **machine_options(settings, vae),
        },
        environment=provenance.environment(str(device), {"total": time.perf_counter() - started}),
        measures=measures,
        warnings=(*vae.warnings, *room.warnings(), *slow_dtype(dtype, device)),
    )


def _flops(stage: str, model: Callable[[Tensor], object], one: Tensor) -> Measure:
    name = f"{stage}_flops_per_image"
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.compiler.set_stance("force_eager"),  # what is compiled calls no operators to count
        FlopCounterMode(display=False) as counter,
    ):
        model(one.clone())
    total = counter.get_total_flops()
    return Measure(
        name,
        float(total) if total else None,
        "FLOPs",
        "lower",
        1,
        FLOPS.format(stage=stage),
        status="ok" if total else "unavailable",
        reason="" if total else "this VAE runs outside torch's operators, so its FLOPs cannot be counted",
    )
