"""The loop: every batch of pictures walks once through every VAE and is shown to its observers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from vaecheck.cells import Cell, HasCells, State
from vaecheck.errors import InputError
from vaecheck.images.loader import Images
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import Levels, to_image, to_pixels
from vaecheck.transfers import Transfers, sent
from vaecheck.vae.protocol import VAE, Posterior, joined, noise_for
from vaecheck.vae.room import Room


class Observer(Protocol):
    """Whatever reads batches: a metric, the gallery, the writer of reconstructions.

    One that remembers anything has cells, else its run can neither be divided nor gone on with.
    """

    needs: frozenset[Need]

    def update(self, batch: Batch) -> None: ...


Laps = dict[str, list[tuple[int, float]]]


@dataclass
class Stopwatch:
    """Seconds of model time by stage, batch by batch: the pictures in it and how long they took.

    Why events on a GPU: waiting for it around every stage would leave it idle four times a batch. An event is put
    into its queue, and read when it has passed.
    """

    device: torch.device
    _laps: Laps = field(default_factory=dict)
    _passing: deque[tuple[str, int, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=deque)

    @contextmanager
    def lap(self, stage: str, images: int) -> Iterator[None]:
        if self.device.type == "cuda":
            stream = torch.cuda.current_stream(self.device)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record(stream)
            yield
            end.record(stream)
            self._passing.append((stage, images, start, end))
            self._read(wait=False)
        else:
            self._finish()
            began = time.perf_counter()
            yield
            self._finish()
            self._add(stage, images, time.perf_counter() - began)

    @property
    def laps(self) -> Laps:
        self._read(wait=True)
        return self._laps

    def state(self) -> State:
        return {stage: [list(lap) for lap in laps] for stage, laps in self.laps.items()}

    def merge(self, state: State) -> None:
        for stage, laps in state.items():
            for images, seconds in laps:
                self._add(stage, images, seconds)

    def seconds(self, stage: str) -> float:
        return sum(seconds for _, seconds in self.laps.get(stage, ()))

    def _finish(self) -> None:
        if self.device.type == "mps":  # Metal has its own queue too, and torch no events with times for it
            torch.mps.synchronize()

    def _read(self, *, wait: bool) -> None:
        """wait: for laps that the GPU has yet to end; else they stay in line."""
        while self._passing and (wait or self._passing[0][3].query()):  # type: ignore[no-untyped-call]
            stage, images, start, end = self._passing.popleft()
            end.synchronize()
            self._add(stage, images, start.elapsed_time(end) / 1000)

    def _add(self, stage: str, images: int, seconds: float) -> None:
        self._laps.setdefault(stage, []).append((images, seconds))


@dataclass(frozen=True)
class Run:
    """One VAE, those who watch it, its stopwatch, and how much goes through it at once."""

    vae: VAE
    observers: Sequence[Observer]
    stopwatch: Stopwatch
    room: Room = field(default_factory=Room)

    def cells(self) -> Mapping[str, Cell]:
        """Of all observers, by their places, the stopwatch, and how much went through at once."""
        found: dict[str, Cell] = {"stopwatch": self.stopwatch, "room": self.room}
        for place, observer in enumerate(self.observers):
            if isinstance(observer, HasCells):
                found |= {f"{place} {name}": cell for name, cell in observer.cells().items()}
        return found


@torch.inference_mode()
def evaluate(
    runs: Sequence[Run],
    batches: Iterable[Images],
    *,
    device: torch.device,
    posterior: str = "mode",
    seed: int = 0,
    levels: Levels | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> None:
    """Show every batch to every observer of every run; only the fields that a run's observers need are computed.

    posterior: "mode" decodes the posterior mean, "sample" a sample with noise drawn by image id and seed.
    levels: what values are compared. None: 8 bits for 8-bit pictures, clamped floats for deeper ones.
    The runs take turns in who gets a batch first: that one finds the caches cold, which is not its VAE's fault.
    """
    runs, transfers = list(runs), Transfers(device)
    for images in batches:
        image, (height, width) = sent(images.image, device), images.valid
        pixels = to_pixels(image)
        shown = pixels[..., :height, :width]
        batch = Batch(
            images.ids,
            image[..., :height, :width] if levels is None else to_image(shown, levels),
            pixels=shown,
            padded=(pixels.shape[-2] - height, pixels.shape[-1] - width),
            places=images.places,
            digests=images.digests,
            transfers=transfers,
        )
        for run in runs:
            needs = frozenset().union(*(observer.needs for observer in run.observers))
            seen = _walk(run, batch, pixels, needs, posterior, seed, levels)
            for observer in run.observers:
                observer.update(seen)
        transfers.settle()
        runs.append(runs.pop(0))
        progress(len(images.ids))


def _walk(
    run: Run, batch: Batch, pixels: Tensor, needs: frozenset[Need], posterior: str, seed: int, levels: Levels | None
) -> Batch:
    ids, (height, width) = batch.ids, batch.original.shape[-2:]
    with run.stopwatch.lap("encode", len(ids)):
        encoded = Posterior.joined(run.room.through("encode", run.vae, run.vae.encode, pixels))
    latents = encoded.mean
    if posterior == "sample" and encoded.log_var is not None:
        latents = encoded.sample(noise_for(ids, encoded.mean, seed))
    batch = replace(batch, posterior=encoded, latents=latents)
    if Need.RECONSTRUCTION not in needs:
        return batch
    with run.stopwatch.lap("decode", len(ids)):
        decoded = joined(run.room.through("decode", run.vae, run.vae.decode, latents))
    if decoded.shape != pixels.shape:
        raise InputError(
            f"{run.vae.card.ref} decoded {tuple(pixels.shape)} to {tuple(decoded.shape)}",
            hint="A VAE must give back the size it was given. Try another --size or --fit pad.",
        )
    decoded = decoded[..., :height, :width]
    return replace(
        batch,
        reconstruction=to_image(decoded.nan_to_num(), levels or _levels_of(batch.original)),
        reconstruction_pixels=decoded,
        finite=decoded.isfinite().flatten(1).all(1),
    )


def _levels_of(image: Tensor) -> Levels:
    """8-bit pictures are compared as a viewer sees them; deeper ones keep their precision."""
    return Levels.CLAMP if image.is_floating_point() else Levels.ROUND
