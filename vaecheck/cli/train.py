"""vaecheck train vae, vaecheck train unet"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import screen
from vaecheck.cli.options import Device, Offline
from vaecheck.cli.train_unet import unet

app = typer.Typer(help="Train a KL-VAE, or a latent U-Net on one.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Train a KL-VAE, or a latent U-Net on one."""


@app.command()
def vae(
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="Pictures to train on; they are held in memory.")],
    config: Annotated[str, typer.Option(metavar="FILE", help="A recipe in TOML, or the name of a bundled one.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the checkpoint and of the trained VAE.")],
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="REF", help="Go on with this VAE instead of a new one.")
    ] = None,
    tune: Annotated[
        str, typer.Option(metavar="decoder|whole", help="What of --from is trained; the decoder keeps the latents.")
    ] = "decoder",
    val: Annotated[str | None, typer.Option(metavar="IMAGES", help="Pictures to evaluate on, on the way.")] = None,
    evaluate_every: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Between evaluations on --val.")] = 1000,
    patience: Annotated[int, typer.Option(min=0, help="Evaluations without a gain that stop it; 0 never.")] = 5,
    save_every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between checkpoints.")] = 60.0,
    report_every: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Between lines of the log.")] = 100,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N of IMAGES; --val is taken whole.")
    ] = None,
    device: Device = "auto",
    offline: Offline = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
) -> None:
    """Train a KL-VAE; started again with the same --out, it goes on where it was.

    Example: vaecheck train vae ./photos --config kl-f8-tiny --val ./held-out --out my-vae
    """
    import torch

    from vaecheck.render.report import write_report
    from vaecheck.tasks.train_vae import EVALUATIONS, TrainSettings, train

    if threads:
        torch.set_num_threads(threads)
    settings = TrainSettings(
        start_from, tune, val, evaluate_every, patience, save_every, report_every, limit, device, offline
    )
    with screen.listening(out) as listener:
        trained = train(images, config, out, settings, listener=listener, write=write_report)
    if not trained.is_first:
        return
    lines = [f"trained on {trained.pictures} pictures for {trained.steps} of {trained.of_steps} steps: {out}"]
    if trained.history and trained.history.best_overall:
        lines += [trained.history.best_overall, f"evaluations: {out / EVALUATIONS}"]
    lines.append(f"next: vaecheck scale-factor IMAGES --vae {trained.folder}")
    with screen.stdout():
        screen.output().print("\n".join(lines), markup=False, soft_wrap=True)


app.command()(unet)
