"""Cells: all the state that grows while pictures walk by, whoever keeps it.

Why only these kinds: merging the parts of several processes, saving a run and going on with it are written here once,
so that the author of a metric cannot get them wrong. A cell's state is plain (numbers, words, lists, tensors), so that
it can be read from a file or from another process without running its code.

Why rows and ids lie in temporary files: memory then stays as it is, however many pictures there are.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from vaecheck.errors import InputError, SetupError

State = Any
"""Of a cell: None, numbers, words, tensors, and lists and dicts of them."""

Item = TypeVar("Item")


class Cell(Protocol):
    """merge: add what another cell of this kind holds; an empty one's state changes nothing."""

    def state(self) -> State: ...

    def merge(self, state: State) -> None: ...


@runtime_checkable
class HasCells(Protocol):
    def cells(self) -> Mapping[str, Cell]: ...


def states(owner: HasCells) -> dict[str, State]:
    return {name: cell.state() for name, cell in owner.cells().items()}


def merge(into: HasCells, others: Mapping[str, State]) -> None:
    """Add what `states` gave of another of its kind."""
    for name, cell in into.cells().items():
        cell.merge(others[name])


class Sum:
    """A running float64 sum of arrays of one shape."""

    def __init__(self) -> None:
        self.value: NDArray[np.float64] | None = None

    def add(self, value: NDArray[np.float64]) -> None:
        if self.value is None:
            self.value = value.astype(np.float64)
        else:
            self.value += value

    def state(self) -> State:
        return None if self.value is None else torch.from_numpy(np.array(self.value))

    def merge(self, state: State) -> None:
        if state is not None:
            self.add(state.numpy())


class Items:
    """A list of plain values, in the order in which they came."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, values: Iterable[Any]) -> None:
        self.values += values

    def state(self) -> State:
        return list(self.values)

    def merge(self, state: State) -> None:
        self.add(state)


class Top(Generic[Item]):
    """The first few of all items by an order.

    order: of an item, different for each. most: how many are kept of those in order; a number, or told of the list.
    plain, item: an item's plain form, and back.
    """

    def __init__(
        self,
        order: Callable[[Item], Any],
        most: int | Callable[[Sequence[Item]], int],
        *,
        plain: Callable[[Item], State] = vars,
        item: Callable[[State], Item],
    ) -> None:
        self.items: list[Item] = []
        self._order, self._most, self._plain, self._item = order, most, plain, item

    def add(self, items: Iterable[Item]) -> None:
        ordered = sorted([*self.items, *items], key=self._order)
        self.items = ordered[: self._most if isinstance(self._most, int) else self._most(ordered)]

    def state(self) -> State:
        return [self._plain(item) for item in self.items]

    def merge(self, state: State) -> None:
        self.add(self._item(plain) for plain in state)


class Rows:
    """One row of `width` numbers for each image id.

    An id that comes twice is an error: no image may count twice. `ordered` gives the rows by id, so that
    what is computed from them does not depend on batches, shards or the order of arrival.
    """

    def __init__(self, width: int, dtype: type[np.number] = np.float64) -> None:
        self.width = width
        self.dtype = dtype
        self._file, self._names = _temporary("rows"), _temporary("ids")
        self._count = 0
        self._latest: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> list[str]:
        return sorted(self._arrived())

    def add(self, ids: Iterable[str], values: NDArray[np.number]) -> None:
        """values: (len(ids), width). Raises SetupError where there is no room for them."""
        ids = list(ids)
        self._latest = {image_id: self._count + place for place, image_id in enumerate(ids)}
        if len(self._latest) < len(ids):
            raise _twice(next(image_id for image_id in ids if ids.count(image_id) > 1))
        _append(self._file, np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        _append(self._names, "".join(f"{image_id}\n" for image_id in ids).encode("utf-8", "surrogateescape"))
        self._count += len(ids)

    def ordered(self) -> NDArray[Any]:
        """(number of ids, width), sorted by id. Raises InputError for an id that came twice."""
        names = self._arrived()
        order = sorted(range(len(names)), key=names.__getitem__)
        for before, place in itertools.pairwise(order):
            if names[before] == names[place]:
                raise _twice(names[place])
        return self._at(order)

    def of(self, ids: Sequence[str]) -> NDArray[Any]:
        """(number of ids, width), in their order. Raises KeyError for an id that has not come."""
        places = self._latest
        if any(image_id not in places for image_id in ids):
            places = {image_id: place for place, image_id in enumerate(self._arrived())}
        return self._at([places[image_id] for image_id in ids])

    def state(self) -> State:
        """Why ids as bytes: a list of a million words takes many times as much, at every saving."""
        return {
            "ids": _whole(self._names, np.uint8),
            "values": _whole(self._file, self.dtype).view(len(self), self.width),
        }

    def merge(self, state: State) -> None:
        if ids := ids_of(state):
            self.add(ids, state["values"].numpy())

    def _at(self, places: Sequence[int]) -> NDArray[Any]:
        if not places:
            return np.empty((0, self.width), self.dtype)
        stored = np.memmap(self._file, dtype=self.dtype, mode="r", shape=(len(self), self.width))
        return np.asarray(stored[places])

    def _arrived(self) -> list[str]:
        return ids_of({"ids": _whole(self._names, np.uint8)})


def ids_of(state: State) -> list[str]:
    """Of the state of Rows, in the order in which they came."""
    text: str = state["ids"].numpy().tobytes().decode("utf-8", "surrogateescape")
    return text.split("\n")[:-1]


class Smallest:
    """Rows of at most so many images: those with the smallest hashes of seed and id.

    Why by hash: which are kept does not depend on batches, shards or order, and they are a random sample.
    leaving: is given the rows (n, width) that are not kept, or no longer.
    """

    def __init__(
        self,
        width: int,
        dtype: type[np.number],
        most: int,
        *,
        seed: int = 0,
        leaving: Callable[[NDArray[Any]], None] = lambda rows: None,
    ) -> None:
        self.width, self.dtype, self.most, self.seed = width, dtype, most, seed
        self._leaving = leaving
        self._file = _temporary("sample")
        self._heap: list[tuple[int, str, int]] = []  # hash, negated, so that the first is the largest; id; slot
        self.offered = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def ids(self) -> list[str]:
        return sorted(image_id for _, image_id, _ in self._heap)

    def add(self, ids: Sequence[str], values: NDArray[np.number]) -> list[int]:
        """values: (len(ids), width). The places among the ids of those that are kept for now."""
        kept: list[int] = []
        left: list[NDArray[Any]] = []
        for place, image_id in enumerate(ids):
            self.offered += 1
            rank = -_rank(self.seed, image_id)
            if len(self._heap) < self.most:
                slot = len(self._heap)
                heapq.heappush(self._heap, (rank, image_id, slot))
            elif rank > self._heap[0][0]:
                slot = self._heap[0][2]
                left.append(self._at([slot])[0])
                heapq.heapreplace(self._heap, (rank, image_id, slot))
            else:
                left.append(np.asarray(values[place], self.dtype))
                continue
            row = np.ascontiguousarray(values[place], dtype=self.dtype).tobytes()
            _append(self._file, row, at=slot * len(row))
            kept.append(place)
        if left:
            self._leaving(np.stack(left))
        return kept

    def ordered(self) -> NDArray[Any]:
        """(at most `most`, width), sorted by id. Raises InputError for an id that came twice."""
        held = sorted((image_id, slot) for _, image_id, slot in self._heap)
        for (before, _), (image_id, _) in itertools.pairwise(held):
            if before == image_id:
                raise _twice(image_id)
        return self._at([slot for _, slot in held])

    def state(self) -> State:
        return {"ids": self.ids, "values": torch.from_numpy(self.ordered()), "offered": self.offered}

    def merge(self, state: State) -> None:
        before = self.offered
        if state["ids"]:
            self.add(state["ids"], state["values"].numpy())
        self.offered = before + state["offered"]

    def _at(self, slots: Sequence[int]) -> NDArray[Any]:
        if not slots:
            return np.empty((0, self.width), self.dtype)
        stored = np.memmap(self._file, dtype=self.dtype, mode="r", shape=(len(self._heap), self.width))
        return np.asarray(stored[slots])


def _rank(seed: int, image_id: str) -> int:
    digest = hashlib.sha256(f"{seed}\0{image_id}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _temporary(what: str) -> Any:
    try:
        return tempfile.TemporaryFile(prefix=f"vaecheck-{what}-")
    except OSError as error:
        raise SetupError(
            f"there is no folder for temporary files: {error.strerror}",
            hint="Set TMPDIR to one that can be written to.",
        ) from error


def _whole(file: Any, dtype: type[np.number]) -> torch.Tensor:
    file.seek(0)
    return torch.from_numpy(np.array(np.frombuffer(file.read(), dtype=dtype)))


def _append(file: Any, data: bytes, at: int | None = None) -> None:
    try:
        file.seek(*((0, 2) if at is None else (at, 0)))
        file.write(data)
        file.flush()
    except OSError as error:
        raise SetupError(
            f"the figures of the pictures cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
            hint="Make room there, or set TMPDIR to a folder that has it, and give --resume.",
        ) from error


def _twice(image_id: str) -> InputError:
    return InputError(f"the image {image_id!r} came twice", hint="Give each picture one id.")
