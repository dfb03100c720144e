"""What to do about a document, in the order in which it is worth doing: a few sentences, with commands to paste.

Why a short list: who reads ten remedies follows none. What follows from a fault is left out until the fault is mended.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vaecheck.render import figures
from vaecheck.render.findings import GRAVE, title_of
from vaecheck.render.verdict import is_quality, verdict
from vaecheck.results.comparison import NO_DIFFERENCE, Comparison
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.types import DataCard, Measure, Result, Scaling, VAECard

MOST = 8
"""Steps that a person reads."""
ENOUGH = 2048
"""Pictures for a Frechet distance of 2,048 features."""
USUAL_SIZE = 256
NOISE = "random noise"
"""What `bench` runs on, which are no pictures to measure with."""

_FETCH = re.compile(r"vaecheck weights fetch (\w+)")
_INSTALL = re.compile(r"pip install '[\w\[\],.=>-]+'")
_NEXT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "reconstruct": (
        ("Look for the known faults of VAEs:", "diagnose"),
        ("Find the scaling factor for these pictures:", "scale-factor"),
    ),
    "score": (),
    "diagnose": (("Find the scaling factor for these pictures:", "scale-factor"),),
    "scale-factor": (("See how learnable the latents are:", "latents"),),
    "latents": (("Look for the known faults of VAEs:", "diagnose"),),
    "bench": (("Measure what it loses:", "reconstruct"),),
}
"""By command, what to run next, and why."""


@dataclass(frozen=True)
class Step:
    """One sentence, and the command that does it, where there is one."""

    words: str
    command: str = ""


def of_result(result: Result) -> tuple[Step, ...]:
    """Faults first, then a wrong scaling, then what could not be measured, then warnings, then what to run next."""
    return _first(
        (
            *_remedies(result, GRAVE[0]),
            *(_scaling(result.scaling, result.vae) if result.scaling else ()),
            *_missing(result.measures),
            *_too_few(result.measures, result.data),
            *_skipped(result.data),
            *_remedies(result, *GRAVE[1:]),
            *_what_next(result),
        )
    )


def of_comparison(comparison: Comparison) -> tuple[Step, ...]:
    """Whom to take, what could not be compared, and what to look at first."""
    wins: dict[str, list[str]] = {}
    for name, contest in comparison.measures.items():
        if is_quality(name) and any(one.p_holm is not None for one in contest.differences):
            wins.setdefault(contest.winner, []).append(name)
    even = wins.pop(NO_DIFFERENCE, [])
    steps: list[Step] = []
    if len(wins) == 1:
        (ref,) = wins
        rest = f"; none wins in {', '.join(even)}" if even else ", and nothing here speaks against it"
        steps.append(Step(f"Take {ref} if quality decides: it wins in {', '.join(wins[ref])}{rest}."))
        vae = comparison.vaes.get(ref)
        if vae is not None and not comparison.sources.get(ref):
            steps.append(Step("Look for its faults before training on it:", _command("diagnose", comparison.data, vae)))
    elif wins:
        said = "; ".join(f"{ref} for {', '.join(names)}" for ref, names in wins.items())
        steps.append(Step(f"Choose by what matters to you: {said}."))
    elif even:
        steps.append(Step("Take the one whose latents cost less or are easier to learn, or measure more pictures."))
    every = {
        f"{name} {ref}": one for name, contest in comparison.measures.items() for ref, one in contest.values.items()
    }
    return _first((*steps, *_missing(every), *_too_few(every, comparison.data), *_skipped(comparison.data)))


def of_gate(report: GateReport) -> tuple[Step, ...]:
    """The remedies of what is missing, then of what fails, then of what is near."""
    graded = [one for outcome in ("error", "fail", "warn") for one in report.checks if one.outcome == outcome]
    files = {one.metric: found for one in graded if (found := _FETCH.findall(one.reason))}
    rest = [one for one in graded if one.remedy and one.metric not in files]
    return _first((*_fetch(files), *(Step(f"{one.metric}: {one.remedy}") for one in rest)))


def of_history(history: History) -> tuple[Step, ...]:
    """Whether to stop, and the checkpoint to go on with."""
    steps = []
    if history.stop:
        steps.append(Step(f"Stop the training: {', '.join(history.stopped)} no longer improve."))
    if history.best_checkpoint:
        steps.append(Step(f"Take {history.best_checkpoint}, and look for its faults with vaecheck diagnose."))
    return _first(steps)


def _remedies(result: Result, *severities: str) -> Iterator[Step]:
    for finding in result.findings:
        if finding.severity in severities and finding.remedy:
            scales = result.vae if finding.id == "latent_scale" else None
            command = _command("scale-factor", result.data, scales) if scales else ""
            yield Step(f"{title_of(finding.id)}: {finding.remedy}", command)


def _scaling(scaling: Scaling, vae: VAECard | None) -> Iterator[Step]:
    """The number to use, where the shipped one is wrong or there is none."""
    if scaling.verdict == "ok":
        return
    shipped = scaling.shipped.get("scaling_factor")
    instead = f" instead of {figures.as_given(shipped)}" if shipped is not None else ""
    yield Step(
        f"Use a scaling factor of {figures.number(scaling.scaling_factor, significant=5)}{instead}, in training and in "
        "sampling: ready to paste below."
    )


def _missing(measures: Mapping[str, Measure]) -> Iterator[Step]:
    """The commands that bring what was not there."""
    absent = {name.partition(" ")[0]: one.reason for name, one in measures.items() if one.status == "unavailable"}
    files = {name: found for name, reason in absent.items() if (found := _FETCH.findall(reason))}
    yield from _fetch(files)
    for name, reason in absent.items():
        if package := _INSTALL.search(reason):
            yield Step(f"Install what {name} needs, then run again:", package.group())


def _fetch(files: Mapping[str, list[str]]) -> Iterator[Step]:
    """files: what is missing, by the metric that needs it."""
    if files:
        names = dict.fromkeys(file for found in files.values() for file in found)
        yield Step(
            f"Fetch the weights for {', '.join(files)}, then run again:", f"vaecheck weights fetch {' '.join(names)}"
        )


def _too_few(measures: Mapping[str, Measure], data: DataCard) -> Iterator[Step]:
    frechet = ("rfid", "kid", "fd_")
    doubtful = [name.partition(" ")[0] for name, one in measures.items() if one.status == "unreliable"]
    doubtful = [name for name in dict.fromkeys(doubtful) if name.startswith(frechet)]
    if doubtful and data.count < ENOUGH:
        yield Step(f"Measure {ENOUGH:,} pictures or more before relying on {', '.join(doubtful)}.")


def _skipped(data: DataCard) -> Iterator[Step]:
    if data.skipped:
        yield Step(f"Look at the {figures.count(len(data.skipped), 'picture')} that could not be used, listed below.")


def _what_next(result: Result) -> Iterator[Step]:
    vae = result.vae
    if vae is None:
        return
    judged = verdict(result)
    if result.kind == "diagnose" and judged.level == "bad":
        yield Step("Mend the faults, then look again:", _command("diagnose", result.data, vae))
        return
    for words, command in _NEXT.get(result.kind, ()):
        yield Step(words, _command(command, result.data, vae))


def _command(name: str, data: DataCard, vae: VAECard) -> str:
    """As a person would type it, with what the run had that is not the usual."""
    size = f" --size {data.size}" if data.size not in (None, USUAL_SIZE) else ""
    images = "samples" if data.source.startswith(NOISE) else shlex.quote(data.source)
    return f"vaecheck {name} {images} --vae {shlex.quote(vae.ref)}{size}"


def _first(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Each once, and no more than a person reads."""
    return tuple(dict.fromkeys(steps))[:MOST]
