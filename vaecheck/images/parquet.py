"""Tables with a column of pictures: .parquet files, read a few rows at a time.

An id is the file's name and the row's number ("train-00000-of-00002.parquet/00000012"). Why not the path that an
Image feature may hold beside the bytes: it is often absent or repeated, and a row's number is known without
reading the column, so that --limit, --sample and the count cost nothing.

Why pyarrow and not the datasets package above it: datasets reads a whole row group at once, which can be
gigabytes of pictures, and does not say which row of which file a picture is.
"""

# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vaecheck.errors import InputError, SetupError, VaecheckError
from vaecheck.images.entries import (
    MAX_FILE_BYTES,
    Entry,
    Stream,
    Wanted,
    common_folder,
    id_of,
    printable,
    require_regular,
)

ROWS_AT_ONCE = 16
BUFFER_BYTES = 1 << 20
USUAL_NAMES = frozenset({"image", "images", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "pixel_values"})


@dataclass(frozen=True)
class Table:
    """One file. rows: of each of its row groups."""

    path: str
    label: str
    rows: tuple[int, ...]

    def id_at(self, row: int) -> str:
        return f"{self.label}/{row:08d}"


@dataclass(frozen=True, kw_only=True)
class ParquetStream(Stream):
    """The rows of all tables in order. A row that cannot be read is a fault."""

    tables: tuple[Table, ...]
    column: str

    def files(self) -> Iterator[str]:
        return (table.path for table in self.tables)

    @property
    def _total(self) -> int:
        return sum(sum(table.rows) for table in self.tables)

    def _ids(self) -> Iterator[str]:
        return (table.id_at(row) for table in self.tables for row in range(sum(table.rows)))

    def _entries(self, wanted: Wanted) -> Iterator[Entry]:
        for table in self.tables:
            start = 0
            for group, count in enumerate(table.rows):
                rows = range(start, start + count)
                start += count
                if any(wanted(table.id_at(row)) for row in rows):
                    yield from self._group(table, group, rows, wanted)

    def _group(self, table: Table, group: int, rows: range, wanted: Wanted) -> Iterator[Entry]:
        left = iter(rows)
        try:
            with _open(table.path) as file:
                batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[self.column], use_threads=False)
                for batch in batches:
                    for value, row in zip(batch.column(self.column), left, strict=False):
                        if wanted(table.id_at(row)):
                            yield picture(value.as_py(), table.id_at(row), table.path)
        except _damage() as error:
            ids = (table.id_at(row) for row in left)
            yield from (Entry(i, table.path, fault=f"cannot be read: {_said(error)}") for i in ids if wanted(i))


def open_parquet(source: str, files: Sequence[str], column: str | None = None) -> ParquetStream:
    """The pictures of tables; their footers are read. column: None for the one that holds pictures, which `source`
    then names where another could have been meant.

    Raises InputError for a file that is no table, and where the column is absent or not clear; SetupError
    without the package.
    """
    paths = sorted(set(files))
    root = common_folder(paths)
    named = f"#{printable(column)}" if column is not None else ""
    tables: list[Table] = []
    for path in paths:
        try:
            require_regular(Path(path).stat())
            with _open(path) as file:
                schema = file.schema_arrow
                if tables and column not in schema.names:
                    raise _of_other_columns(path, schema.names, paths[0], str(column))
                where = printable(path) if column is not None and len(paths) > 1 else source
                column = picture_column(schema, column, where)
                if not named and sum(bool(_kind(field.type)) for field in schema) > 1:
                    named = f"#{printable(column)}"
                    source += named
                groups = range(file.metadata.num_row_groups)
                rows = tuple(file.metadata.row_group(group).num_rows for group in groups)
        except VaecheckError as error:
            if error.hint:
                raise
            raise InputError(f"{printable(path)} {error.message}", hint="Give a .parquet file.") from error
        except _damage() as error:
            raise InputError(
                f"{printable(path)} is not a complete parquet file: {_said(error)}",
                hint="Download or write the file again.",
            ) from error
        tables.append(Table(path, id_of(os.path.relpath(path, root)), rows))
    tables.sort(key=lambda table: table.label + "/")
    if column is None or not any(sum(table.rows) for table in tables):
        raise InputError(f"there is no picture in {source}: it has no rows", hint="Give another file.")
    return ParquetStream(source=source, tables=tuple(tables), column=column)


def _of_other_columns(path: str, names: Sequence[str], first: str, column: str) -> InputError:
    return InputError(
        f"{printable(path)} has no column {printable(column)}, which {printable(first)} has; it has "
        f"{printable(', '.join(names))}",
        hint="Give only tables with the same columns, as a glob or one after the other.",
    )


def picture(value: Any, image_id: str, path: str) -> Entry:
    """The entry of a cell: bytes of an encoded picture, alone or under "bytes" as the Image feature has them.

    path: of the table, whose cells may name files of this machine instead, as a list does; "" where they may not.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        if len(data) <= MAX_FILE_BYTES:
            return Entry(image_id, path, data=data)
        return Entry(image_id, path, fault=f"has {len(data)} bytes; more than {MAX_FILE_BYTES} are not read")
    named = value.get("path") if isinstance(value, dict) else None
    if not named:
        return Entry(image_id, path, fault="has no bytes")
    if not path or "://" in named:
        return Entry(image_id, path, fault=f"has no bytes, only the path {printable(named)}")
    return Entry(image_id, os.path.join(os.path.dirname(path), named))


def picture_column(schema: Any, column: str | None, source: str) -> str:
    """The column that holds pictures: the one named; else the only Image feature, the only binary column, or the
    only one of them with a usual name (image, img, jpg, png, pixel_values ...)."""
    kinds = {field.name: _kind(field.type) for field in schema}
    images = [name for name in kinds if name in _declared(schema) or kinds[name] == "pictures"]
    readable = [name for name in images if kinds[name]] or [name for name, kind in kinds.items() if kind]
    listing = ", ".join(f"{printable(field.name)} ({kinds[field.name] or field.type})" for field in schema)
    if column is not None:
        if kinds.get(column):
            return column
        what = "holds no pictures" if column in kinds else "is absent"
        raise InputError(f"{source}: column {printable(column)} {what}", hint=f"Its columns: {listing}")
    usual = [name for name in readable if name.lower() in USUAL_NAMES]
    for choice in (readable, usual):
        if len(choice) == 1:
            return str(choice[0])
    if not readable:
        raise InputError(
            f"{source} has no column of pictures, but {listing}",
            hint="Pictures are an Image feature or a binary column of encoded files (PNG, JPEG ...).",
        )
    raise InputError(
        f"{source} has several columns that may hold pictures: {', '.join(map(printable, readable))}",
        hint=f"Name one: '{source}#{printable((usual or readable)[0])}'",
    )


def _kind(arrow_type: Any) -> str:
    import pyarrow.types as types

    if types.is_binary(arrow_type) or types.is_large_binary(arrow_type):
        return "bytes"
    if types.is_struct(arrow_type) and (i := arrow_type.get_field_index("bytes")) >= 0:
        return "pictures" if _kind(arrow_type.field(i).type) == "bytes" else ""
    return ""


def _declared(schema: Any) -> set[str]:
    """The columns that the datasets package has written as Image features."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name for name, feature in features.items() if feature["_type"] == "Image"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return set()


def _open(path: str) -> Any:
    return _pyarrow().parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False)


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SetupError(".parquet files need the pyarrow package", hint="pip install 'vaecheck[data]'") from error
    module: ModuleType = pyarrow
    return module


def _damage() -> tuple[type[Exception], ...]:
    return (_pyarrow().ArrowException, OSError, ValueError)


def _said(error: Exception) -> str:
    return printable(" ".join(str(error).split()))[:200]
