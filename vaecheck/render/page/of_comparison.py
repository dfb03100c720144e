"""The page of a comparison: who wins what, by how much, at what cost, and the pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vaecheck.render import contests, tables
from vaecheck.render.figures import ABSENT
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.next_steps import of_comparison
from vaecheck.render.page import parts, pictures
from vaecheck.render.page.template import render
from vaecheck.render.titles import title_of
from vaecheck.render.verdict import is_quality
from vaecheck.results.comparison import NO_DIFFERENCE, Comparison, Contest, Difference, SideBySide

_SHEET = "The same in full is grid.png, beside this page."
_WINDOWS = "grid.png, beside this page, has the windows of the largest difference, enlarged."
_SHEET_ALT = (
    "Rows of the original and what each VAE made of it, and the window where they differ most; captions are in it"
)
_MARKS = "The best figure of a row is underlined; a winner beats every other by more than chance."
_DIFFERENCES = f"Of the same pictures, one by one. {contests.BEYOND_CHANCE}"


def comparison_page(
    comparison: Comparison,
    shown: Sequence[SideBySide],
    saved: Image.Image | None,
    illustrated: Sequence[Illustration],
) -> str:
    """shown: the pictures on which the VAEs differ most. saved: the sheet of them, for want of themselves."""
    gathered = pictures.of_several(shown)
    sheet = pictures.whole(saved, _SHEET, _SHEET_ALT) if saved is not None and not shown else None
    drawn = embedded(illustrated, gathered.bytes + (sheet.bytes if sheet else 0))
    about_fronts = {front.quality for front in comparison.fronts}
    context = {
        "title": tables.title(comparison),
        "subject": ", ".join(comparison.sources),
        "verdict": contests.verdict(comparison),
        "level_word": "",
        "facts": (tables.data_in_words(comparison),),
        "steps": of_comparison(comparison),
        "quality": _contests(comparison, "Metrics", [name for name in comparison.measures if is_quality(name)]),
        "others": _contests(
            comparison, "Latents and speed", [name for name in comparison.measures if not is_quality(name)]
        ),
        "differences": _differences(comparison),
        "notes": contests.notes(comparison),
        "pictures_note": f"{gathered.note} {_WINDOWS}",
        "pareto": _pareto(comparison),
        "cards": _cards(comparison),
        "warnings": tables.warnings(comparison),
        **parts.last(comparison),
    }
    return render(
        "comparison",
        context,
        versions=gathered.versions,
        sheet=sheet,
        drawn=drawn,
        fronts_drawn=[about for about in drawn if about in about_fronts],
        other_drawn=[about for about in drawn if about not in about_fronts],
    )


def _contests(comparison: Comparison, title: str, names: Sequence[str]) -> parts.Table | None:
    """A row for each metric, a column for each VAE, and the winner where there is one to have."""
    if not names:
        return None
    judged = any(is_quality(name) for name in names)
    rows = []
    for name in names:
        contest = comparison.measures[name]
        best = contests.best(contest) if judged else ()
        compared = any(one.p_holm is not None for one in contest.differences)
        winner = parts.Cell(
            contest.winner if compared else ABSENT, mark="winner" if contest.winner != NO_DIFFERENCE else ""
        )
        rows.append(
            (
                parts.Cell(title_of(name), below=f"{name}{f', {contest.better} is better' if contest.better else ''}"),
                *(parts.figure(contest.values.get(ref), "best" if ref in best else "") for ref in comparison.sources),
                *([winner] if judged else []),
            )
        )
    head = ("metric", *comparison.sources, *(["winner"] if judged else []))
    numbers = (False, *(True for _ in comparison.sources), *([False] if judged else []))
    return parts.Table(title, _MARKS if judged else "", head, numbers, tuple(rows))


def _differences(comparison: Comparison) -> parts.Table | None:
    rows = tuple(
        _difference(name, contest, one)
        for name, contest in comparison.measures.items()
        for one in contest.differences
        if is_quality(name)
    )
    if not rows:
        return None
    head = ("metric", "pair", "difference", "95 % interval", "p", "pictures")
    return parts.Table("Differences", _DIFFERENCES, head, (False, False, True, True, True, True), rows)


def _difference(name: str, contest: Contest, one: Difference) -> tuple[parts.Cell, ...]:
    unit = next((measure.unit for measure in contest.values.values() if measure.unit not in ("", "1")), "")
    row = contests.difference(name, contest, one)
    return (
        parts.Cell(title_of(name), below=name),
        parts.Cell(f"{one.a} less {one.b}"),
        parts.Cell(row.value, one.value, unit if one.value is not None else "", "winner" if one.decided else ""),
        parts.Cell(row.interval, one.ci95[0] if one.ci95 else None),
        parts.Cell(row.p, one.p_holm, "beyond chance" if one.decided else ""),
        parts.Cell(f"{one.n:,}" if one.n else ABSENT, one.n or None),
    )


def _pareto(comparison: Comparison) -> dict[str, object] | None:
    """Costs by VAE and where others beat it, and what was left out."""
    found = contests.pareto(comparison, {ref: ref for ref in comparison.sources})
    if found is None:
        return None
    numbers = (False, *(True for _ in found.head[1:-2]), False, False)
    caption = "A VAE is on the front of a metric where no other is as good in it and in every cost, and better in one."
    rows = tuple(tuple(parts.Cell(text) for text in row) for row in found.rows)
    table = parts.Table("Quality against cost", caption, found.head, numbers, rows)
    return {"table": table, "left_out": found.left_out}


def _cards(comparison: Comparison) -> parts.Table:
    rows = tuple(_card(ref, source, comparison) for ref, source in comparison.sources.items())
    head = ("VAE", "f", "channels", "parameters", "dtype", "scaling", "from")
    return parts.Table("The VAEs", "", head, (False, True, True, True, False, False, False), rows)


def _card(ref: str, source: str, comparison: Comparison) -> tuple[parts.Cell, ...]:
    """A saved score has no VAE."""
    card = comparison.vaes.get(ref)
    if card is None:
        return (parts.Cell(ref), *(parts.Cell(ABSENT) for _ in range(5)), parts.Cell(source or ABSENT))
    return (
        parts.Cell(ref, below=card.class_name),
        parts.Cell(f"f{card.f}", card.f),
        parts.Cell(str(card.latent_channels), card.latent_channels),
        parts.Cell(ABSENT if card.parameters is None else f"{card.parameters:,}", card.parameters),
        parts.Cell(card.dtype),
        parts.Cell(tables.shipped_in_words(card.scaling)),
        parts.Cell(f"saved in {source}" if source else "this run"),
    )
