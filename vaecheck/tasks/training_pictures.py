"""Pictures for a training: read once, brought to one side, and held in memory as 8 bits."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

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

READ_AHEAD = 4
"""Pictures that each worker may be ahead by."""


@dataclass(frozen=True)
class HeldPictures:
    """uint8 (3, H, W) each, the shorter side as asked for: about 0.3 MB at 256. fingerprint: sha256 of their pixels."""

    tensors: tuple[Tensor, ...]
    fingerprint: str
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int, /) -> Tensor:
        return self.tensors[index]


def hold_pictures(source: str, side: int, listener: Listener, *, limit: int | None = None) -> HeldPictures:
    """Read them all. Raises InputError where none can be read."""
    images = open_images(source, limit=limit, splits=TRAIN_FIRST)
    listener.start("Reading pictures", images.count)
    digest = hashlib.sha256()
    pictures: list[Tensor] = []
    skipped: list[str] = []
    for entry, found in _in_order(images, side):
        if isinstance(found, str):
            skipped.append(f"{entry.id} {found}")
        else:
            pictures.append(found)
            digest.update(f"{tuple(found.shape)}".encode())
            digest.update(found.numpy().tobytes())
        listener.advance(1)
    if not pictures:
        raise InputError(
            f"none of the {len(skipped)} pictures can be read: {'; '.join(skipped[:3])}", hint="Give other pictures."
        )
    if skipped:
        listener.warn(f"{len(skipped)} pictures were skipped: {'; '.join(skipped[:3])}")
    return HeldPictures(tuple(pictures), digest.hexdigest(), tuple(skipped))


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
