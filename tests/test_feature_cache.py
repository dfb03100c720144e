"""The feature cache: what comes back, what is dropped, several writers, and every way in which a file can be bad."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vaecheck import feature_cache
from vaecheck.errors import InputError, SetupError
from vaecheck.feature_cache import FILE, FeatureCache, keys

MEGABYTE = 10**6


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, warnings: list[str]) -> FeatureCache:
    return FeatureCache(tmp_path, MEGABYTE, warnings.append)


def values(count: int, length: int = 8, start: int = 0) -> dict[bytes, bytes]:
    return {i.to_bytes(32, "big"): bytes([i % 251]) * length for i in range(start, start + count)}


def test_what_was_added_comes_back_in_another_process(cache: FeatureCache, tmp_path: Path) -> None:
    kept = values(1200)
    cache.add(kept)
    assert FeatureCache(tmp_path, MEGABYTE).get([*kept, b"another"]) == kept
    code = (
        "import sys; from pathlib import Path; from vaecheck.feature_cache import FeatureCache\n"
        "key = (7).to_bytes(32, 'big'); found = FeatureCache(Path(sys.argv[1]), 10**6).get([key])\n"
        "assert found == {key: bytes([7]) * 8}, found"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_keys_differ_by_the_picture_and_by_what_made_the_features() -> None:
    digests = [b"one", b"two"]
    found = {key for made_by in (("a", 1), ("a", 2), ("a1",), ("a",)) for key in keys(made_by, digests)}
    assert len(found) == 8
    assert keys(("a", 1), digests) == keys(("a", "1"), digests)


def test_an_old_version_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(("a",), [b"one"])
    monkeypatch.setattr(feature_cache, "__version__", "0.0.0")
    assert keys(("a",), [b"one"]) != before


def test_the_oldest_are_dropped_at_the_limit(tmp_path: Path) -> None:
    for start in range(0, 400, 50):  # 400 values of 4 kB into 1 MB, by runs of 50
        FeatureCache(tmp_path, MEGABYTE).add(values(50, 4000, start))
        assert (tmp_path / FILE).stat().st_size <= MEGABYTE + 50 * 4096 + 8192
    kept = FeatureCache(tmp_path, MEGABYTE).get(list(values(400)))
    assert 150 < len(kept) < 250
    assert min(kept) == (400 - len(kept)).to_bytes(32, "big"), "what is left are the latest, without a gap"


def test_a_run_larger_than_the_limit_does_not_drive_out_itself(tmp_path: Path) -> None:
    """Else a second run, in the same order, would find each picture gone just before it comes."""
    for _ in range(2):
        cache = FeatureCache(tmp_path, MEGABYTE)
        for start in range(0, 1000, 10):
            cache.add({key: value for key, value in values(10, 4000, start).items() if not cache.get([key])})
    assert len(FeatureCache(tmp_path, MEGABYTE).get(list(values(500)))) > 150


def test_a_limit_of_nothing_makes_no_file(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "not-made", 0)
    cache.add(values(2))
    assert cache.get(list(values(2))) == {}
    assert not (tmp_path / "not-made").exists()


def test_several_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vaecheck.feature_cache import FeatureCache\n"
        "warned = []; cache = FeatureCache(Path(sys.argv[1]), 10**7, warned.append); first = int(sys.argv[2])\n"
        "for i in range(first, first + 100): cache.add({i.to_bytes(32, 'big'): bytes([i % 251]) * 8})\n"
        "assert not warned, warned"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(first)]) for first in (0, 50, 100, 200)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert FeatureCache(tmp_path, 10**7).get(list(values(300))) == values(300)


def test_a_value_with_a_turned_bit_is_not_found_and_is_replaced(cache: FeatureCache, tmp_path: Path) -> None:
    cache.add(values(2))
    with sqlite3.connect(tmp_path / FILE) as connection:
        ((key, value),) = connection.execute("SELECT key, value FROM features LIMIT 1").fetchall()
        turned = value[:-1] + bytes([value[-1] ^ 1])
        connection.execute("UPDATE features SET value = ? WHERE key = ?", (turned, key))
    assert key not in cache.get(list(values(2)))
    cache.add(values(2))
    assert cache.get(list(values(2))) == values(2)


def test_a_value_under_another_key_is_not_found(cache: FeatureCache, tmp_path: Path) -> None:
    cache.add(values(1))
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE features SET key = ?", ((5).to_bytes(32, "big"),))
    assert cache.get(list(values(6))) == {}


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_one_warning(content: bytes, cache: FeatureCache, tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert cache.get(list(values(2))) == {}
    cache.add(values(2))
    assert cache.get(list(values(2))) == {}
    assert len(warnings) == 1
    assert "weights cache --clear" in warnings[0]
    assert (tmp_path / FILE).read_bytes() == content


def test_a_file_that_breaks_while_it_is_used_is_one_warning(
    cache: FeatureCache, tmp_path: Path, warnings: list[str]
) -> None:
    cache.add(values(500, 2000))
    (tmp_path / FILE).write_bytes(b"\0" * 10**5)
    assert cache.get(list(values(500))) == {}
    cache.add(values(2))
    assert len(warnings) == 1


def test_a_table_of_another_kind_is_one_warning(cache: FeatureCache, tmp_path: Path, warnings: list[str]) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE features (key BLOB PRIMARY KEY, value)")
        connection.execute("INSERT INTO features VALUES (?, ?)", ((1).to_bytes(32, "big"), 7))
    assert cache.get(list(values(2))) == {}
    cache.add(values(2))
    assert len(warnings) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path, warnings: list[str]) -> None:
    tmp_path.chmod(0o500)
    cache = FeatureCache(tmp_path, MEGABYTE, warnings.append)
    cache.add(values(2))
    assert len(warnings) == 1


def test_a_folder_that_is_a_file_is_one_warning(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file", MEGABYTE, warnings.append)
    cache.add(values(2))
    assert cache.get(list(values(2))) == {}
    assert len(warnings) == 1


def test_a_full_disk_is_one_warning(cache: FeatureCache, warnings: list[str]) -> None:
    """SQLite's own limit on pages stands for the disk's: the error is of the same kind."""
    cache.add(values(1))
    assert cache._connection is not None
    cache._connection.execute("PRAGMA max_page_count = 4")
    cache.add(values(100, 4000))
    assert len(warnings) == 1
    assert "full" in warnings[0]


def test_the_environment_names_folder_and_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAECHECK_CACHE", raising=False)
    monkeypatch.delenv("VAECHECK_CACHE_GB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = feature_cache.of_environment()
    assert (cache.path, cache.limit) == (tmp_path / "vaecheck" / FILE, 2 * 10**9)
    monkeypatch.setenv("VAECHECK_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("VAECHECK_CACHE_GB", "0.5")
    cache = feature_cache.of_environment()
    assert (cache.path, cache.limit) == (tmp_path / "own" / FILE, 5 * 10**8)
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("VAECHECK_CACHE_GB", wrong)
        with pytest.raises(InputError, match="VAECHECK_CACHE_GB"):
            feature_cache.of_environment()


def test_facts_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAECHECK_CACHE", str(tmp_path))
    monkeypatch.setenv("VAECHECK_CACHE_GB", "1")
    feature_cache.clear()
    assert feature_cache.facts().entries == 0
    assert not (tmp_path / FILE).exists(), "looking makes no file"
    writer = feature_cache.of_environment()
    writer.add(values(300, 4000))
    found = feature_cache.facts()
    assert (found.entries, found.limit, found.place) == (300, 10**9, tmp_path / FILE)
    assert found.bytes == (tmp_path / FILE).stat().st_size > 300 * 4000
    feature_cache.clear()
    assert feature_cache.facts().entries == 0
    assert feature_cache.facts().bytes < 30_000
    writer.add(values(2))
    assert feature_cache.facts().entries == 2, "a writer goes on after it was emptied"


def test_clear_removes_a_broken_file_and_facts_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAECHECK_CACHE", str(tmp_path))
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(SetupError, match="cannot be used") as caught:
        feature_cache.facts()
    assert "--clear" in caught.value.hint
    feature_cache.clear()
    assert not (tmp_path / FILE).exists()
