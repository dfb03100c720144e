"""vaecheck scale-factor"""

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
    """Latent statistics over all pictures and the scaling they recommend, global and per channel.

    Example: vaecheck scale-factor ./images --vae sd-vae-ft-mse
    """
    from vaecheck.tasks.scale_factor import scale_factor

    with screen.sharing(out) as (listener, world):
        result = scale_factor(o.images_or_samples(images), vae, o.settings(locals()), listener, world)
    screen.finish(result, out=out, as_json=json)
