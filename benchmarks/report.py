"""benchmarks/RESULTS.md: the machine, the command, the table, and where the time goes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.cases import Case
from benchmarks.setting import GROUPS, LAYERS, WIDTHS

STAGE, OF_LOOP, BARE = "stage ", "stage of loop ", "bare "


def table(cases: Mapping[str, Case], found: Mapping[str, Sequence[tuple[float, float]]], why_not: str) -> list[str]:
    """One row for each case. found: of each turn (ours, theirs). why_not: of cases that are not in it."""
    lines = ["| case | ours | other | ratio | at most | |", "| --- | --- | --- | --- | --- | --- |"]
    for name, case in cases.items():
        limit = "-" if case.limit is None else f"{case.limit:.2f}"
        if name not in found:
            lines.append(f"| {case.words} (`{name}`) | not run | {why_not} | - | {limit} | |")
            continue
        ours, theirs = (statistics.median(side) for side in zip(*found[name], strict=True))
        ratio = statistics.median(a / b for a, b in found[name])
        verdict = "" if case.limit is None else "met" if ratio <= case.limit else "**not met**"
        other = "-" if name == "help" else f"{theirs:.2f} {case.unit}"
        lines.append(
            f"| {case.words} (`{name}`) | {ours:.2f} {case.unit} | {other} | {ratio:.3f} | {limit} | {verdict} |"
        )
    return lines


def shares(figures: Mapping[str, float]) -> list[str]:
    """Where one reconstruct's wall time goes, and the networks' bare passes. figures: of benchmarks.inside."""
    loop = {name.removeprefix(OF_LOOP): value for name, value in figures.items() if name.startswith(OF_LOOP)}
    stage = {
        name.removeprefix(STAGE): value
        for name, value in figures.items()
        if name.startswith(STAGE) and not name.startswith(OF_LOOP)
    }
    rest = stage["loop"] - stage["vae"] - stage["pictures"] - sum(loop.values())
    rows = {
        "open: networks, weights, pictures found": stage["open"],
        "waiting for pictures": stage["pictures"],
        "VAE: encode and decode": stage["vae"],
        **{f"loop: {name}": value for name, value in loop.items()},
        "loop: the rest": rest,
        "compute: distances and intervals": stage["compute"],
        "yardsticks": stage["yardsticks"],
        "report": stage["report"],
    }
    whole = sum(rows.values())
    lines = ["| stage | s | share |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:.2f} | {value / whole:.1%} |" for name, value in rows.items()]
    bare = {name.removeprefix(BARE): value for name, value in figures.items() if name.startswith(BARE)}
    return [*lines, "", "Bare passes: " + ", ".join(f"{name} {value:.2f} s" for name, value in bare.items()) + "."]


def document(
    command: str,
    cases: Mapping[str, Case],
    found: Mapping[str, Sequence[tuple[float, float]]],
    figures: Mapping[str, float],
    *,
    count: int,
    size: int,
    why_not: str,
) -> str:
    from vaecheck import provenance

    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    turns = max(map(len, found.values()), default=0)
    lines = [
        "# Benchmarks",
        "",
        f"`{command}`: {count} pictures at {size}, a seeded AutoencoderKL of widths {WIDTHS} with {LAYERS} layers a "
        f"block and {GROUPS} groups, weights of the metrics' networks where they are found, else stand-ins; "
        f"{os.cpu_count()} cores, {provenance.cpu_model()}; {versions}.",
        "",
        f"Each figure is the median of {turns} {'turn' if turns == 1 else 'turns'}; the two sides of a ratio are "
        "measured one after the other in one turn.",
        "",
        *table(cases, found, why_not),
    ]
    if figures:
        lines += ["", "Where the time of one reconstruct goes (`bare`, the last turn):", "", *shares(figures)]
    return "\n".join(lines) + "\n"
