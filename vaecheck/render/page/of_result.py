"""The page of one run of one VAE: reconstruct, score, scale-factor, bench, diagnose, latents."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vaecheck.render import channels, published, tables
from vaecheck.render.findings import of_severity
from vaecheck.render.illustrations import Illustration, embedded
from vaecheck.render.next_steps import of_result
from vaecheck.render.page import parts, pictures
from vaecheck.render.page.template import render
from vaecheck.render.page.worst import worst_pictures
from vaecheck.render.verdict import Verdict, is_quality, verdict
from vaecheck.results.types import Result, Scaling, Shown

_LEVEL_WORDS = {"good": "Above the yardsticks", "caution": "Caution", "bad": "Not good enough", "info": "Note"}
_GRID_ALT = "Rows of original, reconstruction and amplified difference; captions are in the picture"


def result_page(
    result: Result, shown: Sequence[Shown], grid: Image.Image | None, illustrated: Sequence[Illustration]
) -> str:
    """Pictures come from `shown`, or from a saved grid where there are none."""
    judged = verdict(result)
    sections = tables.sections(result)
    gathered = pictures.of_one(shown)
    context = {
        "title": tables.title(result),
        "subject": result.vae.ref if result.vae else "",
        "verdict": judged,
        "level_word": _level_word(result, judged),
        "facts": tables.head(result),
        "steps": of_result(result),
        "quality": [section for section in sections if is_quality(section.rows[0].name)],
        "others": [section for section in sections if not is_quality(section.rows[0].name)],
        "yardsticks": tables.yardstick_notes(result),
        "notes": [f"{note.subject}: {note.reason}" for note in tables.notes(result)],
        "published_title": published.TITLE,
        "published": published.beside(result),
        "pictures_note": gathered.note,
        "worst": worst_pictures(result),
        "findings": of_severity(result, "fault", "warning", "info"),
        "healthy": of_severity(result, "healthy"),
        "unmeasured": of_severity(result, "unavailable"),
        "latent_channels": _latent_channels(result),
        "unet_cost": tables.unet_cost(result),
        "unet_cost_note": tables.unet_cost_note(result),
        "scaling": tables.scaling_summary(result.scaling, result.vae) if result.scaling else (),
        "channels": _channels(result.scaling) if result.scaling else None,
        "warnings": tables.warnings(result),
        **parts.last(result),
    }
    sheet = pictures.whole(grid, "grid.png", _GRID_ALT) if grid is not None and not shown else None
    drawn = embedded(illustrated, gathered.bytes + (sheet.bytes if sheet else 0))
    known = {finding.id for finding in result.findings} | {row.name for section in sections for row in section.rows}
    return render(
        "result",
        context,
        versions=gathered.versions,
        grid=sheet,
        snippets=tuple(result.scaling.snippets.items()) if result.scaling else (),
        drawn=drawn,
        other_drawn=[about for about in drawn if about not in known],
    )


def _level_word(result: Result, judged: Verdict) -> str:
    """Empty for a diagnosis and a scale factor, whose sentences begin with their words."""
    if result.kind in ("diagnose", "scale-factor"):
        return ""
    return "In short" if result.kind == "latents" else _LEVEL_WORDS[judged.level]


def _latent_channels(result: Result) -> parts.Table | None:
    """What `latents` found of every channel."""
    found = channels.channels(result)
    if found is None:
        return None
    names = list(dict.fromkeys(name for channel in result.channels for name in channel if name != channels.NUMBER))
    rows = tuple(
        (
            parts.Cell(texts[0], channel.get(channels.NUMBER, place)),
            *(parts.Cell(text, channel.get(name)) for text, name in zip(texts[1:], names, strict=True)),
        )
        for place, (channel, texts) in enumerate(zip(result.channels, found.rows, strict=True))
    )
    return parts.Table("Per channel, raw latents", "", found.head, (True,) * len(found.head), rows)


def _channels(scaling: Scaling) -> parts.Table:
    """Mean and std of every channel, as `scale-factor` found them."""
    rows = tuple(
        (parts.Cell(number, place), parts.Cell(mean, channel["mean"]), parts.Cell(std, channel["std"]))
        for place, (channel, (number, mean, std)) in enumerate(
            zip(scaling.per_channel, tables.channels(scaling), strict=True)
        )
    )
    return parts.Table("Per channel, raw latents", "", ("channel", "mean", "std"), (True, True, True), rows)
