"""One rule and the figures that were measured -> what became of it.

Why an unavailable figure is an error and an unreliable one a failure: a gate that lets through what it could not see
is worse than none. The one figure that passes without being a number is PSNR where every picture is identical.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vaecheck.metrics.paired import Paired, holm, paired_differences
from vaecheck.results.gate import Check, Outcome
from vaecheck.results.types import Finding, Measure, Result
from vaecheck.tasks.gate_rules import AgainstBaseline, Amount, Diagnosis, Limit, better
from vaecheck.tasks.gate_slack import slack

INFINITE_WHERE_IDENTICAL = ("psnr_db", "psnr_border_db", "psnr_inside_db", "tiling_psnr_db")
LEVEL = 0.05
ENOUGH = 30
"""Pictures from which on a paired difference that matters is hardly ever taken for chance."""
RELIABILITY = ("ok", "unreliable", "unavailable")
TAKE_OUT = "Mend that, or take the rule out: what was not measured does not pass."

Checked = tuple[Check, str]
"""What became of a rule, and a note on the rule itself; mostly empty."""


@dataclass(frozen=True)
class Found:
    """A measure and the result that it stands in."""

    result: Result
    measure: Measure

    @property
    def number(self) -> float | None:
        """Its value where that is a finite number."""
        value = self.measure.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value)

    @property
    def is_infinite(self) -> bool:
        """Whether every picture came back identical, where this measure is infinite."""
        one, count = self.measure, self.result.data.count
        alike = one.value is None and one.status == "unavailable" and dict(one.counts) == {"identical": count}
        return one.name in INFINITE_WHERE_IDENTICAL and count > 0 and alike

    @property
    def identical(self) -> int:
        return self.measure.counts.get("identical", 0) if self.measure.name in INFINITE_WHERE_IDENTICAL else 0

    @property
    def identical_ids(self) -> frozenset[str] | None:
        """Which pictures came back identical; None where the result does not tell them from others without a value."""
        column = self.result.per_image.columns.get(self.measure.name, ())
        ids = frozenset(one for one, value in zip(self.result.per_image.ids, column, strict=False) if value is None)
        return ids if len(ids) == self.identical else None


@dataclass(frozen=True)
class Pair:
    """One rule against a baseline, with both sides' figures and their difference on the same pictures."""

    rule: AgainstBaseline
    mine: Found | None
    theirs: Found | None
    difference: Paired | None


def find(results: Iterable[Result], metric: str) -> Found | None:
    """The metric's measure, the most reliable where several results have it."""
    found = [Found(result, measure) for result in results if (measure := _measures(result).get(metric)) is not None]
    return min(found, key=lambda one: RELIABILITY.index(one.measure.status), default=None)


def pairs(rules: Sequence[AgainstBaseline], results: Sequence[Result], baseline: Sequence[Result]) -> tuple[Pair, ...]:
    """Each rule's two figures, of one kind of run where both sides have it."""
    found = []
    for rule in rules:
        mine = find(results, rule.metric)
        alike = [one for one in baseline if mine is None or one.kind == mine.result.kind]
        theirs = find(alike, rule.metric) or find(baseline, rule.metric)
        found.append(Pair(rule, mine, theirs, _difference(rule.metric, mine, theirs)))
    return tuple(found)


def check_limit(rule: Limit, results: Sequence[Result]) -> Checked:
    """An absolute limit: max or min, and warn."""
    metric, side, found = rule.metric, rule.side, find(results, rule.metric)
    bounds: list[tuple[Outcome, str, float | None]] = [("fail", side, rule.fail), ("warn", "warn", rule.warn)]
    words = ", ".join(f"{name} {_digits(bound)}" for _, name, bound in bounds if bound is not None)
    say = _Sayer(f"{metric} {words}", metric, f"gate.{metric}", found)
    hardest = rule.fail if rule.fail is not None else rule.warn
    if found is not None and found.is_infinite:
        outcome: Outcome = "pass" if side == "min" else "warn" if rule.fail is None else "fail"
        return say(outcome, hardest, "every picture came back identical, so that it is infinite"), ""
    if (trouble := say.trouble(hardest)) is not None:
        return trouble, ""
    value = say.value
    beyond = "below" if side == "min" else "above"
    for outcome, name, bound in bounds:
        if bound is not None and not (value >= bound if side == "min" else value <= bound):
            return say(outcome, bound, f"{_told(value, bound, say.unit, f'is {beyond} {name} =')}"), ""
    assert hardest is not None
    check = say("pass", hardest, _told(value, hardest, say.unit, f"is at {'least' if side == 'min' else 'most'}"))
    worse_side = {"higher": "min", "lower": "max"}.get(better(metric) or "")
    if worse_side not in (None, side):
        note = f"{say.table}: {metric} is better when {better(metric)}, and {side} = {hardest:g} fails a better VAE"
        return check, f"{note}; was {worse_side} meant?"
    if worse_side is None:
        return check, ""
    return check, slack(say.measure, value, hardest, f"{say.table}: {side}")


def check_baseline(found: Sequence[Pair]) -> list[Checked]:
    """Rules against a baseline; those that ask for significance share Holm's correction."""
    tested = [one for one in found if one.rule.significant and one.difference and one.difference.p is not None]
    p_values = [one.difference.p for one in tested if one.difference and one.difference.p is not None]
    corrected = dict(zip((one.rule.metric for one in tested), holm(p_values), strict=True))
    return [_against(one, corrected.get(one.rule.metric)) for one in found]


def check_findings(rule: Diagnosis, results: Sequence[Result]) -> list[Check]:
    """One check for each finding that does not pass, and one for all that do."""
    found: dict[str, Finding] = {one.id: one for result in results for one in result.findings}
    if not found:
        remedy = "Run vaecheck diagnose, or let the gate run the VAE: vaecheck gate IMAGES --vae REF."
        return [Check(_fail_on(rule), "diagnose", "gate.diagnose", "error", None, None, "was not run", "", remedy)]
    failing = ("fault",) if rule.fail_on == "fault" else ("fault", "warning")
    checks = [_finding(found.get(one), one, rule, failing) for one in rule.ids]
    broken = [check for check in checks if check is not None]
    passed = len(checks) - len(broken)
    if passed:
        words = f"no {' and no '.join(failing)} in {passed} of the {len(checks)} findings asked for"
        broken.append(Check(_fail_on(rule), "diagnose", "gate.diagnose", "pass", None, None, words))
    return broken


def _against(pair: Pair, p_holm: float | None) -> Checked:
    rule, mine, theirs, difference = pair.rule, pair.mine, pair.theirs, pair.difference
    amounts: list[tuple[Outcome, str, Amount | None]] = [("fail", "worse_by", rule.fail), ("warn", "warn", rule.warn)]
    words = ", ".join(f"{name} {amount}" for _, name, amount in amounts if amount is not None)
    say = _Sayer(f"{rule.metric} {words or 'significant'} (baseline)", rule.metric, "gate.baseline", mine)
    of_theirs = _Sayer(say.rule, rule.metric, say.table, theirs, "the baseline's ")
    if mine is not None and mine.is_infinite:
        return say("pass", None, "every picture came back identical: no baseline is better"), ""
    if (trouble := say.trouble(theirs.number if theirs else None)) is not None:
        return trouble, ""
    assert mine is not None
    if theirs is not None and (lost := _no_longer_identical(mine, theirs)):
        return say("warn" if rule.fail is None and not rule.significant else "fail", theirs.number, lost), ""
    if (trouble := of_theirs.trouble(None)) is not None:
        return replace(trouble, value=say.value), ""
    assert theirs is not None
    assert difference is not None
    baseline = of_theirs.value
    sign = -1 if better(rule.metric) == "higher" else 1
    worse = sign * difference.value
    told = _difference_told(say, baseline, worse, difference, sign)
    if why := _unpaired(mine, theirs, difference):
        remedy = "Measure both with the same pictures and options, and keep per_image.csv beside both results."
        return say("error", baseline, f"{told}; it cannot be judged: {why}", remedy), ""
    if rule.significant:
        check = _significance(say, baseline, worse, difference, p_holm, told)
        return check, _power(check, worse, difference, sign)
    limits = [(outcome, amount.of(baseline)) for outcome, _, amount in amounts if amount is not None]
    for outcome, allowed in limits:
        if not worse <= allowed:
            told += f", and {_digits(allowed)}{' is allowed' if outcome == 'fail' else ' warns'}"
            return say(outcome, baseline + sign * allowed, told), ""
    hardest = baseline + sign * limits[0][1]
    error = replace(say.measure, ci95=difference.ci95)
    return say("pass", hardest, told), slack(error, baseline, hardest, f"gate.baseline.{rule.metric}: worse_by", worse)


def _no_longer_identical(mine: Found, theirs: Found) -> str:
    """What says that pictures which were infinitely good are not any more; empty where none is known to be."""
    ids, others = mine.identical_ids, theirs.identical_ids
    if theirs.identical > mine.identical:
        return f"{theirs.identical} pictures came back identical in the baseline, and {mine.identical} do now"
    if ids is None or others is None or others <= ids:
        return ""
    lost = others - ids
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return f"{min(lost)}{more} came back identical in the baseline, and not now"


def _unpaired(mine: Found, theirs: Found, difference: Paired) -> str:
    """Why the difference leaves pictures out that could be worse; empty where it does not.

    A picture that came back identical, and did not in the baseline, is better: leaving it out lets nothing through.
    """
    ids, others = mine.identical_ids, theirs.identical_ids
    if difference.left_out and ids is not None and others is not None and difference.left_out == len(ids - others):
        return ""
    if difference.left_out or (not difference.n and (mine.identical or theirs.identical)):
        return difference.reason
    return ""


def _significance(
    say: _Sayer, baseline: float, worse: float, difference: Paired, p_holm: float | None, told: str
) -> Check:
    if difference.ci95 is None or p_holm is None:
        why = f"whether that is more than chance cannot be told: {difference.reason}"
        keep = "" if difference.left_out else "Keep per_image.csv beside both results, or write "
        remedy = f"{keep or 'Write '}{say.metric} = {{worse_by = ...}}."
        return say("error", baseline, f"{told}; {why}", remedy)
    low, high = difference.ci95
    told += f", p = {p_holm:.2g} after Holm's correction"
    if worse > 0 and p_holm < LEVEL and not low <= 0 <= high:
        return say("fail", baseline, f"{told}: more than chance explains")
    return say("pass", baseline, f"{told}: {'chance explains that' if worse > 0 else 'it is not worse'}")


def _power(check: Check, worse: float, difference: Paired, sign: int) -> str:
    """What few pictures could not have told, where a figure is worse and passes all the same."""
    if check.outcome != "pass" or worse <= 0 or difference.ci95 is None or difference.n >= ENOUGH:
        return ""
    most = max(sign * bound for bound in difference.ci95)
    return (
        f"{check.table}: {difference.n} pictures tell little from chance: {check.metric} may be worse by "
        f"{_digits(most, 3)} and pass; measure {ENOUGH} or more, or write {check.metric} = {{worse_by = ...}}"
    )


def _finding(found: Finding | None, name: str, rule: Diagnosis, failing: Sequence[str]) -> Check | None:
    """None where it passes."""
    where = f"{_fail_on(rule)}: {name}", name, "gate.diagnose"
    if found is None:
        remedy = f'Run vaecheck diagnose without --probes, or write ignore = ["{name}"].'
        return Check(*where, "error", None, None, "was not looked for", "", remedy)
    figures = found.value, found.limit
    if found.severity == "unavailable":
        remedy = found.remedy or f'Mend that, or write ignore = ["{name}"].'
        return Check(*where, "error", None, None, f"could not be measured: {found.evidence}", "", remedy)
    if found.severity in ("fault", "warning"):
        outcome: Outcome = "fail" if found.severity in failing else "warn"
        return Check(*where, outcome, *figures, f"a {found.severity}: {found.evidence}", found.unit, found.remedy)
    if found.severity == "info" and found.follows_from and found.follows_from not in rule.ids:
        why = f"past its limit, and {found.follows_from}, which would explain it, is ignored: {found.evidence}"
        return Check(*where, "fail", *figures, why, found.unit, found.remedy)
    return None


def _fail_on(rule: Diagnosis) -> str:
    return f"diagnose fail_on {rule.fail_on}"


@dataclass(frozen=True)
class _Sayer:
    """Makes the checks of one rule. whose: before the metric's name, where the figure is not the result's own."""

    rule: str
    metric: str
    table: str
    found: Found | None
    whose: str = ""

    @property
    def measure(self) -> Measure:
        assert self.found is not None
        return self.found.measure

    @property
    def unit(self) -> str:
        unit = self.found.measure.unit if self.found else ""
        return "" if unit == "1" else unit

    @property
    def value(self) -> float:
        value = self.found.number if self.found else None
        assert value is not None
        return value

    def __call__(self, outcome: Outcome, limit: float | None, reason: str, remedy: str = "") -> Check:
        if outcome in ("fail", "warn") and not remedy:
            remedy = f"Look for the fault behind it: vaecheck diagnose. What is usual: vaecheck explain {self.metric}."
        value = self.found.number if self.found else None
        return Check(self.rule, self.metric, self.table, outcome, value, limit, reason, self.unit, remedy)

    def trouble(self, limit: float | None) -> Check | None:
        """The check of a figure that is missing, unavailable or unreliable; None for one that can be judged."""
        if self.found is None:
            return self("error", limit, f"{self.whose}{self.metric} was not measured", _how_to_measure(self.metric))
        measure, what = self.found.measure, f"{self.whose}{self.metric}"
        if self.found.number is None or measure.status == "unavailable":
            why = measure.reason or f"its value is {measure.value}"
            return replace(self("error", limit, f"{what} is unavailable: {why}", TAKE_OUT), value=None)
        if measure.status != "ok":
            why = f"{what} is {_digits(self.value)} {self.unit}".rstrip() + f", and {measure.status}: {measure.reason}"
            return self("fail", limit, why, "Mend that, or take the rule out: a figure not to be relied on fails.")
        return None


def _measures(result: Result) -> Mapping[str, Measure]:
    """The result's measures, and those of its scaling."""
    scaling = result.scaling
    if scaling is None:
        return result.measures
    n = result.data.count
    factor = Measure("scaling_factor", scaling.scaling_factor, "", None, n, "1 / std", ci95=scaling.scaling_factor_ci95)
    after = scaling.shipped.get("std_after")
    std_after = Measure("std_after", after, "", None, n, "std after the shipped scaling")
    if after is None:
        std_after = replace(std_after, status="unavailable", reason=scaling.reason)
    return {**result.measures, "scaling_factor": factor, "std_after": std_after}


def _difference(metric: str, mine: Found | None, theirs: Found | None) -> Paired | None:
    if mine is None or theirs is None or mine.number is None or theirs.number is None:
        return None
    sides = (replace(one.result, measures={metric: one.measure}) for one in (mine, theirs))
    return paired_differences(*sides)[metric]


def _difference_told(say: _Sayer, baseline: float, worse: float, difference: Paired, sign: int) -> str:
    """ "24.1 dB against the baseline's 24.3: 0.21 worse (95 % interval 0.15 to 0.27)"."""
    told = _told(say.value, baseline, say.unit, "against the baseline's")
    if difference.value == 0:
        return f"{told}: no difference"
    told += f": {_digits(abs(worse), 3)} {'worse' if worse > 0 else 'better'}"
    if difference.ci95 is not None:
        side = 1 if worse > 0 else -1
        low, high = sorted(side * sign * bound for bound in difference.ci95)
        told += f" (95 % interval {_digits(low, 3)} to {_digits(high, 3)})"
        told += f"; {difference.reason}" if difference.reason else ""
    return told


def _how_to_measure(metric: str) -> str:
    if metric in ("scaling_factor", "std_after"):
        return "Run vaecheck scale-factor, or let the gate run the VAE: vaecheck gate IMAGES --vae REF."
    return f"Run it with --metrics {metric}, or let the gate run the VAE: vaecheck gate IMAGES --vae REF."


def _told(value: float, bound: float, unit: str, between: str) -> str:
    """Both figures, to as many digits as tell them apart."""
    for digits in (4, 6, 9, 12, 17):
        one, other = _digits(value, digits), _digits(bound, digits)
        if one != other or value == bound:
            break
    return f"{one} {unit}".rstrip() + f" {between} {other}"


def _digits(amount: float, digits: int = 6) -> str:
    return f"{amount:.{digits}g}"
