"""vaecheck train vae"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaecheck.cli import screen

if TYPE_CHECKING:
    from vaecheck.train.vae import Progress

app = typer.Typer(help="Train a KL-VAE.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Train a KL-VAE."""


@app.command()
def vae(
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="Pictures to train on; they are held in memory.")],
    config: Annotated[str, typer.Option(metavar="FILE", help="A recipe in TOML, or the name of a bundled one.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the checkpoint and of the trained VAE.")],
    save_every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Between checkpoints.")] = 60.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
) -> None:
    """Train a KL-VAE; started again with the same --out, it goes on where it was.

    Example: vaecheck train vae ./photos --config kl-f8-tiny --out my-vae
    """
    import torch

    from vaecheck.tasks.train_vae import train

    if threads:
        torch.set_num_threads(threads)

    def report(progress: Progress) -> None:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in progress.means.items())
        screen.errors().print(f"step {progress.step} of {progress.steps}  {figures}", highlight=False, soft_wrap=True)

    with screen.listening() as listener:
        trained = train(images, config, out, save_every=save_every, listener=listener, report=report)
    next_step = f"next: vaecheck scale-factor IMAGES --vae {trained.folder}"
    done = f"trained on {trained.pictures} pictures: {trained.folder}"
    screen.output().print(f"{done}\n{next_step}", markup=False, soft_wrap=True)
