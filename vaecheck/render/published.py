"""Published figures beside a run's own, and what keeps the two from being compared.

Why a column of its own for each source, numbered, with its protocol below: a figure without its protocol invites the
comparison that this program warns of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaecheck.render import figures
from vaecheck.render.figures import ABSENT
from vaecheck.results.types import Measure, Published, Result

TITLE = "Published figures of this VAE"
NOT_STATED = "not stated"
TIERS = {
    1: "its repository or model card",
    2: "a paper's table",
    3: "quoted by others",
    4: "a community's measurement",
}
_METRICS = ("psnr_db", "ssim", "lpips_alex", "lpips_vgg", "lpips_squeeze", "lpips", "rfid")
_ALSO = ("psim", "latent_mean", "latent_std")


@dataclass(frozen=True)
class Beside:
    """head: "", "here", "[1]" ... rows: data set, pictures and size, then one a metric. notes: one a source."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def beside(result: Result) -> Beside | None:
    """The result's published rows as text; None where there are none."""
    if not result.published:
        return None
    numbers = tuple(f"[{place}]" for place in range(1, len(result.published) + 1))
    size = "own" if result.data.size is None else f"{result.data.size} px"
    doubtful = [name for name in _METRICS if name in result.measures and result.measures[name].status == "unreliable"]
    rows = [
        ("data set", "yours", *(_dataset(row) for row in result.published)),
        ("pictures", f"{result.data.count:,}", *(_or_unknown(row.n_images, "{:,}") for row in result.published)),
        ("size", size, *(_or_unknown(row.resolution, "{} px") for row in result.published)),
    ]
    for name in _METRICS:
        theirs = [figure(row, name) for row in result.published]
        if any(text != ABSENT for text in theirs):
            own = result.measures.get(name) or (result.measures.get("fd_pytorch_fid") if name == "rfid" else None)
            rows.append((name, _own(own), *theirs))
    return Beside(
        ("", "here", *numbers),
        tuple(rows),
        (
            *(f"{number} {_note(row)}" for number, row in zip(numbers, result.published, strict=True)),
            *([f"here: {', '.join(doubtful)} is unreliable, see the notes"] if doubtful else []),
            *([f"All that was published: vaecheck vaes --published {result.vae.ref}"] if result.vae else []),
        ),
    )


def groups(name: str, about: Sequence[str], rows: Sequence[Published]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """All that was published of a model, by data set: headings and lines."""
    count = figures.count(len(rows), "published row") if rows else "no reconstruction figure was published"
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(_dataset(row), []).extend(_lines(row))
    scale = ("psim is a perceptual distance of another scale; it is not LPIPS.",)
    closing = scale if any("psim" in row.metrics for row in rows) else ()
    return (
        (name, (*about, count, *closing)),
        *((f"Data set: {dataset}", tuple(lines)) for dataset, lines in found.items()),
    )


def _lines(row: Published) -> list[str]:
    values = [(name, figure(row, name)) for name in (*_METRICS, *_ALSO)]
    size = f"{row.resolution} px" if row.resolution else None
    facts = [
        ("pictures", None if row.n_images is None else f"{row.n_images:,}"),
        ("size", size or ("own" if row.preprocessing and row.preprocessing.startswith("own size") else None)),
        ("crop", row.preprocessing),
        ("posterior", row.posterior),
        *([("LPIPS net", row.lpips_net)] if "lpips" in row.metrics else []),
        *([("SSIM", row.ssim)] if "ssim" in row.metrics else []),
        ("software", row.software),
    ]
    unstated = [name for name, value in facts if value is None]
    lines = [
        ", ".join(f"{name} {value}" for name, value in values if value != ABSENT),
        f"  {row.source} (tier {row.tier}: {TIERS[row.tier]})",
        "  " + "; ".join(f"{name} {value}" for name, value in facts if value is not None) if facts else "",
        f"  {NOT_STATED}: {', '.join(unstated)}" if unstated else "",
        f"  {row.remark}" if row.remark else "",
    ]
    return [line for line in lines if line.strip()]


def figure(row: Published, name: str) -> str:
    """One metric of a row as it was published; LPIPS stands under its net, or under "lpips" where none is stated."""
    metric = f"lpips_{row.lpips_net}" if row.lpips_net else "lpips"
    value = row.metrics.get("lpips") if name == metric else None if name == "lpips" else row.metrics.get(name)
    return ABSENT if value is None else f"{value:g}"


def statement(row: Published) -> str:
    """Whether the protocols are alike, in words: "not alike: 24 pictures against 50,000 ...; not known: ..."."""
    unknown = f"not known: {', '.join(row.unknown)}" if row.unknown else ""
    if row.differs:
        return "; ".join(filter(None, (f"not alike: {'; '.join(row.differs)}", unknown)))
    return f"nothing stated differs, but {unknown}" if unknown else "alike"


def _note(row: Published) -> str:
    return f"{row.source}: {statement(row)}{f' ({row.remark})' if row.remark else ''}."


def _dataset(row: Published) -> str:
    return " ".join(filter(None, (row.dataset or NOT_STATED, row.split if row.dataset else None)))


def _own(measure: Measure | None) -> str:
    return ABSENT if measure is None or measure.value is None else figures.value(measure, unit=False)


def _or_unknown(value: int | None, form: str) -> str:
    return NOT_STATED if value is None else form.format(value)
