"""A comparison as rows of text, before any form: figures by VAE, differences of pairs, and who is on the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.render.verdict import Verdict, is_quality
from vaecheck.results.comparison import ALPHA, NO_DIFFERENCE, Comparison, Contest, Difference
from vaecheck.results.types import Measure

_AXES = {"latent_values": ("latent values", 1), "seconds_per_image": ("ms/picture", 1000), "sec_25": ("sec_25", 1)}
"""What an axis is called, and in what unit, as a factor."""
BEST, UNRELIABLE = "*", "~"
MARKS = f"{BEST} best figure, {UNRELIABLE} unreliable, see the notes"
BEYOND_CHANCE = (
    f"A difference is beyond chance where its interval leaves out 0 and p is below {ALPHA}. p: how often chance "
    "alone shows as large a difference, after Holm's correction for all differences."
)


@dataclass(frozen=True)
class ContestRow:
    """One metric. values: of every VAE, marked; winner: a REF, "no difference", or empty where none is judged."""

    name: str
    better: str
    values: tuple[str, ...]
    winner: str


@dataclass(frozen=True)
class DifferenceRow:
    """a's figure less b's. p: after Holm's correction. better: who it is, beyond chance; "-" where none is."""

    name: str
    a: str
    b: str
    value: str
    interval: str
    p: str
    better: str


@dataclass(frozen=True)
class Pareto:
    """head and rows: VAE, its costs, on how many fronts of quality against cost it is, in what it is beaten by whom."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]


def verdict(comparison: Comparison) -> Verdict:
    """Who wins what, of the metrics that say how near a reconstruction is to its original, and who is behind."""
    count = comparison.data.count
    pictures = f"these {count:,} pictures" if count != 1 else "this picture"
    judged = {
        name: contest
        for name, contest in comparison.measures.items()
        if is_quality(name) and any(one.p_holm is not None for one in contest.differences)
    }
    if not any(map(is_quality, comparison.measures)):
        return Verdict(f"Figures of the latents on {pictures}, side by side: there is no winner among latents.", "info")
    if not judged:
        return Verdict(f"Nothing could be compared on {pictures}; see the notes.", "caution")
    wins: dict[str, list[str]] = {}
    for name, contest in judged.items():
        wins.setdefault(contest.winner, []).append(name)
    even = wins.pop(NO_DIFFERENCE, [])
    said = [f"{ref} wins in {', '.join(names)}" for ref, names in wins.items()]
    behind = _behind({name: judged[name] for name in even})
    if not wins and not behind:
        return Verdict(f"No difference on {pictures}: {', '.join(even)}.", "info")
    if even and not behind:
        said.append(f"no difference in {', '.join(even)}")
    elif even:
        said.append(f"no winner in {', '.join(even)}, but {'; '.join(behind)}")
    shaky = [name for name, one in judged.items() if any(each.status != "ok" for each in one.values.values())]
    last = f" Not to be relied on by themselves: {', '.join(shaky)} (see the notes)." if shaky else ""
    return Verdict(f"On {pictures} {'; '.join(said)}.{last}", "good" if len(wins) == 1 else "info")


def _behind(contests: Mapping[str, Contest]) -> list[str]:
    """Of metrics that none wins, who loses against others all the same: "C loses in psnr_db, ssim"."""
    losses: dict[str, list[str]] = {}
    for name, contest in contests.items():
        for one in contest.differences:
            if better := one.winner(contest.better):
                loser = one.b if better == one.a else one.a
                losses.setdefault(loser, []).append(name)
    together: dict[str, list[str]] = {}
    for ref, names in losses.items():
        together.setdefault(", ".join(dict.fromkeys(names)), []).append(ref)
    return [f"{_listed(refs)} {'loses' if len(refs) == 1 else 'lose'} to others in {n}" for n, refs in together.items()]


def _listed(refs: Sequence[str]) -> str:
    return " and ".join([", ".join(refs[:-1]), refs[-1]] if len(refs) > 1 else refs)


def sections(comparison: Comparison) -> dict[str, tuple[ContestRow, ...]]:
    """Quality first, then what has no winner: latents and speed."""
    themes: dict[str, list[ContestRow]] = {"Original against reconstruction": [], "Latents and speed": []}
    quality, rest = themes
    for name, contest in comparison.measures.items():
        themes[quality if is_quality(name) else rest].append(_row(name, contest, list(comparison.sources)))
    return {theme: tuple(rows) for theme, rows in themes.items() if rows}


def differences(comparison: Comparison, *, of_the_best: bool = False) -> tuple[DifferenceRow, ...]:
    """Of every judged pair; of_the_best: only of each metric's best figure against the others, which decide.

    Of figures that are all alike the first stands for the best.
    """
    rows = []
    for name, contest in comparison.measures.items():
        leader = (*best(contest), *contest.values)[0]
        for one in contest.differences:
            decides = not of_the_best or leader in (one.a, one.b)
            if is_quality(name) and decides:
                rows.append(difference(name, contest, one))
    return tuple(rows)


def best(contest: Contest) -> tuple[str, ...]:
    """The REFs with the best figure; none where no direction is better or all are alike."""
    known = {ref: float(one.value) for ref, one in contest.values.items() if isinstance(one.value, (int, float))}
    if not contest.better or len(set(known.values())) < 2:
        return ()
    top = (max if contest.better == "higher" else min)(known.values())
    return tuple(ref for ref, value in known.items() if value == top)


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Why figures are not to be relied on or not there, and why differences have no interval, each once."""
    found: dict[str, list[str]] = {}
    for name, contest in comparison.measures.items():
        for ref, measure in contest.values.items():
            if measure.status != "ok":
                found.setdefault(f"{measure.status}, {measure.reason}", []).append(f"{name} of {ref}")
        for one in contest.differences:
            if one.reason and is_quality(name):
                found.setdefault(one.reason, []).append(f"{name}, {one.a} less {one.b}")
    names = {name: len(contest.values) for name, contest in comparison.measures.items()}
    return tuple(f"{_subjects(subjects, names)}: {reason}" for reason, subjects in found.items())


def pareto(comparison: Comparison, label: Mapping[str, str]) -> Pareto | None:
    """The costs of every VAE, on how many fronts it is, and where others beat it. label: what each is called."""
    if not comparison.fronts:
        return None
    axes = [axis for axis in comparison.fronts[0].axes if axis != comparison.fronts[0].quality]
    rows = []
    for ref in comparison.sources:
        mine = [front for front in comparison.fronts if ref in front.points]
        if not mine:
            continue
        on = sum(ref in front.front for front in mine)
        by: dict[str, list[str]] = {}
        for front in mine:
            if others := front.beaten_by.get(ref):
                by.setdefault(", ".join(label[other] for other in others), []).append(front.quality)
        beaten = "; ".join(f"{', '.join(names)} (by {others})" for others, names in by.items())
        costs = [_amount(mine[0].points[ref].get(axis), _AXES[axis][1]) for axis in axes]
        rows.append((label[ref], *costs, f"{on} of {len(mine)}", beaten or ABSENT))
    left_out = dict.fromkeys(note for front in comparison.fronts for note in front.note.split("; ") if note)
    head = ("VAE", *(_AXES[axis][0] for axis in axes), "on fronts", "beaten in")
    return Pareto(head, tuple(rows), tuple(left_out))


def _row(name: str, contest: Contest, refs: Sequence[str]) -> ContestRow:
    leading = best(contest)
    cells = tuple(_cell(contest.values.get(ref), ref in leading and is_quality(name)) for ref in refs)
    judged = any(one.p_holm is not None for one in contest.differences)
    return ContestRow(name, contest.better or "", cells, contest.winner if judged else "")


def _cell(measure: Measure | None, leads: bool) -> str:
    if measure is None:
        return ABSENT
    if measure.value is None:
        return ABSENT if measure.status == "ok" else measure.status
    return f"{figures.value(measure)}{UNRELIABLE * (measure.status == 'unreliable')}{BEST * leads}"


def difference(name: str, contest: Contest, one: Difference) -> DifferenceRow:
    interval = " to ".join(figures.number(bound, one.ci95) for bound in one.ci95) if one.ci95 else ABSENT
    value = ABSENT if one.value is None else figures.number(one.value, one.ci95)
    p = ABSENT if one.p_holm is None else ("< 0.0001" if one.p_holm < 1e-4 else f"{one.p_holm:.2g}")
    return DifferenceRow(name, one.a, one.b, value, interval, p, one.winner(contest.better) or ABSENT)


def _amount(amount: float | None, factor: int) -> str:
    if amount is None:
        return ABSENT
    amount *= factor
    return f"{amount:,.0f}" if amount == round(amount) else figures.number(amount, significant=3)


def _subjects(subjects: Sequence[str], names: Mapping[str, int]) -> str:
    """ "rfid of A, rfid of B" as "rfid" where there are no others."""
    by_name: dict[str, list[str]] = {}
    for subject in subjects:
        name, _, ref = subject.partition(" of ")
        by_name.setdefault(name, []).append(ref)
    whole = [name if len(refs) == names.get(name) else f"{name} of {', '.join(refs)}" for name, refs in by_name.items()]
    return ", ".join(dict.fromkeys(text.removesuffix(" of ") for text in whole))
