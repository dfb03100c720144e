from __future__ import annotations

from vaecheck.tasks.reconstruct import broken_remedy


def test_float32_is_no_remedy_where_it_was_used() -> None:
    assert "float32" not in broken_remedy("float32")
    assert "--dtype float32" in broken_remedy("float16")
