"""vaecheck watch"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the training writes its checkpoints.")],
    images: o.WatchedImages = None,
    every: o.Every = 30.0,
    settle: o.Settle = 5.0,
    once: o.Once = False,
    stop_on: o.StopOn = None,
    patience: o.Patience = 5,
    min_delta: o.MinDelta = None,
    max_evaluations: o.MaxEvaluations = None,
    timeout: o.Timeout = None,
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
    """Evaluate every new checkpoint of a running training; end with 1 when it has stopped improving.

    Example: vaecheck watch ./checkpoints --images ./images --patience 5
    """
    from vaecheck.render.report import write_report
    from vaecheck.tasks.watch import OUT, watch
    from vaecheck.tasks.watch_history import WatchRules

    deciding = o.names(stop_on, "--stop-on", "lpips_alex,rfid")
    rules = WatchRules(every, settle, once, deciding, patience, min_delta, max_evaluations, timeout)
    settings, source = o.settings(locals()), o.images_or_samples(images)
    with screen.listening(out) as listener:
        history = watch(folder, source, settings, rules, out=out, listener=listener, write=write_report)
    screen.say(history, out or Path(folder) / OUT, as_json=json)
    if history.stop:
        raise typer.Exit(1)
