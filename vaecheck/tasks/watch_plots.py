"""Every metric of a watch against the step, as numbers."""

from __future__ import annotations

from vaecheck.results.history import History
from vaecheck.results.types import Line, Measure, Plot


def plots(history: History) -> tuple[Plot, ...]:
    """One plot for each metric with a figure, those that decide first: the value, its 95 % interval, the best step."""
    stop_on = tuple(history.settings.get("stop_on", ()))
    names = dict.fromkeys((*stop_on, *(name for one in history.evaluations for name in one.measures)))
    drawn = (_plot(history, name, name in stop_on) for name in names)
    return tuple(plot for plot in drawn if plot is not None)


def _plot(history: History, name: str, decides: bool) -> Plot | None:
    points = [
        (float(one.step), one.measures[name])
        for one in history.evaluations
        if name in one.measures and isinstance(one.measures[name].value, (int, float))
    ]
    if not points:
        return None
    measure = points[-1][1]
    bounded = [(step, one.ci95) for step, one in points if one.ci95 is not None]
    steps = tuple(step for step, _ in bounded)
    lines = [Line(name, tuple(step for step, _ in points), tuple(_value(one) for _, one in points))]
    if bounded:
        lines += [
            Line("95 % interval from", steps, tuple(ci95[0] for _, ci95 in bounded)),
            Line("95 % interval to", steps, tuple(ci95[1] for _, ci95 in bounded)),
        ]
    marks = {}
    for one in history.evaluations:
        if one.name == history.best.get(name):
            marks[f"best: step {one.step}"] = float(one.step)
    better = f"{measure.better.capitalize()} is better." if measure.better else "Neither direction is better."
    role = " It decides when to stop." if decides else ""
    if decides and name in history.stopped:
        role = f" It decides when to stop, and has not improved since step {history.stopped[name]}."
    unit = f", {measure.unit}" if measure.unit not in ("", "1") else ""
    return Plot(
        name,
        name,
        "lines",
        f"{name} by checkpoint",
        "step",
        f"{name}{unit}",
        tuple(lines),
        note=better + role,
        marks=marks,
    )


def _value(measure: Measure) -> float:
    assert isinstance(measure.value, (int, float))
    return float(measure.value)
