"""Cells: saved, merged, bounded, and the same whatever came first."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vaecheck.cells import Cell, Items, Rows, Smallest, Sum, Top
from vaecheck.errors import InputError, SetupError


def through_a_file(cell: Cell) -> Any:
    file = io.BytesIO()
    torch.save(cell.state(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def top() -> Top[tuple[int, str]]:
    return Top(lambda one: -one[0], 3, plain=list, item=tuple)


def filled(make: Callable[[], Any], numbers: list[int]) -> Any:
    cell = make()
    for number in numbers:
        if isinstance(cell, Sum):
            cell.add(np.array([number, 1.0]))
        elif isinstance(cell, Items):
            cell.add([number])
        elif isinstance(cell, Top):
            cell.add([(number, f"{number}")])
        else:
            cell.add([f"{number:03d}.png"], np.array([[number, number / 3]]))
    return cell


def held(cell: Any) -> Any:
    if isinstance(cell, Sum):
        return None if cell.value is None else cell.value.tolist()
    if isinstance(cell, Items):
        return sorted(cell.values)
    return cell.items if isinstance(cell, Top) else (cell.ids, cell.ordered().tolist(), len(cell))


EVERY = [Sum, Items, top, lambda: Rows(2), lambda: Rows(2, np.float32), lambda: Smallest(2, np.float64, 4, seed=1)]


@pytest.mark.parametrize("make", EVERY)
def test_a_cell_goes_on_where_another_was(make: Callable[[], Any]) -> None:
    whole = held(filled(make, list(range(20))))
    for cut in (0, 7, 20):
        first, second = filled(make, list(range(cut))), filled(make, list(range(cut, 20)))
        resumed = make()
        resumed.merge(through_a_file(first))
        resumed.merge(through_a_file(second))
        assert held(resumed) == whole
        first.merge(through_a_file(second))
        assert held(first) == whole
    shuffled = random.Random(0).sample(range(20), 20)
    assert held(filled(make, shuffled)) == whole


def test_rows_know_an_id_that_came_twice() -> None:
    rows = Rows(1)
    with pytest.raises(InputError, match="'a' came twice"):
        rows.add(["a", "b", "a"], np.zeros((3, 1)))
    rows = filled(lambda: Rows(2), [1, 2])
    rows.merge(through_a_file(filled(lambda: Rows(2), [2, 3])))
    with pytest.raises(InputError, match=r"'002\.png' came twice"):
        rows.ordered()


def test_rows_by_id_are_those_of_the_latest_batch_or_of_any() -> None:
    rows = Rows(1)
    rows.add(["b", "a"], np.array([[1.0], [2.0]]))
    rows.add(["d", "c"], np.array([[3.0], [4.0]]))
    assert rows.of(["c", "d"]).tolist() == [[4.0], [3.0]]
    assert rows.of(["a", "d"]).tolist() == [[2.0], [3.0]]
    with pytest.raises(KeyError):
        rows.of(["e"])


def test_ids_of_any_letters_come_back() -> None:
    names = ["naïve/ü.png", "日本.png", "\udcff.png", "a b\\n.png"]
    rows = Rows(1)
    rows.add(names, np.arange(4.0)[:, None])
    assert rows.ids == sorted(names)


def test_a_sample_is_of_bounded_size_on_disk() -> None:
    sample = filled(lambda: Smallest(2, np.float64, 4), list(range(500)))
    assert (len(sample), sample.offered) == (4, 500)
    sample._file.seek(0, 2)
    assert sample._file.tell() == 4 * 2 * 8


def test_a_sample_is_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 numbers, the mean of 100 drawn ones over 40 seeds, against its standard error."""
    means = []
    for seed in range(40):
        sample = Smallest(1, np.float64, 100, seed=seed)
        sample.add([f"{i}" for i in range(400)], np.arange(400.0)[:, None])
        means.append(sample.ordered().mean())
    error = np.sqrt((400**2 - 1) / 12 / 100 * 300 / 399 / 40)
    assert abs(np.mean(means) - 199.5) < 3 * error


@pytest.mark.parametrize("make", [lambda: Rows(1), lambda: Smallest(1, np.float64, 3)])
def test_a_full_disk_is_a_sentence(make: Callable[[], Any]) -> None:
    class Full:
        def seek(self, *place: int) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    cell = make()
    cell._file = Full()
    with pytest.raises(SetupError, match="No space left") as told:
        cell.add(["a"], np.zeros((1, 1)))
    assert "TMPDIR" in told.value.hint
