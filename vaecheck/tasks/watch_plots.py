"""Every metric of a watch against the step, as numbers."""

from __future__ import annotations

from vaecheck.results.history import History
from vaecheck.results.types import Line, Measure, Plot

BAND = (
    " The band is the 95 % interval over pictures; two checkpoints are told apart picture by picture, which is finer."
)


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
    values = tuple(_value(one) for _, one in points)
    bounds = [one.ci95 or (value, value) for (_, one), value in zip(points, values, strict=True)]
    low, high = zip(*bounds, strict=True)
    line = Line("", tuple(step for step, _ in points), values, low, high)
    best = history.best.get(name)
    marks = {f"best: step {one.step}": float(one.step) for one in history.evaluations if one.name == best}
    better = f"{measure.better.capitalize()} is better." if measure.better else "Neither direction is better."
    role = " It decides when to stop." if decides else ""
    if decides and name in history.stopped:
        role = f" It decides when to stop, and has not gained more than chance since step {history.stopped[name]}."
    band = BAND if any(one.ci95 for _, one in points) else ""
    unit = f", {measure.unit}" if measure.unit not in ("", "1") else ""
    return Plot(
        name,
        name,
        "lines",
        f"{name} by checkpoint",
        "step",
        f"{name}{unit}",
        (line,),
        note=better + role + band,
        marks=marks,
    )


def _value(measure: Measure) -> float:
    assert isinstance(measure.value, (int, float))
    return float(measure.value)
