"""`scale-factor`: what brings these latents to unit variance, and whether the shipped factor does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.metrics.latent import LatentMoments, Moments
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.metrics.throughput import speed_measures
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.pixels import to_float64
from vaecheck.results.types import PerImage, Result, Scaling, VAECard
from vaecheck.tasks.reconstruct import picture_warnings
from vaecheck.tasks.settings import Listener, Settings, open_bench
from vaecheck.vae.protocol import noise_for

STD_AFTER_OK = (0.8, 1.25)


class FirstBatch:
    """The original recipe of LDM: 1 / std of the posterior samples of the first batch, and nothing else.

    Source: CompVis/latent-diffusion, ddpm.py, `on_train_batch_start` with `scale_by_std`.
    """

    needs = frozenset({Need.POSTERIOR})

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.found: dict[str, float | None] = {}

    def update(self, batch: Batch) -> None:
        if self.found:
            return
        assert batch.posterior is not None
        samples = to_float64(batch.posterior.sample(noise_for(batch.ids, batch.posterior.mean, self.seed)))
        finite = samples[samples.flatten(1).isfinite().all(1)]
        std = float(torch.std(finite)) if finite.numel() > 1 else 0.0
        known = std > 0 and math.isfinite(std)
        self.found = {
            "images": len(finite),
            "std": std if known else None,
            "scaling_factor": 1 / std if known else None,
        }


def scale_factor(source: str, ref: str, settings: Settings, listener: Listener | None = None) -> Result:
    """Latent moments over all pictures in one pass of the encoder, and the scaling they recommend."""
    started = time.perf_counter()
    bench = open_bench(source, ref, settings, listener or Listener())
    latents, first, stopwatch = LatentMoments(seed=settings.seed), FirstBatch(settings.seed), Stopwatch(bench.device)
    loader = bench.loader()
    bench.listener.start("Encoding", bench.images.count)
    evaluate(
        [Run(bench.vae, [latents, first], stopwatch)],
        loader,
        device=bench.device,
        posterior=settings.posterior,
        seed=settings.seed,
        progress=bench.listener.advance,
    )
    seconds = {
        "pictures": loader.seconds,
        "vae": stopwatch.seconds("encode"),
        "total": time.perf_counter() - started,
    }
    measures = {measure.name: measure for measure in latents.compute()}
    return Result(
        kind="scale-factor",
        vae=bench.vae.card,
        data=bench.data_card(loader),
        settings=settings.document() | {"dtype": bench.dtype, "batch_size": bench.batch_size},
        environment=provenance.environment(str(bench.device), seconds),
        measures=measures | speed_measures(stopwatch.laps, bench.device),
        warnings=(*bench.vae.warnings, *picture_warnings(loader), *lost_pictures(latents)),
        scaling=scaling_of(latents, first.found, bench.vae.card, given=settings.scaling_factor is not None),
        per_image=PerImage(tuple(latents.rows.ids), latents.columns()),
    )


def scaling_of(
    latents: LatentMoments, first_batch: Mapping[str, float | None], card: VAECard, *, given: bool = False
) -> Scaling:
    """The recommendation, from moments of all pictures. given: the factor to judge is the user's, not the VAE's."""
    moments = latents.moments()
    if not moments.std > 0:
        raise InputError(
            f"every latent of every picture is {moments.mean:.6g}: there is no scale to measure",
            hint="This encoder ignores its input. Check its weights and how they were loaded.",
        )
    channels = latents.channel_moments()
    verdict, reason, std_after = judge(moments, card.scaling_factor, "the given" if given else "the shipped")
    return Scaling(
        mean=moments.mean,
        std=moments.std,
        std_of_means=moments.std_of_means,
        scaling_factor=1 / moments.std,
        scaling_factor_ci95=latents.scaling_factor_ci95(),
        first_batch=first_batch,
        shift_factor=moments.mean,
        per_channel=tuple({"mean": channel.mean, "std": channel.std} for channel in channels),
        shipped={
            "scaling_factor": card.scaling_factor,
            "shift_factor": card.shift_factor,
            "std_after": std_after,
        },
        verdict=verdict,
        reason="; ".join([reason, *lost_pictures(latents)]),
        snippets=snippets(moments, channels, deterministic=card.deterministic),
    )


def lost_pictures(latents: LatentMoments) -> tuple[str, ...]:
    """What to say of pictures whose latents are not finite; nothing where there are none."""
    if not latents.lost:
        return ()
    return (f"{latents.lost} of {len(latents.rows)} pictures gave NaN or infinity and are left out",)


def judge(
    moments: Moments, factor: float | None, whose: str
) -> tuple[Literal["ok", "wrong", "unknown"], str, float | None]:
    """(verdict, why in words, std of the latents after the factor that is judged)."""
    recommended = 1 / moments.std
    if factor is None:
        return "unknown", f"this VAE ships no scaling factor; use {recommended:.5g}", None
    after = abs(moments.std * factor)
    low, high = STD_AFTER_OK
    if low <= after <= high:
        return "ok", f"{whose} {factor:.5g} gives these latents a std of {after:.3f}", after
    return (
        "wrong",
        f"{whose} {factor:.5g} gives these latents a std of {after:.3f}, outside {low} to {high}; "
        f"use {recommended:.5g}",
        after,
    )


def snippets(moments: Moments, channels: Sequence[Moments], *, deterministic: bool = False) -> dict[str, str]:
    """Ready to paste: a global factor for LDM, diffusers and a training loop; and the per-channel form."""
    encoded = "vae.encode(pixels)" if deterministic else "vae.encode(pixels).latent_dist.sample()"
    decoded = "" if deterministic else ".sample"
    factor, shift = f"{1 / moments.std:.6g}", f"{moments.mean:.6g}"
    means = json.dumps([round(channel.mean, 6) for channel in channels])
    stds = json.dumps([round(channel.std, 6) for channel in channels])
    return {
        "LDM config (yaml)": f"model:\n  params:\n    scale_factor: {factor}\n    scale_by_std: false",
        "diffusers config.json": f'"scaling_factor": {factor},',
        "diffusers config.json, with the shift": f'"scaling_factor": {factor},\n"shift_factor": {shift},',
        "training loop": (f"latents = {encoded} * {factor}\npixels = vae.decode(latents / {factor}){decoded}"),
        "with a shift (SD3, Flux)": (
            f"latents = ({encoded} - ({shift})) * {factor}\n"
            f"pixels = vae.decode(latents / {factor} + ({shift})){decoded}"
        ),
        "per channel": (
            f"mean = torch.tensor({means}).view(1, -1, 1, 1)\n"
            f"std = torch.tensor({stds}).view(1, -1, 1, 1)\n"
            f"latents = ({encoded} - mean) / std"
        ),
    }
