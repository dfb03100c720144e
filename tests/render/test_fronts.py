"""Quality against cost as plots: which cost is drawn, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.render import decisions
from vaecheck.render.fronts import MOST, front_plots
from vaecheck.render.report import write_report
from vaecheck.results.comparison import Front

AXES = {"ssim": "higher", "latent_values": "lower", "seconds_per_image": "lower"}


def front(values: dict[str, tuple[float | None, float | None, float | None]]) -> Front:
    """By REF: quality, latent values, seconds."""
    points = {ref: dict(zip(AXES, each, strict=True)) for ref, each in values.items()}
    return Front("ssim", AXES, points, ("a",), {"b": ("a",)})


def test_the_first_cost_in_which_they_differ_is_drawn() -> None:
    (plot,) = front_plots([front({"a": (0.9, 4096, 0.1), "b": (0.8, 4096, 0.2), "c": (0.7, 4096, None)})])
    assert plot.x_label.startswith("seconds")
    assert [(line.label, line.x, line.y) for line in plot.lines] == [
        ("a, on the front", (0.1,), (0.9,)), ("b", (0.2,), (0.8,)),
    ]  # fmt: skip
    (plot,) = front_plots([front({"a": (0.9, 4096, 0.1), "b": (0.8, 1024, 0.2)})])
    assert plot.x_label.startswith("values in the latents")
    assert plot.y_label == "SSIM, higher is better"


@pytest.mark.parametrize(
    "values",
    [
        {"a": (0.9, 4096, 0.1), "b": (0.8, 4096, 0.105)},
        {"a": (0.9, 4096, 0.1)},
        {"a": (0.9, 4096, 0.1), "b": (None, 1024, 0.2)},
        {},
    ],
    ids=["alike in every cost", "one VAE", "one figure", "none"],
)
def test_no_plot_is_drawn_of_what_cannot_be_told_apart(
    values: dict[str, tuple[float | None, float | None, float | None]],
) -> None:
    assert front_plots([front(values)]) == ()


def test_the_report_of_a_comparison_has_its_fronts_and_no_more_than_a_few(tmp_path: Path) -> None:
    one = decisions.comparison()
    written = write_report(one, (), tmp_path / "one")
    assert (tmp_path / "one" / written.artifacts["plot:psnr_db:front_psnr_db"]).is_file()
    html = (tmp_path / "one" / "report.html").read_text()
    assert html.count('class="drawn plot"') == 1
    assert html.index("beaten in") < html.index('class="drawn plot"') < html.index("Latents and speed</h2>")
    many = replace(one, fronts=one.fronts * (MOST + 2))
    assert len(front_plots(many.fronts)) == MOST
