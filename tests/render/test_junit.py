"""A gate as JUnit XML, as Markdown, in the terminal, and as annotations of GitHub Actions."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tests.render.conftest import NASTY_IDS
from tests.results.runs import CARD, DATA, ENVIRONMENT
from vaecheck.render.actions import MOST, workflow_commands
from vaecheck.render.gate import show, to_markdown
from vaecheck.render.junit import to_junit
from vaecheck.results.gate import Check, GateReport

NASTY = "a|b `c` <d> & \x1b[31m\x00\ufffe\udcff ]]> 100%, x:y\nsecond [/red]"


def check(outcome: str, name: str = "psnr_db", **fields: object) -> Check:
    remedy = "" if outcome == "pass" else "Do this."
    known = {"value": None if outcome == "error" else 23.1, "limit": 24.0, "reason": f"why {outcome}", "unit": "dB"}
    return Check(f"{name} min 24", name, f"gate.{name}", outcome, **{"remedy": remedy, **known, **fields})


def report(*checks: Check, **fields: object) -> GateReport:
    order = ("error", "fail", "warn", "pass")
    verdict = min((one.outcome for one in checks), key=order.index)
    code = {"error": 3, "fail": 1}.get(verdict, 0)
    return GateReport(verdict, code, checks, "gate.toml", "result", DATA, ENVIRONMENT, CARD, **fields)


@pytest.fixture
def mixed() -> GateReport:
    outcomes = ("error", "fail", "fail", "warn", "pass")
    checks = [
        check(outcome, name)
        for outcome, name in zip(outcomes, ("rfid", "psnr_db", "ssim", "kid", "sec_25"), strict=True)
    ]
    return report(*checks, notes=("a slack limit",), baseline="old")


def parsed(document: str) -> ET.Element:
    assert document.startswith('<?xml version="1.0" encoding="utf-8"?>')
    return ET.fromstring(document.encode("utf-8"))


def test_every_rule_is_a_case_and_every_breach_a_failure(mixed: GateReport) -> None:
    root = parsed(to_junit(mixed))
    (suite,) = root
    for element in (root, suite):
        assert {name: element.get(name) for name in ("tests", "failures", "errors")} == {
            "tests": "5", "failures": "2", "errors": "1",
        }  # fmt: skip
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [one.rule for one in mixed.checks]
    assert [[child.tag for child in case] for case in cases] == [
        ["error"], ["failure"], ["failure"], ["system-out"], [],
    ]  # fmt: skip
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "psnr_db: why fail"
    assert failure.text == "psnr_db: why fail\nDo this."
    properties = {one.get("name"): one.get("value") for one in suite.findall("properties/property")}
    assert properties["vae"] == "kl-f8-tiny"
    assert properties["verdict"] == "error"
    assert properties["baseline"] == "old"


def test_elements_stand_in_the_order_and_with_the_attributes_of_the_usual_schema(mixed: GateReport) -> None:
    """Jenkins' junit-10.xsd: what a suite and a case may hold, in which order, and what they must be called."""
    root = parsed(to_junit(mixed))
    assert root.tag == "testsuites"
    suite = root[0]
    tags = [child.tag for child in suite]
    assert tags == ["properties", *["testcase"] * 5, "system-out"]
    assert set(suite.keys()) <= {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname"}
    for case in suite.findall("testcase"):
        assert set(case.keys()) == {"name", "classname", "time"}
        assert float(case.get("time", "")) >= 0
        assert all(child.tag in ("failure", "error", "skipped", "system-out", "system-err") for child in case)
        assert all(child.get("message") for child in case if child.tag in ("failure", "error"))


@pytest.mark.parametrize("text", [NASTY, *NASTY_IDS])
def test_whatever_stands_in_a_name_the_xml_is_well_formed(text: str) -> None:
    nasty = replace(report(check("fail", reason=text, remedy=text)), rules=text, notes=(text,), baseline=text)
    root = parsed(to_junit(nasty))
    failure = root.find(".//failure")
    assert failure is not None
    assert "<script>" not in to_junit(nasty)
    if text.isprintable():
        assert failure.get("message") == f"psnr_db: {text}"


def test_markdown_has_the_verdict_first_and_a_table_that_nothing_breaks(mixed: GateReport) -> None:
    text = to_markdown(replace(mixed, rules=NASTY, checks=(*mixed.checks, check("fail", reason=NASTY))))
    lines = text.splitlines()
    assert lines[0] == "# Gate"
    assert lines[2].startswith("**1 rule could not be judged: rfid min 24; 3 rules broken")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 6
    assert [line.split("|")[1].strip().split()[1] for line in table[2:]] == [
        "ERROR", "FAIL", "FAIL", "WARN", "PASS", "FAIL",
    ]  # fmt: skip
    assert r"a\|b \`c\` &lt;d&gt; &amp;" in table[-1]
    assert all(line.replace(r"\|", "").count("|") == 6 for line in table)
    assert "- psnr_db: Do this." in text
    assert "## Notes" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_has_the_verdict_first_and_never_runs_over(mixed: GateReport, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(replace(mixed, notes=("beware of [/red] " + "x" * 10,)), console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("1 rule could not be judged")
    assert max(map(len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    for one in mixed.checks:
        assert one.rule in whole
        assert one.outcome == "pass" or one.reason in whole
    assert "[/red]" in whole


def test_annotations_are_escaped_as_github_asks() -> None:
    (line,) = workflow_commands(report(check("fail", reason="50% off\nsecond: a,b", remedy="", name="a,b:c%")))
    assert line == ("::error title=vaecheck gate%3A a%2Cb%3Ac%25 min 24::50%25 off%0Asecond: a,b")


def test_errors_and_failures_are_errors_warnings_warnings_and_notes_notices(mixed: GateReport) -> None:
    lines = workflow_commands(mixed)
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::error", "::warning", "::notice"]
    assert not any("sec_25" in line for line in lines)
    assert workflow_commands(report(check("pass"))) == []


def test_what_github_would_leave_out_is_named_in_the_last_annotation() -> None:
    lines = workflow_commands(report(*(check("fail", f"metric_{i}") for i in range(14))))
    assert len(lines) == MOST
    assert lines[-1].startswith("::error title=vaecheck gate::and 5 more: metric_9 min 24, metric_10")


@pytest.mark.parametrize("text", [NASTY, *NASTY_IDS])
def test_no_name_begins_a_command_of_its_own(text: str) -> None:
    lines = workflow_commands(report(check("fail", reason=f"{text}\n::set-output name=x::y", remedy=text)))
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "\r" not in lines[0]
