"""vaecheck gate"""

from __future__ import annotations

import typer

from vaecheck.cli import gate_flow, screen
from vaecheck.cli import gate_options as g
from vaecheck.cli import options as o
from vaecheck.cli.gate_ending import finish, print_limits
from vaecheck.cli.gate_usage import check_usage, warn_of_ignored


def command(
    context: typer.Context,
    images: o.Images = None,
    vae: g.Vaes = None,
    rules: g.Rules = None,
    result: g.Results = None,
    baseline: g.Baseline = None,
    calibrate: g.Calibrate = False,
    repeats: g.Repeats = 5,
    metrics: g.Metrics = None,
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
    scaling_factor: o.ScalingFactor = None,
    shift_factor: o.ShiftFactor = None,
    protocol: o.Protocol = None,
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
    junit: g.Junit = None,
    json: o.Json = False,
) -> None:
    """Judge a VAE by rules, for CI: 0 they are kept, 1 one is broken, 3 a figure is missing.

    Example: vaecheck gate ./images --vae checkpoints/last --rules gate.toml --out report
    """
    check_usage(images, vae, result, baseline, rules, calibrate=calibrate, metrics=metrics)
    settings, source = o.settings(locals()), "" if result else o.images_or_samples(images)
    if result:
        warn_of_ignored(settings)
    with screen.sharing(out) as (listener, world):
        if calibrate or result:
            screen.first_alone(world)
        if calibrate:
            limits = gate_flow.calibrate(source, vae or [], baseline, repeats, settings, listener, out)
        else:
            report = gate_flow.judge(source, vae or [], result, rules, baseline, settings, listener, out, world)
    screen.forget_runs(out, "reconstruct", "latents", "scale-factor")
    if calibrate:
        print_limits(limits, out, as_json=json)
    elif code := finish(report, out=out, junit=junit, as_json=json).exit_code:
        raise typer.Exit(code)
