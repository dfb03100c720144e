"""vaecheck compare"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen
from vaecheck.cli.gate_usage import warn_of_ignored


def command(
    context: typer.Context,
    refs: Annotated[
        list[str],
        typer.Argument(metavar="REF REF...", help="VAEs as --vae takes them, or folders of saved results."),
    ],
    images: o.WatchedImages = None,
    size: o.Size = 256,
    fit: o.FitOption = o.Fit.crop,
    limit: o.Limit = None,
    sample: o.Sample = None,
    bad_images: o.BadImagesOption = o.BadImages.skip,
    icc: o.IccOption = o.Icc.ignore,
    background: o.Background = "white",
    max_pixels: o.MaxPixels = o.DEFAULT_MAX_PIXELS,
    value_range: o.ValueRange = None,
    posterior: o.Posterior = o.PosteriorUse.mode,
    dtype: o.DtypeOption = o.Dtype.auto,
    protocol: o.Protocol = None,
    metrics: o.Metrics = None,
    lpips_net: o.LpipsNetOption = o.LpipsNet.alex,
    inception_weights: o.InceptionWeights = None,
    lpips_weights: o.LpipsWeights = None,
    batch_size: o.BatchSize = "auto",
    tiling: o.Tiling = None,
    slicing: o.Slicing = False,
    channels_last: o.ChannelsLast = None,
    compile: o.Compile = False,
    device: o.Device = "auto",
    workers: o.Workers = None,
    seed: o.Seed = 0,
    offline: o.Offline = False,
    out: o.Out = None,
    resume: o.Resume = False,
    save_every: o.SaveEvery = 60.0,
    json: o.Json = False,
) -> None:
    """Several VAEs on the same pictures: paired differences, and a winner per metric or "no difference".

    Example: vaecheck compare sd-vae-ft-mse sdxl-vae --images ./images --out report

    Saved results are compared without their pictures: vaecheck compare report-a report-b
    """
    from vaecheck.tasks.compare import compare, is_saved, missing_of_all

    settings = o.settings(locals())
    if all(map(is_saved, refs)):
        given = {*(settings.given or ()), *(["images"] if images else [])} - {"metrics"}
        warn_of_ignored(replace(settings, given=frozenset(given)))
    elif len(refs) > 1:
        images = o.images_or_samples(images)
    with screen.sharing(out) as (listener, world):
        if all(map(is_saved, refs)):
            screen.first_alone(world)
        comparison, shown = compare(refs, images, settings, listener, world)
    comparison = screen.finish(comparison, out=out, as_json=json, shown=shown)
    if missing := missing_of_all(comparison, settings.metrics):
        raise missing
