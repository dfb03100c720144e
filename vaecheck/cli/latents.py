"""vaecheck latents"""

from __future__ import annotations

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    vae: o.Vae,
    images: o.Images = None,
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
    """How hard the latents will be for a U-Net: what describes them, and what is known to predict.

    Example: vaecheck latents ./images --vae sd-vae-ft-mse --out report
    """
    from vaecheck.tasks.latents import latents, missing

    settings = o.settings(locals())
    with screen.sharing(out) as (listener, world):
        result, panels = latents(o.images_or_samples(images), vae, settings, listener, world)
    result = screen.finish(result, out=out, as_json=json, panels=panels)
    if lost := missing(result, settings.metrics):
        raise lost
