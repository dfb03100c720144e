"""`gate`: does this VAE keep the rules?

Why judging is apart from measuring: saved results are judged in a second, without torch, and what a rule means can be
tested without a VAE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaecheck.errors import GateFailed, GateIncomplete, InputError
from vaecheck.results.comparable import differing_fields, differing_ids, differing_vaes, not_comparable
from vaecheck.results.files import RESULT_FILE, load
from vaecheck.results.gate import GRAVEST_FIRST, GateReport, Outcome
from vaecheck.results.types import Result
from vaecheck.tasks.gate_checks import Pair, check_baseline, check_findings, check_limit, pairs
from vaecheck.tasks.gate_rules import Rules, need_baseline, read_rules

if TYPE_CHECKING:
    from vaecheck.tasks.settings import Listener, Settings

RUNS = ("reconstruct", "latents", "scale-factor", "diagnose")
"""The folders of a gate's own runs, inside its --out: a baseline for the next."""
EXIT_CODES: Mapping[Outcome, int] = {"pass": 0, "warn": 0, "fail": 1, "error": 3}

Source = Result | Path | str


def gate(
    what: Source | Sequence[Source],
    rules: Path | str | Mapping[str, Any] | None = None,
    *,
    vae: str | None = None,
    baseline: Source | None = None,
    settings: Settings | None = None,
    listener: Listener | None = None,
) -> GateReport:
    """The verdict of the rules; returns only where they are kept, with warnings or without.

        vaecheck.gate("report", "gate.toml", baseline="last-release")                # saved results
        vaecheck.gate("./images", {"psnr_db": {"min": 24}}, vae="checkpoints/last")  # runs what the rules need

    what: a result, its folder, or several of one VAE; with `vae`, the pictures. rules: a TOML file, a mapping of the
    same shape, or None for the [tool.vaecheck.gate] of the working directory's pyproject.toml. settings: of the run.
    Raises GateFailed where a rule is broken and GateIncomplete where a figure is missing, both with the `report`;
    InputError for mistakes in the rules; NotComparable where the baseline is of other pictures or options.
    """
    asked = read_rules(rules)
    need_baseline(asked, is_given=baseline is not None)
    sources = [what] if isinstance(what, (Result, Path, str)) else list(what)
    old = open_results(baseline) if baseline is not None else ()
    if vae is None:
        results: Sequence[Result] = [result for source in sources for result in open_results(source)]
    else:
        from vaecheck.tasks.gate_run import measure

        if len(sources) != 1 or isinstance(sources[0], Result):
            raise InputError("with a VAE, one source of pictures is needed", hint="gate(IMAGES, RULES, vae=REF)")
        results = [run.result for run in measure(str(sources[0]), vae, asked, settings, listener)]
    report = judge(results, asked, old, result=_names(sources, vae), baseline_name=_name(baseline))
    raise_for(report)
    return report


def judge(
    results: Sequence[Result], rules: Rules, baseline: Sequence[Result] = (), *, result: str, baseline_name: str = ""
) -> GateReport:
    """Every rule checked. results: of one VAE on the same pictures. result, baseline_name: theirs, for a person.

    Raises NotComparable where results are of several VAEs or pictures, or the baseline of others; InputError where a
    rule needs a baseline and there is none.
    """
    _check_alike(results)
    need_baseline(rules, is_given=bool(baseline))
    against = pairs(rules.baseline, results, baseline)
    _check_comparable(against, baseline_name)
    checked = [*(check_limit(rule, results) for rule in rules.limits), *check_baseline(against)]
    checks = [check for check, _ in checked]
    if rules.diagnosis is not None:
        checks += check_findings(rules.diagnosis, results)
    notes = [note for _, note in checked if note]
    if baseline and not rules.baseline:
        notes.append(f"the baseline was not used: {rules.source} has no [gate.baseline]")
    found = {check.outcome for check in checks} or {"error"}
    verdict = next(outcome for outcome in GRAVEST_FIRST if outcome in found)
    first = results[0]
    return GateReport(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        checks=tuple(sorted(checks, key=lambda check: GRAVEST_FIRST.index(check.outcome))),
        rules=rules.source,
        result=result,
        data=first.data,
        environment=first.environment,
        vae=first.vae,
        baseline=baseline_name,
        notes=tuple(notes),
    )


def raise_for(report: GateReport) -> None:
    """Raises GateIncomplete or GateFailed where the verdict is that; the message lists every check that led to it."""
    broken = [check for check in report.checks if check.outcome in ("error", "fail")]
    lines = "\n  ".join(["the gate says no:", *(f"{check.rule}: {check.reason}" for check in broken)])
    hint = next((check.remedy for check in broken), "")
    if report.verdict == "error":
        raise GateIncomplete(lines.replace("the gate says no", "the gate lacks figures", 1), report=report, hint=hint)
    if report.verdict == "fail":
        raise GateFailed(lines, report=report, hint=hint)


def open_results(source: Source) -> tuple[Result, ...]:
    """The result of a folder, or those of the runs inside a gate's own --out folder. Raises InputError without one."""
    if isinstance(source, Result):
        return (source,)
    folder = Path(source).expanduser()
    inside = [folder / name for name in RUNS if (folder / name / RESULT_FILE).is_file()]
    document = load(folder) if (folder / RESULT_FILE).is_file() or not inside else None
    if isinstance(document, Result):
        return (document,)
    if not inside:
        kind = "" if document is None else f"holds a {document.kind}, which "
        raise InputError(
            f"{folder} {kind}has no figures to judge",
            hint="Give the --out folder of reconstruct, score, latents, scale-factor, diagnose, or of gate IMAGES.",
        )
    return tuple(result for place in inside if isinstance(result := load(place), Result))


def _check_alike(results: Sequence[Result]) -> None:
    """Several results are merged only where they are of one VAE on the same pictures."""
    if not results:
        raise InputError("there is no result to judge", hint="Give --result DIR, or IMAGES and --vae REF.")
    first, *others = results
    kinds = [result.kind for result in results]
    if twice := [kind for kind in dict.fromkeys(kinds) if kinds.count(kind) > 1]:
        raise InputError(f"several {twice[0]} results were given", hint="Give one of each command, all of one VAE.")
    for other in others:
        if found := (*differing_vaes(first, other), *differing_fields(first, other)):
            raise not_comparable(f"the {first.kind} result", f"the {other.kind} result", found)


def _check_comparable(against: Sequence[Pair], baseline: str) -> None:
    found = [
        text
        for pair in against
        if pair.mine is not None and pair.theirs is not None
        for text in (
            *differing_fields(pair.mine.result, pair.theirs.result, [pair.rule.metric]),
            *differing_ids(pair.mine.result, pair.theirs.result),
        )
    ]
    if found:
        raise not_comparable("the result", f"the baseline {baseline}".rstrip(), dict.fromkeys(found))


def _names(sources: Sequence[Source], vae: str | None) -> str:
    names = ", ".join(map(_name, sources))
    return names if vae is None else f"{vae} on {names}"


def _name(source: Source | None) -> str:
    if source is None:
        return ""
    return f"a {source.kind} result" if isinstance(source, Result) else str(source)
