"""`train vae`: a KL autoencoder from a recipe and a folder of pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.images.entries import Entry, ImageSet
from vaecheck.images.hub import TRAIN_FIRST
from vaecheck.images.intake import read_picture
from vaecheck.images.policy import IntakePolicy
from vaecheck.images.sources import open_images
from vaecheck.tasks.machine import default_workers
from vaecheck.tasks.settings import Listener
from vaecheck.train.recipe import load_config
from vaecheck.train.vae import Progress, train_vae
from vaecheck.vae.kl_f8 import KLAutoencoder

READ_AHEAD = 4
"""Pictures that each worker may be ahead by."""


@dataclass(frozen=True)
class Trained:
    """The folder that --vae takes, and how many pictures were used and skipped."""

    folder: Path
    model: KLAutoencoder
    pictures: int
    skipped: tuple[str, ...]


def train(
    source: str,
    config: str,
    out: Path,
    *,
    save_every: float = 60.0,
    listener: Listener | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train, or go on training where `out` holds a checkpoint; the folder is in diffusers' format at the end.

    Pictures are held in memory as 8-bit RGB at the recipe's side: about 0.3 MB each at 256.
    """
    listener = listener or Listener()
    settings = load_config(config)
    images = open_images(source, splits=TRAIN_FIRST)
    listener.start("Reading pictures", images.count)
    pictures: list[Tensor] = []
    skipped: list[str] = []
    for entry, found in _in_order(images, settings.picture_side):
        if isinstance(found, str):
            skipped.append(f"{entry.id} {found}")
        else:
            pictures.append(found)
        listener.advance(1)
    if not pictures:
        raise InputError(
            f"none of the {len(skipped)} pictures can be read: {'; '.join(skipped[:3])}", hint="Give other pictures."
        )
    if skipped:
        listener.warn(f"{len(skipped)} pictures were skipped: {'; '.join(skipped[:3])}")
    recipe = settings.recipe
    listener.start("Training", recipe.steps)
    done = 0

    def advance(progress: Progress) -> None:
        nonlocal done
        listener.advance(progress.step - done)
        done = progress.step
        report(progress)

    model = train_vae(recipe, pictures, out, save_every=save_every, report=advance)
    return Trained(out, model, len(pictures), tuple(skipped))


def _in_order(images: ImageSet, side: int) -> Iterator[tuple[Entry, Tensor | str]]:
    """What `_read` makes of each picture, a bounded number being read ahead."""
    workers = default_workers()
    waiting: deque[tuple[Entry, Future[Tensor | str]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for entry in images:
            waiting.append((entry, pool.submit(_read, entry, side)))
            if len(waiting) > READ_AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _read(entry: Entry, side: int) -> Tensor | str:
    """uint8 (3, H, W) with the shorter side at `side`, or why not."""
    try:
        image = read_picture(entry.read(), IntakePolicy()).image
    except InputError as error:
        return error.message
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(resized).transpose(2, 0, 1).copy())
