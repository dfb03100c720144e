"""The worst pictures by each metric, as a table: a saved result has their figures when its pictures are gone.

Why several metrics: PSNR hardly sees a face that lost its eyes, and LPIPS hardly sees a wrong tone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.render.page.parts import Cell, Table
from vaecheck.render.titles import title_of
from vaecheck.results.types import PerImage, Result

WORST = 5
"""By each metric."""
MOST = 40
"""Rows of the table."""
FEWEST = 2
_PLACES = ("worst", "2nd worst", "3rd worst")


def worst_pictures(result: Result) -> Table | None:
    """A row for every picture that is among the worst by some metric; None for fewer than two pictures with figures."""
    found = result.per_image
    names = [name for name in found.columns if name in result.measures and result.measures[name].better]
    places = {name: _places(found, name, lower=result.measures[name].better == "lower") for name in names}
    chosen = _chosen(places)
    if len(chosen) < FEWEST:
        return None
    texts = {name: _texts([found.columns[name][at] for at in chosen]) for name in names}
    rows = tuple(
        (
            Cell(found.ids[at]),
            *(_cell(texts[name][row], found.columns[name][at], places[name].get(at)) for name in names),
        )
        for row, at in enumerate(chosen)
    )
    return Table(
        "The worst pictures by each metric",
        f"The worst by each metric, of {figures.count(len(found.ids), 'picture')}; all of them are in per_image.csv.",
        ("picture", *(title_of(name) for name in names)),
        (False, *(True for _ in names)),
        rows,
    )


def _places(found: PerImage, name: str, *, lower: bool) -> dict[int, int]:
    """Where the worst stand among the pictures, and each one's rank from 0; by id where figures are equal.

    None where all figures are.
    """
    known = [
        (-value if lower else value, image_id, at)
        for at, (image_id, value) in enumerate(zip(found.ids, found.columns[name], strict=True))
        if value is not None
    ]
    if len({value for value, _, _ in known}) < FEWEST:
        return {}
    return {at: rank for rank, (_, _, at) in enumerate(sorted(known)[:WORST])}


def _chosen(places: Mapping[str, Mapping[int, int]]) -> list[int]:
    """Those that are the worst by some metric first."""
    ranks: dict[int, list[int]] = {}
    for ranked in places.values():
        for at, rank in ranked.items():
            ranks.setdefault(at, []).append(rank)
    return sorted(ranks, key=lambda at: (min(ranks[at]), -len(ranks[at]), at))[:MOST]


def _texts(values: Sequence[float | None]) -> list[str]:
    """With the same decimals."""
    aligned = iter(figures.aligned([value for value in values if value is not None]))
    return [ABSENT if value is None else next(aligned) for value in values]


def _cell(text: str, value: float | None, rank: int | None) -> Cell:
    if rank is None:
        return Cell(text, value)
    return Cell(text, value, _PLACES[rank] if rank < len(_PLACES) else f"{rank + 1}th worst", "worst")
