"""Limits that guard nothing: how slack they are, and the tighter one to offer.

Why it is told: a floor of 31 against a measured 78 lets the figure be halved unseen, and nobody reads such a rule.
Slack is a limit that lets the figure get worse by more than 25 % (by 3 dB, twice the squared error) and by more than
five standard errors, so that neither a small set of pictures nor a modest margin is blamed.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from vaecheck.results.calibration import FACTOR
from vaecheck.results.types import Measure

SHARE, DECIBELS, STANDARD_ERRORS = 0.25, 3.0, 5.0
OFFERED_SHARE, OFFERED_DECIBELS, OFFERED_STANDARD_ERRORS = 0.05, 0.5, FACTOR
"""How far from the figure the limit stands that is offered, at least."""


def slack(measure: Measure, value: float, limit: float, what: str, worse: float | None = None) -> str:
    """A note on a limit that `value` keeps far too easily, with the tighter one; empty where it is tight enough.

    measure: for its unit and the interval that gives the standard error. what: the rule, "gate.psnr_db: min".
    worse: of a rule that is written as the distance from `value`, the baseline's figure: how much worse it is now.
    """
    room, error, in_decibels = abs(value - limit), _standard_error(measure), measure.unit == "dB"
    least, offered = (DECIBELS, OFFERED_DECIBELS) if in_decibels else (SHARE * abs(value), OFFERED_SHARE * abs(value))
    if value == 0 or room <= max(least, STANDARD_ERRORS * error):
        return ""
    tighter = max(offered, OFFERED_STANDARD_ERRORS * error, worse or 0.0)
    unit = f" {measure.unit}" if measure.unit not in ("", "1") else ""
    allowed = f"{room:.3g}{unit}" if in_decibels else f"{room / abs(value):.0%}".replace("%", " %")
    if worse is not None:
        whose, bound = "the baseline's", f"worse_by = {_rounded(tighter, up=True)}"
    else:
        whose = "the measured"
        bound = _rounded(value - tighter, up=False) if limit < value else _rounded(value + tighter, up=True)
    written = room if worse is not None else limit
    return (
        f"{what} = {written:.4g} is far from tight: against {whose} {value:.4g}{unit} it allows {allowed} worse; "
        f"{bound} would still hold"
    )


def _standard_error(measure: Measure) -> float:
    """Half the 95 % interval over 1.96; 0 where there is none."""
    return (measure.ci95[1] - measure.ci95[0]) / 2 / 1.96 if measure.ci95 else 0.0


def _rounded(amount: float, *, up: bool) -> str:
    """To three digits, never past the amount in the other direction but for the noise of its last digits."""
    context = Context(prec=3, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return f"{float(context.create_decimal(f'{amount:.12g}')):.3g}"
