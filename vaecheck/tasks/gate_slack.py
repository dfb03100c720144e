"""Limits that guard nothing: how slack they are, and the tighter one to offer.

Why it is told: a floor of 31 against a measured 78 lets the figure be halved unseen, and nobody reads such a rule.
Slack is a limit that lets the figure get worse by more than 25 % (by 3 dB, twice the squared error) and by more than
five standard errors, so that neither a small set of pictures nor a modest margin is blamed.
"""

from __future__ import annotations

import math

from vaecheck.results.types import Measure

SHARE, DECIBELS, STANDARD_ERRORS = 0.25, 3.0, 5.0
OFFERED_SHARE, OFFERED_DECIBELS = 0.05, 0.5
"""How far from the figure the limit stands that is offered, at least."""


def slack(measure: Measure, value: float, limit: float, what: str, worse: float | None = None) -> str:
    """A note on a limit that `value` keeps far too easily, with the tighter one; empty where it is tight enough.

    measure: for its unit and the interval that gives the standard error. what: the rule, "gate.psnr_db: min".
    worse: of a rule that is written as the distance from `value`, the baseline's figure: how much worse it is now.
    """
    room = abs(value - limit)
    error = STANDARD_ERRORS * _standard_error(measure)
    least, offered = (
        (DECIBELS, OFFERED_DECIBELS) if measure.unit == "dB" else (SHARE * abs(value), OFFERED_SHARE * abs(value))
    )
    if value == 0 or room <= max(least, error):
        return ""
    unit = f" {measure.unit}" if measure.unit not in ("", "1") else ""
    allowed = f"{room:.3g}{unit}" if measure.unit == "dB" else f"{100 * room / abs(value):.0f} %"
    tighter = max(offered, error)
    if worse is not None:
        tighter = max(tighter, worse)
        against = f"{what} = {room:.4g} is far from tight: against the baseline's {value:.4g}{unit}"
        return f"{against} it allows {allowed} worse; worse_by = {_rounded(tighter, up=True)} would still hold"
    bound = _rounded(value - tighter, up=False) if limit < value else _rounded(value + tighter, up=True)
    against = f"{what} = {limit:.4g} is far from tight: against the measured {value:.4g}{unit}"
    return f"{against} it allows {allowed} worse; {bound} would still hold"


def _standard_error(measure: Measure) -> float:
    """Half the 95 % interval over 1.96; 0 where there is none."""
    return (measure.ci95[1] - measure.ci95[0]) / 2 / 1.96 if measure.ci95 else 0.0


def _rounded(amount: float, *, up: bool, digits: int = 3) -> str:
    """To three digits, never past the amount in the other direction."""
    if amount == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(amount))) - digits + 1)
    return f"{(math.ceil if up else math.floor)(amount / step) * step:.{digits + 1}g}"
