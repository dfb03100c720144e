"""A gate as JUnit XML, which every CI reads: one test case a rule, and a failure or an error for each that is broken.

Why `failure` and `error` are kept apart: a failure is a figure past its limit, an error one that could not be had, and
a CI shows the two apart.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from vaecheck.render.printable import printable
from vaecheck.results.gate import Check, GateReport

SUITE = "vaecheck gate"


def to_junit(report: GateReport) -> str:
    """The document, with its declaration. Control characters, which XML 1.0 forbids, are written as escapes."""
    counts = {
        "tests": len(report.checks),
        "failures": sum(check.outcome == "fail" for check in report.checks),
        "errors": sum(check.outcome == "error" for check in report.checks),
    }
    numbers = {name: str(count) for name, count in counts.items()} | {"time": f"{_seconds(report):.3f}"}
    root = ET.Element("testsuites", {"name": SUITE, **numbers})
    timestamp = {"timestamp": printable(report.environment.started[:19])} if report.environment.started else {}
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **numbers, "skipped": "0", **timestamp})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(report):
        ET.SubElement(properties, "property", {"name": name, "value": printable(value)})
    for check in report.checks:
        _case(suite, check)
    if report.notes:
        ET.SubElement(suite, "system-out").text = "\n".join(map(printable, report.notes))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(suite: ET.Element, check: Check) -> None:
    named = {"name": printable(check.rule), "classname": printable(f"vaecheck.{check.table}"), "time": "0"}
    case = ET.SubElement(suite, "testcase", named)
    words = printable(f"{check.metric}: {check.reason}")
    whole = "\n".join(filter(None, (words, printable(check.remedy))))
    if check.outcome in ("fail", "error"):
        tag = "failure" if check.outcome == "fail" else "error"
        ET.SubElement(case, tag, {"message": words, "type": f"vaecheck.{check.outcome}"}).text = whole
    elif check.outcome == "warn":
        ET.SubElement(case, "system-out").text = f"WARNING {whole}"


def _properties(report: GateReport) -> list[tuple[str, str]]:
    vae = report.vae
    found = [
        ("verdict", report.verdict),
        ("rules", report.rules),
        ("result", report.result),
        ("baseline", report.baseline),
        ("vae", vae.ref if vae else ""),
        ("vae sha256", (vae.sha256 or "") if vae else ""),
        ("pictures", report.data.source),
        ("picture count", str(report.data.count)),
        ("picture fingerprint", report.data.fingerprint),
        ("vaecheck", report.environment.versions.get("vaecheck", "")),
    ]
    return [(name, value) for name, value in found if value]


def _seconds(report: GateReport) -> float:
    return report.environment.seconds.get("total", 0.0)
