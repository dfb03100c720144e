"""IMAGES -> ImageSet: which pictures there are, in which order and under which ids. Nothing is decoded here.

What IMAGES may be:

    photos/                                        a folder, walked; or one of .parquet files and no pictures
    photo.png  'photos/**/*.jpg'                   a file; a glob
    names.txt                                      a list, one path a line, relative to the list
    'data-{000..009}.tar'                          webdataset shards; .tar.gz and http(s) URLs too (shards.py)
    train.parquet  'train-*.parquet'               tables with a column of pictures; FILES#COLUMN names it (parquet.py)
    hf://datasets/OWNER/NAME                       a data set of the hub, streamed (hub.py); in full:
    hf://datasets/OWNER/NAME@REVISION:CONFIG/SPLIT#COLUMN
    samples                                        the pictures that come with vaecheck

Why os.path and not pathlib: a data set has a million names, and a string a name is what listing returns.
"""

# ruff: noqa: PTH100, PTH111, PTH112, PTH118, PTH119, PTH120, PTH122

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import NoReturn

from vaecheck.errors import InputError, SetupError
from vaecheck.images import hub, parquet, shards
from vaecheck.images.entries import (
    PICTURE_SUFFIXES,
    Entry,
    Listing,
    Stream,
    choose,
    common_folder,
    id_of,
    is_picture,
    printable,
    read_file,
)

SAMPLES = "samples"
MAX_BRACE_NAMES = 100_000
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]+,[^{}]*)\}")
WILDCARD = re.compile(r"[*?\[]")
SCHEME = re.compile(r"pipe:|\w[\w+.-]*://")
FORMS = (
    "Give a folder, a picture, a quoted glob, a .txt list of paths, tar shards, .parquet files, "
    "hf://datasets/OWNER/NAME, or the word samples."
)


@dataclass(frozen=True)
class Tables:
    """Paths of .parquet files."""

    files: Sequence[str]


Found = list[Entry] | Stream | Tables


def open_images(
    source: str,
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    offline: bool = False,
    splits: Sequence[str] = hub.HELD_OUT_FIRST,
) -> Listing | Stream:
    """The pictures behind IMAGES; see the top of this file for its forms.

    limit: only the first `limit` in order. sample: of those, `sample` drawn with the seed without replacement,
    kept in order. splits: which split of a hub's data set to prefer where none is named.
    Raises InputError for a missing path, a source without pictures, and sources that cannot be read; SetupError
    for a package that is missing, and for a remote source when offline or when it cannot be reached.
    """
    for option, number in (("--limit", limit), ("--sample", sample)):
        if number is not None and number < 1:
            raise InputError(f"{option} {number} leaves no picture", hint=f"Give {option} a number of 1 or more.")
    if hub.is_hub(source):
        images: Listing | Stream = hub.open_hub(source, offline=offline, splits=splits)
    else:
        images = _open(source, offline)
    return choose(images, limit=limit, sample=sample, seed=seed)


def _open(source: str, offline: bool) -> Listing | Stream:
    path, hash_sign, column = source.rpartition("#")
    if not hash_sign or shards.is_remote(source) or os.path.lexists(os.path.expanduser(source)):
        path, column = source, ""
    found = _find(path, offline)
    if isinstance(found, Tables):
        return parquet.open_parquet(printable(source), found.files, column or None)
    if column:
        raise InputError(f"{printable(source)}: #{printable(column)} names a column", hint="Only tables have columns.")
    if isinstance(found, Stream):
        return found
    entries = sorted(found, key=lambda entry: entry.id)
    _require_unique(source, entries)
    return Listing(printable(source), tuple(entries))


def _find(source: str, offline: bool) -> Found:
    path = os.path.abspath(os.path.expanduser(source)) if source else ""
    if source == SAMPLES:
        folder = str(resources.files("vaecheck").joinpath("assets", "samples"))
        return _from_paths(source, [folder], root=folder)
    if shards.is_remote(source):
        return _from_urls(source, _expand_braces(source), offline)
    if os.path.isdir(path):
        return _from_paths(source, [path], root=path)
    if os.path.lexists(path):
        return _from_file(source, path, offline)
    if scheme := SCHEME.match(source):
        _refuse_scheme(source, scheme[0])
    names = _expand_braces(path)
    if names != [path] or WILDCARD.search(path):
        return _from_paths(source, _matches(source, names), root=None)
    raise InputError(f"no such file or folder: {printable(source) or '(empty)'}", hint=FORMS)


def _from_file(source: str, path: str, offline: bool) -> Found:
    lower = path.lower()
    if lower.endswith(".tar.zst"):
        raise InputError(f"{printable(source)} is compressed by zstd", hint="Unpack it to a plain .tar: zstd -d")
    if lower.endswith(".txt"):
        return _from_list(source, path, offline)
    if shards.is_shard(path) or lower.endswith(".parquet"):
        return _from_files(source, [path], root=None)
    return [Entry(id_of(os.path.basename(path)), path)]


def _from_list(source: str, path: str, offline: bool) -> Found:
    folder = os.path.dirname(path)
    try:
        text = read_file(path).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except InputError as error:
        raise InputError(f"{printable(source)} {error.message}", hint="Give a text file, one path a line.") from error
    lines = [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"{printable(source)} lists no path", hint="Write one path a line, relative to the list.")
    if all(map(shards.is_remote, lines)):
        return _from_urls(source, lines, offline)
    if schemes := [match[0] for match in map(SCHEME.match, lines) if match]:
        _refuse_scheme(source, schemes[0])
    paths = [os.path.normpath(os.path.join(folder, line)) for line in lines]
    if all(shards.is_shard(listed) or listed.lower().endswith(".parquet") for listed in paths):
        return _from_files(source, paths, root=None)
    root = common_folder(paths)
    return [Entry(id_of(os.path.relpath(listed, root)), listed) for listed in paths]


def _from_urls(source: str, urls: Sequence[str], offline: bool) -> Stream:
    if not all(map(shards.is_shard, urls)):
        raise InputError(
            f"{printable(source)} is no URL of tar shards",
            hint="Of the web, .tar and .tar.gz shards are read: 'https://HOST/data-{000..009}.tar'. Download the rest.",
        )
    if offline or hub.offline_mode():
        raise SetupError(f"{printable(source)} needs the network, and the run is offline", hint="Download it first.")
    return shards.ShardStream(source=printable(source), shards=tuple(sorted(set(urls))))


def _from_paths(source: str, paths: Iterable[str], *, root: str | None) -> Found:
    """Files as they are, folders walked. root: None for the common parent."""
    files = sorted({file for path in paths for file in (_walk(path) if os.path.isdir(path) else [path])})
    return _from_files(source, files, root=root)


def _from_files(source: str, files: Sequence[str], *, root: str | None) -> Found:
    """Shards or tables where there is nothing else; else pictures by their suffix."""
    if files and root is None and all(map(shards.is_plain_shard, files)):
        return shards.index_shards(files) or _refuse_empty(source, [])
    if files and root is None and all(map(shards.is_shard, files)):
        return shards.ShardStream(source=printable(source), shards=tuple(sorted(set(files))))
    pictures = [file for file in files if is_picture(file)]
    if not pictures and (tables := [file for file in files if file.lower().endswith(".parquet")]):
        return Tables(tables)
    if not pictures:
        _refuse_empty(source, files)
    prefix = os.path.join(root or common_folder(pictures), "")
    return [Entry(id_of(file.removeprefix(prefix)), file) for file in pictures]


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


def _refuse_scheme(source: str, scheme: str) -> NoReturn:
    hint = "Give https://HOST/data-{000..009}.tar, hf://datasets/OWNER/NAME, or download it and give the path."
    if scheme == "pipe:":
        hint = "Give the URL or the file that the command reads: " + hint.removeprefix("Give ")
    what = "pipe: would run a command, which no picture source may" if scheme == "pipe:" else f"{scheme} is not read"
    raise InputError(f"{printable(source)}: {what}", hint=hint)
