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
from vaecheck.cells import Cell, Top
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.latent import LatentMoments, Moments, Scaled
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.metrics.throughput import speed_measures
from vaecheck.pipeline import Run, Stopwatch
from vaecheck.results.types import LatentScaling, PerImage, Result, Scaling, VAECard
from vaecheck.tasks.opening import open_bench, whole
from vaecheck.tasks.reconstruct import broken_remedy, picture_warnings
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.walk import walk
from vaecheck.vae.protocol import noise_for
from vaecheck.vae.scaling import LISTS
from vaecheck.vae.usage import Usage
from vaecheck.world import ALONE, World

STD_AFTER_OK = (0.8, 1.25)
CHANNEL_STD_AFTER_OK = (0.5, 2.0)
GENERIC = Usage()


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
        self.samples: Top[tuple[int, Tensor]] = Top(lambda one: one[0], size, plain=list, item=tuple)

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        held = self.samples.items
        if len(held) == self.size and min(batch.places) > held[-1][0]:
            return
        samples = batch.posterior.sample(noise_for(batch.ids, batch.posterior.mean, self.seed))
        batch.bring(
            lambda samples: self.samples.add(zip(batch.places, samples.double().flatten(1), strict=True)), samples
        )

    def cells(self) -> Mapping[str, Cell]:
        return {"samples": self.samples}

    @property
    def found(self) -> dict[str, float | None]:
        """images: those with finite latents. std: of all their samples together."""
        finite = [one for _, one in self.samples.items if one.isfinite().all()]
        values = torch.cat(finite) if finite else torch.empty(0)
        std = float(torch.std(values)) if values.numel() > 1 else 0.0
        known = std > 0 and math.isfinite(std)
        return {
            "images": len(finite),
            "std": std if known else None,
            "scaling_factor": 1 / std if known else None,
        }


def scale_factor(
    source: str, ref: str, settings: Settings, listener: Listener | None = None, world: World = ALONE
) -> Result:
    """Latent moments over all pictures in one pass of the encoder, and the scaling they recommend.

    Raises PartDone in all processes but the first.
    """
    started = time.perf_counter()
    bench = open_bench(source, ref, settings, listener or Listener(), world)
    latents = LatentMoments(seed=settings.seed, patch=bench.vae.card.scaling.patch)
    first, stopwatch = FirstBatch(settings.seed, bench.batch_size), Stopwatch(bench.device)
    run = Run(bench.vae, [latents, first], stopwatch)
    walked = walk("scale-factor", "Encoding", bench, [run])
    loader = walked.loader
    seconds = {
        "pictures": loader.seconds,
        "vae": stopwatch.seconds("encode"),
        "total": time.perf_counter() - started,
    }
    try:
        measures = {measure.name: measure for measure in latents.compute()}
    except NotEnoughImages as error:  # the loader has given pictures, so it is their latents
        remedy = broken_remedy(bench.vae.card.dtype)
        raise InputError(error.message, hint=f"{remedy[0].upper()}{remedy[1:]}.") from error
    return Result(
        kind="scale-factor",
        vae=bench.vae.card,
        data=bench.data_card(loader),
        settings=bench.document(run),
        environment=provenance.environment(str(bench.device), seconds, resumed_from=walked.resumed_from),
        measures=measures | speed_measures(stopwatch.laps, bench.device),
        warnings=(*bench.warnings(run), *picture_warnings(loader), *lost_pictures(latents)),
        scaling=scaling_of(latents, first.found, bench.vae.card, whole(bench.vae).usage),
        per_image=PerImage(tuple(latents.rows.ids), latents.columns()),
    )


def scaling_of(
    latents: LatentMoments, first_batch: Mapping[str, float | None], card: VAECard, usage: Usage = GENERIC
) -> Scaling:
    """The recommendation, from moments of all pictures."""
    moments = latents.moments()
    if not moments.std > 0:
        raise InputError(
            f"every latent of every picture is {moments.mean:.6g}: there is no scale to measure",
            hint="This encoder ignores its input. Check its weights and how they were loaded.",
        )
    channels = latents.channel_moments()
    after = latents.scaled(card.scaling) if card.scaling.known else None
    verdict, reason = judge(moments, card.scaling, after, usage)
    told = (card.scaling.unusable,) if after and card.scaling.unusable else ()
    by_default = () if after else default_in_words(latents, usage)
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
        reason="; ".join([*told, reason, *by_default, *lost_pictures(latents)]),
        snippets=snippets(moments, channels, usage),
    )


def lost_pictures(latents: LatentMoments) -> tuple[str, ...]:
    """What to say of pictures whose latents are not finite; nothing where there are none."""
    if not latents.lost:
        return ()
    return (f"{latents.lost} of {len(latents.rows)} pictures gave NaN or infinity and are left out",)


def default_in_words(latents: LatentMoments, usage: Usage) -> tuple[str, ...]:
    """What diffusers would scale by where the folder says nothing, and what would come of it; often nothing."""
    if not usage.default.known:
        return ()
    default = f"diffusers would take its default {in_words(usage.default)}"
    after = latents.scaled(usage.default)
    if after is None:
        return (f"{default}, which is of {len(usage.default.channel_stds or ())} channels",)
    return (f"{default}: std after {after.std:.2f}",)


def judge(
    moments: Moments, scaling: LatentScaling, after: Scaled | None, usage: Usage
) -> tuple[Literal["ok", "wrong", "unknown"], str]:
    """(verdict, why in words). after: what the scaling makes of the latents, None where it cannot be applied."""
    whose = "the given" if scaling.given else "the shipped"
    each_channel = scaling.channel_stds is not None or usage.entries == LISTS
    recommended = "use the mean and std of each channel, below" if each_channel else f"use {1 / moments.std:.5g}"
    if after is None and scaling.channel_stds is not None:
        return "unknown", f"{whose} means and stds are not of these latents' channels; {recommended}"
    if after is None:
        return "unknown", f"{scaling.unusable or 'this VAE ships no scaling factor'}; {recommended}"
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
        return f"(z - {shift:.5g}) × {factor:.5g}" if shift else f"{factor:.5g}"
    by = f" × {factor:.5g}" if factor not in (None, 1) else ""
    folded = f" of {scaling.patch} × {scaling.patch} folded latents" if scaling.patch > 1 else ""
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


def snippets(moments: Moments, channels: Sequence[Moments], usage: Usage) -> dict[str, str]:
    """Ready to paste: a global factor for LDM, diffusers and a training loop; and the per-channel form.

    Of LDM's and diffusers' files, those that the VAE's class can have and does not ignore.
    """
    factor, shift = f"{1 / moments.std:.6g}", f"{moments.mean:.6g}"
    mean, std = (
        json.dumps([float(f"{number:.6g}") for number in numbers])
        for numbers in ([one.mean for one in channels], [one.std for one in channels])
    )
    view = f"view({', '.join(['1', '-1', *['1'] * (usage.dims - 2)])})"
    encoded, decoded = usage.encode, usage.decode
    intro = "# z: raw latents, a sample of what your encode gives\n" if encoded == GENERIC.encode else ""
    per_channel = '"scaling_factor": 1.0,\n' if "scaling_factor" in usage.entries else ""
    forms = {
        "LDM config (yaml)": f"model:\n  params:\n    scale_factor: {factor}\n    scale_by_std: false",
        "diffusers config.json": f'"scaling_factor": {factor},',
        "diffusers config.json, with the shift": f'"scaling_factor": {factor},\n"shift_factor": {shift},',
        "diffusers config.json, per channel": f'{per_channel}"latents_mean": {mean},\n"latents_std": {std},',
        "training loop": f"{intro}latents = {encoded} * {factor}\npixels = {decoded.format(f'latents / {factor}')}",
        "with a shift (SD3, Flux)": (
            f"{intro}latents = ({encoded} - ({shift})) * {factor}\n"
            f"pixels = {decoded.format(f'latents / {factor} + ({shift})')}"
        ),
        "per channel": (
            f"{intro}mean = torch.tensor({mean}).{view}\nstd = torch.tensor({std}).{view}\n"
            f"latents = ({encoded} - mean) / std\npixels = {decoded.format('latents * std + mean')}"
        ),
    }
    ignored = {
        "LDM config (yaml)": not usage.ldm,
        "diffusers config.json": "scaling_factor" not in usage.entries,
        "diffusers config.json, with the shift": not {"scaling_factor", "shift_factor"} <= set(usage.entries),
        "diffusers config.json, per channel": not set(LISTS) <= set(usage.entries),
    }
    return {name: code for name, code in forms.items() if not ignored.get(name)}
