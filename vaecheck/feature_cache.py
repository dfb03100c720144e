"""Features of originals and what yardsticks score on them, kept on disk under the hash of all that decides them.

In the folder VAECHECK_CACHE, else in vaecheck/ of XDG_CACHE_HOME (~/.cache); VAECHECK_CACHE_GB limits it (2 unless it
is set; 0 keeps nothing).

Why SQLite, and no package for caches: diskcache keeps its values in SQLite too, but reads pickles out of it, so that
whoever can write to the folder can run code in every process that reads it. Here are raw bytes alone.

Why a checksum for each value: SQLite notices a broken file, and not a bit that turned inside a value, which would
change a figure without a word. It is also why no write waits for the disk (synchronous = OFF): what a power cut
damages is found, and computed again.

Why the oldest go first, and a run writes no more than the limit: pictures come in the same order every time, so that
with any order of use, a set larger than the limit would drive out each picture just before it is asked for.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vaecheck import __version__
from vaecheck.errors import InputError, SetupError

FOLDER_VARIABLE, LIMIT_VARIABLE = "VAECHECK_CACHE", "VAECHECK_CACHE_GB"
FILE = "features.sqlite"
DEFAULT_GB = 2.0
GB = 10**9
WAIT_SECONDS = 10.0  # for other writers
CHECKSUM_BYTES = 8
AT_ONCE = 500  # keys in one question; SQLite takes 999 in its oldest versions
TABLE = "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL)"


@dataclass(frozen=True)
class CacheFacts:
    """place: of the file. entries: feature vectors and yardsticks' scores in it. bytes: that it takes.

    limit: in bytes, that it may take.
    """

    place: Path
    entries: int
    bytes: int
    limit: int


class FeatureCache:
    """Values by keys, both bytes, in one file that any number of processes may use at once.

    limit: in bytes. warn: is told once when the cache fails; from then on it is empty and takes nothing, and the run
    goes on without it.
    """

    def __init__(self, folder: Path, limit: int, warn: Callable[[str], None] = lambda text: None) -> None:
        self.path = folder / FILE
        self.limit = limit
        self._warn = warn
        self._connection: sqlite3.Connection | None = None
        self._written = 0
        self._failed = limit <= 0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that are there and whole, by their keys."""
        found: dict[bytes, bytes] = {}
        self._try(lambda connection: found.update(_select(connection, keys)))
        return found

    def add(self, values: Mapping[bytes, bytes]) -> None:
        """Keep these; what is there under the same keys is replaced."""
        if self._written > self.limit:
            return
        rows = [(key, _checksum(key, value) + value) for key, value in values.items()]
        self._written += sum(len(value) for _, value in rows)
        self._try(lambda connection: _insert(connection, rows, self.limit))

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """What fails is warned of, once."""
        if self._failed:
            return
        try:
            if self._connection is None:
                self._connection = _open(self.path)
            work(self._connection)
        except (sqlite3.Error, OSError, TypeError) as error:  # TypeError: a value that is not bytes
            self._failed, self._connection = True, None
            self._warn(
                f"the feature cache {self.path} cannot be used and was left alone: {error}; "
                f"`vaecheck weights cache --clear` empties it, {FOLDER_VARIABLE} moves it, {LIMIT_VARIABLE}=0 is none"
            )


def keys(made_by: Sequence[object], digests: Sequence[bytes]) -> list[bytes]:
    """One key for each digest: sha256 over it and over what its features are made by, this version among that."""
    context = hashlib.sha256(repr((__version__, *map(str, made_by))).encode()).digest()
    return [hashlib.sha256(context + digest).digest() for digest in digests]


def of_environment(warn: Callable[[str], None] = lambda text: None) -> FeatureCache:
    """The cache that the environment names. Raises InputError for a limit that is no number."""
    return FeatureCache(_folder(), _limit(), warn)


def facts() -> CacheFacts:
    """Of the cache that the environment names. Raises SetupError where it cannot be read."""
    place, limit = _folder() / FILE, _limit()
    if not place.is_file():
        return CacheFacts(place, 0, 0, limit)
    with _readable(place) as connection:
        (entries,) = connection.execute("SELECT count(*) FROM features").fetchone()
    return CacheFacts(place, entries, place.stat().st_size, limit)


def clear() -> None:
    """Empty the cache that the environment names. Raises SetupError where it cannot be.

    Why rows go before the file does: another process may be writing to it. A broken file is no use to any.
    """
    place = _folder() / FILE
    if not place.exists():
        return
    try:
        with closing(_open(place)) as connection:
            connection.executescript(f"BEGIN IMMEDIATE; DROP TABLE features; {TABLE}; COMMIT; VACUUM")
    except sqlite3.OperationalError as error:
        raise _unusable(place, error) from error
    except sqlite3.DatabaseError:
        try:
            place.unlink()
        except OSError as error:
            raise _unusable(place, error) from error


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(FOLDER_VARIABLE) or f"{cache}/vaecheck").expanduser()


def _limit() -> int:
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = math.nan
    if not 0 <= gigabytes < math.inf:
        raise InputError(f"{LIMIT_VARIABLE} is {text!r}, not a number from 0", hint="Set it to gigabytes, or unset it.")
    return int(gigabytes * GB)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(TABLE)
    return connection


@contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_open(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> SetupError:
    return SetupError(
        f"the feature cache {path} cannot be used: {error}",
        hint=f"Empty it with: vaecheck weights cache --clear; or set {FOLDER_VARIABLE} to another folder.",
    )


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), AT_ONCE):
        asked = keys[start : start + AT_ONCE]
        chosen = f"WHERE key IN ({','.join('?' * len(asked))})"
        for key, value in connection.execute(f"SELECT key, value FROM features {chosen}", asked):
            checksum, value = value[:CHECKSUM_BYTES], value[CHECKSUM_BYTES:]
            if checksum == _checksum(key, value):
                yield key, value


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[bytes, bytes]], limit: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
    _drop_oldest(connection, limit)
    connection.execute("COMMIT")


def _drop_oldest(connection: sqlite3.Connection, limit: int) -> None:
    """A tenth of the rows at a time, until what is left takes no more than the limit."""
    while _bytes_in_use(connection) > limit:
        (count,) = connection.execute("SELECT count(*) FROM features").fetchone()
        if not count:
            return
        oldest = "SELECT rowid FROM features ORDER BY rowid LIMIT ?"
        connection.execute(f"DELETE FROM features WHERE rowid IN ({oldest})", (math.ceil(count / 10),))


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=CHECKSUM_BYTES).digest()
