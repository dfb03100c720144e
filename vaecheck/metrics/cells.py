"""Sum and Rows: all the mutable state that a metric may have.

Why only these: merging, saving and loading are written here once, so that the author of a metric cannot
get them wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vaecheck.errors import InputError


class Sum:
    """A running float64 sum of arrays of one shape."""

    def __init__(self) -> None:
        self.value: NDArray[np.float64] | None = None

    def add(self, value: NDArray[np.float64]) -> None:
        self.value = value.astype(np.float64) if self.value is None else self.value + value

    def merge(self, other: Self) -> None:
        if other.value is not None:
            self.add(other.value)


class Rows:
    """One row of `width` numbers for each image id, appended to a temporary file, not to memory.

    An id that comes twice is an error: no image may count twice. `ordered` gives the rows by id, so that
    what is computed from them does not depend on batches, shards or the order of arrival.
    """

    def __init__(self, width: int, dtype: type[np.floating] = np.float64) -> None:
        self.width = width
        self.dtype = dtype
        self._file = tempfile.TemporaryFile(prefix="vaecheck-rows-")
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> list[str]:
        return sorted(self._places)

    def add(self, ids: Iterable[str], values: NDArray[np.floating]) -> None:
        """values: (len(ids), width)."""
        for image_id in ids:
            if image_id in self._places:
                raise InputError(f"the image {image_id!r} came twice", hint="Give each picture one id.")
            self._places[image_id] = len(self._places)
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).tobytes())

    def ordered(self) -> NDArray[Any]:
        """(number of ids, width), sorted by id."""
        return self.of(self.ids)

    def of(self, ids: Sequence[str]) -> NDArray[Any]:
        """(number of ids, width), in their order. Raises KeyError for an id that has not come."""
        places = [self._places[image_id] for image_id in ids]
        if not places:
            return np.empty((0, self.width), self.dtype)
        self._file.flush()
        stored = np.memmap(self._file, dtype=self.dtype, mode="r", shape=(len(self), self.width))
        return stored[places]

    def merge(self, other: Self) -> None:
        if len(other):
            self.add(other.ids, other.ordered())


Cell = Sum | Rows
