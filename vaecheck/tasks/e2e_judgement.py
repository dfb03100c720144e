"""Which VAE to take at a budget, and the plots of a ceiling check, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vaecheck.results.ceiling import Climb
from vaecheck.results.types import Line, Measure, Plot

DECIDING = ("fid", "fd_efficientnet_lite0")
"""Distances of samples, the first that there is decides: what a U-Net draws is what it is trained for."""


def best_of(climbs: Sequence[Climb]) -> tuple[str, str]:
    """The REF to take, or "" where the figures do not tell; and by what, in words.

    Why intervals that meet decide nothing: the VAE that is ahead by chance today is behind tomorrow.
    """
    if len(climbs) == 1:
        return "", "One VAE, so nothing to choose; give several --vae"
    for name in DECIDING:
        known = [(climb.samples[name], climb) for climb in climbs if _known(climb.samples.get(name))]
        if len(known) == len(climbs):
            known.sort(key=lambda pair: _value(pair[0]))
            (first, winner), (second, runner_up) = known[:2]
            figures = f"its samples have {name} {_value(first):.4g}, the next {_value(second):.4g} ({runner_up.ref})"
            ahead = f"No VAE is recommended: {winner.ref} is ahead, by"
            if "unreliable" in (first.status, second.status):
                why = first.reason if first.status == "unreliable" else second.reason
                return "", f"{ahead} a figure that is unreliable ({why}): {figures}"
            if first.n != second.n:
                return "", f"{ahead} distances of {first.n} and {second.n} samples: {figures}"
            if not (first.ci95 and second.ci95):
                return "", f"{ahead} figures without intervals: {figures}"
            if first.ci95[1] >= second.ci95[0]:
                return "", f"No VAE is best beyond chance: of {winner.ref} {figures}, and their intervals meet"
            return winner.ref, f"{figures}; one training of each, so what another seed would change is not in it"
    return "", "No distance of samples could be measured for all, so none is chosen"


def plots_of(climbs: Sequence[Climb]) -> tuple[Plot, ...]:
    """Denoised pictures under the ceiling, samples beside it, and the courses of the trainings."""
    return (
        *_under_the_ceiling(climbs),
        *_samples(climbs),
        *_courses(climbs),
    )


def _under_the_ceiling(climbs: Sequence[Climb]) -> list[Plot]:
    found = []
    for name in dict.fromkeys(name for climb in climbs for name, one in climb.ceiling.items() if _known(one)):
        lines = []
        for climb in climbs:
            levels = [(one.level, one.measures[name]) for one in climb.denoised if _known(one.measures.get(name))]
            if not levels or not _known(climb.ceiling.get(name)):
                continue
            x = tuple(level for level, _ in levels)
            ceiling = _value(climb.ceiling[name])
            lines += [
                Line(climb.ref, x, tuple(_value(one) for _, one in levels)),
                Line(f"{climb.ref}: ceiling", x, tuple(ceiling for _ in x)),
            ]
        measure = next(climb.ceiling[name] for climb in climbs if name in climb.ceiling)
        if lines:
            note = (
                "The level line of each VAE is its own reconstruction: denoising can raise a PSNR above it, and brings "
                "no detail back."
            )
            unit = f", {measure.unit}" if measure.unit else ""
            found.append(
                Plot(
                    f"ceiling-{name}",
                    name,
                    "lines",
                    f"{name} of denoised pictures, by the level of noise",
                    "noise, share of the deviation",
                    f"{name}{unit}",
                    tuple(lines),
                    note=f"{note} {str(measure.better).capitalize()} is better.",
                )
            )
    return found


def _samples(climbs: Sequence[Climb]) -> list[Plot]:
    found = []
    for name in dict.fromkeys(name for climb in climbs for name, one in climb.samples.items() if _known(one)):
        places = [(float(place), climb) for place, climb in enumerate(climbs) if _known(climb.samples.get(name))]
        x = tuple(place for place, _ in places)
        sides: Mapping[str, Callable[[Climb], Mapping[str, Measure]]] = {
            "the VAE alone": lambda climb: climb.ceiling_of_all,
            "samples of the U-Net": lambda climb: climb.samples,
        }
        lines = [
            Line(label, x, tuple(_value(side(climb)[name]) for _, climb in places)) for label, side in sides.items()
        ]
        numbered = ", ".join(f"{place:.0f} {climb.ref}" for place, climb in places)
        found.append(
            Plot(
                f"samples-{name}",
                name,
                "bars",
                f"{name} of samples, and of the VAE's own reconstructions",
                "VAE",
                name,
                tuple(lines),
                note=f"Lower is better; samples seldom come below what the VAE alone has. {numbered}.",
            )
        )
    return found


def _courses(climbs: Sequence[Climb]) -> list[Plot]:
    curves = [climb for climb in climbs if climb.curve]
    if not curves:
        return []
    steps = {climb.ref: tuple(float(point.step) for point in climb.curve) for climb in curves}
    latents = [Line(one.ref, steps[one.ref], tuple(p.latent_error for p in one.curve)) for one in curves]
    pixels = [Line(one.ref, steps[one.ref], tuple(p.psnr_db for p in one.curve)) for one in curves]
    return [
        Plot(
            "course-latents",
            "latent_error",
            "lines",
            "Error of denoised latents over their variance, by step",
            "step",
            "error / variance",
            tuple(latents),
            note="Held-out pictures, one step of denoising, all levels alike. Lower is better. Between VAEs of "
            "different latents it tells how hard they are to learn, not how good the pictures get.",
        ),
        Plot(
            "course-pixels",
            "psnr_db",
            "lines",
            "PSNR of the same after decoding, by step",
            "step",
            "PSNR, dB",
            tuple(pixels),
            note="In pixels the VAEs can be compared. Higher is better.",
        ),
    ]


def _known(measure: Measure | None) -> bool:
    return measure is not None and isinstance(measure.value, (int, float))


def _value(measure: Measure) -> float:
    assert isinstance(measure.value, (int, float))
    return float(measure.value)
