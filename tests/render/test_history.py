"""A watch in the terminal and as Markdown: at every width, and whatever checkpoints are called."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vaecheck.render.history import show, to_markdown
from vaecheck.results.history import Evaluation, History
from vaecheck.results.types import DataCard, Environment, Measure

METRICS = (("lpips_alex", "lower"), ("rfid", "lower"), ("psnr_db", "higher"), ("fd_efficientnet_lite0", "lower"))


def evaluation(name: str, step: int, *values: float | None, **more: object) -> Evaluation:
    measures = {
        metric: Measure(
            metric, value, "", better, 64, "", ci95=None if value is None else (value - 1, value + 1)
        )
        for (metric, better), value in zip(METRICS, values, strict=False)
    }  # fmt: skip
    return replace(Evaluation(name, step, "0" * 64, "2026-11-27T00:00:00+00:00", measures), **more)


@pytest.fixture
def history() -> History:
    return History(
        folder="runs/[/red]",
        data=DataCard("samples", 64, (), "0" * 64, 256, "crop"),
        environment=Environment({}, "Linux", "a processor", 1, "cpu", None, "2026-11-27T00:00:00+00:00"),
        evaluations=(
            evaluation("step-1000.ckpt", 1000, 0.2, 9.0, 21.0, 90.0, gone=True),
            evaluation("<script>|`b`[/red].ckpt", 2000, 0.1234, 8.0, 22.0, 80.0),
            evaluation("step-2500.ckpt", 2500, problem="it is cut short"),
            evaluation("step-3000.ckpt", 3000, 0.15, None, 23.0, 70.0),
        ),
        best={"lpips_alex": "<script>|`b`[/red].ckpt", "rfid": "<script>|`b`[/red].ckpt", "psnr_db": "step-3000.ckpt"},
        best_overall="<script>|`b`[/red].ckpt of step 2,000 is the best so far: best in lpips_alex, best in rfid",
        best_checkpoint="<script>|`b`[/red].ckpt",
        settings={"stop_on": ["lpips_alex", "rfid"], "patience": 5},
        warnings=("something to know",),
    )


def printed(history: History, width: int, encoding: str = "utf-8") -> str:
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(history, Console(file=buffer, width=width, force_terminal=False))
    buffer.flush()
    return buffer.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 132, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_wider_than_the_window(history: History, width: int, encoding: str) -> None:
    lines = printed(history, width, encoding).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


def test_it_says_what_a_person_needs(history: History) -> None:
    text = printed(history, 132)
    assert "What decides: lpips_alex, rfid; each stops after 5 evaluations without a gain" in text
    assert "<script>|`b`[/red].ckpt of step 2,000 is the best so far" in text
    assert "0.1234 *" in text, "four digits, whatever the interval over pictures"
    assert "step-1000.ckpt (gone)" in text
    assert "step-2500.ckpt: it is cut short" in text
    assert "something to know" in text
    (row,) = [line for line in text.splitlines() if line.startswith("3,000") or " 3,000 " in line[:8]]
    assert "-" in row, "a figure that is not there"


def test_what_does_not_fit_is_named_and_what_decides_comes_first(history: History) -> None:
    text = printed(history, 60)
    head = next(line for line in text.splitlines() if line.lstrip().startswith("step "))
    assert "lpips_alex" in head
    assert "fd_efficientnet_lite0" not in head
    assert "fd_efficientnet_lite0 see the report or history.csv" in " ".join(text.split())


def test_markdown_has_all_of_it_as_text(history: History) -> None:
    text = to_markdown(history)
    assert "<script>" not in text
    assert "| 2,000 | &lt;script&gt;\\|\\`b\\`\\[/red\\].ckpt | 0.1234 \\* | 8 \\* | 22 | 80 |" in text
    assert "step-2500.ckpt: it is cut short" in text
    assert "| stop on | lpips\\_alex, rfid |" in text or "| stop on | lpips_alex, rfid |" in text


def test_an_empty_history_says_so(history: History) -> None:
    empty = replace(history, evaluations=(), best={}, best_overall="", best_checkpoint="")
    assert "No checkpoint has been evaluated yet." in printed(empty, 80)
    assert "No checkpoint has been evaluated yet." in to_markdown(empty)
