"""Several processes that measure one set of pictures: which of them this is, and how their parts come together.

Why they meet once, after the loop: each reads every size-th picture, and what it found is state of cells, which merge
in any order. Nothing is exchanged on the way, so nobody waits for anybody.

Why always by gloo: what is sent is small and lies in main memory, whatever device the VAE ran on.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from vaecheck.errors import PartDone, SetupError

TO_MEET = timedelta(minutes=10)
TO_WAIT = timedelta(days=7)
"""For the slowest process. One that dies is noticed at once, by its closed connection."""
LAUNCHER = "TORCHELASTIC_RUN_ID"
PIECE = 1 << 28
"""Bytes that are sent at a time."""


@dataclass(frozen=True)
class World:
    """rank: of this process, from 0. size: how many there are."""

    rank: int = 0
    size: int = 1
    group: Any = field(default=None, compare=False, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that puts the parts together and has the result."""
        return self.rank == 0

    def collected(self, state: Callable[[], Any]) -> Iterator[Any]:
        """The states of all other processes, one after another, in the first one. state: of this one, as cells have it.

        Raises PartDone in the others, when the first has their state; SetupError where a process has ended before its
        part was here.
        """
        if self.is_first:
            return map(self._part_of, range(1, self.size))
        import torch

        file = io.BytesIO()
        torch.save(state(), file)
        self._send(torch.frombuffer(file.getbuffer(), dtype=torch.uint8))
        raise PartDone(f"process {self.rank} has given its part to the first")

    def agreed(self, value: Any) -> Any:
        """What the first process has, in all of them, when all are here. Raises SetupError where one has ended."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        told = [value]
        try:
            dist.broadcast_object_list(told, 0, group=self.group)
            dist.barrier(group=self.group)
        except RuntimeError as error:
            raise _ended("another process") from error
        return told[0]

    def _part_of(self, rank: int) -> Any:
        import torch

        return torch.load(io.BytesIO(self._received(rank).numpy()), weights_only=True)

    def _send(self, data: Any) -> None:
        import torch
        import torch.distributed as dist

        try:
            dist.send(torch.tensor([len(data)]), 0, group=self.group)
            for start in range(0, len(data), PIECE):
                dist.send(data[start : start + PIECE], 0, group=self.group)
        except RuntimeError as error:
            raise _ended("process 0") from error

    def _received(self, rank: int) -> Any:
        import torch
        import torch.distributed as dist

        try:
            length = torch.zeros(1, dtype=torch.int64)
            dist.recv(length, rank, group=self.group)
            data = torch.empty(int(length), dtype=torch.uint8)
            for start in range(0, len(data), PIECE):
                dist.recv(data[start : start + PIECE], rank, group=self.group)
        except RuntimeError as error:
            raise _ended(f"process {rank}") from error
        return data


ALONE = World()


def launched() -> tuple[int, int]:
    """Rank and size, as torchrun tells them, and accelerate launch, which calls it; one process without it.

    Why RANK alone is not believed: schedulers set it in every container, also in one that was not launched together.
    """
    if LAUNCHER not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def local_rank() -> int:
    """The place of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def joined() -> World:
    """Meet the other processes. Raises SetupError where they do not come."""
    rank, size = launched()
    if size == 1:
        return World()
    import torch.distributed as dist

    try:
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=TO_MEET)
        return World(rank, size, dist.new_group(backend="gloo", timeout=TO_WAIT))
    except (RuntimeError, ValueError) as error:
        raise SetupError(
            f"process {rank} of {size} does not find the others: {str(error).splitlines()[0]}",
            hint="Start them together, by torchrun or accelerate launch.",
        ) from error


def _ended(who: str) -> SetupError:
    return SetupError(
        f"{who} has ended before its part was here",
        hint="See its own message. With --out, what was saved is there: run again with --resume.",
    )
