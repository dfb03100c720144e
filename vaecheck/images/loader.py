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
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.images.prepare import Intake, Ready, prepare
from vaecheck.images.sources import ImageSet
from vaecheck.results.types import SkippedImage

BATCHES_AHEAD = 2
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Images:
    """One batch. image: (B, channels, H, W), uint8 or float32 in [0, 255] (see Ready), on the CPU.

    valid: (H, W) to crop back to after decoding; H, W of the batch unless fit is "pad".
    """

    ids: tuple[str, ...]
    image: Tensor
    valid: tuple[int, int]


class Loader:
    """Batches in the order of the ids. What it counted is that of the latest pass, up to the latest batch.

    skipped: pictures left out, with reasons. notes: pictures that each intake policy changed, and "enlarged".
    count: pictures given out. digests: sha256 of the pixels of each, by id. seconds: time the consumer waited.
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
        batch: list[Ready] = []
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

    def _in_order(self) -> Generator[Ready | SkippedImage, None, None]:
        """Pictures in order, a bounded number being decoded ahead; closing it ends its threads."""
        ahead = max(BATCHES_AHEAD * self.batch_size, self.workers)
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="vaecheck-pictures")
        try:
            entries = iter(self.images)
            waiting = deque(executor.submit(prepare, entry, self.intake) for entry in islice(entries, ahead))
            while waiting:
                picture = self._wait_for(waiting.popleft())
                waiting.extend(executor.submit(prepare, entry, self.intake) for entry in islice(entries, 1))
                yield picture
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _wait_for(self, future: Future[Ready | SkippedImage]) -> Ready | SkippedImage:
        start = time.perf_counter()
        picture = future.result()
        self.seconds += time.perf_counter() - start
        return picture

    def _give_out(self, batch: list[Ready]) -> Images:
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
            f"none of the {len(self._skipped)} pictures in {self.images.source} can be used: {reasons}",
            hint="Repair them, or give other pictures.",
        )


def fingerprint(digests: Mapping[str, bytes]) -> str:
    """sha256, in hexadecimal, over the hashes of all pictures' pixels in sorted order.

    Why not names or files: pictures that were renamed, shuffled or packed into shards are still the same pictures.
    """
    return hashlib.sha256(b"".join(sorted(digests.values()))).hexdigest()
