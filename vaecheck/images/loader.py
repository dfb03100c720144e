"""ImageSet -> batches of uint8 tensors, decoded ahead in threads while the model works.

Why threads: Pillow lets go of the interpreter's lock while it decodes and resizes, so threads cost neither the
start of processes nor copies between them. Why a bounded look-ahead: memory stays flat in the number of
pictures, however slow the model is.

Why pictures of one kind wait for each other: a batch has one shape, and photographs come in many. Left in their order,
every second one would go through the model alone. What waits is bounded in bytes, not in pictures.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Container, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from vaecheck.cells import Rows, State, ids_of
from vaecheck.errors import InputError
from vaecheck.images.entries import WHOLE, ImageSet, Share
from vaecheck.images.prepare import Intake, Ready, prepare
from vaecheck.images.preprocess import NEEDS_MULTIPLES
from vaecheck.results.types import SkippedImage

BATCHES_AHEAD = 2
BYTES_AHEAD = 1 << 28
"""Of pictures decoded ahead, if all were as large as the largest so far; one for each thread is allowed anyway."""
BYTES_HELD = 1 << 28
"""Of pictures that wait for others of their kind."""
REASONS_SHOWN = 3
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Images:
    """One batch. image: (B, channels, H, W), uint8 or float32 in [0, 255] (see Ready), on the CPU.

    valid: (H, W) to crop back to after decoding; H, W of the batch unless fit is "pad".
    places: of each in the order of the source, counted from 0, pictures that cannot be used too.
    digests: sha256 of the pixels of each.
    """

    ids: tuple[str, ...]
    image: Tensor
    valid: tuple[int, int]
    places: tuple[int, ...] = ()
    digests: tuple[bytes, ...] = ()


Kind = tuple[object, ...]


@dataclass(frozen=True)
class _Waiting:
    """A picture that waits for its batch."""

    place: int
    picture: Ready


class _Held:
    """The pictures that wait, by kind, in the order in which each kind first came."""

    def __init__(self) -> None:
        self.batches: dict[Kind, list[_Waiting]] = {}
        self.bytes = 0

    def add(self, waiting: _Waiting) -> int:
        """How many of its kind there are now."""
        batch = self.batches.setdefault(waiting.picture.kind, [])
        batch.append(waiting)
        self.bytes += waiting.picture.array.nbytes
        return len(batch)

    def take(self, kind: Kind) -> list[_Waiting]:
        batch = self.batches.pop(kind)
        self.bytes -= len(batch) * batch[0].picture.array.nbytes
        return batch


class Loader:
    """Batches of pictures of one kind, in the order of the source where all are of one kind.

    What it counted is that of the latest pass, up to the latest batch, with what `merge` added.
    skipped: pictures left out, with reasons. notes: pictures that each intake policy changed, and "enlarged".
    count: pictures given out. digests: sha256 of the pixels of each, by id. seconds: time the consumer waited.
    """

    def __init__(
        self,
        images: ImageSet,
        intake: Intake,
        *,
        batch_size: int,
        workers: int = 1,
        batch_pixels: int | None = None,
        share: Share = WHOLE,
    ) -> None:
        """batch_size: pictures in a batch, at most. batch_pixels: H x W of all of them, at most; one may have more.
        share: the part of the pictures that is read."""
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size} is no batch", hint="Give 1 or more.")
        self.images = images
        self.intake = intake
        self.batch_size = batch_size
        self.batch_pixels = batch_pixels
        self.workers = max(1, workers)
        self.share = share
        self._reset()

    def _reset(self) -> None:
        self._skipped: list[tuple[int, SkippedImage]] = []
        self.notes: Counter[str] = Counter()
        self._digests = Rows(DIGEST_BYTES, np.uint8)
        self.seconds = 0.0

    @property
    def skipped(self) -> tuple[SkippedImage, ...]:
        return tuple(picture for _, picture in sorted(self._skipped, key=lambda one: one[0]))

    @property
    def count(self) -> int:
        return len(self._digests)

    @property
    def ids(self) -> list[str]:
        """Of the pictures given out, sorted."""
        return self._digests.ids

    @property
    def digests(self) -> dict[str, bytes]:
        rows = self._digests.ordered()
        return {image_id: row.tobytes() for image_id, row in zip(self.ids, rows, strict=True)}

    def state(self) -> State:
        """What was counted, to `merge` into another's."""
        skipped = [[place, picture.id, picture.reason] for place, picture in self._skipped]
        return {"skipped": skipped, "notes": dict(self.notes), "digests": self._digests.state()}

    @staticmethod
    def done(state: State) -> tuple[set[str], int]:
        """Of a `state`: the ids that need not be read again, and how many of them were given out."""
        given = ids_of(state["digests"])
        return {*given, *(image_id for _, image_id, _ in state["skipped"])}, len(given)

    def merge(self, state: State) -> None:
        self._skipped += [(place, SkippedImage(image_id, reason)) for place, image_id, reason in state["skipped"]]
        self.notes.update(state["notes"])
        self._digests.merge(state["digests"])

    @property
    def size_remedy(self) -> str:
        """What to do where pictures were left out for their size; empty where none was."""
        return self.intake.size_remedy if any(NEEDS_MULTIPLES in picture.reason for picture in self.skipped) else ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.digests.values())

    def __iter__(self) -> Iterator[Images]:
        """One pass, that counts from the beginning."""
        self._reset()
        return self.rest()

    def rest(self, done: Container[str] = ()) -> Generator[Images, None, None]:
        """A pass over the pictures that are not done, which goes on counting.

        Pictures wait for others of their kind, until there is a batch of them or BYTES_HELD is reached.

        Raises InputError at the first bad picture with bad_images "fail", and when no picture is left.
        """
        held = _Held()
        with closing(self._in_order(done)) as pictures:
            for place, picture in pictures:
                if isinstance(picture, SkippedImage):
                    self._skip(place, picture)
                    continue
                if held.add(_Waiting(place, picture)) == self._room_for(picture):
                    yield self._give_out(held.take(picture.kind))
                while len(held.batches) > 1 and held.bytes > BYTES_HELD:
                    yield self._give_out(held.take(self._fullest(held.batches)))
        for kind in tuple(held.batches):
            yield self._give_out(held.take(kind))
        if not self.count and self.share.is_whole:
            self.refuse_nothing()

    def _room_for(self, picture: Ready) -> int:
        """Pictures in a batch of this kind."""
        if self.batch_pixels is None:
            return self.batch_size
        pixels: int = picture.array[0].size
        return max(1, min(self.batch_size, self.batch_pixels // pixels))

    def _fullest(self, held: Mapping[Kind, list[_Waiting]]) -> Kind:
        """The kind nearest to its batch; of equals, the one that has waited longest."""
        return max(held, key=lambda kind: len(held[kind]) / self._room_for(held[kind][0].picture))

    def _in_order(self, done: Container[str]) -> Generator[tuple[int, Ready | SkippedImage], None, None]:
        """Places and pictures in order, a bounded number being decoded ahead; closing it ends its threads."""
        ahead = max(BATCHES_AHEAD * self.batch_size, self.workers)
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="vaecheck-pictures")
        try:
            entries = ((place, entry) for place, entry in self.share.of(self.images) if entry.id not in done)
            largest, room = 0, self.workers
            waiting: deque[tuple[int, Future[Ready | SkippedImage]]] = deque()

            def fill() -> None:
                for place, entry in islice(entries, max(0, room - len(waiting))):
                    waiting.append((place, executor.submit(prepare, entry, self.intake)))

            fill()
            while waiting:
                place, future = waiting.popleft()
                picture = self._wait_for(future)
                if isinstance(picture, Ready):
                    largest = max(largest, picture.array.nbytes)
                    room = max(self.workers, min(ahead, BYTES_AHEAD // largest))
                fill()
                yield place, picture
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _wait_for(self, future: Future[Ready | SkippedImage]) -> Ready | SkippedImage:
        start = time.perf_counter()
        picture = future.result()
        self.seconds += time.perf_counter() - start
        return picture

    def _give_out(self, batch: list[_Waiting]) -> Images:
        pictures = [waiting.picture for waiting in batch]
        for picture in pictures:
            self.notes.update(picture.notes)
        digests = tuple(picture.digest for picture in pictures)
        self._digests.add(
            [picture.id for picture in pictures], np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
        )
        image = torch.from_numpy(np.stack([picture.array for picture in pictures]))
        ids, places = tuple(picture.id for picture in pictures), tuple(waiting.place for waiting in batch)
        return Images(ids, image, pictures[0].valid, places, digests)

    def _skip(self, place: int, picture: SkippedImage) -> None:
        if self.intake.bad_images == "fail":
            otherwise = "use --bad-images skip to leave such pictures out and count them."
            of_size = NEEDS_MULTIPLES in picture.reason
            raise InputError(
                f"{picture.id} {picture.reason}",
                hint=f"{self.intake.size_remedy} Or {otherwise}" if of_size else f"Repair or remove it, or {otherwise}",
            )
        self._skipped.append((place, picture))

    def refuse_nothing(self) -> NoReturn:
        reasons = "; ".join(f"{picture.id} {picture.reason}" for picture in self.skipped[:REASONS_SHOWN])
        raise InputError(
            f"none of the {len(self._skipped)} pictures in {self.images.source} can be used: {reasons}",
            hint=self.size_remedy or "Repair them, or give other pictures.",
        )


def fingerprint(digests: Iterable[bytes]) -> str:
    """sha256, in hexadecimal, over the hashes of all pictures' pixels in sorted order.

    Why not names or files: pictures that were renamed, shuffled or packed into shards are still the same pictures.
    """
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
