"""Pictures for a training: read once, brought to one side, and held in memory as 8 bits."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
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
from vaecheck.tasks.doctor import GIB, available_memory
from vaecheck.tasks.machine import default_workers
from vaecheck.tasks.settings import Listener

READ_AHEAD = 4
"""Pictures that each worker may be ahead by."""
ENOUGH_TO_TELL = 64
"""Pictures from whose sizes those of all are estimated."""


@dataclass(frozen=True)
class HeldPictures:
    """uint8 (3, H, W) each, the shorter side as asked for: about 0.3 MB at 256. fingerprint: sha256 of their pixels.

    files: of each encoded picture, its bytes' number and sha256.
    """

    tensors: tuple[Tensor, ...]
    fingerprint: str
    skipped: tuple[str, ...]
    files: frozenset[tuple[int, bytes]] = frozenset()

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int, /) -> Tensor:
        return self.tensors[index]


@dataclass(frozen=True)
class _Read:
    """A picture as it is held, and its file."""

    tensor: Tensor
    file: tuple[int, bytes]


def hold_pictures(
    source: str, side: int, listener: Listener, *, limit: int | None = None, offline: bool = False
) -> HeldPictures:
    """Read them all. Raises InputError where none can be read, or where they do not fit into memory."""
    images = open_images(source, limit=limit, splits=TRAIN_FIRST, offline=offline)
    count, room, held = images.count, _room(), 0
    files: set[tuple[int, bytes]] = set()
    listener.start("Reading pictures", images.count)
    digest = hashlib.sha256()
    pictures: list[Tensor] = []
    skipped: list[str] = []
    for entry, found in _in_order(images, side):
        if isinstance(found, str):
            skipped.append(f"{entry.id} {found}")
        else:
            pictures.append(found.tensor)
            files.add(found.file)
            digest.update(f"{tuple(found.tensor.shape)}".encode())
            digest.update(found.tensor.numpy().tobytes())
            held += found.tensor.nbytes
        done = len(pictures) + len(skipped)
        if room is not None and count is not None and done == min(ENOUGH_TO_TELL, count):
            _expect_room(held / done * count, room, f"{count} pictures of {source}", side)
        elif room is not None and held > room:
            _expect_room(held, room, f"the first {done} pictures of {source}", side)
        listener.advance(1)
    if not pictures:
        raise InputError(
            f"none of the {len(skipped)} pictures can be read: {'; '.join(skipped[:3])}", hint="Give other pictures."
        )
    if skipped:
        listener.warn(f"{len(skipped)} pictures were skipped: {'; '.join(skipped[:3])}")
    return HeldPictures(tuple(pictures), digest.hexdigest(), tuple(skipped), frozenset(files))


def also_trained_on(
    pictures: HeldPictures,
    source: str,
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    offline: bool = False,
) -> int:
    """How many of the pictures to evaluate on are, byte for byte, files that are trained on.

    One that was encoded anew or resized is not seen. Why lengths first: a file whose length no picture trained on has
    need not be read.
    """
    lengths, found = {length for length, _ in pictures.files}, 0
    for entry in open_images(source, limit=limit, sample=sample, seed=seed, offline=offline):
        if entry.data is None and not entry.fault and _length(entry) not in {None, *lengths}:
            continue
        try:
            found += _file(entry.read()) in pictures.files
        except InputError:  # the evaluation says so
            continue
    return found


def _length(entry: Entry) -> int | None:
    """Of its bytes, where they lie here."""
    if entry.length is not None or "://" in entry.path:
        return entry.length
    try:
        return Path(entry.path).stat().st_size
    except OSError:
        return None


def _file(data: bytes) -> tuple[int, bytes]:
    return len(data), hashlib.sha256(data).digest()


def _room() -> int | None:
    """Bytes that the pictures of this process may take: each process of a machine holds all."""
    free = available_memory()
    return None if free is None else free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _expect_room(needed: float, room: int, what: str, side: int) -> None:
    """Raises InputError."""
    if needed > room:
        raise InputError(
            f"{what}, held at side {side}, take {needed / GIB:.3g} GiB of memory; {room / GIB:.3g} GiB are free for "
            "this process",
            hint="Give fewer by --limit, or a smaller picture_side.",
        )


def _in_order(images: ImageSet, side: int) -> Iterator[tuple[Entry, _Read | str]]:
    """What `_read` makes of each picture, a bounded number being read ahead."""
    workers = default_workers()
    waiting: deque[tuple[Entry, Future[_Read | str]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for entry in images:
            waiting.append((entry, pool.submit(_read, entry, side)))
            if len(waiting) > READ_AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _read(entry: Entry, side: int) -> _Read | str:
    """uint8 (3, H, W) with the shorter side at `side`, or why not."""
    try:
        data = entry.read()
        image = read_picture(data, IntakePolicy()).image
    except InputError as error:
        return error.message
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return _Read(torch.from_numpy(np.asarray(resized).transpose(2, 0, 1).copy()), _file(data))
