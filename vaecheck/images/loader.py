"""ImageSet -> batches of uint8 tensors, decoded ahead in threads while the model works.

Why threads: Pillow lets go of the interpreter's lock while it decodes and resizes, so threads cost neither the
start of processes nor copies between them. Why a bounded look-ahead: memory stays flat in the number of
pictures, however slow the model is.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.images.intake import MAX_PIXELS, IntakePolicy, read_picture
from vaecheck.images.preprocess import check_size, fit_picture
from vaecheck.images.sources import Entry, ImageSet
from vaecheck.results.types import SkippedImage

BATCHES_AHEAD = 2
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Images:
    """One batch. image: uint8 (B, 3, H, W), RGB, on the CPU.

    valid: (H, W) to crop back to after decoding; H, W of the batch unless fit is "pad".
    """

    ids: tuple[str, ...]
    image: Tensor
    valid: tuple[int, int]


@dataclass(frozen=True)
class Intake:
    """How pictures are read: the options of the command line, `multiple` being what the VAE needs (f)."""

    size: int | None = 256
    fit: str = "crop"
    multiple: int = 8
    icc: str = "ignore"
    background: str = "white"
    bad_images: str = "skip"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        check_size(self.size, self.fit, self.multiple)
        if self.bad_images not in ("skip", "fail"):
            raise InputError(f"--bad-images {self.bad_images} is not known", hint="Use skip or fail.")
        _ = self.policy  # refuses what it does not know

    @property
    def policy(self) -> IntakePolicy:
        return IntakePolicy(self.background, self.icc, self.max_pixels)


@dataclass(frozen=True)
class _Ready:
    """One picture, decoded and fitted. array: uint8 (3, H, W). digest: sha256 of its file."""

    id: str
    array: NDArray[np.uint8]
    valid: tuple[int, int]
    notes: frozenset[str]
    digest: bytes

    @property
    def kind(self) -> tuple[tuple[int, ...], tuple[int, int]]:
        return self.array.shape, self.valid


class Loader:
    """Batches in the order of the ids. What it counted is that of the latest pass, up to the latest batch.

    skipped: pictures left out, with reasons. notes: pictures that each intake policy changed, and "enlarged".
    count: pictures given out. digests: sha256 of the file of each, by id. seconds: time the consumer waited.
    """

    def __init__(self, images: ImageSet, intake: Intake, *, batch_size: int, workers: int = 1) -> None:
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size} is no batch", hint="Give 1 or more.")
        self.images = images
        self.intake = intake
        self.batch_size = batch_size
        self.workers = max(1, workers)
        self._reset()

    def _reset(self) -> None:
        self._skipped: list[SkippedImage] = []
        self.notes: Counter[str] = Counter()
        self.digests: dict[str, bytes] = {}
        self.seconds = 0.0

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        return tuple(self._skipped)

    @property
    def count(self) -> int:
        return len(self.digests)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.digests)

    def __iter__(self) -> Iterator[Images]:
        """One pass. A picture of another shape than the one before it starts a new batch.

        Raises InputError at the first bad picture with bad_images "fail", and when no picture is left.
        """
        self._reset()
        batch: list[_Ready] = []
        with closing(self._in_order()) as pictures:
            for picture in pictures:
                if isinstance(picture, SkippedImage):
                    self._skip(picture)
                    continue
                if batch and picture.kind != batch[0].kind:
                    yield self._give_out(batch)
                    batch = []
                batch.append(picture)
                if len(batch) == self.batch_size:
                    yield self._give_out(batch)
                    batch = []
        if batch:
            yield self._give_out(batch)
        if not self.count:
            self._refuse_nothing()

    def _in_order(self) -> Generator[_Ready | SkippedImage, None, None]:
        """Pictures in order, a bounded number being decoded ahead; closing it ends its threads."""
        ahead = max(BATCHES_AHEAD * self.batch_size, self.workers)
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="vaecheck-pictures")
        try:
            entries = iter(self.images.entries)
            waiting = deque(executor.submit(prepare, entry, self.intake) for entry in islice(entries, ahead))
            while waiting:
                picture = self._wait_for(waiting.popleft())
                waiting.extend(executor.submit(prepare, entry, self.intake) for entry in islice(entries, 1))
                yield picture
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _wait_for(self, future: Future[_Ready | SkippedImage]) -> _Ready | SkippedImage:
        start = time.perf_counter()
        picture = future.result()
        self.seconds += time.perf_counter() - start
        return picture

    def _give_out(self, batch: list[_Ready]) -> Images:
        for picture in batch:
            self.notes.update(picture.notes)
            self.digests[picture.id] = picture.digest
        image = torch.from_numpy(np.stack([picture.array for picture in batch]))
        return Images(tuple(picture.id for picture in batch), image, batch[0].valid)

    def _skip(self, picture: SkippedImage) -> None:
        if self.intake.bad_images == "fail":
            raise InputError(
                f"{picture.id} {picture.reason}",
                hint="Repair or remove it, or use --bad-images skip to leave such pictures out and count them.",
            )
        self._skipped.append(picture)

    def _refuse_nothing(self) -> NoReturn:
        reasons = "; ".join(f"{picture.id} {picture.reason}" for picture in self._skipped[:REASONS_SHOWN])
        raise InputError(
            f"none of the {len(self.images)} pictures in {self.images.source} can be used: {reasons}",
            hint="Repair them, or give other pictures.",
        )


def prepare(entry: Entry, intake: Intake) -> _Ready | SkippedImage:
    """Read, decode and fit one picture; a picture that cannot be used comes back as its reason."""
    try:
        data = entry.read()
        picture = read_picture(data, intake.policy)
        fitted = fit_picture(picture.image, size=intake.size, fit=intake.fit, multiple=intake.multiple)
    except InputError as error:
        return SkippedImage(entry.id, error.message)
    except MemoryError:
        return SkippedImage(entry.id, "does not fit into memory")
    notes = picture.notes | ({"enlarged"} if fitted.enlarged else frozenset())
    array = np.ascontiguousarray(fitted.array.transpose(2, 0, 1))
    return _Ready(entry.id, array, fitted.valid, notes, hashlib.sha256(data).digest())


def fingerprint(digests: Mapping[str, bytes]) -> str:
    """sha256, in hexadecimal, over the ids and file hashes of pictures, sorted by id: one name for one data set."""
    total = hashlib.sha256()
    for image_id in sorted(digests):
        total.update(image_id.encode() + b"\0" + digests[image_id])
    return total.hexdigest()
