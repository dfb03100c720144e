"""webdataset shards: the pictures of tar files, indexed where they are plain, streamed where they are not.

A sample is all members that share a key, the path up to the first dot of the base name, as the webdataset
package groups them. Its picture is the member whose whole extension is a picture's ("0.jpg", not "0.seg.png"
beside it). Of several, jpg, jpeg, png, webp come first in that order and the others are skips that say so; an
array (.npy) beside a picture is data. A sample without such a member gives each of its dotted ones ("a.v2.png").

Why plain shards are indexed and not streamed: a place in a file can be read in any order and by many threads,
so --limit, --sample and a second pass cost nothing. Compressed and remote shards have no such places.

Why not webdataset's own reader: it drops links and damage without a word, runs curl for a URL, and would run a
command for "pipe:". No member is ever written anywhere, so a hostile name is only an id.
"""

# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import itertools
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from typing import Any, Self, TypeVar
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from vaecheck.errors import InputError, SetupError
from vaecheck.images.entries import (
    MAX_FILE_BYTES,
    OPEN_FLAGS,
    Entry,
    Share,
    Stream,
    Wanted,
    common_folder,
    id_of,
    is_picture,
    printable,
    require_regular,
)

COMPRESSED = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
FIRST_CHOICE = ("jpg", "jpeg", "png", "webp")
ARRAYS = frozenset({"npy"})
LINK = "is a link or a special file inside its tar file"
LONGEST_HEADER = 1 << 20
PATIENCE_SECONDS = 30.0
MOST_IN_A_SHARD = 1 << 40
T = TypeVar("T")
DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def is_plain_shard(name: str) -> bool:
    return name.lower().endswith(".tar")


def is_shard(name: str) -> bool:
    """A file that tarfile can read in one go, or a URL of one."""
    path = urlsplit(name).path if is_remote(name) else name
    return path.lower().endswith((".tar", *COMPRESSED))


def is_remote(name: str) -> bool:
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def index_shards(paths: Sequence[str]) -> list[Entry]:
    """The pictures of plain tar files, by place, and one fault for each that is damaged.

    An id is the member's name, behind its shard's where shards share names. Raises InputError for no tar file.
    """
    labels = _labels(list(dict.fromkeys(paths)))
    shards = {label: _index(path, label) for path, label in labels.items()}
    names = Counter(entry.id for entries in shards.values() for entry in entries)
    if not names or max(names.values()) == 1:
        return list(itertools.chain.from_iterable(shards.values()))
    return [
        entry if entry.id == label else replace(entry, id=f"{label}/{entry.id}")
        for label, entries in shards.items()
        for entry in entries
    ]


@dataclass(frozen=True, kw_only=True)
class ShardStream(Stream):
    """Shards that are read from their start: compressed ones, and http or https URLs.

    An id is the member's name, behind its shard's where there are several shards. A sample's members must
    follow one another. A damaged shard gives what comes before the damage, and one fault.
    """

    shards: tuple[str, ...]

    def files(self) -> Iterator[str]:
        return (shard for shard in self.shards if not is_remote(shard))

    def divided(self, share: Share) -> Iterator[tuple[int, Entry]]:
        """Whole shards, so that each is read by one process; single pictures where there are too few, or a limit.

        A place is the shard's and the picture's in it, which sort as pictures do, however they are divided.
        """
        count = len(self.shards)
        if share.size <= count and self.first is None:
            return self._placed(range(share.rank, count, share.size))
        return itertools.islice(self._placed(range(count)), share.rank, self.first, share.size)

    def _placed(self, numbers: Iterable[int]) -> Iterator[tuple[int, Entry]]:
        wanted: Wanted = (lambda _: True) if self.chosen is None else self.chosen.__contains__
        for number in numbers:
            entries = (entry for entry in self._of_shard(number, wanted) if wanted(entry.id))
            yield from enumerate(entries, start=number * MOST_IN_A_SHARD)

    def _entries(self, wanted: Wanted) -> Iterator[Entry]:
        return (entry for entry in self._all(wanted) if wanted(entry.id))

    def _ids(self) -> Iterator[str]:
        return (entry.id for entry in self._all(lambda _: False))

    def _all(self, wanted: Wanted) -> Iterator[Entry]:
        for number in range(len(self.shards)):
            yield from self._of_shard(number, wanted)

    def _of_shard(self, number: int, wanted: Wanted) -> Iterator[Entry]:
        labels, shard = _labels(self.shards), self.shards[number]
        seen: set[str] = set()
        repeats = 0
        for entry in _stream(shard, labels[shard], f"{labels[shard]}/" if len(labels) > 1 else "", wanted):
            if entry.id in seen:
                yield _repeat(entry, repeats)
                repeats += 1
            else:
                seen.add(entry.id)
                yield entry


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged header for the end of the file; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (not header.isreg() and header.size > LONGEST_HEADER):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a damaged header: {error}") from error


def _index(path: str, label: str) -> list[Entry]:
    """The pictures of one plain tar. Of two members with one name the first counts, as in a stream."""
    places: dict[str, Entry] = {}
    repeats: list[Entry] = []
    damage: list[Entry] = []
    try:
        status = os.stat(path)
        require_regular(status)
        with tarfile.open(path, "r:", tarinfo=_Header) as tar:
            for member in _until_damage(_members(tar, status.st_size), tar, label, damage):
                if not (name := _picture_name(member)):
                    continue
                if name in places:
                    repeats.append(_repeat(Entry(name, path), len(repeats)))
                else:
                    places[name] = _place(member, name, path)
    except (*DAMAGE, InputError) as error:
        raise _no_tar(path, error) from error
    samples: dict[str, list[Entry]] = {}
    for entry in places.values():
        samples.setdefault(_key(entry), []).append(entry)
    return [*itertools.chain.from_iterable(map(_pictures_of, samples.values())), *repeats, *damage]


def _repeat(entry: Entry, before: int) -> Entry:
    """The fault that stands for a picture whose name was there; `before` others of its shard keep its id unique."""
    return replace(entry, id=f"{entry.id}#{before + 2}", data=None, fault="repeats an earlier name of its shard")


def _place(member: tarfile.TarInfo, name: str, path: str) -> Entry:
    if not member.isreg() or member.issparse():
        return Entry(name, path, fault=LINK)
    return Entry(name, path, member.offset_data, member.size)


def _stream(shard: str, label: str, prefix: str, wanted: Wanted) -> Iterator[Entry]:
    """The pictures of one shard; bytes only for those that are wanted."""
    damage: list[Entry] = []
    with closing(_open(shard)) as file:
        try:
            tar = tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header)
        except DAMAGE as error:
            raise _no_tar(shard, error) from error
        pictures = (
            _held(tar, member, prefix + name, shard, wanted)
            for member in _members(tar)
            if (name := _picture_name(member))
        )
        for _, sample in itertools.groupby(_until_damage(pictures, tar, label, damage), key=_key):
            yield from _pictures_of(list(sample))
    yield from damage


def _held(tar: tarfile.TarFile, member: tarfile.TarInfo, image_id: str, shard: str, wanted: Wanted) -> Entry:
    if not member.isreg() or member.issparse():
        return Entry(image_id, shard, fault=LINK)
    if not wanted(image_id):
        return Entry(image_id, shard)
    if member.size > MAX_FILE_BYTES:
        fault = f"has {member.size} bytes; a picture of more than {MAX_FILE_BYTES} is not read"
        return Entry(image_id, shard, fault=fault)
    content = tar.extractfile(member)
    assert content is not None
    return Entry(image_id, shard, data=content.read())


def _members(tar: tarfile.TarFile, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Members in order, each wholly inside a file of `size` bytes. ReadError where the file is damaged."""
    end = 0
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
        if size is not None and member.isreg() and member.offset_data + member.size > size:
            raise tarfile.ReadError("unexpected end of data")
        if tar.offset <= end:
            raise tarfile.ReadError("a header that leads back")
        end = tar.offset
        yield member


def _until_damage(items: Iterable[T], tar: tarfile.TarFile, label: str, damage: list[Entry]) -> Iterator[T]:
    """The items before the damage, which becomes an entry under the shard's name that can only be skipped."""
    try:
        yield from items
    except DAMAGE as error:
        fault = f"is damaged or cut off near byte {tar.offset} ({error}); what follows is lost"
        damage.append(Entry(label, "", fault=fault))


def _picture_name(member: tarfile.TarInfo) -> str:
    """The id of a member that is a picture by its name and not hidden, else ""."""
    name = posixpath.normpath("/" + member.name).lstrip("/")
    hidden = any(part.startswith(".") for part in name.split("/"))
    return id_of(name) if is_picture(name) and not hidden else ""


def _key_and_extension(entry: Entry) -> tuple[str, str]:
    """As the webdataset package splits a member's name."""
    from webdataset.tariterators import base_plus_ext

    key, extension = base_plus_ext(entry.id)
    return key or entry.id, (extension or "").lower()


def _key(entry: Entry) -> str:
    return _key_and_extension(entry)[0]


def _pictures_of(sample: Sequence[Entry]) -> Iterator[Entry]:
    """The picture of a sample, and the skips for others beside it; see the top of this file."""

    def rank(entry: Entry) -> tuple[bool, bool, int, str]:
        extension = _key_and_extension(entry)[1]
        choice = FIRST_CHOICE.index(extension) if extension in FIRST_CHOICE else len(FIRST_CHOICE)
        return extension in ARRAYS, bool(entry.fault), choice, extension

    plain = sorted((entry for entry in sample if "." not in _key_and_extension(entry)[1]), key=rank)
    if not plain:
        yield from sample
        return
    first, *others = plain
    yield first
    for other in others:
        if _key_and_extension(other)[1] not in ARRAYS:
            fault = f"is a second picture of its sample, whose picture is {first.id}"
            yield replace(other, data=None, fault=fault)


def _labels(shards: Sequence[str]) -> dict[str, str]:
    """Shard -> its path relative to the folder of all, as an id."""
    paths = [unquote(urlsplit(shard).path) if is_remote(shard) else shard for shard in shards]
    root = common_folder(paths)
    labels = {shard: id_of(os.path.relpath(path, root)) for shard, path in zip(shards, paths, strict=True)}
    if len(set(labels.values())) < len(shards):
        raise InputError("two shards have one name", hint="Name each shard once.")
    return labels


def _open(shard: str) -> Any:
    """An object with read(size) and close()."""
    if is_remote(shard):
        return _Download(shard)
    try:
        require_regular(os.stat(shard))
        return open(os.open(shard, OPEN_FLAGS), "rb")
    except (OSError, InputError) as error:
        raise _no_tar(shard, error) from error


class _Download:
    """The body behind a URL, from its start. A connection that breaks is an error and no end of the file."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            request = Request(url, headers={"User-Agent": "vaecheck"})
            self._response: HTTPResponse = urlopen(request, timeout=PATIENCE_SECONDS)
        except HTTPError as error:
            kind = InputError if error.code < 500 else SetupError
            raise kind(f"{url} answered {error.code} {error.reason}", hint="Check the URL in a browser.") from error
        except (OSError, ValueError, HTTPException) as error:
            raise self._broken(f"cannot be reached ({getattr(error, 'reason', error)})") from error

    def read(self, size: int, /) -> bytes:
        try:
            data = self._response.read(size)
        except (OSError, HTTPException) as error:
            raise self._broken(f"broke off ({error})") from error
        if not data and self._response.length:
            raise self._broken(f"broke off {self._response.length} bytes before its end")
        return data

    def close(self) -> None:
        self._response.close()

    def _broken(self, what: str) -> SetupError:
        return SetupError(f"{self.url} {what}", hint="Check the network and run again, or download the shard.")


def _no_tar(path: str, error: Exception) -> InputError:
    return InputError(f"{printable(path)} is not a tar file: {error}", hint="Download or write the shard again.")
