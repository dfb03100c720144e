"""What the figures mean in plain words: one sentence for the run, one for each measure.

Why every judgement is relative to a yardstick on the same pictures: no threshold of PSNR or LPIPS holds for
faces, text and maps alike, but a trained VAE that loses to PCA patches of its own size is at fault anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vaecheck.render import figures
from vaecheck.render.printable import printable, shortened
from vaecheck.results.types import Finding, Measure, Result, Scaling, Severity, VAECard, Yardstick

Level = Literal["good", "caution", "bad", "info"]

BICUBIC_VALUES = 3
"""Values for each f x f patch that the bicubic codec keeps; a VAE with fewer may lose to it."""
TIE = 1e-6
"""Figures nearer than this are rounding apart: a lossless VAE does not lose to a lossless codec."""

MOST_NAMED = 6
"""Figures in one sentence."""

_QUALITY = ("psnr_db", "ssim", "lpips_", "rfid", "kid", "fd_")
_CODECS = {"linear": "a linear codec of the same size", "bicubic": "bicubic down and up by the same f"}

_SCALING: Mapping[str, tuple[str, Level]] = {
    "ok": ("The factor fits these pictures", "good"),
    "wrong": ("The factor is wrong for these pictures", "bad"),
    "unknown": ("Nothing to judge", "info"),
}


@dataclass(frozen=True)
class Verdict:
    """One sentence or a few, and how grave: "good", "caution", "bad", or "info" where nothing is judged."""

    sentence: str
    level: Level


def is_quality(name: str) -> bool:
    """Whether a measure says how near the reconstruction is to the original."""
    return name.startswith(_QUALITY)


def judge(name: str, measure: Measure, yardsticks: Sequence[Yardstick]) -> str:
    """One measure in words, beside the yardsticks on the same pictures: "+2.1 dB above a linear codec ..."."""
    if measure.status == "unavailable":
        return "not measured"
    words = _against(name, yardsticks) or _meaning(name, measure)
    if measure.status == "unreliable":
        return f"unreliable; {words}" if words else "unreliable"
    return words


def verdict(result: Result) -> Verdict:
    """Is this VAE good enough on these pictures? What is wrong with it? How hard are its latents to learn?"""
    if result.scaling is not None:
        return _of_scaling(result.scaling, result.vae)
    if result.kind == "bench":
        return _of_bench(result.measures)
    if result.kind == "diagnose":
        return _of_diagnosis(result.findings)
    if result.kind == "latents":
        return _of_latents(result)
    return _of_reconstruction(result)


def _of_reconstruction(result: Result) -> Verdict:
    broken = max((measure.counts.get("non_finite", 0) for measure in result.measures.values()), default=0)
    if broken:
        pictures = figures.count(broken, "reconstruction")
        return Verdict(
            f"{pictures} of {result.data.count:,} hold NaN or infinity: this VAE is broken as it runs here.", "bad"
        )
    judged = _judge_all(result)
    unreliable = [name for name, one in result.measures.items() if one.status == "unreliable" and is_quality(name)]
    last = f" Not to be relied on by themselves: {', '.join(unreliable)} (see the notes)." if unreliable else ""
    return Verdict(judged.sentence + _worst_picture(result) + last, judged.level)


def _judge_all(result: Result) -> Verdict:
    """Against both yardsticks. Why only bicubic accuses: PCA has the least squared error of all linear codecs, and
    with many channels a healthy VAE, trained for looks and for its latents, stays below it."""
    known = {yardstick.name: yardstick for yardstick in result.yardsticks}
    linear, bicubic = known.get("linear"), known.get("bicubic")
    if linear is None or bicubic is None:
        return Verdict(f"No yardstick was measured on {_pictures(result.data.count)}: the figures stand alone.", "info")
    fewer = f"{linear.n:,} of " if linear.n < result.data.count else ""
    pictures = f"{fewer}{_pictures(result.data.count)}"
    above_linear, below_linear, equal_linear = _sides(linear)
    above_bicubic, below_bicubic, _ = _sides(bicubic)
    equal = f"equal to a linear codec of the same size in {_values(equal_linear, linear)}" if equal_linear else ""
    if not above_linear and not below_linear:
        found = f"On {pictures} this VAE is {equal}" if equal else f"No figure on {pictures} can be relied on"
        return Verdict(f"{found}: the yardsticks cannot judge it.", "info")
    larger = result.vae is None or result.vae.latent_channels >= BICUBIC_VALUES
    if below_bicubic and larger and not above_bicubic:
        return Verdict(
            f"Something is wrong: on {pictures} this VAE is not better than bicubic down and up by the same f: "
            f"{_values(below_bicubic, bicubic)}. Suspect its weights, its input range or its channel order.",
            "bad",
        )
    if not below_linear:
        reach = "" if equal else " in every figure compared"
        return Verdict(
            f"Better than a linear codec of the same size on {pictures}{reach}: "
            f"{_values(above_linear, linear)}{'; ' * bool(equal)}{equal}. That is the least a small VAE must do.",
            "good",
        )
    better = f"; it is better in {_values(above_linear, linear)}" if above_linear else ""
    better += f"; it is equal in {_values(equal_linear, linear)}" if equal else ""
    return Verdict(
        f"On {pictures} this VAE is not better than a linear codec of the same size in "
        f"{_values(below_linear, linear)}{better}. A linear codec has the least squared error, so that is usual "
        "with many latent channels; with four, look at the worst pictures.",
        "info",
    )


def _pictures(count: int) -> str:
    return f"these {count:,} pictures" if count != 1 else "this picture"


def _sides(yardstick: Yardstick) -> tuple[list[str], list[str], list[str]]:
    """Measures in which the VAE is (better, worse, equal), of those that can be relied on."""
    gains = {name: gain for name, gain in _gains(yardstick) if yardstick.vae[name].status == "ok"}
    above = [name for name, gain in gains.items() if gain > 0]
    below = [name for name, gain in gains.items() if gain < 0]
    return above, below, [name for name, gain in gains.items() if gain == 0]


def _of_scaling(scaling: Scaling, vae: VAECard | None) -> Verdict:
    words, level = _SCALING[scaling.verdict]
    if scaling.verdict == "unknown" and vae is not None and vae.scaling.unusable:
        words, level = "The shipped scaling cannot be used", "bad"
    if scaling.shipped.get("scaling_factor") is None:  # means and stds of each channel alone
        words = words.replace("factor", "scaling")
    sentence = f"{words}: {scaling.reason or f'1 / std is {figures.number(scaling.scaling_factor)}'}."
    if bounds := scaling.scaling_factor_ci95:
        interval = " to ".join(figures.number(bound, bounds) for bound in bounds)
        sentence += f" The 95 % interval of 1 / std is {interval}."
    return Verdict(sentence, level)


def _of_diagnosis(findings: Sequence[Finding]) -> Verdict:
    """The faults, and which to mend first; without any, the warnings; and what could not be measured."""
    by: dict[Severity, list[Finding]] = {}
    for finding in findings:
        by.setdefault(finding.severity, []).append(finding)
    faults, warnings, absent = (by.get(severity, []) for severity in ("fault", "warning", "unavailable"))
    if len(absent) == len(findings):
        return Verdict("Nothing is said: no probe could measure anything; see why below.", "info")
    missing = f"; {len(absent)} could not be measured" if absent else ""
    if faults:
        first = f"Mend {faults[0].id} first: " if len(faults) > 1 else ""
        sentence = f"{figures.count(len(faults), 'fault')}: {_ids(faults)}. {first}{faults[0].remedy}".rstrip()
        if caused := [finding for finding in by.get("info", []) if finding.follows_from]:
            sentence += f" What may follow from {'that' if len(faults) == 1 else 'these'}: {_ids(caused)}."
        if warnings or absent:
            words = [f"{figures.count(len(warnings), 'warning')}: {_ids(warnings)}"] if warnings else []
            words += [f"{figures.count(len(absent), 'probe')} could not measure"] if absent else []
            sentence += f" Also {'; '.join(words)}."
        return Verdict(sentence, "bad")
    if warnings:
        number = figures.count(len(warnings), "warning")
        said = "a limit of its capacity, or a risk" if len(warnings) == 1 else "limits of its capacity, or risks"
        return Verdict(f"No fault; {number} ({said}): {_ids(warnings)}{missing}.", "caution")
    return Verdict(f"Healthy: no fault and no warning in {figures.count(len(findings), 'probe')}{missing}.", "good")


def _ids(findings: Sequence[Finding]) -> str:
    return ", ".join(finding.id for finding in findings)


def _of_latents(result: Result) -> Verdict:
    """What is notable. Why there is no pass and no fail: no published figure of one family holds for another."""
    measures = {
        name: one for name, one in result.measures.items() if isinstance(one.value, (int, float)) and one.status == "ok"
    }
    shape = result.measures.get("latent_shape")
    sides = figures.value(shape) if shape is not None and shape.value is not None else ""
    facts = [
        f"{words} {figures.value(measures[name], unit=False)}{rest}"
        for name, words, rest in (
            ("latent_std", "std", ""),
            ("effective_rank", "effective rank", f" of {result.vae.latent_channels}" if result.vae else ""),
        )
        if name in measures
    ]
    if (dead := measures.get("dead_channel_count")) is not None and isinstance(dead.value, (int, float)) and dead.value:
        facts.append(figures.count(round(dead.value), "dead channel"))
    predicting = [one for one in measures.values() if one.role == "predicts"]
    sentence = f"Latents{f' of {sides}' if sides else ''}{': ' if facts else ''}{', '.join(facts)}."
    if predicting:
        figured = ", ".join(f"{one.name} {figures.value(one)}" for one in predicting[:MOST_NAMED])
        more = f" and {len(predicting) - MOST_NAMED} more" if len(predicting) > MOST_NAMED else ""
        sentence += f" Of what goes with generation quality, as far as is published: {figured}{more}."
    return Verdict(
        f"{sentence} There is no pass or fail here, and no figure may be set beside that of latents of another shape.",
        "info",
    )


def _of_bench(measures: Mapping[str, Measure]) -> Verdict:
    speeds = [
        f"{verb} {figures.value(measures[name])}"
        for verb, name in (("Encodes", "encode_images_per_second"), ("decodes", "decode_images_per_second"))
        if name in measures and measures[name].value is not None
    ]
    return Verdict(f"{', '.join(speeds)}." if speeds else "No speed could be measured.", "info")


def _worst_picture(result: Result) -> str:
    """The lowest PSNR of a picture: means hide it."""
    column = result.per_image.columns.get("psnr_db", ())
    known = [
        (psnr_db, image_id)
        for psnr_db, image_id in zip(column, result.per_image.ids, strict=False)
        if psnr_db is not None
    ]
    if len(known) < 2:
        return ""
    psnr_db, image_id = min(known)
    return f" The worst picture, {shortened(printable(image_id), 64)}, has {figures.number(psnr_db, significant=3)} dB."


def _gains(yardstick: Yardstick) -> Iterator[tuple[str, float]]:
    """By how much the VAE is better than the yardstick, in each measure that both have; 0 where both read the same."""
    for name, theirs in yardstick.measures.items():
        ours = yardstick.vae.get(name)
        if ours is None or not isinstance(ours.value, (int, float)) or not isinstance(theirs.value, (int, float)):
            continue
        if is_quality(name) and ours.better is not None and ours.n == theirs.n:
            sign = 1 if ours.better == "higher" else -1
            own, other = _pair(ours, theirs)
            tie = own == other or math.isclose(ours.value, theirs.value, rel_tol=TIE, abs_tol=TIE)
            yield name, 0.0 if tie else sign * (ours.value - theirs.value)


def _values(names: Sequence[str], yardstick: Yardstick) -> str:
    """ "psnr_db 24.31 dB against 22.21"; "psnr_db 24.3 dB" where both read the same."""
    words = []
    for name in names:
        ours, theirs = yardstick.vae[name], yardstick.measures[name]
        own, other = _pair(ours, theirs)
        unit = f" {ours.unit}" if ours.unit not in ("", "1") else ""
        words.append(f"{name} {own}{unit}" + (f" against {other}" if own != other else ""))
    return ", ".join(words)


def _pair(ours: Measure, theirs: Measure) -> tuple[str, str]:
    """Both figures to the digits that the yardstick's interval allows, without their unit."""
    ci95 = theirs.ci95 or ours.ci95
    return figures.value(replace(ours, ci95=ci95), unit=False), figures.value(replace(theirs, ci95=ci95), unit=False)


def _against(name: str, yardsticks: Sequence[Yardstick]) -> str:
    by_name = {yardstick.name: yardstick for yardstick in yardsticks}
    for codec, words in _CODECS.items():
        gains = dict(_gains(by_name[codec])) if codec in by_name else {}
        if name in gains:
            return _gain_in_words(gains[name], by_name[codec].vae[name], by_name[codec].measures[name], words)
    return ""


def _gain_in_words(gain: float, ours: Measure, theirs: Measure, codec: str) -> str:
    unit = f" {ours.unit}" if ours.unit not in ("", "1") else ""
    if gain == 0:
        return f"equal to {codec}"
    if gain < 0:
        return f"not better than {codec} ({figures.value(theirs)})"
    if ours.better == "higher":
        return f"{figures.difference(gain)}{unit} above {codec}"
    assert isinstance(theirs.value, (int, float))
    if theirs.value > 0:
        percent = 100 * gain / theirs.value
        return f"{f'{percent:.0f}' if percent >= 1 else 'less than 1'} % below {codec}"
    return f"{figures.difference(gain).lstrip('+')}{unit} below {codec}"


def _meaning(name: str, measure: Measure) -> str:
    """What follows from the figure by arithmetic alone; empty where nothing does."""
    amount = measure.value
    if not isinstance(amount, (int, float)) or amount <= 0:
        return ""
    if name == "latent_std":
        return f"1 / std = {figures.number(1 / amount)}"
    if name == "seam_error_ratio":
        if measure.ci95 and measure.ci95[0] <= 1 <= measure.ci95[1]:
            return "no seam that these pictures can show"
        return f"the error is {abs(100 * (amount - 1)):.0f} % {'larger' if amount >= 1 else 'smaller'} at the seams"
    if name == "compression_ratio":
        return f"{figures.number(amount)} pixel values for each latent value"
    if name == "kl_bits_per_pixel":
        return "an 8-bit pixel has 8 a channel, 24 in RGB"
    if name.endswith("_images_per_second"):
        return f"{figures.number(1000 / amount, significant=3)} ms for one picture"
    return ""
