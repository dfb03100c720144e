from __future__ import annotations

from vaecheck.tasks.reconstruct import broken_remedy, evenly

IDS = tuple(f"{i:03}.png" for i in range(100))


def test_evenly_spaced() -> None:
    assert evenly(IDS, 4) == ("012.png", "037.png", "062.png", "087.png")
    assert evenly(IDS, 1) == ("050.png",)
    assert evenly(IDS, 100) == evenly(IDS, 1000) == IDS
    assert evenly((), 5) == ()


def test_float32_is_no_remedy_where_it_was_used() -> None:
    assert "float32" not in broken_remedy("float32")
    assert "--dtype float32" in broken_remedy("float16")
