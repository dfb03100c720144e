"""Plots: every kind with every odd set of numbers, in black and white too, and the same bytes each time."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.render import diagnoses
from vaecheck.render import plots
from vaecheck.render.plots import draw, left_out
from vaecheck.results.types import Line, Plot


def plot(kind: Any = "lines", *curves: tuple[list[float], list[float]], **more: Any) -> Plot:
    lines = tuple(Line(f"curve {i}", tuple(x), tuple(y)) for i, (x, y) in enumerate(curves))
    return Plot("name", "blur", kind, "Title", "x (pixels)", "y (dB)", lines, **more)


def matrix(values: np.ndarray) -> Plot:
    return plot("matrix", matrix=diagnoses.rows(np.atleast_2d(values)))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


CURVES: list[tuple[tuple[list[float], list[float]], ...]] = [
    (),
    (([], []),),
    (([1.0], [2.0]),),
    (([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]),),
    (([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),),
    (([-1.0, 0.0, 4.0], [3.0, -2.0, 0.0]), ([1.0], [1.0])),
    (([-1.0, -2.0], [-3.0, -2.0]),),
    (([1e-300, 1.0, 1e300], [1e300, -1e300, 1e-300]),),
    tuple(([float(i) for i in range(50)], [float(i + j) for i in range(50)]) for j in range(32)),
]


@pytest.mark.parametrize("curves", CURVES, ids=lambda curves: f"{len(curves)} of {sum(len(x) for x, _ in curves)}")
@pytest.mark.parametrize("kind", ["lines", "bars"])
@pytest.mark.parametrize("log", [False, True])
def test_every_set_of_curves_is_drawn(kind: str, curves: Any, log: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = draw(plot(kind, *curves, log_x=log, log_y=log, marks={"limit": 0.5, "below": -1.0}))
    assert image.mode == "RGB"
    assert image.width == 936
    assert 400 < image.height < 1000
    assert np.asarray(image).std() > 5


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 0)), np.zeros((1, 1)), np.full((4, 4), 7.0), np.full((4, 4), -7.0), np.eye(4), -np.eye(3),
        np.linspace(-1, 1, 144).reshape(12, 12), np.linspace(-1, 1, 10_000).reshape(100, 100),
        np.linspace(0, 1e300, 8).reshape(2, 4), np.arange(300.0).reshape(3, 100), np.arange(300.0).reshape(100, 3),
        np.array([1e-300, 2e-300]),
    ],
    ids=lambda values: f"{values.shape} {values.min() if values.size else ''}",
)  # fmt: skip
def test_every_matrix_is_drawn(values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = draw(matrix(values) if values.size else plot("matrix"))
    assert image.width == 936
    assert np.asarray(image).std() > 3


def test_rows_of_unlike_length_are_drawn() -> None:
    assert draw(plot("matrix", matrix=((1.0, 2.0), (3.0,), ()))).width == 936


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_settings() -> None:
    before = [png(draw(one)) for one in diagnoses.plots()]
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "text.usetex": True, "axes.facecolor": "red"}):
        own = dict(matplotlib.rcParams)
        again = [png(draw(one)) for one in reversed(diagnoses.plots())]
        assert dict(matplotlib.rcParams) == own
    assert again[::-1] == before


def test_what_a_logarithmic_axis_cannot_hold_is_left_out_and_counted() -> None:
    odd = plot("lines", ([-1.0, 0.0, 1.0, 10.0], [1.0, 1.0, 2.0, 3.0]), log_x=True)
    assert left_out(odd) == "2 points of 0 or less are left out: a logarithmic axis has no place for them."
    good = plot("lines", ([1.0, 10.0], [2.0, 3.0]), log_x=True)
    assert png(draw(odd)) == png(draw(good))
    assert left_out(good) == left_out(replace(odd, log_x=False)) == ""
    assert left_out(replace(good, log_y=True, lines=(Line("", (1.0,), (0.0,)),))).startswith("1 point of 0 or less is")


def test_curves_and_bars_differ_without_colour() -> None:
    ways = {(str(plots.DASHES[i % len(plots.DASHES)]), plots.MARKERS[i % len(plots.MARKERS)]) for i in range(40)}
    assert len(ways) == 40
    assert len(set(plots.HATCHES)) == len(plots.HATCHES) == 8


@pytest.mark.parametrize("places", [(2.0, 4.0, 8.0, 16.0), (90.0, 180.0, 270.0), (0.0, 1.0, 2.0)])
def test_no_bar_is_cut_off_at_the_axis(places: tuple[float, ...]) -> None:
    """All bars are as wide: of one colour, the first place shows as many of its pixels in a row as the second."""
    image = np.asarray(draw(plot("bars", (list(places), [1.0] * len(places)))))
    fill = tuple(int(plots.FILLS[0][i : i + 2], 16) for i in (1, 3, 5))
    row = max(image, key=lambda line: int((line == fill).all(1).sum()))
    inside = np.flatnonzero(np.diff(np.concatenate([[0], (row == fill).all(1).astype(int), [0]])))
    widths = inside[1::2] - inside[::2]
    assert len(widths) == len(places)
    assert widths.max() - widths.min() <= 2


def test_a_matrix_of_one_sign_gets_only_darker() -> None:
    """Read off the drawn pixels: a row of rising values must never get lighter, in grey."""
    grey = np.asarray(draw(matrix(np.tile(np.linspace(2, 9, 40), (40, 1)))).convert("L"), dtype=int)
    row = longest_run(grey[grey.shape[0] // 2], lambda value: 20 < value < 250)[2:-2]
    assert len(row) > 300
    assert np.diff(row).max() <= 1
    assert row[0] - row[-1] > 150


def test_the_sign_of_a_correlation_survives_grey_print() -> None:
    """A negative half and a positive half of one magnitude: the negative one has lines, the other is plain."""
    values = np.full((16, 16), 0.9)
    values[:, :8] = -0.9
    grey = np.asarray(draw(matrix(values)).convert("L"), dtype=float)
    middle = grey[grey.shape[0] // 2 - 60 : grey.shape[0] // 2 + 60]
    dark = np.flatnonzero((middle < 200).mean(axis=0) > 0.95)
    left, right = dark[0], dark[dark < dark[0] + 0.75 * grey.shape[1]][-1]
    quarter = (right - left) // 4
    negative = middle[:, left + 20 : left + quarter]
    positive = middle[:, right - quarter : right - 20]
    assert positive.std() < 1
    assert negative.std() > 10


def longest_run(row: np.ndarray, wanted: Any) -> np.ndarray:
    runs: list[list[int]] = [[]]
    for value in row:
        if wanted(value):
            runs[-1].append(int(value))
        elif runs[-1]:
            runs.append([])
    return np.array(max(runs, key=len))


def test_odd_letters_are_letters() -> None:
    plain = plot("lines", ([1.0, 2.0], [1.0, 2.0]))
    odd = replace(
        plain,
        title="$x^$ [/red] <b> 写真 \x1b[31m " + "long " * 40,
        x_label="$\\frac{",
        y_label="y\n" * 50,
        lines=(replace(plain.lines[0], label="_hidden $"),),
        marks={"$_limit$ " * 20: 1.5},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(odd).width == 936
    unnamed = replace(plain, lines=(replace(plain.lines[0], label=""),))
    named = replace(plain, lines=(replace(plain.lines[0], label="_a"),))
    assert draw(named).height > draw(unnamed).height, "a label that begins with _ has no legend"


def test_marks_are_drawn() -> None:
    plain = plot("lines", ([1.0, 2.0], [1.0, 2.0]))
    assert png(draw(replace(plain, marks={"limit": 1.5}))) != png(draw(plain))


def test_pyplot_is_never_loaded_and_the_terminal_needs_no_matplotlib() -> None:
    code = (
        "import sys\n"
        "import vaecheck.render.terminal, vaecheck.render.report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from vaecheck.render.plots import draw\n"
        "from vaecheck.results.types import Line, Plot\n"
        "draw(Plot('a', 'a', 'lines', 't', 'x', 'y', (Line('a', (1, 2), (1, 2)),)))\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
