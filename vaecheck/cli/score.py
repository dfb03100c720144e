"""vaecheck score"""

from __future__ import annotations

from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    context: typer.Context,
    originals: Annotated[str, typer.Argument(metavar="ORIGINALS", help="The pictures as they were.")],
    reconstructions: Annotated[str, typer.Argument(metavar="RECONSTRUCTIONS", help="The same, after some codec.")],
    size: o.Size = 256,
    fit: o.FitOption = o.Fit.crop,
    limit: o.Limit = None,
    sample: o.Sample = None,
    bad_images: o.BadImagesOption = o.BadImages.skip,
    icc: o.IccOption = o.Icc.ignore,
    background: o.Background = "white",
    max_pixels: o.MaxPixels = o.DEFAULT_MAX_PIXELS,
    protocol: o.Protocol = None,
    metrics: o.Metrics = None,
    lpips_net: o.LpipsNetOption = o.LpipsNet.alex,
    inception_weights: o.InceptionWeights = None,
    lpips_weights: o.LpipsWeights = None,
    batch_size: o.BatchSize = "auto",
    device: o.Device = "auto",
    workers: o.Workers = None,
    seed: o.Seed = 0,
    offline: o.Offline = False,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """The image metrics on two folders, paired by relative path, without running a VAE.

    Example: vaecheck score ./images ./reconstructions
    """
    from vaecheck.tasks.reconstruct import missing_on_demand
    from vaecheck.tasks.score import score

    settings = o.settings(locals())
    with screen.listening(out) as listener:
        result, shown = score(originals, reconstructions, settings, listener)
    result = screen.finish(result, out=out, as_json=json, shown=shown)
    if missing := missing_on_demand(result, settings.metrics):
        raise missing
