"""The confusion matrix of probes against the defects of the zoo, printed and judged.

    python -m tests.probes.confusion [IMAGES] [--base kl_f8_tiny|taef2] [--limit N] [--only a,b] [--quick]

Rows are defects at two strengths; a column is a probe. F fault, w warning, i info (it follows from the fault named),
. healthy, - unavailable; the probe that must find the defect stands in brackets. Ends with 1 where the matrix does
not hold: every plain defect a fault and the first finding, by its own probe; 80 % of the subtle ones found by it; the
healthy model without a fault on IMAGES and on drawings, line art, grey and flat pictures (taef2 on IMAGES without a
warning).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

from tests.probes import pictures, zoo
from vaecheck.errors import SetupError
from vaecheck.probes import ocr
from vaecheck.probes.catalogue import HOMES
from vaecheck.results.types import Finding

HEALTHY = "healthy"
IMAGES = "images"
SUBTLE_SHARE = 0.8
FACES = "samples"
"""Pictures for defects of faces: the first of these hold some."""
LETTERS = {"fault": "F", "warning": "w", "info": "i", "healthy": ".", "unavailable": "-"}


@dataclass(frozen=True)
class Row:
    """What the probes said of one defect at one strength. probe: the one that must find it; empty for none.

    Of a healthy model, the strength is the kind of pictures.
    """

    base: str
    defect: str
    strength: str
    probe: str
    findings: tuple[Finding, ...]

    @property
    def own(self) -> Finding | None:
        return next((one for one in self.findings if one.id == self.probe), None)

    @property
    def first(self) -> Finding:
        return self.findings[0]

    @property
    def holds(self) -> bool:
        if self.defect == HEALTHY:
            return not self.accused
        if self.strength == zoo.PLAIN:
            return self.first.id == self.probe and self.first.severity == "fault"
        return self.own is not None and self.own.severity in ("fault", "warning")

    @property
    def accused(self) -> tuple[str, ...]:
        """Of a healthy model: its faults; of taef2 the warnings too."""
        strict = self.base == "taef2" and self.strength == IMAGES
        graver = ("fault", "warning") if strict else ("fault",)
        return tuple(one.id for one in self.findings if one.severity in graver)


@dataclass(frozen=True)
class Case:
    """One diagnosis to make: of a base model with a defect at a strength, on pictures."""

    base: str
    defect: str
    strength: str
    images: str
    limit: int | None = None
    probes: tuple[str, ...] | None = None

    @property
    def factory(self) -> str:
        return self.base if self.defect == HEALTHY else f"{self.base}__{self.defect}__{self.strength}"


def cases(
    bases: Iterable[str], images: str, limit: int | None, kinds: Path, only: Sequence[str] = (), quick: bool = False
) -> list[Case]:
    """The healthy models first, on every kind of pictures; a collapse needs a model with a posterior.

    quick: subtle defects are shown to their own probe alone, which must find them.
    """
    found = []
    for base in bases:
        if not only or HEALTHY in only:
            found.append(Case(base, HEALTHY, IMAGES, images, limit))
            found += [Case(base, HEALTHY, kind, str(pictures.write(kind, kinds))) for kind in pictures.KINDS]
        named = [name for name, defect in zoo.DEFECTS.items() if base != "taef2" or not defect.needs_posterior]
        for strength in (zoo.PLAIN, zoo.SUBTLE):
            for name in named:
                if not only or name in only:
                    probe = zoo.DEFECTS[name].probe
                    own = (probe,) if quick and strength == zoo.SUBTLE else None
                    shown = FACES if probe == "face_loss" else images
                    found.append(Case(base, name, strength, shown, limit, own))
    return found


def examine(case: Case) -> Row:
    """One diagnosis, as the command makes it."""
    import torch

    from vaecheck.memory import keep_freed_memory
    from vaecheck.tasks.diagnose import diagnose
    from vaecheck.tasks.settings import Settings

    keep_freed_memory()  # as the command does: a model on a CPU is twice as fast with it
    torch.set_num_threads(1)
    settings = Settings(limit=case.limit, offline=True)
    with mock.patch.object(ocr, "reader", side_effect=SetupError("OCR decides no severity, and takes its time")):
        result, _ = diagnose(case.images, f"{zoo.__file__}:{case.factory}", settings, probes=case.probes)
    probe = "" if case.defect == HEALTHY else zoo.DEFECTS[case.defect].probe
    return Row(case.base, case.defect, case.strength, probe, result.findings)


def matrix(
    bases: Sequence[str],
    images: str,
    limit: int | None = None,
    only: Sequence[str] = (),
    processes: int = 2,
    quick: bool = False,
) -> list[Row]:
    """Every case, in several processes, in the order of `cases`."""
    with tempfile.TemporaryDirectory() as kinds:
        found = cases(bases, images, limit, Path(kinds), only, quick)
        if processes == 1:
            return _followed(map(examine, found), len(found))
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:  # torch's threads do not survive a fork
            return _followed(pool.map(examine, found), len(found))


def _followed(rows: Iterable[Row], count: int) -> list[Row]:
    """The rows, each told on stderr as it comes."""
    found = []
    for row in rows:
        found.append(row)
        told = "" if row.holds else f": {row.first.severity} {row.first.id}"
        print(f"{len(found)} of {count}: {_title(row)}{told}", file=sys.stderr, flush=True)
    return found


def printed(rows: Sequence[Row]) -> str:
    """The matrix as text, then what does not hold."""
    probes = list(HOMES)
    width = max(len(_title(row)) for row in rows) + 2
    head = [" " * width + " ".join(f"{probe[start : start + 3]:>3}" for probe in probes) for start in range(0, 18, 3)]
    lines = [line.rstrip() for line in head]
    for row in rows:
        severity = {one.id: LETTERS[one.severity] for one in row.findings}
        cells = [
            f"[{severity.get(probe, ' ')}]" if probe == row.probe else f" {severity.get(probe, ' ')} "
            for probe in probes
        ]
        mark = "" if row.holds else f"   first: {row.first.severity} {row.first.id}"
        lines.append(f"{_title(row):<{width}}{' '.join(cells)}{mark}".rstrip())
    return "\n".join([*lines, "", *verdict(rows)])


def verdict(rows: Sequence[Row]) -> list[str]:
    """Counts of what holds, a line for each kind and base."""
    lines = []
    for base in dict.fromkeys(row.base for row in rows):
        own = [row for row in rows if row.base == base]
        lines += [
            f"{base}, healthy, {row.strength}: {', '.join(row.accused) or 'accused of nothing'}"
            for row in own
            if row.defect == HEALTHY
        ]
        for strength in (zoo.PLAIN, zoo.SUBTLE):
            these = [row for row in own if row.strength == strength]
            if these:
                lines.append(f"{base}, {strength}: {sum(row.holds for row in these)} of {len(these)} as they must be")
    return lines


def holds(rows: Sequence[Row]) -> bool:
    """Whether the whole matrix is as it must be."""
    subtle = [row.holds for row in rows if row.strength == zoo.SUBTLE]
    rest = [row.holds for row in rows if row.strength != zoo.SUBTLE]
    return all(rest) and (not subtle or sum(subtle) >= SUBTLE_SHARE * len(subtle))


def _title(row: Row) -> str:
    return f"{row.base} {row.defect} {row.strength}".strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="?", default="samples")
    parser.add_argument("--base", choices=list(zoo.BASES), action="append")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="subtle defects for their own probe alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    bases = given.base or ["kl_f8_tiny"]
    if "taef2" in bases:
        folder: Path | None = zoo.weights_of_taef2()
        if folder is None:
            parser.error("taef2's weights are not here: set TAEF2_WEIGHTS to their folder")
        os.environ["TAEF2_WEIGHTS"] = str(folder)
    only = tuple(filter(None, given.only.split(",")))
    rows = matrix(bases, given.images, given.limit, only, given.processes, given.quick)
    print(printed(rows))
    return 0 if holds(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
