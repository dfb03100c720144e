"""IMAGES -> ImageSet: which pictures there are, in which order and under which ids. Nothing is decoded here.

Why an Entry is a path, an offset and a length: it pickles, it costs a few hundred bytes, and a member of a
tar shard is read at its place, so that memory stays flat however many pictures a shard holds.

Why ids are escaped: they travel into JSON, CSV, HTML and terminals, and they seed noise. Control characters
and undecodable bytes become backslash escapes, and a backslash becomes two, so that no two names share an id.

Why os.path and not pathlib: a data set has a million names, and a string a name is what listing returns.
"""

# ruff: noqa: PTH100, PTH111, PTH112, PTH114, PTH116, PTH118, PTH119, PTH120, PTH122, PTH123

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import NoReturn, Self

from vaecheck.errors import InputError

SAMPLES = "samples"
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
)
COMPRESSED_TARS = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAX_FILE_BYTES = 1 << 30
MAX_BRACE_NAMES = 100_000
TAR_BLOCK = 512

ESCAPED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separators
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]+,[^{}]*)\}")
WILDCARD = re.compile(r"[*?\[]")
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
FILE_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture that has not been read: `length` bytes of the file `path` from `offset` on.

    id: its path relative to the root, posix, printable, unique in its ImageSet.
    length: None for the whole file. fault: why it cannot be read, where that is known beforehand.
    """

    id: str
    path: str
    offset: int = 0
    length: int | None = None
    fault: str = ""

    def read(self) -> bytes:
        """The encoded bytes. InputError, worded to follow the id ("is a named pipe, ..."), if there are none."""
        if self.fault:
            raise InputError(self.fault)
        return read_file(self.path, self.offset, self.length)


@dataclass(frozen=True)
class ImageSet:
    """Pictures in the order of their ids. source: IMAGES as given, printable."""

    source: str
    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def count(self) -> int | None:
        """How many pictures there are; None where a stream has not been read to its end."""
        return len(self.entries)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(entry.id for entry in self.entries)

    def only(self, ids: Collection[str]) -> Self:
        """Those of the given ids, in the same order."""
        wanted = frozenset(ids)
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id in wanted))

    def files(self) -> Iterator[str]:
        """The paths that pictures are read from."""
        return (entry.path for entry in self.entries)


def open_images(source: str, *, limit: int | None = None, sample: int | None = None, seed: int = 0) -> ImageSet:
    """List the pictures behind IMAGES: a folder, a file, a glob, a .txt list, tar shards or "samples".

    limit: only the first `limit` in order. sample: of those, `sample` drawn with the seed without replacement,
    kept in order; the draw ranks the hashes of seed and id, so it is the same on any machine and version.
    Raises InputError for a missing path, a source without pictures, and sources that cannot be read.
    """
    for option, number in (("--limit", limit), ("--sample", sample)):
        if number is not None and number < 1:
            raise InputError(f"{option} {number} leaves no picture", hint=f"Give {option} a number of 1 or more.")
    entries = sorted(_list(source), key=lambda entry: entry.id)
    _require_unique(source, entries)
    entries = entries[:limit]
    if sample is not None:
        drawn = sorted(entries, key=lambda entry: hashlib.sha256(f"{seed}:{entry.id}".encode()).digest())
        entries = sorted(drawn[:sample], key=lambda entry: entry.id)
    return ImageSet(printable(source), tuple(entries))


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes as backslash escapes: safe in JSON and terminals."""
    if text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in ESCAPED_CATEGORIES else c for c in text)


def read_file(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a regular file, never waiting for a pipe, a socket or a device. InputError if it cannot be read.

    The kind is asked for before opening, because opening a device can act on it, and again on the open file,
    because the path may have been replaced in between.
    """
    try:
        _require_regular(os.stat(path))
        with open(os.open(path, OPEN_FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            _require_regular(status)
            wanted = status.st_size - offset if length is None else length
            if wanted > MAX_FILE_BYTES:
                raise InputError(f"has {wanted} bytes; a picture of more than {MAX_FILE_BYTES} is not read")
            file.seek(offset)
            data = file.read(wanted)
    except (OSError, ValueError) as error:
        link = "is a link that leads nowhere: " if os.path.islink(path) else "cannot be read: "
        raise InputError(link + (getattr(error, "strerror", None) or str(error))) from error
    if length is not None and len(data) < length:
        raise InputError(f"cannot be read: its tar file ends after {len(data)} of {length} bytes")
    return data


def _list(source: str) -> list[Entry]:
    path = os.path.abspath(os.path.expanduser(source)) if source else ""
    if source == SAMPLES:
        folder = str(resources.files("vaecheck").joinpath("assets", "samples"))
        return _from_paths(source, [folder], root=folder)
    if source.startswith("hf://"):
        _refuse_format(source, "hf:// data sets are")
    if os.path.isdir(path):
        return _from_paths(source, [path], root=path)
    if os.path.lexists(path):
        return _from_file(source, path)
    names = _expand_braces(path)
    if names != [path] or WILDCARD.search(path):
        return _from_paths(source, _matches(source, names), root=None)
    raise InputError(
        f"no such file or folder: {printable(source) or '(empty)'}",
        hint="Give a folder, a picture, a quoted glob, a .txt list of paths, tar shards, or the word samples.",
    )


def _from_file(source: str, path: str) -> list[Entry]:
    name = os.path.basename(path)
    lower = name.lower()
    if lower.endswith(".parquet"):
        _refuse_format(source, ".parquet files are")
    if lower.endswith(COMPRESSED_TARS):
        raise InputError(
            f"{printable(source)} is a compressed tar file, which cannot be read at random places",
            hint="Unpack it to a plain .tar (gunzip, unxz, zstd -d), or extract it into a folder.",
        )
    if lower.endswith(".tar"):
        return _from_shards([path])
    if lower.endswith(".txt"):
        return _from_list(source, path)
    return [Entry(_id(name), path)]


def _from_list(source: str, path: str) -> list[Entry]:
    folder = os.path.dirname(path)
    try:
        text = read_file(path).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except InputError as error:
        raise InputError(f"{printable(source)} {error.message}", hint="Give a text file, one path a line.") from error
    lines = [line.strip() for line in text.split("\n")]
    paths = [os.path.normpath(os.path.join(folder, line)) for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError(f"{printable(source)} lists no path", hint="Write one path a line, relative to the list.")
    if all(listed.lower().endswith(".tar") for listed in paths):
        return _from_shards(paths)
    root = _common_folder(paths)
    return [Entry(_id(os.path.relpath(listed, root)), listed) for listed in paths]


def _from_paths(source: str, paths: Iterable[str], *, root: str | None) -> list[Entry]:
    """Files as they are, folders walked; pictures by their suffix. root: None for the common parent."""
    files = sorted({file for path in paths for file in (_walk(path) if os.path.isdir(path) else [path])})
    if files and root is None and all(file.lower().endswith(".tar") for file in files):
        return _from_shards(files)
    pictures = [file for file in files if _is_picture(file)]
    if not pictures:
        _refuse_empty(source, files)
    prefix = os.path.join(root or _common_folder(pictures), "")
    return [Entry(_id(file.removeprefix(prefix)), file) for file in pictures]


def _walk(root: str) -> Iterator[str]:
    """Every file below root; hidden ones and what lies behind symlinked folders left out."""

    def refuse(error: OSError) -> NoReturn:
        _refuse_listing(error)

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in files if not name.startswith("."))


def _matches(source: str, names: Sequence[str]) -> Iterator[str]:
    """Paths that absolute patterns match; one without a wildcard must exist."""
    for name in names:
        if WILDCARD.search(name):
            try:
                yield from _glob(Path(name).anchor, Path(name).parts[1:])
            except OSError as error:
                _refuse_listing(error)
        elif os.path.lexists(name):
            yield name
        else:
            raise InputError(
                f"{printable(source)}: {printable(os.path.basename(name))} does not exist",
                hint="Correct the range in braces, or complete the download.",
            )


def _glob(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Unlike glob.glob, "**" and "*" do not enter symlinked folders."""
    head, rest = parts[0], parts[1:]
    if head != "**" and not WILDCARD.search(head):
        path = os.path.join(folder, head)
        if not rest:
            yield from [path] if os.path.lexists(path) else []
        elif os.path.isdir(path):
            yield from _glob(path, rest)
        return
    if head == "**" and not rest:
        yield folder
        return
    if head == "**":
        yield from _glob(folder, rest)
    with os.scandir(folder) as listing:
        children = [child for child in listing if not child.name.startswith(".") or head.startswith(".")]
    for child in children:
        enters = child.is_dir(follow_symlinks=False)
        if head == "**":
            yield from _glob(child.path, parts) if enters else []
        elif fnmatchcase(child.name, head):
            if rest:
                yield from _glob(child.path, rest) if enters else []
            elif enters or not os.path.isdir(child.path):
                yield child.path


def _expand_braces(text: str) -> list[str]:
    """Shell braces: "{000..009}" and "{a,b}", several of them too."""
    choices: list[Sequence[str]] = []
    end = 0
    for match in BRACES.finditer(text):
        choices += [[text[end : match.start()]], _brace_names(match)]
        end = match.end()
    choices.append([text[end:]])
    count = 1
    for names in choices:
        count *= len(names)
    if count > MAX_BRACE_NAMES:
        raise InputError(f"{printable(text)} stands for {count} names", hint=f"At most {MAX_BRACE_NAMES} are expanded.")
    return ["".join(combination) for combination in itertools.product(*choices)]


def _brace_names(match: re.Match[str]) -> list[str]:
    first, last, words = match.groups()
    if words is not None:
        return str(words).split(",")
    if abs(int(last) - int(first)) >= MAX_BRACE_NAMES:
        raise InputError(f"{match.group()} is too long a range", hint=f"At most {MAX_BRACE_NAMES} names are expanded.")
    padded = any(len(number) > 1 and number.startswith("0") for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]


def _from_shards(paths: Sequence[str]) -> list[Entry]:
    """Members of all shards. An id is the member's name, behind its shard's where shards share names."""
    members = {path: list(_members(path)) for path in dict.fromkeys(paths)}
    names = Counter(entry.id for entries in members.values() for entry in entries)
    if not names:
        _refuse_empty(", ".join(paths[:3]), [])
    if max(names.values()) == 1:
        return list(itertools.chain.from_iterable(members.values()))
    root = _common_folder(list(members))
    shards = {path: _id(os.path.relpath(path, root)) for path in members}
    return [replace(entry, id=f"{shards[path]}/{entry.id}") for path, entries in members.items() for entry in entries]


def _members(path: str) -> Iterator[Entry]:
    """The pictures of a tar file, by place; of two members with one name the later counts, as in extraction."""
    places: dict[str, Entry] = {}
    try:
        _require_regular(os.stat(path))
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else every header stays in memory
                name = os.path.normpath("/" + member.name).lstrip("/")
                if _is_picture(name) and not any(part.startswith(".") for part in name.split("/")):
                    places[member.name] = _member_entry(name, path, member, places)
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(TAR_BLOCK).strip(b"\0"):
                raise tarfile.ReadError("a damaged header")
    except (tarfile.TarError, OSError, ValueError, InputError) as error:
        raise InputError(
            f"{printable(path)} is not a complete tar file: {error}", hint="Download or write the shard again."
        ) from error
    return iter(places.values())


def _member_entry(name: str, path: str, member: tarfile.TarInfo, places: dict[str, Entry]) -> Entry:
    if member.islnk() and member.linkname in places:
        return replace(places[member.linkname], id=_id(name))
    if not member.isreg() or member.issparse():
        return Entry(_id(name), path, fault="is a link or a special file inside its tar file")
    return Entry(_id(name), path, member.offset_data, member.size)


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise InputError(f"is {kind}, not a regular file")


def _require_unique(source: str, entries: Sequence[Entry]) -> None:
    twice = [a.id for a, b in itertools.pairwise(entries) if a.id == b.id]
    if twice:
        raise InputError(
            f"{printable(source)} names {twice[0]} twice ({len(twice)} repeated in all)",
            hint="Name each picture once: an image that counts twice would weigh twice.",
        )


def _refuse_empty(source: str, files: Sequence[str]) -> NoReturn:
    others = Counter(os.path.splitext(file)[1].lower() or "no suffix" for file in files).most_common(3)
    found = ", ".join(f"{count} with {printable(suffix)}" for suffix, count in others)
    kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
    hint = f"Pictures are known by their suffix: {kinds}."
    if any(suffix == ".tar" for suffix, _ in others):
        hint = "For shards in a folder, give a quoted glob that ends in *.tar."
    raise InputError(
        f"there is no picture in {printable(source)}" + (f" (it holds {len(files)} files: {found})" if files else ""),
        hint=hint,
    )


def _refuse_listing(error: OSError) -> NoReturn:
    raise InputError(
        f"{printable(str(error.filename))} cannot be listed: {error.strerror}",
        hint="Make the folder readable, or give one without it; leaving it out would change the figures.",
    ) from error


def _refuse_format(source: str, what: str) -> NoReturn:
    raise InputError(
        f"{printable(source)}: {what} not supported yet",
        hint="Export the pictures to a folder or to webdataset tar shards, and give that.",
    )


def _is_picture(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in PICTURE_SUFFIXES


def _common_folder(paths: Sequence[str]) -> str:
    return os.path.commonpath([os.path.dirname(path) for path in paths])


def _id(relative_path: str) -> str:
    return printable(relative_path.replace(os.sep, "/").replace("\\", "\\\\"))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
