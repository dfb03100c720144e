"""The page of a gate: what it says, every breach with its remedy, then every rule."""

from __future__ import annotations

from vaecheck.render import figures, tables
from vaecheck.render.gate import LEVELS, SYMBOLS, WORDS, verdict
from vaecheck.render.next_steps import of_gate
from vaecheck.render.page import parts
from vaecheck.render.page.template import render
from vaecheck.results.gate import GRAVEST_FIRST, Check, GateReport


def gate_page(report: GateReport) -> str:
    checks = sorted(report.checks, key=lambda check: GRAVEST_FIRST.index(check.outcome))
    files = (("Rules", report.rules), ("Result", report.result), ("Baseline", report.baseline))
    context = {
        "title": tables.title(report),
        "subject": report.vae.ref if report.vae else "",
        "verdict": verdict(report),
        "level_word": WORDS[report.verdict],
        "facts": [
            *(line for line in (tables.vae_in_words(report.vae), tables.data_in_words(report)) if line),
            *(f"{name}: {file}" for name, file in files if file),
        ],
        "steps": of_gate(report),
        "breaches": [
            {"level": LEVELS[one.outcome], "badge": f"{SYMBOLS[one.outcome]} {WORDS[one.outcome]}", "check": one}
            for one in checks
            if one.outcome != "pass"
        ],
        "checks": _table(checks),
        "notes": report.notes,
        "warnings": (),
        **parts.last(report),
    }
    return render("gate", context)


def _table(checks: list[Check]) -> parts.Table:
    rows = tuple(
        (
            parts.Cell(one.rule, below=one.table),
            parts.Cell(
                f"{SYMBOLS[one.outcome]} {WORDS[one.outcome]}",
                GRAVEST_FIRST.index(one.outcome),
                mark=LEVELS[one.outcome],
            ),
            *(_figure(amount, one.unit) for amount in (one.value, one.limit)),
            parts.Cell(one.reason),
        )
        for one in checks
    )
    head = ("rule", "outcome", "value", "limit", "why")
    return parts.Table("Every rule", "", head, (False, False, True, True, False), rows)


def _figure(amount: float | None, unit: str) -> parts.Cell:
    if amount is None:
        return parts.Cell(figures.ABSENT)
    return parts.Cell(figures.number(float(amount)), amount, unit if unit not in ("", "1") else "")
