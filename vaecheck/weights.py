"""Every weight file that the metrics can need: where it lives, its hash, its publisher.

Looked for in this order: the path given by option; the folder VAECHECK_WEIGHTS; TORCH_HOME's hub/checkpoints,
where torchvision, lpips and torch-fidelity put theirs; then the publisher's address, unless offline.

Why a file in TORCH_HOME must be the published one and elsewhere need not: that folder is filled by downloads,
so a wrong hash there means a broken download, while a file that someone names is meant. Such a file is used,
and `published` is False, so that the figures made with it can say so.

Why torch.hub does not download for us: it waits for ever on a network that does not answer.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from vaecheck.deadline import within
from vaecheck.errors import InputError, WeightsError

FOLDER_VARIABLE = "VAECHECK_WEIGHTS"
OPEN_SECONDS = 10.0  # name look-up, connection, redirects and headers together
READ_SECONDS = 10.0  # one silence in the middle of a file
STALL_SECONDS, STALL_BYTES = 30.0, 65536  # fewer bytes than this in that time is no download
TRIES = 2
CHUNK = 1 << 20

Origin = Literal["option", "VAECHECK_WEIGHTS", "TORCH_HOME", "downloaded"]
Progress = Callable[[str, int, int | None], None]  # name, bytes so far, bytes in all (None: not told)


@dataclass(frozen=True)
class Published:
    """A weight file as its publisher offers it.

    sha256_prefix: the first 8 hexadecimal digits of its sha256, which torch.hub's convention puts in its name.
    megabytes: about how large it is, for the reader.
    """

    file_name: str
    url: str
    sha256_prefix: str
    megabytes: int
    licence: str
    needed_by: tuple[str, ...]


TABLE: dict[str, Published] = {
    "inception": Published(
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
        91,
        "Apache-2.0",
        ("rfid", "kid", "fd_pytorch_fid"),
    ),
    "alexnet": Published(
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be79",
        233,
        "BSD-3-Clause",
        ("lpips_alex",),
    ),
    "vgg16": Published(
        "vgg16-397923af.pth",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af",
        528,
        "BSD-3-Clause",
        ("lpips_vgg",),
    ),
    "squeezenet1_1": Published(
        "squeezenet1_1-b8a52dc0.pth",
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "b8a52dc0",
        5,
        "BSD-3-Clause",
        ("lpips_squeeze",),
    ),
}


@dataclass(frozen=True)
class WeightFile:
    """A weight file that may be loaded. published: its sha256 is the publisher's."""

    name: str
    path: Path
    sha256: str
    published: bool
    origin: Origin


@dataclass(frozen=True)
class Listed:
    """A row of `weights list`: the published file, what was found, and what is wrong with it.

    problem: empty when the file may be used, else one sentence with the remedy.
    """

    name: str
    published: Published
    found: WeightFile | None
    problem: str


def torch_checkpoints() -> Path:
    """TORCH_HOME's hub/checkpoints, by the rules of torch.hub.get_dir, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def own_folder() -> Path | None:
    """The folder that VAECHECK_WEIGHTS names, or None when it is not set."""
    value = os.environ.get(FOLDER_VARIABLE, "")
    return Path(value).expanduser() if value else None


def find(name: str, *, path: Path | None = None, offline: bool = False, progress: Progress | None = None) -> WeightFile:
    """The weight file called `name`, searched for in the contract's order, downloaded when nothing has it.

    path: a file, or a folder that holds the file under its published name.
    Raises InputError when `path` does not lead to a file; WeightsError when the file is absent and may not or
    cannot be downloaded, and when TORCH_HOME has one that is not the published one.
    """
    entry = published(name)
    if path is not None:
        return _described(name, _given(path, entry), "option")
    for candidate, origin in _places(entry):
        if candidate.is_file():
            return _accepted(_described(name, candidate, origin))
    if offline:
        raise WeightsError(f"{entry.file_name} is not on this machine; {_searched()}", hint=_remedy(name))
    return download(name, progress)


def published(name: str) -> Published:
    """The table's row. Raises InputError for a name that it does not have."""
    if name not in TABLE:
        raise InputError(f"there is no weight file called {name!r}", hint=f"Known names: {', '.join(TABLE)}.")
    return TABLE[name]


def listing() -> tuple[Listed, ...]:
    """One row for each weight file: what `find` would use now, without the network. Hashes each file found."""
    rows = []
    for name, entry in TABLE.items():
        try:
            rows.append(Listed(name, entry, find(name, offline=True), ""))
        except WeightsError as error:
            rows.append(Listed(name, entry, None, f"{error.message}. {error.hint}"))
    return tuple(rows)


def verify() -> tuple[Listed, ...]:
    """One row for each file there is in VAECHECK_WEIGHTS and TORCH_HOME; its problem is empty if it is as published."""
    rows = []
    for name, entry in TABLE.items():
        for candidate, origin in _places(entry):
            if candidate.is_file():
                file = _described(name, candidate, origin)
                rows.append(Listed(name, entry, file, "" if file.published else _replace(file)))
    return tuple(rows)


def fetch(names: tuple[str, ...] | None = None, progress: Progress | None = None) -> tuple[WeightFile, ...]:
    """Make sure that the named files (all, when None) are here as published; download those that are not.

    A broken file in TORCH_HOME is replaced. Raises InputError for an unknown name, WeightsError when a download fails.
    """
    wanted = tuple(TABLE) if names is None else names
    entries = {name: published(name) for name in wanted}
    return tuple(_published_copy(name, entry) or download(name, progress) for name, entry in entries.items())


def import_file(name: str, path: Path) -> WeightFile:
    """Copy a weight file to where `find` looks: VAECHECK_WEIGHTS where it is set, else TORCH_HOME's hub/checkpoints.

    Raises InputError when `path` is no file, WeightsError when it is not the published one and would go to
    TORCH_HOME, or when the folder cannot be written.
    """
    entry = published(name)
    source = _described(name, _given(path, entry), "option")
    folder = own_folder()
    if folder is None and not source.published:
        raise WeightsError(
            _not_published(source),
            hint=f"Set {FOLDER_VARIABLE} to a folder and import it there; its figures are then marked unreliable.",
        )
    target = (folder or torch_checkpoints()) / entry.file_name
    if not (target.exists() and target.samefile(source.path)):
        with _arriving(target) as (file, temporary):
            with source.path.open("rb") as original:
                shutil.copyfileobj(original, file, CHUNK)
            file.close()
            if sha256_of(temporary) != source.sha256:
                raise WeightsError(f"{source.path} changed while it was copied", hint="Import it again.")
            temporary.replace(target)
    return replace(source, path=target, origin="VAECHECK_WEIGHTS" if folder else "TORCH_HOME")


def download(name: str, progress: Progress | None = None) -> WeightFile:
    """Fetch a file from its publisher into TORCH_HOME's hub/checkpoints, check its sha256, then move it into place.

    Two tries at most, and none after a silence or a refusal. Raises WeightsError with the address and the reason.
    """
    entry = published(name)
    target = torch_checkpoints() / entry.file_name
    for tries_left in reversed(range(TRIES)):
        try:
            return _download_once(name, entry, target, progress)
        except (_BrokenTransferError, http.client.HTTPException, OSError) as error:
            if tries_left and _worth_another_try(error):
                continue
            raise WeightsError(
                f"{entry.file_name} could not be downloaded from {entry.url}: {_reason(error)}",
                hint=f"Try again with: vaecheck weights fetch {name}; or bring the file from elsewhere with: "
                f"vaecheck weights import {name} FILE",
            ) from error
    raise AssertionError("unreachable")


class _BrokenTransferError(Exception):
    """The server answered, but not with the whole published file."""


def _worth_another_try(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    return isinstance(error, _BrokenTransferError | http.client.HTTPException | ConnectionError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
        return f"no answer ({getattr(error, 'reason', error)})"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _download_once(name: str, entry: Published, target: Path, progress: Progress | None) -> WeightFile:
    with _arriving(target) as (file, temporary):
        with within(OPEN_SECONDS, lambda: _open(entry.url)) as response:
            received, total = _receive(response, file, lambda done, total: progress and progress(name, done, total))
        file.close()
        if total is not None and received != total:
            raise _BrokenTransferError(f"{received} of {total} bytes came")
        sha256 = sha256_of(temporary)
        if not sha256.startswith(entry.sha256_prefix):
            raise _BrokenTransferError(
                f"the {received} bytes that came are not the published file "
                f"(sha256 {sha256[:8]}, published {entry.sha256_prefix})"
            )
        temporary.replace(target)
    return WeightFile(name, target, sha256, True, "downloaded")


def _open(url: str) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "vaecheck"})
    return urllib.request.build_opener().open(request, timeout=READ_SECONDS)


def _receive(response: Any, file: IO[bytes], tell: Callable[[int, int | None], object]) -> tuple[int, int | None]:
    """Copy the body to `file`; bytes that came, bytes announced (None: not told). Raises TimeoutError on a stall."""
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    received, checked_bytes, checked_at = 0, 0, time.monotonic()
    while chunk := response.read1(CHUNK):
        file.write(chunk)
        received += len(chunk)
        tell(received, total)
        if time.monotonic() - checked_at > STALL_SECONDS:
            if received - checked_bytes < STALL_BYTES:
                raise TimeoutError(f"only {received - checked_bytes} bytes in {STALL_SECONDS:.0f} s")
            checked_bytes, checked_at = received, time.monotonic()
    return received, total


@contextmanager
def _arriving(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file beside `target`, open for writing, and its temporary path; removed unless it was moved."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("xb")
    except OSError as error:
        raise WeightsError(
            f"the folder {target.parent} cannot be written: {error.strerror or error}",
            hint=f"Set TORCH_HOME (or, to import, {FOLDER_VARIABLE}) to a folder that can be.",
        ) from error
    try:
        with file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _places(entry: Published) -> Iterator[tuple[Path, Origin]]:
    if folder := own_folder():
        yield folder / entry.file_name, "VAECHECK_WEIGHTS"
    yield torch_checkpoints() / entry.file_name, "TORCH_HOME"


def _given(path: Path, entry: Published) -> Path:
    """The file that an option means: itself, or the published name inside a folder."""
    path = path.expanduser()
    file = path / entry.file_name if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{file} does not exist" if not file.exists() else f"{file} is not a regular file",
            hint=f"Give a file, or a folder that holds {entry.file_name}.",
        )
    return file


def _described(name: str, path: Path, origin: Origin) -> WeightFile:
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check who may read it."
        ) from error
    return WeightFile(name, path, sha256, sha256.startswith(TABLE[name].sha256_prefix), origin)


def _accepted(file: WeightFile) -> WeightFile:
    if file.origin == "TORCH_HOME" and not file.published:
        raise WeightsError(
            f"{_not_published(file)}: a broken download?",
            hint=f"Replace it with: vaecheck weights fetch {file.name}; a file of your own goes to {FOLDER_VARIABLE}",
        )
    return file


def _published_copy(name: str, entry: Published) -> WeightFile | None:
    described = (_described(name, path, origin) for path, origin in _places(entry) if path.is_file())
    return next((file for file in described if file.published), None)


def _not_published(file: WeightFile) -> str:
    prefix = TABLE[file.name].sha256_prefix
    return f"{file.path} is not the published file (sha256 {file.sha256[:8]}, published {prefix})"


def _replace(file: WeightFile) -> str:
    """What to do about a file that is not the published one, where it is known not to be."""
    fetch = f"vaecheck weights fetch {file.name}"
    if file.origin == "TORCH_HOME":
        return f"{_not_published(file)}. Replace it with: {fetch}"
    return (
        f"{_not_published(file)}; its measures are marked unreliable. "
        f"For the published one remove it, or unset {FOLDER_VARIABLE}, then: {fetch}"
    )


def _searched() -> str:
    own = own_folder()
    return f"looked in {FOLDER_VARIABLE} ({own or 'not set'}) and {torch_checkpoints()}"


def _remedy(name: str) -> str:
    return f"Where there is a network: vaecheck weights fetch {name}; from a file: vaecheck weights import {name} FILE"
