"""vaecheck train unet"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def unet(
    context: typer.Context,
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="Pictures to train on; each is encoded once.")],
    vae: o.Vae,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the checkpoint and of the trained U-Net.")],
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="The U-Net and its training in TOML: README, Ceiling, has one.")
    ] = None,
    scaling: Annotated[
        str, typer.Option(metavar="shipped|measured", help="measured: 1 / std of these latents.")
    ] = "shipped",
    any_scale: Annotated[bool, typer.Option("--any-scale", help="Train on latents of any std.")] = False,
    scaling_factor: o.ScalingFactor = None,
    shift_factor: o.ShiftFactor = None,
    size: o.Size = 256,
    limit: o.Limit = None,
    batch_size: o.BatchSize = "auto",
    device: o.Device = "auto",
    dtype: o.DtypeOption = o.Dtype.auto,
    save_every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between checkpoints.")] = 60.0,
    report_every: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Between lines of the log.")] = 100,
    offline: o.Offline = False,
) -> None:
    """Train a latent U-Net on a VAE's latents; started again with the same --out, it goes on where it was.

    Example: vaecheck train unet ./photos --vae sd-vae-ft-mse --out my-unet
    """
    from vaecheck.errors import InputError
    from vaecheck.tasks.train_unet import UNetSettings, train_unet

    if scaling not in ("shipped", "measured"):
        raise InputError(f"--scaling {scaling} is neither shipped nor measured", hint="Try --scaling measured.")
    settings = o.settings(locals())
    chosen = UNetSettings(scaling, any_scale, save_every, report_every)
    with screen.listening(out) as listener:
        trained = train_unet(images, vae, out, settings, chosen, config, listener)
    if not trained.is_first:
        return
    factor = trained.scaling.scaling_factor
    said = "" if factor is None else f", scaling factor {factor:.5g}"
    with screen.stdout():
        screen.output().print(
            f"trained for {trained.steps} steps on {trained.latents} latents, those of mirrored pictures too, of std "
            f"{trained.std:.3f}{said}: {out}\n"
            f"load it with diffusers: UNet2DModel.from_pretrained({str(out)!r}); vaecheck e2e trains U-Nets of its own",
            markup=False,
            soft_wrap=True,
        )
