"""Findings as text: the figure against its limit, in the order of the result, and a title for every probe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vaecheck.probes.catalogue import HOMES
from vaecheck.render.findings import TITLES, against, of_severity, title_of, told
from vaecheck.results.types import Finding, Result


def test_every_probe_has_a_title_of_its_own() -> None:
    assert list(TITLES) == list(HOMES)
    assert len(set(TITLES.values())) == 19
    assert title_of("of_tomorrow") == "of tomorrow"


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        (0.31234, 0.02, ("0.312", "0.02")),
        (0.79996, 0.8, ("0.79996", "0.8")),
        (0.8, 0.8, ("0.8", "0.8")),
        (1234.4, 1234.0, ("1234.4", "1234")),
        (0.12345, 0.19118912, ("0.123", "0.191")),
        (0.0, 0.0, ("0", "0")),
        (-0.5, None, ("-0.5", "-")),
        (None, 2.0, ("-", "-")),
    ],
)
def test_a_figure_that_is_past_its_limit_does_not_read_like_it(
    value: float | None, limit: float | None, shown: tuple[str, str]
) -> None:
    assert against(value, limit) == shown


def test_a_finding_in_words() -> None:
    fault = Finding("blur", "fault", 0.31234, 0.5, "of the sharpness", "It is.", "Train on.", "People see it.", 0.6)
    shown = told(fault)
    assert shown.details == (
        ("", "0.312 of the sharpness, limit: at least 0.5"),
        ("", "It is."),
        ("Remedy", "Train on."),
        ("Limit from", "People see it."),
    )
    assert (shown.word, shown.title) == ("Fault", "Blur")
    follows = told(replace(fault, severity="info", follows_from="checkerboard"))
    assert follows.about == "Follows from checkerboard; measure it again when that is mended."
    assert "Limit from" not in dict(follows.details)
    assert told(replace(fault, unit="1")).figure == "0.312, limit: at least 0.5"
    absent = told(replace(fault, severity="unavailable", value=None, limit=None, remedy=""))
    assert absent.details == (("", "It is."),)


def test_findings_keep_the_order_of_the_result(diagnosed: Result) -> None:
    assert [one.id for one in of_severity(diagnosed, "fault", "warning", "info")] == [
        "checkerboard", "contrast_shift", "blur", "latent_scale", "text_loss",
    ]  # fmt: skip
    assert len(of_severity(diagnosed, "healthy")) == 13


@pytest.mark.parametrize(
    ("value", "limit", "past", "shown"),
    [(1.0, 0.2, 4.0, "≤ 0.2"), (1.0, 0.2, -0.8, "≥ 0.2"), (0.1, 0.2, 1.0, "≥ 0.2"), (0.1, 0.2, -0.5, "≤ 0.2"),
     (0.0, 0.0, 0.0, "0"), (1.0, None, 0.0, "-")],
)  # fmt: skip
def test_which_side_of_the_limit_is_bad(value: float, limit: float | None, past: float, shown: str) -> None:
    finding = Finding("blur", "fault" if past > 0 else "healthy", value, limit, "", "", past_limit=past)
    assert told(finding).limit == shown
