"""`scale-factor`: what brings these latents to unit variance, and whether the shipped factor does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.metrics.latent import LatentMoments, Moments, Scaled
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.metrics.throughput import speed_measures
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.pixels import to_float64
from vaecheck.results.types import LatentScaling, PerImage, Result, Scaling, VAECard
from vaecheck.tasks.opening import open_bench
from vaecheck.tasks.reconstruct import picture_warnings
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.vae.protocol import noise_for

STD_AFTER_OK = (0.8, 1.25)
CHANNEL_STD_AFTER_OK = (0.5, 2.0)


class FirstBatch:
    """The original recipe of LDM: 1 / std of the posterior samples of the first batch, and nothing else.

    Source: CompVis/latent-diffusion, ddpm.py, `on_train_batch_start` with `scale_by_std`.

    Why by place: pictures of several sizes are grouped before they are encoded. The first `size` pictures in the order
    of their source count, whatever their sizes and whichever batch they went in.
    """

    needs = frozenset({Need.POSTERIOR})

    def __init__(self, seed: int, size: int) -> None:
        self.seed = seed
        self.size = size
        self._samples: list[Tensor] = []

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        if min(batch.places) >= self.size:
            return
        samples = to_float64(batch.posterior.sample(noise_for(batch.ids, batch.posterior.mean, self.seed))).cpu()
        self._samples += [one.flatten() for place, one in zip(batch.places, samples, strict=True) if place < self.size]

    @property
    def found(self) -> dict[str, float | None]:
        """images: those with finite latents. std: of all their samples together."""
        finite = [one for one in self._samples if one.isfinite().all()]
        values = torch.cat(finite) if finite else torch.empty(0)
        std = float(torch.std(values)) if values.numel() > 1 else 0.0
        known = std > 0 and math.isfinite(std)
        return {
            "images": len(finite),
            "std": std if known else None,
            "scaling_factor": 1 / std if known else None,
        }


def scale_factor(source: str, ref: str, settings: Settings, listener: Listener | None = None) -> Result:
    """Latent moments over all pictures in one pass of the encoder, and the scaling they recommend."""
    started = time.perf_counter()
    bench = open_bench(source, ref, settings, listener or Listener())
    latents = LatentMoments(seed=settings.seed, patch=bench.vae.card.scaling.patch)
    first, stopwatch = FirstBatch(settings.seed, bench.batch_size), Stopwatch(bench.device)
    run = Run(bench.vae, [latents, first], stopwatch)
    loader = bench.loader()
    bench.listener.start("Encoding", bench.images.count)
    evaluate(
        [run],
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
        settings=bench.document(run),
        environment=provenance.environment(str(bench.device), seconds),
        measures=measures | speed_measures(stopwatch.laps, bench.device),
        warnings=(*bench.warnings(run), *picture_warnings(loader), *lost_pictures(latents)),
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
    after = latents.scaled(card.scaling) if card.scaling.known else None
    verdict, reason = judge(moments, card.scaling, after, "the given" if given else "the shipped")
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
            "std_after": after.std if after else None,
            "mean_after": after.mean if after else None,
            "worst_channel": after.worst_channel if after else None,
            "worst_channel_std_after": after.worst_std if after else None,
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
    moments: Moments, scaling: LatentScaling, after: Scaled | None, whose: str
) -> tuple[Literal["ok", "wrong", "unknown"], str]:
    """(verdict, why in words). after: what the scaling makes of the latents, None where it cannot be applied."""
    recommended = (
        f"use {1 / moments.std:.5g}" if scaling.channel_stds is None else "use the mean and std of each channel, below"
    )
    if after is None and scaling.channel_stds is not None:
        return "unknown", f"{whose} means and stds are not of these latents' channels; {recommended}"
    if after is None:
        return "unknown", f"this VAE ships no scaling factor; {recommended}"
    found = f"{whose} {in_words(scaling)} gives these latents a std of {after.std:.3f}"
    channel = _worst_channel(scaling, after)
    low, high = STD_AFTER_OK
    if low <= after.std <= high:
        return "ok", f"{found}{channel}"
    return "wrong", f"{found}, outside {low} to {high}{channel}; {recommended}"


def in_words(scaling: LatentScaling) -> str:
    """A known scaling as a formula of the raw latents z: "0.18215" where it is one factor alone."""
    factor = scaling.scaling_factor
    if scaling.channel_stds is None:
        shift = scaling.shift_factor
        return f"(z - {shift:.5g}) * {factor:.5g}" if shift else f"{factor:.5g}"
    by = f" * {factor:.5g}" if factor not in (None, 1) else ""
    folded = f" of {scaling.patch}x{scaling.patch} folded latents" if scaling.patch > 1 else ""
    return f"(z - mean) / std{by} of each channel{folded}"


def _worst_channel(scaling: LatentScaling, after: Scaled) -> str:
    """The sentence on a channel that comes out far from unit variance; empty where none does."""
    low, high = CHANNEL_STD_AFTER_OK
    if low <= after.worst_std <= high:
        return ""
    channel, place = divmod(after.worst_channel, scaling.patch**2)
    row, column = divmod(place, scaling.patch)
    where = f"channel {channel}" + (f" at row {row}, column {column} of its patch" if scaling.patch > 1 else "")
    return f"; {where} alone comes to {after.worst_std:.3g}"


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
