"""Plots drawn from their numbers, to be read in black and white, by colour-blind people and on a telephone.

Why dashes, markers and hatches beside colour: colour alone tells curves apart only on a screen and only for some.

Why a signed matrix is dark at both ends and hatched where it is negative: a correlation of -0.9 matters as much as one
of 0.9, and in grey print two dark ends look alike. A matrix of one sign has a map whose lightness only falls.

Why Figure and never pyplot: pyplot keeps figures and settings for the whole process, which is the user's.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaecheck.render.contact_sheet import drawable
from vaecheck.render.printable import shortened
from vaecheck.results.types import Line, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 130
WIDTH = 7.2
HEIGHT = 3.6
"""Inches, of the axes without legend."""

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito, Color Universal Design (2008), without yellow, which white paper swallows."""
DASHES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 2.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "oooo")
FILLS = ("#9ecae9", "#f2f2f2", "#fdc086", "#bfbfbf", "#b3e2cd", "#e6c9dd", "#ffffff", "#d9d9d9")
NAMED = {"red": ("#D55E00", "#f4a582"), "green": ("#009E73", "#b3e2cd"), "blue": ("#0072B2", "#9ecae9")}
"""Curves and bars of the colours that pictures have: a blue bar called red would be read wrongly."""
INK = "#18181b"
FEW_PLACES = 10
LONGEST_TICK = 6
"""Places on the x axis that each have their own figure below, and the most letters of one."""
MOST_HATCHED = 300
"""Bars with hatches: more are too thin to show any."""
SIGNED = ("#6a4ca0", "#f7f7f7", "#b35806")
"""From the most negative through 0 to the most positive: about one lightness at both ends."""
HATCHED_FROM = 0.1
"""Share of the largest magnitude."""
MARKERS_A_LINE = 12
LARGEST_ANNOTATED, LARGEST_HATCHED = 10, 64
"""Sides of the largest matrix whose cells have their numbers, and whose negative cells are hatched one by one."""

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#d4d4d8",
    "axes.axisbelow": True,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
}
_Array = NDArray[np.float64]


def draw(plot: Plot) -> Image.Image:
    """The plot as an RGB picture, 936 pixels wide, without its note; the same bytes for the same numbers.

    Points that a logarithmic axis cannot hold are left out (`left_out` says how many). A plot without any figure says
    that it has none.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of layouts too tight for a long label: it is drawn as well as it can be
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
        _head(axes, plot)
        _DRAWN[plot.kind](figure, axes, plot)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        return Image.open(drawn).convert("RGB")


def left_out(plot: Plot) -> str:
    """How many points a logarithmic axis cannot hold, as a sentence; empty where it holds all."""
    if plot.kind == "matrix":
        return ""
    count = sum(len(line.x) - len(_kept(line, plot)[0]) for line in plot.lines)
    points = "1 point of 0 or less is" if count == 1 else f"{count:,} points of 0 or less are"
    return f"{points} left out: a logarithmic axis has no place for them." if count else ""


def _head(axes: Axes, plot: Plot) -> None:
    axes.set_title(textwrap.fill(drawable(plot.title), 62), loc="left")
    axes.set_xlabel(textwrap.fill(drawable(plot.x_label), 70))
    axes.set_ylabel(textwrap.fill(drawable(plot.y_label), 36))


def _lines(figure: Figure, axes: Axes, plot: Plot) -> None:
    drawn = [(line, *_kept(line, plot)) for line in plot.lines]
    if not any(len(x) for _, x, _ in drawn):
        _nothing(axes)
        return
    handles = []
    for place, (line, x, y) in enumerate(drawn):
        every = max(1, len(x) // MARKERS_A_LINE)
        if len(line.low) == len(line.high) == len(line.x):
            axes.fill_between(line.x, line.low, line.high, color=COLOURS[place % len(COLOURS)], alpha=0.15, linewidth=0)
        (handle,) = axes.plot(
            x,
            y,
            color=NAMED.get(line.label, (COLOURS[place % len(COLOURS)],))[0],
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKERS[place % len(MARKERS)],
            markevery=(place * every // max(1, len(drawn)), every) if every > 1 else None,
            markersize=5.5,
            linewidth=1.7,
            zorder=3 + 1 / (1 + place),
        )
        handles.append(handle)
    _scales(axes, plot, [x for _, x, _ in drawn], [y for _, _, y in drawn])
    _marks(axes, plot)
    _legend(figure, handles, [line.label for line, _, _ in drawn])


def _bars(figure: Figure, axes: Axes, plot: Plot) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch
    from matplotlib.ticker import FixedLocator, MaxNLocator

    drawn = [(line, *_kept(line, plot)) for line in plot.lines]
    if not any(len(x) for _, x, _ in drawn):
        _nothing(axes)
        return
    places = np.unique(np.concatenate([np.log10(x) if plot.log_x else x for _, x, _ in drawn]))
    heights = np.concatenate([y for _, _, y in drawn])
    floor = float(heights.min()) / 2 if plot.log_y else 0.0
    room = float(np.diff(places).min()) * 0.86 if len(places) > 1 else 0.86
    handles = []
    few = sum(len(x) for _, x, _ in drawn) <= MOST_HATCHED
    for place, (line, x, y) in enumerate(drawn):
        left = (np.log10(x) if plot.log_x else x) + room * (place / len(drawn) - 0.5)
        right = left + room / len(drawn)
        if plot.log_x:
            left, right = 10**left, 10**right
        base = np.full_like(y, floor)
        corners = np.stack([np.stack(side, axis=1) for side in ((left, base), (left, y), (right, y), (right, base))], 1)
        fill = NAMED.get(line.label, ("", FILLS[place % len(FILLS)]))[1]
        hatch = HATCHES[place % len(HATCHES)] if few else ""
        bars = PolyCollection(  # one artist for all of them: a thousand single bars take seconds
            list(corners), facecolor=fill, hatch=hatch, edgecolor=INK, linewidth=0.7 if few else 0.3, zorder=3
        )
        axes.add_collection(bars)
        handles.append(Patch(facecolor=fill, hatch=hatch, edgecolor=INK))
    _scales(axes, plot, [x for _, x, _ in drawn], [heights])
    axes.autoscale_view()
    if heights.min() >= 0:
        axes.set_ylim(bottom=floor)
    if not plot.log_y:
        axes.axhline(0, color=INK, linewidth=0.8, zorder=4)
    if not plot.log_x and all(float(x).is_integer() for x in places):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        beside = max(0.7, 0.6 * room)  # half a group of bars, and a little
        axes.set_xlim(places[0] - beside, places[-1] + beside)
    if not plot.log_x and len(places) <= FEW_PLACES and all(len(_plainly(x, 0)) <= LONGEST_TICK for x in places):
        axes.xaxis.set_major_locator(FixedLocator(places.tolist()))
        axes.xaxis.set_major_formatter(_plainly)
    _marks(axes, plot)
    _legend(figure, handles, [line.label for line, _, _ in drawn])


def _matrix(figure: Figure, axes: Axes, plot: Plot) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    values = _rectangle(plot.matrix)
    if not values.size or not np.isfinite(values).any():
        _nothing(axes)
        return
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    signed = low < 0 < high
    if signed:
        low, high = -max(-low, high), max(-low, high)
    elif high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (0.1 * abs(low) or 0.5), high + (0.1 * abs(high) or 0.5)
    cells_hatched = signed and max(values.shape) <= LARGEST_HATCHED
    figure.set_size_inches(WIDTH, min(6.4, max(2.6, 1.2 + 5.2 * min(1.0, values.shape[0] / values.shape[1]))))
    axes.grid(visible=False)
    axes.set_facecolor("#ffffff")
    square = 1 / 4 <= values.shape[0] / values.shape[1] <= 4
    image = axes.imshow(
        values,
        cmap=LinearSegmentedColormap.from_list("signed", SIGNED) if cells_hatched else "cividis_r",
        vmin=low,
        vmax=high,
        interpolation="nearest",
        aspect="equal" if square else "auto",
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.ax.yaxis.set_major_formatter(_plainly)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if cells_hatched:
        _hatched(axes, values, high)
        bar.ax.axhspan(low, low * HATCHED_FROM, facecolor="none", hatch="////", edgecolor="#000000", linewidth=0)
        bar.set_label(f"hatched below {low * HATCHED_FROM:.2g}")
    if max(values.shape) <= LARGEST_ANNOTATED:
        _annotated(axes, values, low, high, signed)


def _hatched(axes: Axes, values: _Array, largest: float) -> None:
    """Lines over every cell that is negative by more than what looks like 0: there the colours tell nothing apart."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    negative = np.argwhere(values < -HATCHED_FROM * largest)
    cells = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in negative.tolist()]
    density = "//" if max(values.shape) <= 12 else "//////"
    axes.add_collection(
        PatchCollection(cells, facecolor="none", edgecolor="#000000", linewidth=0, hatch=density), autolim=False
    )


def _annotated(axes: Axes, values: _Array, low: float, high: float, signed: bool) -> None:
    decimals = max(0, min(4, 2 - math.floor(math.log10(max(abs(low), abs(high), 1e-9)))))
    size = 11 if max(values.shape) <= 6 else 8.5
    for (row, column), value in np.ndenumerate(values):
        if not math.isfinite(value):
            continue
        share = abs(value) / high if signed else (value - low) / (high - low)
        box = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.85, "pad": 1.2} if signed else None
        ink = "#000000" if signed or share < 0.5 else "#ffffff"
        text = f"{value:.{decimals}f}" if max(abs(low), abs(high)) < 1e5 else f"{value:.1e}"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink, bbox=box)


def _kept(line: Line, plot: Plot) -> tuple[_Array, _Array]:
    """The points that the axes can hold."""
    length = min(len(line.x), len(line.y))
    x, y = (np.asarray(values[:length], dtype=np.float64) for values in (line.x, line.y))
    good = np.isfinite(x) & np.isfinite(y)
    if plot.log_x:
        good &= x > 0
    if plot.log_y:
        good &= y > 0
    return x[good], y[good]


def _rectangle(rows: Sequence[Sequence[float]]) -> _Array:
    """The rows as one array; what a shorter row lacks is NaN."""
    values = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for place, row in enumerate(rows):
        values[place, : len(row)] = row
    return values


def _scales(axes: Axes, plot: Plot, x: Sequence[_Array], y: Sequence[_Array]) -> None:
    if plot.log_x:
        axes.set_xscale("log")
        _log_ticks(axes.xaxis, np.concatenate(x), places=True)
    if plot.log_y:
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, np.concatenate(y), places=False)


def _log_ticks(axis: Axis, values: _Array, *, places: bool) -> None:
    """The values themselves where `places` are few, else powers of ten, with 2 and 5 between where those are few."""
    from matplotlib.ticker import AutoLocator, FixedLocator, LogLocator, NullLocator

    decades = float(np.log10(values.max()) - np.log10(values.min()))
    own = np.unique(values)
    apart = 1 < len(own) <= FEW_PLACES and np.diff(np.log10(own)).min() > 0.08 * decades
    apart &= all(len(_plainly(value, 0)) <= LONGEST_TICK for value in own)
    if places and apart:
        axis.set_major_locator(FixedLocator(own.tolist()))
    elif decades < 0.5:
        axis.set_major_locator(AutoLocator())
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0), numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_plainly)


def _plainly(value: float, _: float) -> str:
    return f"{value:g}"


def _marks(axes: Axes, plot: Plot) -> None:
    """Vertical lines, each with its label along it; neighbours' labels stand at the top and at the bottom in turn."""
    held = {label: at for label, at in plot.marks.items() if math.isfinite(at) and (at > 0 or not plot.log_x)}
    for place, (label, at) in enumerate(sorted(held.items(), key=lambda mark: (mark[1], mark[0]))):
        axes.axvline(at, color="#3f3f46", linestyle=(0, (3, 3)), linewidth=1.2, zorder=2)
        top = place % 2 == 0
        axes.annotate(
            shortened(drawable(label), 32),
            (at, 0.98 if top else 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="top" if top else "bottom",
            fontsize=10,
            color=INK,
            bbox={"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            zorder=5,
        )


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Below the axes, where it hides nothing, in as many columns as fit; the figure grows by its rows."""
    named = [
        (handle, f" {label}" if label.startswith("_") else label)
        for handle, label in zip(handles, (shortened(drawable(label), 44) for label in labels), strict=True)
        if label.strip()
    ]
    if not named:
        return
    across = max(1, min(len(named), 74 // (7 + max(len(label) for _, label in named))))
    figure.set_size_inches(WIDTH, HEIGHT + 0.24 * -(-len(named) // across))
    figure.legend(
        *zip(*named, strict=True), loc="outside lower center", ncols=across, handlelength=3.2, columnspacing=1.2
    )


def _nothing(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no figures to draw", transform=axes.transAxes, ha="center", va="center", color="#52525b")


_DRAWN: Mapping[str, Callable[[Figure, Axes, Plot], None]] = {"lines": _lines, "bars": _bars, "matrix": _matrix}
