"""The figures of a running training, as a table and as a line."""

from __future__ import annotations

from rich.console import Console

from vaecheck.render.training import KEPT, Course, spark


def test_a_course_is_drawn_between_its_own_ends() -> None:
    assert spark([0.0, 7.0]) == "▁█"
    assert spark([3.0, 2.0, 1.0]) == "█▅▁"
    assert spark([2.0, 2.0]) == "▁▁"


def test_the_table_has_the_last_figures_and_their_courses() -> None:
    course = Course()
    for step in range(1, KEPT + 20):
        course.add(step, 100, {"l1": 1 / step, "kl_nats_per_element": 2.0})
    course.add(60, 100, {"l1": 0.5, "kl_nats_per_element": 2.0, "logits_real": -0.25})
    console = Console(width=80, record=True)
    console.print(course.table())
    text = console.export_text()
    assert "at step 60" in text
    assert f"last {KEPT} reports" in text
    assert max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:] if line.strip()}
    assert rows["l1"][0] == "0.5"
    assert len(rows["l1"][1]) == KEPT
    assert rows["logits_real"] == ["-0.25", "▁"]
    assert course.line() == "step 60 of 100  l1 0.5  kl_nats_per_element 2  logits_real -0.25"
