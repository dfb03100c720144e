"""Digits, units and text made safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaecheck.render import figures
from vaecheck.render.printable import printable, shortened
from vaecheck.results.types import Measure


def measure(name: str, value: float | tuple[int, ...] | None, unit: str = "", **more: object) -> Measure:
    return Measure(name, value, unit, None, 10, "", **more)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (measure("psnr_db", 24.3127, "dB", ci95=(23.7944, 24.8391)), "24.31 dB"),
        (measure("psnr_db", 24.3127, "dB", ci95=(24.3101, 24.3153)), "24.3127 dB"),
        (measure("kl_nats_per_image", 12345.678, "nats", ci95=(11731.2, 12971.9)), "12,350 nats"),
        (measure("kl_nats_per_image", 12345.678, "nats"), "12,346 nats"),
        (measure("compression_ratio", 48.0), "48"),
        (measure("latent_shape", (4, 32, 32)), "4 × 32 × 32"),
        (measure("encode_images_per_second", 18.98765, "images/s"), "19.0 images/s"),
        (measure("encode_images_per_second", 1234.5, "images/s"), "1,234 images/s"),
        (measure("peak_memory_bytes", 1331439861.0, "bytes"), "1.24 GiB"),
        (measure("peak_memory_bytes", 851443712.0, "bytes"), "812 MiB"),
        (measure("encode_flops_per_image", 3.38e11, "FLOPs"), "338 GFLOPs"),
        (measure("posterior_std", 1.2345e-6), "1.234e-06"),
        (measure("latent_mean", -0.00001, ci95=(-0.05, 0.05)), "0.000"),
        (measure("kid", 0.0000123456, ci95=(0.0000043, 0.0000203)), "1.23e-05"),
        (measure("ssim", 0.99999912, ci95=(0.99999902, 0.99999922)), "0.99999912"),
        (measure("rfid", None, status="unavailable"), "unavailable"),
        (measure("rfid", 0.0), "0"),
    ],
)
def test_value_has_its_unit_and_no_false_digits(made: Measure, expected: str) -> None:
    assert figures.value(made) == expected


def test_interval_has_the_digits_of_its_value() -> None:
    assert figures.interval(measure("psnr_db", 24.3127, "dB", ci95=(23.7944, 24.8391))) == "23.79 to 24.84"
    assert figures.interval(measure("kl", 12345.6, ci95=(11731.2, 12971.9))) == "11,730 to 12,970"
    assert figures.interval(measure("peak_memory_bytes", 2e9, ci95=(1e9, 3e9))) == "954 MiB to 2.79 GiB"
    assert figures.interval(measure("psnr_db", 24.0, ci95=None)) == "-"
    assert figures.interval(measure("ssim", 1.0, ci95=(1.0, 1.0))) == "1 to 1"


@given(st.floats(-1e12, 1e12), st.floats(1e-5, 1e6))
def test_a_shown_number_is_within_a_tenth_of_the_half_width(amount: float, half_width: float) -> None:
    interval = (amount - half_width, amount + half_width)
    exact_half = (interval[1] - interval[0]) / 2
    if exact_half > 0:
        shown = float(figures.number(amount, interval).replace(",", ""))
        assert abs(shown - amount) <= 0.0501 * exact_half + 1e-12 * abs(amount) + 0.501e-9


@given(st.floats(-1e15, 1e15), st.integers(2, 6))
def test_significant_digits_bound_the_relative_error(amount: float, digits: int) -> None:
    shown = float(figures.number(amount, significant=digits).replace(",", ""))
    assert abs(shown - amount) <= 0.501 * 10.0 ** (1 - digits) * abs(amount)


def test_differences_factors_and_columns() -> None:
    assert [figures.difference(d) for d in (2.0982, 0.1, -0.0456, 12.4)] == ["+2.1", "+0.10", "-0.046", "+12"]
    assert figures.as_given(0.18215) == "0.18215"
    assert figures.aligned([0.9, 1.241, -0.05]) == ("0.900", "1.241", "-0.050")
    assert figures.aligned([0.0, 0.0]) == ("0", "0")
    assert figures.aligned([]) == ()
    assert figures.count(1, "picture") == "1 picture"
    assert figures.count(1200, "picture") == "1,200 pictures"


def test_printable_escapes_what_could_hide_or_reorder() -> None:
    assert printable("a\nb\x1b[31m\u202e\u2028\udcff\x7f") == r"a\nb\x1b[31m\u202e\u2028\udcff\x7f"
    assert printable("写真 é [/red] <b>.png") == "写真 é [/red] <b>.png"


@given(st.text(st.characters()), st.integers(3, 40))
def test_printable_is_one_line_of_valid_text_and_shortened_fits(text: str, length: int) -> None:
    shown = printable(text)
    assert shown.isprintable() or all(c == "\N{SPACE}" or c.isprintable() or c.isspace() for c in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
    assert len(shortened(shown, length)) <= length
    assert len(shown) > length or shortened(shown, length) == shown


def test_shortened_keeps_both_ends() -> None:
    assert shortened("folder/holiday-0001.png", 11) == "folde…1.png"
