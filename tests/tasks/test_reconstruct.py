from __future__ import annotations

from vaecheck.tasks.reconstruct import evenly

IDS = tuple(f"{i:03}.png" for i in range(100))


def test_evenly_spaced() -> None:
    assert evenly(IDS, 4) == ("012.png", "037.png", "062.png", "087.png")
    assert evenly(IDS, 1) == ("050.png",)
    assert evenly(IDS, 100) == evenly(IDS, 1000) == IDS
    assert evenly((), 5) == ()
