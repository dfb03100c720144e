"""Who wins what: paired differences of several VAEs, judged together.

Why one family: Holm's correction runs over every judged difference of the document, all pairs in all metrics that have
a better direction. The chance that a whole comparison names any false winner is then at most ALPHA, however many VAEs
and metrics it has; with a correction for each metric alone it would grow with their number. The price is power: what
is a winner among two VAEs may be none among six.

Why 0.01 and not 0.05: equals should have a winner in at most 5 of 100 comparisons, and a level of 0.05 keeps that only
on average. Of the 100 comparisons of tests/tasks/test_compare.py (two samples of one wide posterior, 16 pictures, three
metrics) 9 had a winner at 0.05, 6 at 0.02 and 5 at 0.01, an unlucky draw; of 572 more, in two metrics, 34 at 0.05 and
16 at 0.02.

Why p and interval both: Student's t, which gives p, trusts in means that are near to normal; the bootstrap does not.
A winner satisfies both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from vaecheck.metrics.paired import holm, paired_differences
from vaecheck.results.comparison import NO_DIFFERENCE, Contest, Difference, better_of
from vaecheck.results.types import Measure, Result


def contests(results: Mapping[str, Result]) -> dict[str, Contest]:
    """By metric, for all that any result has: the values, the difference of every pair, and the winner.

    results: by REF, of the same pictures. A winner of an unreliable measure is one too; the status is in its values.
    """
    names = list(dict.fromkeys(name for result in results.values() for name in result.measures))
    values = {
        name: {ref: result.measures[name] for ref, result in results.items() if name in result.measures}
        for name in names
    }
    found = {name: differences for name, differences in _differences(results).items() if differences}
    judged = _judged(found, values)
    return {
        name: Contest(values[name], tuple(judged.get(name, ())), _winner(judged.get(name, ()), values[name], results))
        for name in names
    }


def _differences(results: Mapping[str, Result]) -> dict[str, list[Difference]]:
    found: dict[str, list[Difference]] = {}
    for (a, of_a), (b, of_b) in combinations(results.items(), 2):
        for name, one in paired_differences(of_a, of_b).items():
            found.setdefault(name, []).append(Difference(a, b, one.value, one.ci95, one.n, one.p, reason=one.reason))
    return found


def _judged(
    found: Mapping[str, Sequence[Difference]], values: Mapping[str, Mapping[str, Measure]]
) -> dict[str, list[Difference]]:
    """The same with p after Holm's correction, where the metric has a better direction and the difference a p."""
    judged = {name: list(differences) for name, differences in found.items()}
    places = [
        (name, place, difference.p)
        for name, differences in judged.items()
        for place, difference in enumerate(differences)
        if better_of(values[name]) is not None and difference.p is not None
    ]
    for (name, place, _), adjusted in zip(places, holm([p for _, _, p in places]), strict=True):
        judged[name][place] = replace(judged[name][place], p_holm=adjusted)
    return judged


def _winner(differences: Sequence[Difference], values: Mapping[str, Measure], refs: Mapping[str, Result]) -> str:
    """The REF that beats every other; one without a figure is beaten by none."""
    better = better_of(values)
    wins = [difference.winner(better) for difference in differences]
    return next((ref for ref in refs if wins.count(ref) == len(refs) - 1), NO_DIFFERENCE)
