"""The page of a comparison: who wins what, by how much, at what cost, and the pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vaecheck.render import figures, tables
from vaecheck.render.figures import ABSENT
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.next_steps import of_comparison
from vaecheck.render.page import parts, pictures
from vaecheck.render.page.template import render
from vaecheck.render.titles import title_of
from vaecheck.render.verdict import Verdict, is_quality
from vaecheck.results.comparison import NO_DIFFERENCE, Comparison, Contest, Difference, Front

_SHEET_ALT = "Rows of the original and what each VAE made of it; captions are in the picture"


def comparison_page(comparison: Comparison, sheet: Image.Image | None, illustrated: Sequence[Illustration]) -> str:
    """sheet: the pictures side by side, as saved."""
    drawn = embedded(illustrated)
    context = {
        "title": tables.title(comparison),
        "subject": ", ".join(comparison.vaes),
        "verdict": verdict(comparison),
        "level_word": "",
        "facts": (tables.data_in_words(comparison),),
        "steps": of_comparison(comparison),
        "contests": _contests(comparison),
        "differences": _differences(comparison),
        "notes": [f"{name}: {reason}" for name, reason in _reasons(comparison)],
        "fronts": [{"about": front.quality, "note": front.note, "table": _front(front)} for front in comparison.fronts],
        "cards": _cards(comparison),
        "warnings": tables.warnings(comparison),
        **parts.last(comparison),
    }
    return render(
        "comparison",
        context,
        sheet=pictures.whole(sheet, "The same in full beside this page", _SHEET_ALT) if sheet is not None else None,
        drawn=drawn,
        other_drawn=[about for about in drawn if about not in {front.quality for front in comparison.fronts}],
    )


def verdict(comparison: Comparison) -> Verdict:
    """Who wins what, of the metrics that say how near a reconstruction is to its original."""
    wins: dict[str, list[str]] = {}
    for name, contest in comparison.measures.items():
        if is_quality(name):
            wins.setdefault(contest.winner, []).append(name)
    even = wins.pop(NO_DIFFERENCE, [])
    pictures_ = f"these {comparison.data.count:,} pictures" if comparison.data.count != 1 else "this picture"
    if not wins:
        return Verdict(f"No difference on {pictures_}: {', '.join(even) or 'nothing was compared'}.", "info")
    said = [f"{ref} wins in {', '.join(names)}" for ref, names in wins.items()]
    rest = f"; no difference in {', '.join(even)}" if even else ""
    return Verdict(f"On {pictures_} {'; '.join(said)}{rest}.", "good" if len(wins) == 1 else "info")


def _contests(comparison: Comparison) -> parts.Table:
    """A row for each metric and a column for each VAE."""
    rows = []
    for name, contest in comparison.measures.items():
        best = _best(contest)
        better = next((one.better for one in contest.values.values() if one.better), None)
        decided = contest.winner != NO_DIFFERENCE
        rows.append(
            (
                parts.Cell(title_of(name), below=f"{name}{f', {better} is better' if better else ''}"),
                *(parts.figure(contest.values.get(ref), "best" if ref in best else "") for ref in comparison.vaes),
                parts.Cell(contest.winner, mark="winner" if decided else ""),
            )
        )
    head = ("metric", *comparison.vaes, "winner")
    caption = "The best figure of each row is underlined; a winner beats every other by more than chance."
    return parts.Table("Metrics", caption, head, (False, *(True for _ in comparison.vaes), False), tuple(rows))


def _best(contest: Contest) -> tuple[str, ...]:
    """The REFs with the best figure; none where no direction is better or all are alike."""
    known = {ref: one for ref, one in contest.values.items() if isinstance(one.value, (int, float)) and one.better}
    if len({one.value for one in known.values()}) < 2:
        return ()
    signed = {ref: one.value * (1 if one.better == "higher" else -1) for ref, one in known.items()}  # type: ignore[operator]
    return tuple(ref for ref, value in signed.items() if value == max(signed.values()))


def _differences(comparison: Comparison) -> parts.Table | None:
    rows = tuple(
        _difference(name, contest, one) for name, contest in comparison.measures.items() for one in contest.differences
    )
    if not rows:
        return None
    head = ("metric", "first less second", "difference", "95 % interval", "p, Holm", "pictures")
    return parts.Table(
        "Differences",
        "Of the same pictures, one by one. An interval without 0 is a difference; p is of no difference, after "
        "Holm's correction for all rows.",
        head,
        (False, False, True, True, True, True),
        rows,
    )


def _difference(name: str, contest: Contest, one: Difference) -> tuple[parts.Cell, ...]:
    unit = next((measure.unit for measure in contest.values.values() if measure.unit not in ("", "1")), "")
    decided = one.ci95 is not None and not one.ci95[0] <= 0 <= one.ci95[1]
    interval = " to ".join(figures.number(bound, one.ci95) for bound in one.ci95) if one.ci95 else one.reason or ABSENT
    value = ABSENT if one.value is None else figures.number(one.value, one.ci95)
    return (
        parts.Cell(name),
        parts.Cell(f"{one.a} less {one.b}"),
        parts.Cell(value, one.value, unit, "winner" if decided else ""),
        parts.Cell(interval, one.ci95[0] if one.ci95 else None),
        parts.Cell(ABSENT if one.p_holm is None else figures.number(one.p_holm, significant=2), one.p_holm),
        parts.Cell(f"{one.n:,}" if one.n else ABSENT, one.n),
    )


def _reasons(comparison: Comparison) -> list[tuple[str, str]]:
    """Why figures are unreliable or absent, once for each reason."""
    found: dict[str, list[str]] = {}
    for name, contest in comparison.measures.items():
        for ref, one in contest.values.items():
            if one.status != "ok":
                found.setdefault(one.reason, []).append(f"{name} of {ref} {one.status}")
    return [(", ".join(names), reason) for reason, names in found.items()]


def _front(front: Front) -> parts.Table:
    axes = [front.quality, *(axis for axis in front.axes if axis != front.quality)]
    rows = tuple(
        (
            parts.Cell(ref, mark="winner" if ref in front.front else ""),
            *(_amount(point.get(axis)) for axis in axes),
            parts.Cell(
                "on the front" if ref in front.front else f"beaten by {', '.join(front.beaten_by.get(ref, ()))}"
            ),
        )
        for ref, point in front.points.items()
    )
    head = ("VAE", *(f"{title_of(axis)}, {front.axes.get(axis, '')}".rstrip(", ") for axis in axes), "in all")
    return parts.Table(
        f"{title_of(front.quality)} against what it costs", "", head, (False, *(True for _ in axes), False), rows
    )


def _amount(amount: float | None) -> parts.Cell:
    return parts.Cell(ABSENT if amount is None else figures.number(amount), amount)


def _cards(comparison: Comparison) -> parts.Table:
    rows = tuple(
        (
            parts.Cell(ref, below=card.class_name),
            parts.Cell(f"f{card.f}", card.f),
            parts.Cell(str(card.latent_channels), card.latent_channels),
            parts.Cell(ABSENT if card.parameters is None else f"{card.parameters:,}", card.parameters),
            parts.Cell(card.dtype),
            parts.Cell(tables.shipped_in_words(card.scaling)),
            parts.Cell(comparison.sources.get(ref) or card.ref),
        )
        for ref, card in comparison.vaes.items()
    )
    head = ("VAE", "f", "channels", "parameters", "dtype", "scaling", "from")
    return parts.Table("The VAEs", "", head, (False, True, True, True, False, False, False), rows)
