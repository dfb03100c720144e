"""hf://datasets/OWNER/NAME[@REVISION][:[CONFIG/]SPLIT][#COLUMN]: a data set of the Hugging Face hub, streamed.

An id is the split and the row's number ("validation/00000012"), which are the same at every pass because the
revision is resolved to its commit first; the commit, config, split and column taken stand in `source`, which is
itself a valid IMAGES. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.

What it costs: nothing is kept on disk, so every pass reads the stream from its start to the last picture that
it needs. --sample reads to the last one drawn, after one whole pass more where the data set does not state how
many rows it has. Memory holds one row group of one file, as the datasets package reads them. For many runs,
download the data set once and give its folder of .parquet files.

Which split, where several are there and none is named: one that was not trained on, so validation before test
before train; for training, train. Any other choice is the user's, and the error lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vaecheck.deadline import within
from vaecheck.errors import InputError, SetupError, VaecheckError
from vaecheck.hub_errors import endpoint, refusal, said, status_of
from vaecheck.images.entries import Entry, Stream, Wanted, printable
from vaecheck.images.parquet import ROWS_AT_ONCE, picture, picture_column

HELD_OUT_FIRST = ("validation", "val", "valid", "dev", "test", "train")
TRAIN_FIRST = ("train",)
PATIENCE_SECONDS = 12.0
FORM = "Write hf://datasets/OWNER/NAME[@REVISION][:[CONFIG/]SPLIT][#COLUMN], for instance hf://datasets/OWNER/NAME:test"
REFERENCE = re.compile(
    r"hf://datasets/(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[^:#]+))?"
    r"(:((?P<config>[^/#]+)/)?(?P<split>[\w.-]+)?)?(#(?P<column>.+))?"
)


@dataclass(frozen=True)
class Reference:
    """What a hf:// source names; None for what it leaves open."""

    repo: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        config = f"{self.config}/" if self.config else ""
        split = f":{config}{self.split or ''}" if self.config or self.split else ""
        return printable(f"hf://datasets/{self.repo}{revision}{split}" + (f"#{self.column}" if self.column else ""))


@dataclass(frozen=True, kw_only=True)
class HubStream(Stream):
    """The rows of one split. rows: an iterable of mappings; row_count: None where the data set does not state it."""

    rows: Any
    split: str
    column: str
    repo: str
    row_count: int | None = None

    def files(self) -> Iterator[str]:
        return iter(())

    @property
    def _total(self) -> int | None:
        return self.row_count

    def _ids(self) -> Iterator[str]:
        if self.row_count is not None:
            return (f"{self.split}/{row:08d}" for row in range(self.row_count))
        return (entry.id for entry in self._all(lambda _: False))

    def _entries(self, wanted: Wanted) -> Iterator[Entry]:
        return (entry for entry in self._all(wanted) if wanted(entry.id))

    def _all(self, wanted: Wanted) -> Iterator[Entry]:
        row = -1
        try:
            for row, cells in enumerate(self.rows):
                image_id = f"{self.split}/{row:08d}"
                yield self._entry(cells[self.column], image_id) if wanted(image_id) else Entry(image_id, "")
        except VaecheckError:
            raise
        except Exception as error:
            raise SetupError(
                f"{self.source}: the stream broke off after {row + 1} rows: {said(error)}",
                hint="Check the network and run again, or download the data set and give its folder.",
            ) from error

    def _entry(self, cell: Any, image_id: str) -> Entry:
        path = cell.get("path") if isinstance(cell, Mapping) else None
        own = re.compile(rf"(.*::)?hf://datasets/{re.escape(self.repo)}@")
        if path and cell.get("bytes") is None and own.match(path):
            return Entry(image_id, path)
        return picture(cell, image_id, "")


def is_hub(source: str) -> bool:
    return source.startswith("hf://")


def open_hub(source: str, *, offline: bool = False, splits: Sequence[str] = HELD_OUT_FIRST) -> HubStream:
    """The pictures of one split of a data set. No picture is read yet.

    Raises InputError for a source, repository, revision, config, split or column that does not exist or is not
    clear; SetupError for a missing package, a gated repository, and when offline.
    """
    match = REFERENCE.fullmatch(source)
    if match is None:
        raise InputError(f"{printable(source)} is no data set of the hub", hint=FORM)
    asked = Reference(**match.groupdict())
    if offline or offline_mode():
        raise SetupError(
            f"{asked} is streamed from the hub, and the run is offline",
            hint=f"Download it beforehand and give DIR: hf download {asked.repo} --repo-type dataset --local-dir DIR",
        )
    datasets = _datasets()
    try:
        with _quiet(datasets):
            commit = _commit(asked)
            builder = _builder(datasets, asked, commit)
            streams: dict[str, Any] = builder.as_streaming_dataset()
            split = _split(asked, streams, splits)
            column = _column(asked, streams[split])
            rows = _undecoded(datasets, streams[split], column).select_columns([column])
    except VaecheckError:
        raise
    except Exception as error:
        raise _explained(asked, error) from error
    stated = (builder.info.splits or {}).get(split)
    taken = Reference(asked.repo, commit, builder.config.name, split, column)
    return HubStream(
        source=str(taken),
        rows=rows,
        split=split,
        column=column,
        repo=asked.repo,
        row_count=stated.num_examples if stated is not None and stated.num_examples else None,
    )


def offline_mode() -> bool:
    """Whether HF_HUB_OFFLINE asks for no network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _commit(asked: Reference) -> str:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    info = within(
        PATIENCE_SECONDS, lambda: api.dataset_info(asked.repo, revision=asked.revision, timeout=PATIENCE_SECONDS)
    )
    return str(info.sha)


def _builder(datasets: ModuleType, asked: Reference, commit: str) -> Any:
    try:
        builder = datasets.load_dataset_builder(asked.repo, asked.config, revision=commit)
    except ValueError as error:
        names = datasets.get_dataset_config_names(asked.repo, revision=commit)
        if asked.config in names or (asked.config is None and len(names) < 2):
            raise
        what = f"has no config {asked.config}" if asked.config else "has several configs"
        raise InputError(
            f"{asked.repo} {what}: {printable(', '.join(names))}",
            hint=f"Name one: hf://datasets/{asked.repo}:{printable(names[0])}/",
        ) from error
    if hasattr(builder.config, "batch_size"):  # else a whole row group becomes Python objects at once
        builder.config.batch_size = ROWS_AT_ONCE
    return builder


def _split(asked: Reference, streams: Mapping[str, Any], preferred: Sequence[str]) -> str:
    if asked.split is None:
        choices = list(streams) if len(streams) == 1 else [name for name in preferred if name in streams]
        if choices:
            return str(choices[0])
    elif asked.split in streams:
        return asked.split
    names = ", ".join(map(str, streams))
    what = f"has no split {asked.split}" if asked.split else "has several splits"
    raise InputError(
        f"{asked.repo} {what}: {printable(names)}",
        hint=f"Name one: hf://datasets/{asked.repo}:{asked.config + '/' if asked.config else ''}{next(iter(streams))}",
    )


def _column(asked: Reference, rows: Any) -> str:
    if rows.features is None:
        raise InputError(f"{asked.repo} states no columns", hint="Its data files must hold pictures, not text.")
    source = str(Reference(asked.repo, asked.revision, asked.config, asked.split))
    return picture_column(rows.features.arrow_schema, asked.column, source)


def _undecoded(datasets: ModuleType, rows: Any, column: str) -> Any:
    if hasattr(rows, "decode"):  # not in datasets 3
        return rows.decode(False)
    if isinstance(rows.features[column], datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _explained(asked: Reference, error: Exception) -> VaecheckError:
    """One clear sentence and a remedy for what huggingface_hub and datasets raised."""
    repo, page = asked.repo, f"{endpoint()}/datasets/{asked.repo}"
    absent = f"there is no data set {repo} on the hub that you may read"
    if refused := refusal(error, repo, asked.revision, page=page, absent=absent):
        return refused
    status = status_of(error)
    if status or not isinstance(error, (FileNotFoundError, LookupError, TypeError, ValueError)):
        happened = f"answered {status}" if status else f"could not be reached ({said(error)})"
        return SetupError(
            f"{repo}: {endpoint()} {happened}", hint="Check the network and HF_ENDPOINT, or use a folder."
        )
    return InputError(f"{repo} cannot be read as a data set: {said(error)}", hint=f"See its files at {page}")


@contextmanager
def _quiet(datasets: ModuleType) -> Iterator[None]:
    """No progress bars of the package's own."""
    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()


def _datasets() -> ModuleType:
    """The package, which from now on reports no use to the hub."""
    try:
        import datasets
    except ImportError as error:
        raise SetupError("hf:// sources need the datasets package", hint="pip install 'vaecheck[data]'") from error
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    module: ModuleType = datasets
    module.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return module
