"""vaecheck e2e"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen

OUT = Path("vaecheck-e2e")


def command(
    context: typer.Context,
    vae: Annotated[list[str], typer.Option("--vae", metavar="REF", help="A VAE; give several to choose between them.")],
    images: o.Images = None,
    val: Annotated[
        str | None, typer.Option(metavar="IMAGES", help="Held-out pictures; else one in six of IMAGES.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="The U-Net and its budget in TOML: README, Ceiling, has one.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples to draw, at most; 0 for none.")] = 1000,
    any_scale: Annotated[bool, typer.Option("--any-scale", help="Train on latents of any std.")] = False,
    size: o.Size = 256,
    limit: o.Limit = None,
    sample: o.Sample = None,
    batch_size: o.BatchSize = "auto",
    device: o.Device = "auto",
    dtype: o.DtypeOption = o.Dtype.auto,
    seed: o.Seed = 0,
    metrics: o.Metrics = None,
    lpips_net: o.LpipsNetOption = o.LpipsNet.alex,
    inception_weights: o.InceptionWeights = None,
    lpips_weights: o.LpipsWeights = None,
    save_every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between checkpoints.")] = 60.0,
    offline: o.Offline = False,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the trainings (continued if there) and the report.")
    ] = OUT,
    json: o.Json = False,
) -> None:
    """The ceiling check: equal U-Net budgets on each VAE, beside what the VAE itself allows.

    Example: vaecheck e2e ./photos --vae sd-vae-ft-mse --vae my-vae --config unet.toml
    """
    from vaecheck.tasks.e2e import E2ESettings, e2e
    from vaecheck.tasks.train_unet import UNetSettings

    settings, source = o.settings(locals()), o.images_or_samples(images)
    unet = UNetSettings(any_scale=any_scale, save_every=save_every)
    with screen.listening(out) as listener:
        ceiling = e2e(
            source,
            vae,
            out,
            settings,
            val=val,
            config=config,
            unet=unet,
            check=E2ESettings(samples=samples),
            listener=listener,
        )
    screen.finish(ceiling, out=out, as_json=json)
