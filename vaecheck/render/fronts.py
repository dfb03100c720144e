"""Quality against cost as plots, derived from a comparison's fronts: one mark for each VAE.

Why one cost a plot: of three axes on paper two can be read. The first cost in which the VAEs differ is drawn, and the
table beside it has them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vaecheck.render.titles import title_of
from vaecheck.results.comparison import Front
from vaecheck.results.types import Line, Plot

MOST = 4
"""Plots of one comparison."""
ALIKE = 1.1
"""Costs within this factor of each other are one place on the axis."""

_COSTS: Mapping[str, str] = {
    "latent_values": "values in the latents of one picture",
    "seconds_per_image": "seconds to encode and decode one picture",
    "sec_25": "spectral energy above a quarter (sec_25), lower is easier to learn",
}


def front_plots(fronts: Sequence[Front]) -> tuple[Plot, ...]:
    """One for each metric in which two VAEs of different cost have a figure."""
    drawn = [plot for front in fronts if (plot := _plot(front)) is not None]
    return tuple(drawn[:MOST])


def _plot(front: Front) -> Plot | None:
    for axis in front.axes:
        points = {
            ref: (float(cost), float(quality))
            for ref, point in front.points.items()
            if (cost := point.get(axis)) is not None and (quality := point.get(front.quality)) is not None
        }
        costs = [cost for cost, _ in points.values()]
        if axis != front.quality and len(points) > 1 and min(costs) > 0 and max(costs) > ALIKE * min(costs):
            return _drawn(front, axis, points)
    return None


def _drawn(front: Front, axis: str, points: Mapping[str, tuple[float, float]]) -> Plot:
    better = front.axes.get(front.quality, "")
    return Plot(
        f"front_{front.quality}",
        front.quality,
        "lines",
        f"{title_of(front.quality)} against its cost",
        _COSTS.get(axis, title_of(axis)),
        f"{title_of(front.quality)}{f', {better} is better' if better else ''}",
        tuple(
            Line(f"{ref}{', on the front' if ref in front.front else ''}", (cost,), (quality,))
            for ref, (cost, quality) in points.items()
        ),
        note="What is on the front is beaten by no other in this metric at no higher cost, beyond chance.",
    )
