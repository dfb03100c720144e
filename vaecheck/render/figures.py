"""Numbers as text, with no more digits than the data give.

Why the interval decides: a mean of 100 pictures that is known to half a decibel is not "24.3127".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vaecheck.results.types import Measure

ABSENT = "-"
MOST_DECIMALS = 9


def value(measure: Measure, *, unit: bool = True) -> str:
    """The measure's value, such as "24.31 dB", "1.24 GiB" or "4 × 32 × 32"; "unavailable" where there is none."""
    if measure.value is None:
        return measure.status if measure.status != "ok" else ABSENT
    if isinstance(measure.value, tuple):
        return " × ".join(str(side) for side in measure.value)
    if is_bytes(measure):
        return size_in_bytes(measure.value)
    if measure.unit == "FLOPs":
        return flops(measure.value)
    text = number(measure.value, measure.ci95, significant=3 if measure.name.endswith("_per_second") else 4)
    return f"{text} {measure.unit}" if unit and measure.unit not in ("", "1") else text


def interval(measure: Measure) -> str:
    """The 95 % interval to the same digits as the value, such as "23.79 to 24.84"."""
    if measure.ci95 is None:
        return ABSENT
    low, high = measure.ci95
    if is_bytes(measure):
        return f"{size_in_bytes(low)} to {size_in_bytes(high)}"
    return f"{number(low, measure.ci95)} to {number(high, measure.ci95)}"


def number(amount: float, ci95: tuple[float, float] | None = None, *, significant: int = 4) -> str:
    """To the second significant digit of the interval's half width; without an interval to `significant` digits."""
    if isinstance(amount, int) and ci95 is None:
        return f"{amount:,}"
    half_width = (ci95[1] - ci95[0]) / 2 if ci95 else 0.0
    if half_width <= 0:
        return _significant(amount, significant)
    decimals = 1 - math.floor(math.log10(half_width))
    if decimals > 6 and 0 < abs(amount) < 1e-3:
        return f"{amount:.{max(math.floor(math.log10(abs(amount))) + decimals, 0)}e}"
    decimals = min(decimals, MOST_DECIMALS)
    return _signless_zero(f"{round(amount, decimals):,.{max(decimals, 0)}f}")


def as_given(amount: float) -> str:
    """A factor as a config file has it, such as 0.18215: six digits, not rounded to what data can show."""
    return f"{amount:.6g}"


def aligned(amounts: Sequence[float]) -> tuple[str, ...]:
    """A column of numbers with the same decimals, so that the largest has four digits."""
    largest = max(map(abs, amounts), default=0.0)
    decimals = min(max(3 - math.floor(math.log10(largest)), 0), 8) if largest > 0 else 0
    return tuple(_signless_zero(f"{amount:,.{decimals}f}") for amount in amounts)


def difference(amount: float) -> str:
    """A signed difference to two significant digits, such as "+2.1" or "-0.045"."""
    if abs(amount) >= 10:
        return f"{amount:+,.0f}"
    return f"{amount:+#.2g}".rstrip(".")


def size_in_bytes(amount: float) -> str:
    """Three digits and a binary unit: "812 MiB", "1.24 GiB"."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while abs(amount) >= 1000 and step < len(units) - 1:
        amount, step = amount / 1024, step + 1
    return f"{_significant(amount, 3)} {units[step]}"


def flops(amount: float) -> str:
    """Floating point operations in the unit that keeps three digits: "338 GFLOPs", "1.35 TFLOPs"."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if amount >= factor:
            return f"{_significant(amount / factor, 3)} {prefix}FLOPs"
    return f"{_significant(amount, 3)} FLOPs"


def count(amount: int, noun: str) -> str:
    """ "1 picture", "1,200 pictures"."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def is_bytes(measure: Measure) -> bool:
    return measure.name.endswith("_bytes")


def _significant(amount: float, digits: int) -> str:
    if amount != 0 and not 1e-4 <= abs(amount) < 1e9:
        return f"{amount:.{digits - 1}e}"
    if abs(amount) >= 10 ** (digits - 1):
        return f"{amount:,.0f}"
    exact = f"{amount:.{digits}g}"
    return _signless_zero(
        exact if math.isclose(float(exact), amount, rel_tol=1e-9) else f"{amount:#.{digits}g}".rstrip(".")
    )


def _signless_zero(text: str) -> str:
    return text.lstrip("-") if not text.strip("-0.,") else text
