"""Per-image values as a CSV file: one row for each picture, an empty cell where it has no value."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from vaecheck.errors import InputError, VaecheckError
from vaecheck.results.types import PerImage


def to_csv(per_image: PerImage) -> bytes:
    """The table of a file. Raises VaecheckError where a number is NaN or infinite."""
    text = io.StringIO(newline="")
    quoted_by_csv = any("\r" in image_id for image_id in per_image.ids)  # it quotes only what its terminator holds
    writer = csv.writer(text, lineterminator="\r\n" if quoted_by_csv else "\n")
    writer.writerow(["id", *per_image.columns])
    for row, image_id in enumerate(per_image.ids):
        cells = ((name, column[row]) for name, column in per_image.columns.items())
        numbers = (
            "" if value is None else repr(finite(float(value), f"{name} of {image_id!r}")) for name, value in cells
        )
        writer.writerow([image_id, *numbers])
    return text.getvalue().encode("utf-8", "surrogateescape")


def load_csv(path: Path) -> PerImage:
    """What `to_csv` wrote; nothing where there is no file. Raises InputError."""
    if not path.exists():
        return PerImage()
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = list(csv.reader(file))
        ids = tuple(row[0] for row in rows)
        columns = {
            name: tuple(_finite_cell(row[place]) if row[place] else None for row in rows)
            for place, name in enumerate(header)
            if place
        }
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(
            f"{path} is not a per_image.csv: {error}", hint="Run the command again to rewrite it."
        ) from error
    return PerImage(ids=ids, columns=columns)


def _finite_cell(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def finite(number: float, where: str) -> float:
    """The number. Raises VaecheckError where it is none that JSON has."""
    if not math.isfinite(number):
        raise VaecheckError(
            f"{where.lstrip('.')} is {number}: a result holds no NaN and no infinity",
            hint="Please report this as a bug of vaecheck.",
        )
    return number
