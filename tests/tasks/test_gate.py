"""What becomes of each rule, the verdict and its exit code; and that nothing missing ever passes."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import vaecheck
from tests.results.runs import by_picture, finding, measure, run
from vaecheck.errors import GateFailed, GateIncomplete, InputError, NotComparable
from vaecheck.results.files import from_document, save, to_document
from vaecheck.results.gate import GateReport
from vaecheck.results.types import PerImage, Result, Scaling
from vaecheck.tasks.gate import judge, open_results
from vaecheck.tasks.gate_rules import FINDINGS, read_rules


def judged(rules: dict[str, Any], *results: Result, baseline: Result | None = None) -> GateReport:
    old = () if baseline is None else (baseline,)
    report = judge(results, read_rules(rules), old, result="result", baseline_name="old" if old else "")
    assert from_document(to_document(report)) == report
    return report


def outcomes(report: GateReport) -> dict[str, str]:
    return {check.rule: check.outcome for check in report.checks}


def only(report: GateReport) -> Any:
    (check,) = report.checks
    return check


@pytest.mark.parametrize(
    ("rule", "value", "outcome", "told"),
    [
        ({"min": 24}, 24.0, "pass", "24 dB is at least 24"),
        ({"min": 24}, 23.99999, "fail", "23.99999 dB is below min = 24"),
        ({"min": 24, "warn": 25}, 24.5, "warn", "24.5 dB is below warn = 25"),
        ({"min": 24, "warn": 25}, 25.0, "pass", "25 dB is at least 24"),
        ({"min": 24, "warn": 25}, 20.0, "fail", "20 dB is below min = 24"),
        ({"warn": 25}, 20.0, "warn", "20 dB is below warn = 25"),
        ({"max": 24}, 24.0, "pass", "24 dB is at most 24"),
        ({"max": 24}, 25.0, "fail", "25 dB is above max = 24"),
    ],
)
def test_a_limit(rule: dict[str, float], value: float, outcome: str, told: str) -> None:
    report = judged({"psnr_db": rule}, run(measure("psnr_db", value)))
    check = only(report)
    assert (check.outcome, check.reason, check.value) == (outcome, told, value)
    assert check.table == "gate.psnr_db"
    assert report.verdict == outcome
    assert report.exit_code == {"pass": 0, "warn": 0, "fail": 1}[outcome]


def test_both_sides_of_a_band_are_two_checks() -> None:
    rules = {"latent_std": {"min": 0.5, "max": 2}}
    assert outcomes(judged(rules, run(measure("latent_std", 3.0)))) == {
        "latent_std min 0.5": "pass",
        "latent_std max 2": "fail",
    }


@pytest.mark.parametrize("status", ["unavailable", "ok"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, True, (4, 8, 8)])
def test_what_is_no_number_is_an_error(value: Any, status: Any) -> None:
    for rule in ({"min": -1e9}, {"max": 1e9}, {"warn": 0}):
        report = judge(
            [run(measure("ssim", value, status=status, reason="no weights"))],
            read_rules({"ssim": rule}), result="result",
        )  # fmt: skip
        assert (report.verdict, report.exit_code, only(report).value) == ("error", 3, None)


def test_a_figure_that_was_not_measured_is_an_error_which_says_how_to_have_it() -> None:
    check = only(judged({"rfid": {"max": 100}}, run(measure("psnr_db", 30.0))))
    assert (check.outcome, check.reason) == ("error", "rfid was not measured")
    assert "--metrics rfid" in check.remedy


def test_an_unreliable_figure_fails_its_rule() -> None:
    report = judged({"rfid": {"max": 100}}, run(measure("rfid", 1.0, status="unreliable", reason="64 images")))
    assert (report.verdict, report.exit_code) == ("fail", 1)
    assert only(report).reason == "rfid is 1, and unreliable: 64 images"


def identical(name: str = "psnr_db", **counts: int) -> Result:
    found = counts or {"identical": 8}
    return run(measure(name, None, status="unavailable", reason="every picture is identical", counts=found, n=0))


def test_psnr_of_identical_pictures_is_above_any_minimum() -> None:
    assert only(judged({"psnr_db": {"min": 90, "warn": 95}}, identical())).outcome == "pass"
    assert only(judged({"psnr_db": {"max": 90}}, identical())).outcome == "fail"
    for partly in ({"identical": 7}, {"identical": 7, "non_finite": 1}, {"non_finite": 8}):
        assert only(judged({"psnr_db": {"min": 0}}, identical(**partly))).outcome == "error"
    assert only(judged({"ssim": {"min": 0}}, identical("ssim"))).outcome == "error"


def test_what_is_missing_wins_over_what_is_broken_and_both_are_listed() -> None:
    rules = {"psnr_db": {"min": 24}, "rfid": {"max": 1}, "ssim": {"min": 0.1}, "kid": {"max": 1, "warn": 0.5}}
    report = judged(rules, run(measure("psnr_db", 20.0), measure("ssim", 0.11), measure("kid", 0.7)))
    assert (report.verdict, report.exit_code) == ("error", 3)
    assert [check.outcome for check in report.checks] == ["error", "fail", "warn", "pass"]
    with pytest.raises(GateIncomplete) as caught:
        vaecheck.gate(run(measure("psnr_db", 20.0)), {"psnr_db": {"min": 24}, "rfid": {"max": 1}})
    assert caught.value.exit_code == 3
    assert "psnr_db min 24: 20 dB is below min = 24" in caught.value.message
    assert "rfid max 1: rfid was not measured" in caught.value.message


# --- findings -------------------------------------------------------------------------------------------------


def diagnosed(**severities: str) -> Result:
    ids = dict.fromkeys(FINDINGS, "healthy") | severities
    return run(kind="diagnose", findings=tuple(finding(name, severity) for name, severity in ids.items()))


@pytest.mark.parametrize(
    ("fail_on", "blur", "outcome"),
    [
        ("fault", "fault", "fail"), ("fault", "warning", "warn"), ("fault", "healthy", "pass"),
        ("fault", "unavailable", "error"), ("warning", "warning", "fail"), ("warning", "fault", "fail"),
        ("warning", "info", "pass"),
    ],
)  # fmt: skip
def test_findings(fail_on: str, blur: str, outcome: str) -> None:
    report = judged({"diagnose": {"fail_on": fail_on}}, diagnosed(blur=blur))
    assert report.verdict == outcome
    first = report.checks[0]
    if outcome != "pass":
        assert (first.metric, first.table) == ("blur", "gate.diagnose")
        assert "Evidence of blur." in first.reason
        assert first.remedy
    assert report.checks[-1].outcome == "pass"


def test_every_finding_is_listed_and_ignored_ones_are_not() -> None:
    result = diagnosed(blur="fault", checkerboard="fault", text_loss="unavailable")
    report = judged({"diagnose": {"fail_on": "fault", "ignore": ["text_loss"]}}, result)
    assert [check.metric for check in report.checks] == ["blur", "checkerboard", "diagnose"]
    assert report.exit_code == 1
    assert judged({"diagnose": {"fail_on": "fault", "only": ["dead_channels"]}}, result).exit_code == 0


def test_a_finding_that_was_not_looked_for_is_an_error() -> None:
    rules = {"diagnose": {"fail_on": "fault"}}
    report = judged(rules, run(kind="diagnose", findings=(finding("blur", "healthy"),)))
    assert report.exit_code == 3
    assert len(report.checks) == len(FINDINGS)  # all but blur, and that blur passes
    assert only(judged(rules, run())).reason == "was not run"


def test_a_finding_does_not_hide_behind_a_cause_that_is_ignored() -> None:
    followed = replace(finding("detail_loss", "info"), follows_from="blur")
    findings = tuple(one for one in diagnosed(blur="fault").findings if one.id != "detail_loss")
    result = run(kind="diagnose", findings=(*findings, followed))
    assert [c.metric for c in judged({"diagnose": {"fail_on": "fault"}}, result).checks] == ["blur", "diagnose"]
    report = judged({"diagnose": {"fail_on": "fault", "ignore": ["blur"]}}, result)
    assert (report.checks[0].metric, report.checks[0].outcome) == ("detail_loss", "fail")


# --- scaling and several results ------------------------------------------------------------------------------


def scaled(std_after: float | None) -> Result:
    shipped = {"scaling_factor": 0.18, "shift_factor": None, "std_after": std_after}
    scaling = Scaling(0.0, 1.0, 1.0, 1.02, (1.0, 1.04), {}, 0.0, (), shipped, "ok", "nothing is shipped", {})
    return run(kind="scale-factor", scaling=scaling)


def test_figures_of_the_scaling() -> None:
    rules = {"std_after": {"min": 0.8, "max": 1.25}, "scaling_factor": {"min": 1, "max": 1.1}}
    assert judged(rules, scaled(0.9)).exit_code == 0
    assert judged(rules, scaled(0.5)).exit_code == 1
    missing = judged(rules, scaled(None))
    assert missing.exit_code == 3
    assert missing.checks[0].reason == "std_after is unavailable: nothing is shipped"


def test_results_of_one_vae_on_the_same_pictures_are_merged() -> None:
    rules = {"psnr_db": {"min": 20}, "diagnose": {"fail_on": "fault"}}
    measured = run(measure("psnr_db", 24.0))
    assert judged(rules, measured, diagnosed()).exit_code == 0
    with pytest.raises(NotComparable, match=r"data\.fingerprint: cdcdcdcdcdcd against 000000000000"):
        judged(rules, measured, replace(diagnosed(), data=replace(measured.data, fingerprint="00" * 32)))
    with pytest.raises(NotComparable, match=r"vae\.sha256"):
        judged(rules, measured, replace(diagnosed(), vae=replace(measured.vae, sha256="00" * 32)))
    with pytest.raises(InputError, match="several diagnose results"):
        judged(rules, measured, diagnosed(), diagnosed(blur="fault"))
    with pytest.raises(InputError, match="there is no result"):
        judged(rules)


def test_where_two_results_have_a_measure_the_reliable_one_counts() -> None:
    lost = measure("latent_std", None, status="unavailable", reason="x")
    rules = {"latent_std": {"max": 2}}
    assert judged(rules, run(lost), run(measure("latent_std", 1.0), kind="latents")).exit_code == 0


# --- baselines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "new", "outcome", "limit"),
    [
        ({"worse_by": 0.5}, 23.5, "pass", 23.5),
        ({"worse_by": 0.5}, 23.25, "fail", 23.5),
        ({"worse_by": 0.5}, 40.0, "pass", 23.5),
        ({"worse_by": 0.5, "warn": 0.125}, 23.75, "warn", 23.875),
        ({"worse_by": "5%"}, 22.5, "fail", 22.8),
        ({"worse_by": "10%"}, 22.5, "pass", 21.6),
        ({"warn": 0.5}, 23.0, "warn", 23.5),
        ({"worse_by": 0}, 24.0, "pass", 24.0),
    ],
)
def test_worse_than_a_baseline(rule: dict[str, Any], new: float, outcome: str, limit: float) -> None:
    report = judged(
        {"baseline": {"psnr_db": rule}}, run(measure("psnr_db", new)), baseline=run(measure("psnr_db", 24.0))
    )
    check = only(report)
    assert (check.outcome, check.value) == (outcome, new)
    assert check.limit == pytest.approx(limit)
    assert report.baseline == "old"


def test_worse_is_by_the_metrics_own_direction() -> None:
    rules = {"baseline": {"rfid": {"worse_by": 0.1}}}
    for new, code in ((1.0, 0), (0.2, 0), (1.05, 0), (1.2, 1)):
        assert judged(rules, run(measure("rfid", new)), baseline=run(measure("rfid", 1.0))).exit_code == code


@pytest.mark.parametrize("side", ["new", "old"])
def test_a_figure_missing_on_either_side_is_an_error_and_an_unreliable_one_fails(side: str) -> None:
    good = run(measure("psnr_db", 24.0))
    lost = run(measure("psnr_db", None, status="unavailable", reason="no weights"))
    weak = run(measure("psnr_db", 24.0, status="unreliable", reason="few pictures"))
    for bad, code in ((lost, 3), (weak, 1), (run(), 3)):
        for rule in ({"worse_by": 100}, "significant"):
            new, old = (bad, good) if side == "new" else (good, bad)
            report = judged({"baseline": {"psnr_db": rule}}, new, baseline=old)
            assert report.exit_code == code
            assert ("baseline's" in only(report).reason) == (side == "old")


def test_a_baseline_of_other_pictures_or_options_is_refused_with_the_fields() -> None:
    old = run(measure("psnr_db", 24.0), data={"size": 128}, settings={"dtype": "bfloat16"})
    with pytest.raises(NotComparable) as caught:
        judged({"baseline": {"psnr_db": "significant"}}, run(measure("psnr_db", 24.0)), baseline=old)
    assert "data.size: 64 against 128" in caught.value.message
    assert "settings.dtype: float32 against bfloat16" in caught.value.message
    assert caught.value.exit_code == 2


def test_rules_against_a_baseline_need_one_and_a_baseline_needs_rules() -> None:
    with pytest.raises(InputError, match=r"rules against a baseline \(psnr_db\)"):
        judged({"baseline": {"psnr_db": "significant"}}, run(measure("psnr_db", 24.0)))
    result = run(measure("psnr_db", 24.0))
    notes = judged({"psnr_db": {"min": 23}}, result, baseline=result).notes
    assert notes == ("the baseline was not used: the given rules has no [gate.baseline]",)


def test_identical_pictures_and_baselines() -> None:
    rules = {"baseline": {"psnr_db": {"worse_by": 1}}}
    finite = run(measure("psnr_db", 40.0))
    assert judged(rules, identical(), baseline=finite).exit_code == 0
    assert judged(rules, identical(), baseline=identical()).exit_code == 0
    lossy = only(judged(rules, finite, baseline=identical()))
    assert (lossy.outcome, lossy.reason) == ("fail", "8 pictures came back identical in the baseline, and 0 do now")


def noisy(shift: float, seed: int, n: int = 40) -> tuple[Result, Result, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    old = 24 + 3 * draw.standard_normal(n)
    new = old + shift + 0.2 * draw.standard_normal(n)
    return by_picture({"psnr_db": new.tolist()}), by_picture({"psnr_db": old.tolist()}), new, old


@pytest.mark.parametrize(("shift", "code"), [(-0.3, 1), (0.3, 0), (0.0, 0)])
def test_significance_is_of_the_paired_difference_in_the_worse_direction(shift: float, code: int) -> None:
    new, old, of_new, of_old = noisy(shift, seed=1)
    report = judged({"baseline": {"psnr_db": "significant"}}, new, baseline=old)
    assert report.exit_code == code
    p = stats.ttest_rel(of_new, of_old).pvalue
    assert f"p = {p:.2g}" in only(report).reason
    assert stats.ttest_ind(of_new, of_old).pvalue > 0.05  # unpaired, none of them could be told


def test_significant_rules_share_holms_correction() -> None:
    """p of 0.03 alone is significant, and is not beside another rule."""
    n = 30
    draw = np.random.default_rng(3)
    noise = draw.standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    shift = -stats.t.isf(0.03 / 2, n - 1) / math.sqrt(n)
    old = {"psnr_db": [24.0] * n, "ssim": [0.5] * n}
    new = {"psnr_db": (24 + noise + shift).tolist(), "ssim": (0.5 + 0.01 * noise).tolist()}
    alone = judged({"baseline": {"psnr_db": "significant"}}, by_picture(new), baseline=by_picture(old))
    assert "p = 0.03" in only(alone).reason
    both = judged(
        {"baseline": {"psnr_db": "significant", "ssim": "significant"}}, by_picture(new), baseline=by_picture(old)
    )
    assert (alone.exit_code, both.exit_code) == (1, 0)
    assert any("p = 0.06" in check.reason for check in both.checks)


def test_where_there_is_no_interval_significance_is_an_error() -> None:
    report = judged(
        {"baseline": {"kid": "significant"}}, run(measure("kid", 2.0)), baseline=run(measure("kid", 1.0))
    )  # fmt: skip
    assert report.exit_code == 3
    assert "cannot be told" in only(report).reason


def psnr_of(*values: float | None) -> Result:
    """None: identical."""
    result = by_picture({"psnr_db": values})
    found = {"identical": values.count(None)} if None in values else {}
    return replace(result, measures={"psnr_db": replace(result.measures["psnr_db"], counts=found)})


ANY_RULE = pytest.mark.parametrize("rule", [{"worse_by": 0.1}, "significant"])


@ANY_RULE
def test_as_many_identical_pictures_are_not_the_same_ones(rule: Any) -> None:
    old, new = psnr_of(None, None, 30.0, 31.0, 32.0, 33.0), psnr_of(5.0, 5.0, None, None, 32.0, 33.0)
    check = only(judged({"baseline": {"psnr_db": rule}}, new, baseline=old))
    assert (check.outcome, check.reason) == (
        "fail", "000.png and 1 more came back identical in the baseline, and not now"
    )  # fmt: skip


@ANY_RULE
@pytest.mark.parametrize("metric", ["psnr_db", "ssim"])
def test_what_is_left_out_for_a_reason_not_known_does_not_pass(metric: str, rule: Any) -> None:
    old, new = by_picture({metric: [20.0, 30.0, None]}), by_picture({metric: [20.0, 30.0, 10.0]})
    check = only(judged({"baseline": {metric: rule}}, new, baseline=old))
    assert check.outcome == "error"
    assert "1 of 3 pictures have a value on one side alone" in check.reason


def test_pictures_identical_on_both_sides_or_only_now_let_nothing_through() -> None:
    old = psnr_of(None, 30.0, 31.0, 32.0)
    both, more = psnr_of(None, 29.95, 30.95, 31.95), psnr_of(None, None, 30.95, 31.95)
    for rule, new, outcome in (
        ({"worse_by": 0.1}, both, "pass"),
        ({"worse_by": 0.01}, both, "fail"),
        ("significant", both, "fail"),
        ({"worse_by": 0.1}, more, "pass"),
        ({"worse_by": 0.01}, more, "fail"),
        ("significant", more, "error"),
    ):
        assert only(judged({"baseline": {"psnr_db": rule}}, new, baseline=old)).outcome == outcome, (rule, outcome)


def test_which_were_identical_is_not_known_without_the_pictures() -> None:
    old = psnr_of(None, 30.0, 31.0)
    new = replace(psnr_of(29.0, None, 31.0), per_image=PerImage())
    check = only(judged({"baseline": {"psnr_db": {"worse_by": 5}}}, new, baseline=old))
    assert check.outcome == "error"
    assert "one result has no per_image.csv" in check.reason


def test_two_distances_of_other_pictures_do_not_pass() -> None:
    def rfid(value: float, *pull: float | None) -> Result:
        images = PerImage(("a", "b", "c"), {"rfid_influence": pull})
        return run(measure("rfid", value), per_image=images)

    rules = {"baseline": {"rfid": {"worse_by": 1}}}
    assert judged(rules, rfid(2.0, 0.1, 0.2, 0.3), baseline=rfid(2.0, 0.1, 0.2, 0.3)).exit_code == 0
    check = only(judged(rules, rfid(2.0, 0.1, None, 0.3), baseline=rfid(2.0, 0.1, 0.2, 0.3)))
    assert (check.outcome, "over different pictures" in check.reason) == ("error", True)


@ANY_RULE
def test_a_baseline_whose_pictures_have_other_names_is_refused(rule: Any) -> None:
    """Two names in 64 are the same, and by those the new VAE is better; by all it is 5 dB worse."""
    old = by_picture({"psnr_db": [30.0] * 64})
    new = by_picture({"psnr_db": [25.0] * 62 + [30.1, 30.2]})
    renamed = tuple(f"x{name}" for name in new.per_image.ids[:62]) + new.per_image.ids[62:]
    new = replace(new, per_image=replace(new.per_image, ids=renamed))
    with pytest.raises(NotComparable, match=r"names of the pictures: 000\.png is in one alone"):
        judged({"baseline": {"psnr_db": rule}}, new, baseline=old)


def test_significance_without_per_image_values_names_the_file() -> None:
    new, old, *_ = noisy(-0.3, seed=1)
    bare = replace(new, per_image=PerImage())
    for sides, told in (((bare, old), "one result has"), ((bare, bare), "both results have")):
        check = only(judged({"baseline": {"psnr_db": "significant"}}, sides[0], baseline=sides[1]))
        assert check.outcome == "error"
        assert f"{told} no per_image.csv" in check.reason
        assert "Keep per_image.csv beside both results" in check.remedy


# --- slack ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule", "value", "ci95", "note"),
    [
        ("ssim", {"min": 0.31}, 0.78, (0.77, 0.79), "60 % worse; 0.741 would still hold"),
        ("psnr_db", {"min": 20}, 24.0, (23.9, 24.1), "4 dB worse; 23.5 would still hold"),
        ("lpips_alex", {"max": 0.5}, 0.1, (0.099, 0.101), "400 % worse; 0.105 would still hold"),
        ("psnr_db", {"min": 20}, 24.0, (20.0, 28.0), ""),
        ("psnr_db", {"min": 22}, 24.0, (23.9, 24.1), ""),
        ("lpips_alex", {"max": 0.11}, 0.1, (0.099, 0.101), ""),
        ("latent_std", {"max": 100}, 1.0, None, ""),
        ("rfid", {"max": 1}, 0.0, None, ""),
    ],
)
def test_a_limit_that_guards_nothing_earns_a_note(
    name: str, rule: dict[str, float], value: float, ci95: tuple[float, float] | None, note: str
) -> None:
    report = judged({name: rule}, run(measure(name, value, ci95=ci95)))
    assert report.exit_code == 0
    assert len(report.notes) == bool(note)
    assert all(note in one for one in report.notes)


def test_the_limit_that_a_note_offers_holds_and_earns_none() -> None:
    result = run(measure("lpips_alex", 0.0123456, ci95=(0.011, 0.0137)), measure("ssim", 0.78))
    notes = judged({"lpips_alex": {"max": 0.5}, "ssim": {"min": 0.1}}, result).notes
    offered = [float(note.split("; ")[1].split(" ")[0]) for note in notes]
    again = judged({"lpips_alex": {"max": offered[0]}, "ssim": {"min": offered[1]}}, result)
    assert (again.exit_code, again.notes) == (0, ())


def test_a_slack_difference_and_a_limit_on_the_wrong_side_are_told() -> None:
    result, old = run(measure("ssim", 0.8)), run(measure("ssim", 0.8))
    (note,) = judged({"baseline": {"ssim": {"worse_by": 0.5}}}, result, baseline=old).notes
    assert "worse_by = 0.5 is far from tight" in note
    assert "worse_by = 0.04 would still hold" in note
    (note,) = judged({"ssim": {"max": 0.9}}, result).notes
    assert note == "gate.ssim: ssim is better when higher, and max = 0.9 fails a better VAE; was min meant?"


# --- nothing missing ever passes ------------------------------------------------------------------------------

VALUES = st.none() | st.floats() | st.integers(-5, 5) | st.booleans()
STATUSES = st.sampled_from(["ok", "unreliable", "unavailable"])
COUNTS = st.dictionaries(st.sampled_from(["identical", "non_finite", "too_small"]), st.integers(0, 9), max_size=2)
METRICS = st.sampled_from(["psnr_db", "ssim", "rfid", "lpips_alex"])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def measured(draw: st.DrawFn) -> Result:
    names = draw(st.lists(METRICS, unique=True, max_size=3))
    return run(*(measure(n, draw(VALUES), status=draw(STATUSES), counts=draw(COUNTS), reason="why") for n in names))


def sound(result: Result, metric: str) -> bool:
    """Whether a figure may be judged at all, written again from the contract."""
    one = result.measures.get(metric)
    if one is None:
        return False
    if metric == "psnr_db" and one.value is None and one.status == "unavailable":
        return dict(one.counts) == {"identical": result.data.count}
    return one.status == "ok" and isinstance(one.value, (int, float)) and not isinstance(one.value, bool) and (
        math.isfinite(one.value)
    )  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(result=measured(), metric=METRICS, side=st.sampled_from(["min", "max", "warn"]), limit=NUMBERS)
def test_no_limit_lets_through_what_is_missing(result: Result, metric: str, side: str, limit: float) -> None:
    report = judge([result], read_rules({metric: {side: limit}}), result="result")
    check = only(report)
    if check.outcome in ("pass", "warn"):
        assert sound(result, metric)
        value = result.measures[metric].value
        if check.outcome == "pass" and value is not None:
            is_least = side == "min" or (side == "warn" and metric in ("psnr_db", "ssim"))
            assert value >= limit if is_least else value <= limit
    if metric not in result.measures:
        assert report.exit_code == 3
    to_document(report)  # raises where a NaN got in


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    new=measured(),
    old=measured(),
    metric=METRICS,
    rule=st.just("significant") | st.builds(lambda amount: {"worse_by": abs(amount)}, NUMBERS),
)
def test_no_baseline_lets_through_what_is_missing(new: Result, old: Result, metric: str, rule: Any) -> None:
    report = judge([new], read_rules({"baseline": {metric: rule}}), [old], result="result")
    if only(report).outcome in ("pass", "warn"):
        assert sound(new, metric)
        assert sound(old, metric) or new.measures[metric].value is None
    to_document(report)


SEVERITIES = st.sampled_from(["fault", "warning", "info", "healthy", "unavailable"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    severities=st.dictionaries(st.sampled_from(FINDINGS[:4]), SEVERITIES),
    asked=st.lists(st.sampled_from(FINDINGS[:4]), min_size=1, unique=True),
    fail_on=st.sampled_from(["fault", "warning"]),
)
def test_no_finding_passes_that_was_not_measured(severities: dict[str, str], asked: list[str], fail_on: str) -> None:
    result = run(kind="diagnose", findings=tuple(finding(name, one) for name, one in severities.items()))
    report = judge([result], read_rules({"diagnose": {"fail_on": fail_on, "only": asked}}), result="result")
    found = {severities.get(name) for name in asked}
    failing = {"fault", "warning"} if fail_on == "warning" else {"fault"}
    assert report.exit_code == (3 if found & {None, "unavailable"} else 1 if found & failing else 0)
    if severities:
        listed = {check.metric for check in report.checks} - {"diagnose"}
        assert {name for name in asked if severities.get(name) in (None, "unavailable", *failing)} <= listed


# --- from Python ----------------------------------------------------------------------------------------------


def test_python_gets_the_report_or_an_error_that_carries_it(tmp_path: Path) -> None:
    save(run(measure("psnr_db", 24.0)), tmp_path / "result")
    rules = tmp_path / "gate.toml"
    rules.write_text("[gate.psnr_db]\nmin = 23\n")
    report = vaecheck.gate(tmp_path / "result", rules)
    assert (report.verdict, report.rules, report.result) == ("pass", str(rules), str(tmp_path / "result"))
    with pytest.raises(vaecheck.GateFailed) as caught:
        vaecheck.gate([str(tmp_path / "result")], {"psnr_db": {"min": 30}})
    assert isinstance(caught.value, GateFailed)
    assert (caught.value.exit_code, caught.value.report.verdict) == (1, "fail")
    assert caught.value.message == "the gate says no:\n  psnr_db min 30: 24 dB is below min = 30"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.report) == (caught.value.message, caught.value.report)
    with pytest.raises(InputError, match="one source of pictures"):
        vaecheck.gate(run(), rules, vae="kl-f8-tiny")


def test_a_gates_own_folder_is_a_result_and_a_baseline(tmp_path: Path) -> None:
    old = run(measure("psnr_db", 24.0))
    save(old, tmp_path / "reconstruct")
    save(replace(diagnosed(), artifacts={}), tmp_path / "diagnose")
    save(judged({"psnr_db": {"min": 23}}, old), tmp_path)
    assert [result.kind for result in open_results(tmp_path)] == ["reconstruct", "diagnose"]
    rules = {"baseline": {"psnr_db": {"worse_by": 0.1}}, "diagnose": {"fail_on": "fault"}}
    assert vaecheck.gate(tmp_path, rules, baseline=tmp_path).exit_code == 0
    save(judged({"psnr_db": {"min": 23}}, old), tmp_path / "alone")
    with pytest.raises(InputError, match="holds a gate, which has no figures to judge"):
        open_results(tmp_path / "alone")
    with pytest.raises(InputError, match="no result folder"):
        open_results(tmp_path / "nowhere")


@pytest.mark.parametrize(("count", "noted"), [(6, True), (64, False)])
def test_a_worse_figure_that_few_pictures_let_through_is_noted(count: int, noted: bool) -> None:
    draw = np.random.default_rng(0)
    old = draw.normal(24.0, 1.0, count)
    new = old - 0.05 + draw.normal(0.0, 1.0, count)
    new -= new.mean() - old.mean() + 0.05
    results = [by_picture({"psnr_db": side.tolist()}) for side in (new, old)]
    report = judged({"baseline": {"psnr_db": "significant"}}, results[0], baseline=results[1])
    assert report.verdict == "pass"
    assert any(f"{count} pictures tell little from chance" in note for note in report.notes) == noted
