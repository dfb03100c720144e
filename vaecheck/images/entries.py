"""Pictures that have not been read, and the two kinds of sets of them: those that are listed and those that stream.

Why an Entry is a path, an offset and a length: it pickles, it costs a few hundred bytes, and a member of a
tar shard is read at its place, so that memory stays flat however many pictures a shard holds. What cannot be
read at any place (a compressed shard, a table, the network) streams: its entries bring their bytes along.

Why ids are escaped: they travel into JSON, CSV, HTML and terminals, and they seed noise. Control characters
and undecodable bytes become backslash escapes, and a backslash becomes two, so that no two names share an id.
"""

# ruff: noqa: PTH114, PTH116, PTH120, PTH122, PTH123

from __future__ import annotations

import hashlib
import heapq
import os
import stat
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, Self

from vaecheck.errors import InputError, SetupError

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".npy")
)
MAX_FILE_BYTES = 1 << 30
HELD_AT_MOST = 64
"""Pictures that `only` holds in memory, to spare a stream another pass."""

ESCAPED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separators
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
FILE_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

Wanted = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture that has not been decoded: `length` bytes of the file `path` from `offset` on.

    id: its path relative to the root, posix, printable, unique in its set. path: of a file here, or a URL that
    fsspec reads ("hf://..."), from a data set that may name such. length: None for the whole file.
    fault: why it cannot be read, where that is known beforehand. data: its bytes, where it came in a stream.
    """

    id: str
    path: str
    offset: int = 0
    length: int | None = None
    fault: str = ""
    data: bytes | None = None

    def read(self) -> bytes:
        """The encoded bytes. InputError, worded to follow the id ("is a named pipe, ..."), if there are none."""
        if self.fault:
            raise InputError(self.fault)
        if self.data is not None:
            return self.data
        return _read_url(self.path) if "://" in self.path else read_file(self.path, self.offset, self.length)


class ImageSet(Protocol):
    """Pictures in one order, the same at every pass."""

    @property
    def source(self) -> str:
        """IMAGES as given, or more exactly; printable."""

    @property
    def count(self) -> int | None:
        """How many pictures there are; None where only a pass would tell."""

    @property
    def ids(self) -> Iterable[str]:
        """In order. A stream may need a pass for them."""

    def __iter__(self) -> Iterator[Entry]: ...

    def only(self, ids: Collection[str]) -> ImageSet:
        """Those of the given ids, in the same order."""

    def files(self) -> Iterator[str]:
        """The paths on this machine that pictures are read from."""


@dataclass(frozen=True)
class Listing:
    """Pictures that are all known beforehand and can be read in any order."""

    source: str
    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def count(self) -> int:
        return len(self.entries)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(entry.id for entry in self.entries)

    def only(self, ids: Collection[str]) -> Self:
        wanted = frozenset(ids)
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id in wanted))

    def files(self) -> Iterator[str]:
        return (entry.path for entry in self.entries if entry.path and "://" not in entry.path)

    def head(self, count: int) -> Self:
        return replace(self, entries=self.entries[:count])


@dataclass(frozen=True, kw_only=True)
class Stream(ABC):
    """Pictures that are read one after another; every pass begins anew, and holds one picture at a time.

    first: only so many of them. chosen: only these ids.
    """

    source: str
    first: int | None = None
    chosen: frozenset[str] | None = None

    @abstractmethod
    def _entries(self, wanted: Wanted) -> Iterator[Entry]:
        """The pictures whose ids are wanted, each with its bytes or its fault. No id comes twice."""

    @abstractmethod
    def _ids(self) -> Iterator[str]:
        """The ids of all pictures, at the least cost."""

    @property
    def _total(self) -> int | None:
        """How many pictures there are, where that costs nothing."""
        return None

    @abstractmethod
    def files(self) -> Iterator[str]: ...

    def __iter__(self) -> Iterator[Entry]:
        chosen = self.chosen
        if chosen is None:
            yield from islice(self._entries(lambda _: True), self.first)
        elif chosen:
            yield from islice(self._entries(chosen.__contains__), len(chosen))

    def divided(self, share: Share) -> Iterator[tuple[int, Entry]]:
        """A share of the pictures, each with its place among all, or what sorts as places do."""
        return islice(enumerate(self), share.rank, None, share.size)

    @property
    def count(self) -> int | None:
        if self.chosen is not None:
            return len(self.chosen)
        total = self._total
        return total if total is None or self.first is None else min(total, self.first)

    @property
    def ids(self) -> Iterator[str]:
        ids = islice(self._ids(), self.first)
        chosen = self.chosen
        return ids if chosen is None else (image_id for image_id in ids if image_id in chosen)

    def head(self, count: int) -> Self:
        return replace(self, first=count)

    def only(self, ids: Collection[str]) -> Stream | Listing:
        """A stream of them; a few are read at once and held, because each pass over a stream reads it again."""
        wanted = frozenset(ids) if self.chosen is None else self.chosen & frozenset(ids)
        stream = replace(self, chosen=wanted)
        return Listing(self.source, tuple(stream)) if len(wanted) <= HELD_AT_MOST else stream


@dataclass(frozen=True)
class Share:
    """Which part of a set of pictures one of several processes reads: every `size`-th from `rank` on."""

    rank: int = 0
    size: int = 1

    @property
    def is_whole(self) -> bool:
        return self.size == 1

    def of(self, images: ImageSet) -> Iterator[tuple[int, Entry]]:
        """Each picture of the part, with its place among all."""
        if isinstance(images, Stream):
            return images.divided(self)
        return islice(enumerate(images), self.rank, None, self.size)


WHOLE = Share()


def choose(images: Listing | Stream, *, limit: int | None, sample: int | None, seed: int) -> Listing | Stream:
    """The first `limit` in order, and of those `sample`, drawn without replacement and kept in order.

    The draw takes the smallest hashes of seed and id, so it is the same on any machine and version. A stream
    whose ids are not known beforehand is passed once for it, with `sample` ids in memory.
    """

    def rank(image_id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{image_id}".encode()).digest()

    if limit is not None:
        images = images.head(limit)
    return images if sample is None else images.only(heapq.nsmallest(sample, images.ids, key=rank))


def is_picture(path: str) -> bool:
    """Whether the name has a picture's suffix."""
    return os.path.splitext(path)[1].lower() in PICTURE_SUFFIXES


def common_folder(paths: Sequence[str]) -> str:
    """The deepest folder that holds all of them."""
    return os.path.commonpath([os.path.dirname(path) for path in paths])


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes as backslash escapes: safe in JSON and terminals."""
    if text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in ESCAPED_CATEGORIES else c for c in text)


def id_of(relative_path: str) -> str:
    """The id of a picture at that path below its root."""
    return printable(relative_path.replace(os.sep, "/").replace("\\", "\\\\"))


def read_file(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a regular file, never waiting for a pipe, a socket or a device. InputError if it cannot be read.

    The kind is asked for before opening, because opening a device can act on it, and again on the open file,
    because the path may have been replaced in between.
    """
    try:
        require_regular(os.stat(path))
        with open(os.open(path, OPEN_FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            require_regular(status)
            wanted = status.st_size - offset if length is None else length
            if wanted > MAX_FILE_BYTES:
                raise InputError(f"has {wanted} bytes; a picture of more than {MAX_FILE_BYTES} is not read")
            file.seek(offset)
            data = file.read(wanted)
    except (OSError, ValueError) as error:
        is_link = os.path.islink(path)
        what = getattr(error, "strerror", None) or str(error)
        if isinstance(error, FileNotFoundError) and not is_link:  # its id may be relative to any folder
            what += f": {printable(path)}"
        raise InputError(("is a link that leads nowhere: " if is_link else "cannot be read: ") + what) from error
    if length is not None and len(data) < length:
        raise InputError(f"cannot be read: its tar file ends after {len(data)} of {length} bytes")
    return data


def _read_url(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(MAX_FILE_BYTES)
            return data
    except FileNotFoundError as error:
        raise InputError(f"cannot be read: there is no {printable(url)}") from error
    except Exception as error:
        raise SetupError(
            f"{printable(url)} cannot be read: {error}", hint="Check the network and run again."
        ) from error


def require_regular(status: os.stat_result) -> None:
    """InputError, worded to follow a name, for whatever is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise InputError(f"is {kind}, not a regular file")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
