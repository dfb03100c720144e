"""A result as rows of text, before any form: terminal, Markdown and page all draw from here.

Why one place: three renderers that each chose their own rows and digits would soon disagree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaecheck.protocols import FITS
from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.render.titles import title_of
from vaecheck.render.verdict import is_quality, judge
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.comparison import Comparison
from vaecheck.results.files import Document
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.types import LatentScaling, Measure, Result, Scaling, VAECard, Yardstick
from vaecheck.unet_cost import SIDE_MULTIPLE

Pairs = tuple[tuple[str, str], ...]

RGB, EIGHT_BITS = 3, 255
PUBLIC_FITS: dict[str, str] = {fit: words for fit, words in FITS.items() if "_" in fit}
"""Fits of protocols that --fit does not take, in words: their names say too little."""

_QUALITY = "Original against reconstruction"
_EDGES = ("psnr_border_db", "psnr_inside_db", "seam_error_ratio", "tiling_psnr_db")
_KINDS = {
    "reconstruct": "Reconstruction",
    "score": "Score",
    "scale-factor": "Scale factor",
    "bench": "Bench",
    "diagnose": "Diagnosis",
    "latents": "Latents",
    "compare": "Comparison",
    "gate": "Gate",
    "e2e": "Ceiling check",
    "watch": "Watch",
}
_ROLES = {"predicts": "Predict generation quality, as far as is published", "describes": "Describe the latents"}


@dataclass(frozen=True)
class Row:
    """One measure as text. better: "higher", "lower" or "". yardsticks: their figures, in the result's order."""

    name: str
    title: str
    value: str
    interval: str
    better: str
    n: str
    yardsticks: tuple[str, ...]
    judgement: str
    status: str

    @property
    def says_more(self) -> bool:
        """Whether the judgement adds to what the status and the notes say."""
        return self.judgement not in ("", "unreliable", "not measured")


@dataclass(frozen=True)
class Section:
    """Measures of one theme. yardsticks: the names that head the rows' yardstick cells.

    evidence: what the roles of latent measures rest on, once for those that share it: "sec_25, sec_50: ...".
    """

    title: str
    rows: tuple[Row, ...]
    yardsticks: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """Why figures are not to be relied on, or are not there: "rfid, kid: unreliable", and the reason."""

    subject: str
    reason: str


def title(document: Document) -> str:
    return _KINDS.get(document.kind, document.kind)


def sections(result: Result) -> tuple[Section, ...]:
    """The measures by theme, and those of `latents` by their role; a theme without a measure is left out."""
    order = (*_ROLES.values(), _QUALITY, "Padding and tiles", "Latents", "Speed and memory")
    themes: dict[str, list[Measure]] = {theme: [] for theme in order}
    for name, measure in result.measures.items():
        themes[_ROLES.get(measure.role) or _theme(name)].append(measure)
    return tuple(_section(theme, measures, result) for theme, measures in themes.items() if measures)


def notes(result: Result) -> tuple[Note, ...]:
    """What is unreliable or unavailable, with its reason and remedy, one note a reason; and images left out."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, measure in result.measures.items():
        identical = measure.counts.get("identical", 0)
        if measure.status != "ok":
            found.setdefault((measure.status, measure.reason), []).append(name)
        elif identical:
            pairs = figures.count(identical, "identical pair")
            found.setdefault(("", f"{pairs} left out of the mean, for want of a finite value"), []).append(name)
    return tuple(
        Note(f"{', '.join(names)}: {status}" if status else ", ".join(names), reason)
        for (status, reason), names in found.items()
    )


def yardstick_notes(result: Result) -> tuple[str, ...]:
    """What each yardstick is, and the VAE's own figures where it was measured on fewer pictures."""
    return tuple(_describe(yardstick, result) for yardstick in result.yardsticks)


def head(result: Result) -> tuple[str, ...]:
    """Who was measured on what: the VAE, what its file was recognised as, its scaling, the pictures.

    The scaling has a line where it is more than one factor, or not known.
    """
    vae = result.vae
    lines = [vae_in_words(vae)]
    if vae is not None:
        plain = vae.scaling == LatentScaling(vae.scaling_factor, source=vae.scaling.source) and vae.scaling.known
        lines += [
            f"Recognised: {vae.recognised}" if vae.recognised else "",
            "" if plain else f"Scaling as {whose(vae)}: {shipped_in_words(vae.scaling)}",
        ]
    return tuple(line for line in (*lines, data_in_words(result)) if line)


def warnings(document: Result | Comparison | History | Ceiling) -> tuple[str, ...]:
    """What to warn of, less the pictures skipped, which are listed with their reasons."""
    skipped = re.compile(r"\d+ pictures? (was|were) skipped: ")
    return tuple(text for text in document.warnings if not (document.data.skipped and skipped.match(text)))


def whose(vae: VAECard | None) -> str:
    """Whether the scaling to judge is the user's: "given"; or the VAE's: "shipped"."""
    return "given" if vae is not None and vae.scaling.given else "shipped"


def shipped_in_words(scaling: LatentScaling) -> str:
    """ "(z - 0.1159) × 0.3611 (config.json)"; says so where none is known."""
    if not scaling.known:
        return scaling.unusable or "unknown"
    words = "z"
    if scaling.channel_stds is not None:
        count = len(scaling.channel_stds)
        folded = f", of {scaling.patch} × {scaling.patch} positions folded into channels" if scaling.patch > 1 else ""
        words = f"(z - mean) / std of each of {figures.count(count, 'channel')}{folded}"
        if scaling.scaling_factor not in (None, 1):
            words += f", × {figures.as_given(scaling.scaling_factor or 1)}"
    elif scaling.scaling_factor is not None:
        shift = f"(z - {figures.as_given(scaling.shift_factor)})" if scaling.shift_factor else "z"
        words = f"{shift} × {figures.as_given(scaling.scaling_factor)}"
    return f"{words} ({scaling.source})" if scaling.source and not scaling.given else words


def vae_in_words(vae: VAECard | None) -> str:
    """ "kl-f8-tiny (KLAutoencoder): f8, 4 channels, 1,234,567 parameters, float32"; empty without a VAE."""
    if vae is None:
        return ""
    parts = [f"f{vae.f}", figures.count(vae.latent_channels, "latent channel")]
    if vae.scaling_factor is not None and vae.scaling.channel_stds is None and not vae.shift_factor:
        parts.append(f"{'given ' * vae.scaling.given}scaling factor {figures.as_given(vae.scaling_factor)}")
    if vae.image_channels != RGB:
        parts.append(f"pictures of {figures.count(vae.image_channels, 'channel')}")
    if vae.codebook_size is not None:
        parts.append(f"codebook of {vae.codebook_size:,}")
    if vae.parameters is not None:
        parts.append(figures.count(vae.parameters, "parameter"))
    parts.append(vae.dtype)
    if vae.deterministic:
        parts.append("deterministic encoder")
    return f"{vae.ref} ({vae.class_name}): {', '.join(parts)}"


def data_in_words(document: Document) -> str:
    """ "100 pictures from samples, 256 px (crop), on cpu"."""
    data = document.data
    size = "at their own size" if data.size is None else f"{data.size} px"
    accelerator = document.environment.accelerator
    device = f"{document.environment.device} ({accelerator})" if accelerator else document.environment.device
    if document.kind == "bench":
        return f"{figures.count(data.count, 'picture')} of {data.source}, {size}, on {device}"
    levels = "" if data.data_range == EIGHT_BITS else f", data range {data.data_range:,g}"
    name = None if isinstance(document, GateReport) else document.settings.get("protocol")
    fit = PUBLIC_FITS.get(data.fit, data.fit)
    protocol = f", protocol {name}" if name else ""
    source = f"{figures.count(data.count, 'picture')} from {data.source}"
    return f"{source}, {size} ({fit}{protocol}){levels}, on {device}"


def intake(document: Document) -> tuple[str, ...]:
    """How many pictures each intake policy touched: "exif rotated: 3 pictures"."""
    return tuple(
        f"{name.replace('_', ' ')}: {figures.count(n, 'picture')}" for name, n in document.data.notes.items() if n
    )


def unet_cost(result: Result) -> tuple[tuple[str, str, str, str, bool], ...]:
    """f, latent shape, tokens and FLOPs of one U-Net step, and whether it is this VAE's row."""
    return tuple(
        (
            f"f{cost.f}",
            " × ".join(str(side) for side in cost.latent_shape),
            f"{cost.tokens:,}",
            figures.flops(cost.flops),
            cost.is_this_vae,
        )
        for cost in result.unet_cost
    )


def unet_cost_note(result: Result) -> str:
    """Which rows are counted at a larger side, and why; empty where none is."""
    padded = [f"f{cost.f}" for cost in result.unet_cost if any(side % SIDE_MULTIPLE for side in cost.latent_shape[1:])]
    if not padded:
        return ""
    return (
        f"FLOPs of {', '.join(padded)} are of latents padded to the next multiple of {SIDE_MULTIPLE}, because this "
        "U-Net halves its sides three times."
    )


def scaling_summary(scaling: Scaling, vae: VAECard | None = None) -> Pairs:
    """The global figures of `scale-factor`, in the order in which a trainer needs them."""
    interval = scaling.scaling_factor_ci95
    factor = figures.number(scaling.scaling_factor)
    if interval:
        low, high = (figures.number(bound, interval) for bound in interval)
        factor += f"  (95 % interval {low} to {high})"
    first = ", ".join(
        f"{_words(name)} {figures.number(amount)}" for name, amount in scaling.first_batch.items() if amount is not None
    )
    rows = [
        ("scaling factor, 1 / std", factor),
        ("shift factor", figures.number(scaling.shift_factor)),
        ("std of posterior samples", figures.number(scaling.std)),
        ("std of posterior means", figures.number(scaling.std_of_means)),
        ("mean", figures.number(scaling.mean)),
    ]
    if first:
        rows.append(("first batch only (the LDM recipe)", first))
    rows.append((whose(vae), _shipped(scaling)))
    if (worst := scaling.shipped.get("worst_channel_std_after")) is not None:
        channel = figures.as_given(scaling.shipped["worst_channel"] or 0)
        rows.append(("worst channel as scaled", f"channel {channel}, std {figures.number(worst)}"))
    return tuple(rows)


def channels(scaling: Scaling) -> tuple[tuple[str, str, str], ...]:
    """Channel number, mean and std of every latent channel."""
    means = figures.aligned([channel["mean"] for channel in scaling.per_channel])
    stds = figures.aligned([channel["std"] for channel in scaling.per_channel])
    return tuple((str(number), mean, std) for number, (mean, std) in enumerate(zip(means, stds, strict=True)))


def settings(document: Document) -> Pairs:
    """What was set; a gate has its rules instead."""
    if isinstance(document, GateReport):
        return ()
    return tuple((_words(name), setting_in_words(value)) for name, value in document.settings.items())


def vaes(document: Document) -> Mapping[str, VAECard]:
    """The cards by REF."""
    if isinstance(document, Comparison):
        return document.vaes
    if isinstance(document, Ceiling):
        return {climb.ref: climb.vae for climb in document.vaes}
    card = None if isinstance(document, History) else document.vae
    return {card.ref: card} if card is not None else {}


def environment(document: Document) -> Pairs:
    """Hardware, versions and timings, and the hashes of weights and pictures."""
    found = document.environment
    rows = [
        ("device", f"{found.device} ({found.accelerator})" if found.accelerator else found.device),
        ("processor", f"{found.cpu}, {figures.count(found.threads, 'thread')}"),
        ("platform", found.platform),
        ("started", found.started),
        ("versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        ("seconds", ", ".join(f"{_words(k)} {figures.number(v, significant=3)}" for k, v in found.seconds.items())),
    ]
    cards = vaes(document)
    rows += [
        (f"weights' sha256{f', {ref}' if len(cards) > 1 else ''}", card.sha256)
        for ref, card in cards.items()
        if card.sha256
    ]
    if document.data.fingerprint:
        rows.append(("pictures' fingerprint", document.data.fingerprint))
    return tuple((name, text) for name, text in rows if text)


def setting_in_words(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting_in_words(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting_in_words(item)}" for key, item in value.items())
    return str(value)


def _theme(name: str) -> str:
    if is_quality(name):
        return _QUALITY
    if name.endswith(("_per_second", "_bytes")) or "_flops" in name:
        return "Speed and memory"
    return "Padding and tiles" if name in _EDGES else "Latents"


def _section(theme: str, measures: list[Measure], result: Result) -> Section:
    yardsticks = result.yardsticks if theme == _QUALITY else ()
    rows = tuple(_row(measure, yardsticks) for measure in measures)
    return Section(theme, rows, tuple(yardstick.name for yardstick in yardsticks), _evidence(measures))


def _evidence(measures: list[Measure]) -> tuple[str, ...]:
    """Of the measures that have a figure."""
    found: dict[str, list[str]] = {}
    for measure in measures:
        if measure.evidence and measure.value is not None:
            found.setdefault(measure.evidence, []).append(measure.name)
    return tuple(f"{', '.join(names)}: {words}" for words, names in found.items())


def _row(measure: Measure, yardsticks: tuple[Yardstick, ...]) -> Row:
    return Row(
        name=measure.name,
        title=title_of(measure.name),
        value=figures.value(measure),
        interval=figures.interval(measure),
        better=measure.better or "",
        n=f"{measure.n:,}" if measure.n else ABSENT,
        yardsticks=tuple(_yardstick_cell(measure, yardstick) for yardstick in yardsticks),
        judgement=judge(measure.name, measure, yardsticks),
        status=measure.status,
    )


def _yardstick_cell(measure: Measure, yardstick: Yardstick) -> str:
    """The yardstick's figure to the digits of the VAE's own, so that the two can be read side by side."""
    theirs = yardstick.measures.get(measure.name)
    if theirs is None or not isinstance(theirs.value, (int, float)):
        return ABSENT
    return figures.number(float(theirs.value), measure.ci95 or theirs.ci95)


def _describe(yardstick: Yardstick, result: Result) -> str:
    words = f"{yardstick.name}: {yardstick.description}" if yardstick.description else yardstick.name
    if yardstick.n == result.data.count:
        return words
    own = ", ".join(f"{name} {figures.value(m)}" for name, m in yardstick.vae.items() if m.value is not None)
    fewer = f"{words} (measured on {figures.count(yardstick.n, 'picture')} only"
    return f"{fewer}, where this VAE has {own})" if own else f"{fewer})"


def _shipped(scaling: Scaling) -> str:
    shown = {name: v for name, v in scaling.shipped.items() if v is not None and not name.startswith("worst")}
    parts = [f"{_words(name)} {figures.as_given(v)}" for name, v in shown.items()]
    return f"{', '.join(parts)}: {scaling.verdict}" if parts else "nothing"


def _words(name: str) -> str:
    return name.replace("_", " ")
