"""Who is launched together, and what one process does alone; several are in tests/distributed."""

from __future__ import annotations

import pytest

from vaecheck import world
from vaecheck.world import ALONE


@pytest.mark.parametrize("rank", ["1", "", "three"])
def test_a_rank_without_a_launcher_is_no_rank(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    """Schedulers set it in every container."""
    monkeypatch.delenv(world.LAUNCHER, raising=False)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert world.launched() == (0, 1)
    assert world.joined() == ALONE


def test_torchrun_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(world.LAUNCHER, "none")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert world.launched() == (1, 4)


def test_one_process_has_nobody_to_wait_for() -> None:
    def state() -> None:
        raise AssertionError("nobody asks for it")

    assert list(ALONE.collected(state)) == []
    assert ALONE.agreed("this") == "this"
