"""The ceiling check in the terminal and as Markdown: what each VAE allows, beside what a U-Net reached on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vaecheck.render import figures, markdown, tables
from vaecheck.render.illustrations import Illustration
from vaecheck.render.printable import printable, shortened
from vaecheck.render.terminal import Screen
from vaecheck.render.titles import title_of
from vaecheck.render.verdict import Verdict
from vaecheck.results.ceiling import Ceiling, Climb, Denoised
from vaecheck.results.types import Measure

LONGEST_NAME = 16
"""So that five levels of noise stand beside it in 80 columns."""
_STYLES = {"good": "bold green", "caution": "bold yellow", "info": "bold"}
ABOVE = (
    "A denoised figure above its VAE's ceiling is no gain in detail: a denoiser smooths, which raises PSNR; what the "
    "encoder threw away does not come back."
)
Table = tuple[list[tuple[str, bool]], list[list[str]]]
"""Columns with whether they are numbers, and rows."""


def show(ceiling: Ceiling, console: Console, out: Path | None = None) -> None:
    """Print it; out: the folder that holds its files, if they were written."""
    screen = Screen(console)
    screen.line(tables.title(ceiling), "bold")
    for line in head(ceiling):
        screen.line(line)
    judged = verdict(ceiling)
    screen.line()
    screen.line(judged.sentence, _STYLES[judged.level])
    for title, (columns, rows) in sections(ceiling, LONGEST_NAME):
        screen.heading(title)
        screen.table(columns, [[screen.text(cell) for cell in row] for row in rows])
    screen.listed("In words", notes(ceiling))
    screen.listed("Warnings", tables.warnings(ceiling), "yellow")
    if out is not None:
        screen.listed("Written", [str(out / name) for name in ceiling.artifacts.values() if "/" not in name])


def to_markdown(ceiling: Ceiling, illustrated: Sequence[Illustration] = ()) -> str:
    """The whole report as GitHub-flavoured Markdown; pictures are named by their files beside it."""
    parts = [f"# {markdown.escape(tables.title(ceiling))}", f"**{markdown.escape(verdict(ceiling).sentence)}**"]
    parts += [markdown.paragraph(line) for line in head(ceiling)]
    for title, (columns, rows) in sections(ceiling):
        parts += [f"## {title}", markdown.table([name for name, _ in columns], rows)]
    for one in illustrated:
        parts += [f"![{markdown.escape(one.alt)}]({one.file})", markdown.paragraph(one.note)]
    parts += markdown.listed("In words", notes(ceiling))
    parts += markdown.listed("Warnings", tables.warnings(ceiling))
    parts += ["## Settings", markdown.table(["setting", "value"], tables.settings(ceiling))]
    parts += ["## Environment", markdown.table(["", ""], tables.environment(ceiling))]
    return "\n\n".join(parts) + "\n"


def verdict(ceiling: Ceiling) -> Verdict:
    """Which VAE to take at this budget."""
    if ceiling.best:
        return Verdict(f"At this budget take {printable(ceiling.best)}: {ceiling.decided_by}.", "good")
    return Verdict(f"{ceiling.decided_by}.", "info" if len(ceiling.vaes) == 1 else "caution")


def head(ceiling: Ceiling) -> tuple[str, ...]:
    steps, batch = ceiling.settings.get("steps"), ceiling.settings.get("batch_size")
    budget = f"U-Nets of {steps:,} steps of {batch}" if isinstance(steps, int) else "U-Nets of one budget"
    return (tables.data_in_words(ceiling), f"{budget}; figures of {ceiling.held_out} other pictures, held out")


def sections(ceiling: Ceiling, longest: int | None = None) -> list[tuple[str, Table]]:
    """The tables: denoised pictures beside the ceiling, for each figure; samples beside the ceiling; the U-Nets."""
    climbs = ceiling.vaes
    metrics = list(dict.fromkeys(name for climb in climbs for name, one in climb.ceiling.items() if _has(one)))
    found = []
    for metric in metrics:
        levels = list(dict.fromkeys(one.level for climb in climbs for one in climb.denoised))
        columns = [("VAE", False), ("ceiling", True), *((f"noise {level:.0%}", True) for level in levels)]
        rows = []
        for climb in climbs:
            by_level = {one.level: one for one in climb.denoised}
            cells = [denoised_cell(climb, by_level.get(level), metric) for level in levels]
            rows.append([_name(climb, longest), _value(climb.ceiling.get(metric)), *cells])
        unit = next((f", {climb.ceiling[metric].unit}" for climb in climbs if climb.ceiling[metric].unit), "")
        found.append((f"Denoised and decoded: {title_of(metric)}{unit}", (columns, rows)))
    return [*found, *_of_samples(climbs, longest), ("U-Nets", _of_unets(climbs, longest))]


def denoised_cell(climb: Climb, denoised: Denoised | None, metric: str) -> str:
    """The figure, with a mark where it is better than the VAE's own reconstruction."""
    measure = denoised.measures.get(metric) if denoised else None
    return f"{_value(measure)}{' ^' if is_above(climb.ceiling.get(metric), measure) else ''}"


def is_above(ceiling: Measure | None, reached: Measure | None) -> bool:
    """Whether a figure is better than the ceiling's."""
    if ceiling is None or reached is None or not (_has(ceiling) and _has(reached)):
        return False
    difference = _number(reached) - _number(ceiling)
    return difference > 0 if ceiling.better == "higher" else difference < 0


def vaes_share(climb: Climb, metric: str) -> float | None:
    """The part of the samples' distance that the VAE's own reconstructions have."""
    ceiling, samples = climb.ceiling_of_all.get(metric), climb.samples.get(metric)
    if ceiling is None or samples is None or not (_has(ceiling) and _has(samples)) or _number(samples) <= 0:
        return None
    return _number(ceiling) / _number(samples)


def notes(ceiling: Ceiling) -> list[str]:
    above = [
        f"{printable(climb.ref)} at noise {one.level:.0%}"
        for climb in ceiling.vaes
        for one in climb.denoised
        if any(is_above(climb.ceiling.get(name), measure) for name, measure in one.measures.items())
    ]
    lines = [f"^ better than the ceiling ({', '.join(above)}). {ABOVE}"] if above else []
    lines += [f"~ unreliable: {printable(reason)}" for reason in _unreliable(ceiling)]
    lines.append(
        "The VAE's share is the distance of its own reconstructions over that of the samples: near 1 the VAE limits, "
        "near 0 the U-Net does. The rest is the U-Net's, and more steps may lower it."
    )
    if len(ceiling.vaes) > 1:
        lines.append(
            "Errors of latents are divided by the latents' variance, and still only what is measured after decoding "
            "can be compared between VAEs: an error of one size in their latents is worth another in pixels."
        )
    return lines


def _unreliable(ceiling: Ceiling) -> list[str]:
    """Why figures are, each reason once by measure: those of one kind differ in their numbers alone."""
    found: dict[tuple[str, int], str] = {}
    for climb in ceiling.vaes:
        for group in (climb.ceiling, climb.ceiling_of_all, climb.samples):
            for name, measure in group.items():
                if measure.status == "unreliable":
                    found.setdefault((name, measure.n), f"{name} of {measure.n} pictures: {measure.reason}")
    return list(found.values())


def _of_samples(climbs: Sequence[Climb], longest: int | None) -> list[tuple[str, Table]]:
    """A table for each distance."""
    found = []
    for metric in dict.fromkeys(name for climb in climbs for name, one in climb.samples.items() if _has(one)):
        rows = []
        for climb in climbs:
            share = vaes_share(climb, metric)
            distances = _value(climb.ceiling_of_all.get(metric)), _value(climb.samples.get(metric))
            rows.append([_name(climb, longest), *distances, figures.ABSENT if share is None else f"{share:.0%}"])
        columns = [("VAE", False), ("VAE alone", True), ("samples", True), ("VAE's share", True)]
        found.append((f"Samples: {title_of(metric)}", (columns, rows)))
    return found


def _of_unets(climbs: Sequence[Climb], longest: int | None) -> Table:
    rows = []
    for climb in climbs:
        last = f"{climb.curve[-1].latent_error:.3f}" if climb.curve else figures.ABSENT
        rows.append([_name(climb, longest), last, f"{climb.unet.get('latent_std', 0.0):.2f}"])
    return [("VAE", False), ("error of latents", True), ("std of latents", True)], rows


def _name(climb: Climb, longest: int | None) -> str:
    return shortened(climb.ref, longest) if longest else climb.ref


def _has(measure: Measure) -> bool:
    return isinstance(measure.value, (int, float))


def _number(measure: Measure) -> float:
    assert isinstance(measure.value, (int, float))
    return float(measure.value)


def _value(measure: Measure | None) -> str:
    if measure is None:
        return figures.ABSENT
    mark = " ~" if measure.status == "unreliable" else ""
    return f"{figures.value(replace(measure, ci95=None), unit=False)}{mark}"
