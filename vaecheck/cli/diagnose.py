"""vaecheck diagnose"""

from __future__ import annotations

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    vae: o.Vae,
    images: o.Images = None,
    probes: o.Probes = None,
    fail_on: o.FailOnOption = None,
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
    lpips_net: o.LpipsNetOption = o.LpipsNet.alex,
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
    json: o.Json = False,
) -> None:
    """Look for the known faults of VAEs: each with its evidence and its remedy.

    Example: vaecheck diagnose ./images --vae sd-vae-ft-mse --out report
    """
    from vaecheck.tasks.diagnose import diagnose, found_on_demand

    asked = o.names(probes, "--probes", "blur,checkerboard")
    with screen.listening(out) as listener:
        result, panels = diagnose(o.images_or_samples(images), vae, o.settings(locals()), listener, asked)
    screen.finish(result, out=out, as_json=json, panels=panels)
    if found := found_on_demand(result.findings, fail_on and fail_on.value):
        screen.said("failed:", "bold red", f"--fail-on {fail_on}: {', '.join(one.id for one in found)}")
        raise typer.Exit(1)
