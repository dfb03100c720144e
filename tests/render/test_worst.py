"""The worst pictures by each metric, as a table and on the page."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.render.test_page import Page, body_of
from vaecheck.render.page import to_page
from vaecheck.render.page.worst import MOST, WORST, worst_pictures
from vaecheck.results.types import Measure, PerImage, Result, Shown


@pytest.fixture
def rated(result: Result) -> Result:
    """300 pictures with figures of two metrics in no order, some absent, and one column without a direction."""
    numbers = random.Random(0)
    ids = tuple(f"{i:03d}.png" for i in range(300))
    psnr_db = tuple(None if i % 50 == 0 else 20 + numbers.random() * 10 for i in range(300))
    lpips = tuple(numbers.random() for _ in range(300))
    columns = {"psnr_db": psnr_db, "lpips_alex": lpips, "latent_std": lpips, "rfid_influence": lpips}
    measured = Measure("lpips_alex", 0.5, "", "lower", 300, "")
    return replace(result, measures=dict(result.measures) | {"lpips_alex": measured}, per_image=PerImage(ids, columns))


def test_each_metric_has_its_worst_with_their_ranks(rated: Result) -> None:
    table = worst_pictures(rated)
    assert table is not None
    assert table.head == ("picture", "PSNR", "LPIPS (AlexNet)")
    for place, (name, sign) in enumerate((("psnr_db", 1), ("lpips_alex", -1)), start=1):
        known = [(sign * v, i) for i, v in zip(rated.per_image.ids, rated.per_image.columns[name], strict=True) if v]
        expected = [image_id for _, image_id in sorted(known)[:WORST]]
        ranked = {row[place].below: row[0].text for row in table.rows if row[place].mark == "worst"}
        ranks = ["worst", "2nd worst", "3rd worst", "4th worst", "5th worst"]
        assert [ranked[rank] for rank in ranks] == expected
    assert WORST <= len(table.rows) <= 2 * WORST


def test_the_table_is_bounded_whatever_is_measured(rated: Result) -> None:
    numbers = random.Random(1)
    many = {f"metric_{i}": tuple(numbers.random() for _ in range(300)) for i in range(20)}
    measures = {name: Measure(name, 0.5, "", "lower", 300, "") for name in many}
    table = worst_pictures(replace(rated, measures=measures, per_image=replace(rated.per_image, columns=many)))
    assert table is not None
    assert len(table.rows) == MOST
    assert {row[1 + i].below for i in range(20) for row in table.rows} >= {"worst", "2nd worst"}


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_have_no_worst(rated: Result, count: int) -> None:
    few = {name: column[:count] for name, column in rated.per_image.columns.items()}
    assert worst_pictures(replace(rated, per_image=PerImage(rated.per_image.ids[:count], few))) is None


def test_where_all_are_alike_none_is_the_worst(rated: Result) -> None:
    alike = {"psnr_db": (None,) * 300, "lpips_alex": (0.25,) * 300}
    assert worst_pictures(replace(rated, per_image=replace(rated.per_image, columns=alike))) is None


def test_pictures_that_are_worst_by_another_metric_are_shown_with_their_figures(
    rated: Result, shown: Sequence[Shown]
) -> None:
    other = replace(shown[3], role="other", values={"lpips_alex": 0.61234}, worst_by=("lpips_alex",))
    text = body_of(to_page(rated, (*shown[:3], other, *shown[4:])))
    order = ["The worst by each metric, of 300 pictures", "Worst by PSNR", "Worst by another metric",
             "LPIPS (AlexNet) 0.612, among the worst by LPIPS (AlexNet)", "Nearest to the median"]  # fmt: skip
    assert sorted(order, key=text.index) == order


def test_a_saved_result_has_the_table_without_its_pictures(rated: Result) -> None:
    page = Page(to_page(rated))
    assert "5th worst" in page.text
    assert page.attributes("img") == []
