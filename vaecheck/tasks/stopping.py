"""When a training has stopped improving, and which of its checkpoints is the best: rules over a history.

Why a metric is compared with its best so far, and not with the checkpoint before: a slow gain, each step of it too
small to be told from chance, adds up until it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vaecheck.results.history import Evaluation

IsBetter = Callable[[str, Evaluation, Evaluation], bool]
"""Whether, by this metric, the first is better than the second by more than chance."""


@dataclass(frozen=True)
class Stopping:
    """improved: by metric, the steps at which it was better than ever before, the first one too.

    since: by metric, how many evaluations have brought no gain since the last of them. stopped: of the metrics that
    have gone `patience` evaluations without, the step since when. stop: whether all of them have.
    """

    improved: Mapping[str, tuple[int, ...]]
    since: Mapping[str, int]
    stopped: Mapping[str, int]
    stop: bool


def stopping(evaluations: Sequence[Evaluation], metrics: Sequence[str], patience: int, is_better: IsBetter) -> Stopping:
    """The rule. evaluations: in the order of steps. patience: 0 never stops.

    A checkpoint that was evaluated and has no figure, as of NaN, brings no gain; one that could not be evaluated does
    not count.
    """
    improved: dict[str, tuple[int, ...]] = {}
    since: dict[str, int] = {}
    evaluated = [one for one in evaluations if not one.problem]
    for metric in metrics:
        best: Evaluation | None = None
        for one in evaluated:
            if figure(one, metric) is not None and (best is None or is_better(metric, one, best)):
                best = one
                improved[metric] = (*improved.get(metric, ()), one.step)
                since[metric] = 0
            elif best is not None:
                since[metric] += 1
    stopped = {metric: improved[metric][-1] for metric, count in since.items() if patience and count >= patience}
    return Stopping(improved, since, stopped, bool(metrics) and len(stopped) == len(metrics))


def relatively_better(min_delta: float) -> IsBetter:
    """Better by more than this share of the other's figure."""

    def is_better(metric: str, one: Evaluation, other: Evaluation) -> bool:
        return gain(metric, one, other) > min_delta * abs(_known(other, metric))

    return is_better


def gain(metric: str, one: Evaluation, other: Evaluation) -> float:
    """By how much the first is better than the second; negative where it is worse."""
    difference = _known(one, metric) - _known(other, metric)
    return difference if one.measures[metric].better == "higher" else -difference


def figure(evaluation: Evaluation, metric: str) -> float | None:
    """Its value by a metric that has a better direction; None without."""
    measure = evaluation.measures.get(metric)
    if measure is None or measure.better is None or not isinstance(measure.value, (int, float)):
        return None
    return float(measure.value)


def _known(evaluation: Evaluation, metric: str) -> float:
    value = figure(evaluation, metric)
    if value is None:
        raise ValueError(f"{evaluation.name} has no {metric}")
    return value


def best_by_metric(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """By metric the checkpoint with the best figure; of equal ones the first."""
    best: dict[str, Evaluation] = {}
    for one in evaluations:
        for metric in one.measures:
            if figure(one, metric) is not None and (metric not in best or gain(metric, one, best[metric]) > 0):
                best[metric] = one
    return best


def best_overall(
    evaluations: Sequence[Evaluation], metrics: Sequence[str], is_better: IsBetter
) -> tuple[Evaluation | None, str]:
    """The checkpoint to take, and why, in words.

    Of those that are no worse than the best by the first metric, those that are no worse than the best of them by the
    next, and so on; and of what is left the one with the best figure by the first. No worse: by no more than chance.
    One that lacks a figure is left out.
    """
    known = [one for one in evaluations if metrics and all(figure(one, metric) is not None for metric in metrics)]
    if not known:
        return None, ""
    left = known
    for metric in metrics:
        left = _as_good_as_the_best(left, metric, is_better)
    best = best_by_metric(left)[metrics[0]]
    return best, ", ".join(_standing(best, known, metric, is_better) for metric in metrics)


def _as_good_as_the_best(among: Sequence[Evaluation], metric: str, is_better: IsBetter) -> list[Evaluation]:
    best = best_by_metric(among)[metric]
    return [one for one in among if one is best or not is_better(metric, best, one)]


def _standing(one: Evaluation, among: Sequence[Evaluation], metric: str, is_better: IsBetter) -> str:
    best = best_by_metric(among)[metric]
    if best is one:
        return f"best in {metric}"
    return f"worse than {best.name} in {metric}" if is_better(metric, best, one) else f"as good as the best in {metric}"
