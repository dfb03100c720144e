"""report.md: the report for a pull request, a wiki or a mail.

Why everything is escaped: a file may be called `a|b<script>.png`, and Markdown has no other quoting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from vaecheck.render import figures, findings, published, tables
from vaecheck.render.channels import channels
from vaecheck.render.illustrations import Illustration
from vaecheck.render.next_steps import of_result
from vaecheck.render.printable import printable
from vaecheck.render.verdict import verdict
from vaecheck.results.types import Result, Scaling, VAECard

SKIPPED_SHOWN = 50

_SPECIAL = re.compile(
    r"[\\`*\[\]|~$]"  # code, emphasis, links, cells, strike-through, mathematics
    r"|(?<![^\W_])_|_(?![^\W_])"  # an underscore is plain only inside a word
)
_OPENS_A_BLOCK = re.compile(r"(?=[#+=-])|(?<=\d)(?=[.)](?:\s|$))")
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("://", "&#58;//"), ("@", "&#64;"))


def to_markdown(result: Result, illustrated: Sequence[Illustration] = ()) -> str:
    """The whole report as GitHub-flavoured Markdown; pictures are named by their files beside it."""
    parts = [f"# {escape(tables.title(result))}", f"**{escape(verdict(result).sentence)}**"]
    parts += [paragraph(line) for line in tables.head(result)]
    parts += listed("What to do", (f"{step.words} {step.command}".strip() for step in of_result(result)))
    parts += _findings(result, illustrated)
    for section in tables.sections(result):
        head = ["metric", "value", "95 % interval", "better", *section.yardsticks, "n", "in words"]
        rows = [
            [row.name, row.value, row.interval, row.better or "-", *row.yardsticks, row.n, row.judgement]
            for row in section.rows
        ]
        parts += [f"## {escape(section.title)}", table(head, rows)]
        if section.evidence:
            parts.append("\n".join(f"- {paragraph(words)}" for words in section.evidence))
        for row in section.rows:
            parts += _illustrations(illustrated, row.name)
    parts += _channels(result)
    parts += _other_illustrations(result, illustrated)
    parts += listed("Yardsticks", tables.yardstick_notes(result))
    parts += listed("Notes", (f"{note.subject}: {note.reason}" for note in tables.notes(result)))
    parts += _published(result)
    parts += _images(result)
    if result.unet_cost:
        rows = [[*cells, "this VAE" if own else ""] for *cells, own in tables.unet_cost(result)]
        parts += [
            "## What one U-Net step costs on these latents",
            table(["f", "latents", "tokens", "FLOPs", ""], rows),
            *([escape(note)] if (note := tables.unet_cost_note(result)) else []),
        ]
    if result.scaling is not None:
        parts += _scaling(result.scaling, result.vae)
    parts += listed("Pictures", tables.intake(result))
    parts += _skipped(result)
    parts += listed("Warnings", tables.warnings(result))
    parts += ["## Settings", table(["setting", "value"], tables.settings(result))] if result.settings else []
    parts += ["## Environment", table(["", ""], tables.environment(result))]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is: `a|b<c>` becomes a\|b&lt;c&gt;; no line breaks, no links, no mentions."""
    quoted = printable(text)
    for characters, entity in _ENTITIES[:3]:
        quoted = quoted.replace(characters, entity)
    quoted = _SPECIAL.sub(r"\\\g<0>", quoted)
    for characters, entity in _ENTITIES[3:]:
        quoted = quoted.replace(characters, entity)
    return quoted


def paragraph(text: str) -> str:
    r"""The same where a line begins: `# a` and `1. a` become \# a and 1\. a, no heading and no list."""
    quoted = escape(text.strip())
    start = re.match(r"\d{0,9}", quoted)
    place = start.end() if start else 0
    return f"{quoted[:place]}\\{quoted[place:]}" if _OPENS_A_BLOCK.match(quoted, place) else quoted


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(heading: str, entries: Iterable[str]) -> list[str]:
    lines = [f"- {paragraph(entry)}" for entry in entries]
    return [f"## {heading}", "\n".join(lines)] if lines else []


def _findings(result: Result, illustrated: Sequence[Illustration]) -> list[str]:
    parts = []
    for one in findings.of_severity(result, "fault", "warning", "info"):
        parts.append(f"## {one.word}: {escape(one.id)}, {escape(one.title)}")
        parts += [f"{called}: {escape(words)}" if called else paragraph(words) for called, words in one.details]
        parts += _illustrations(illustrated, one.id)
    if healthy := findings.of_severity(result, "healthy"):
        rows = [[one.id, one.title, one.value, one.limit, one.unit, one.evidence] for one in healthy]
        parts += ["## Healthy", table(["id", "what", "value", "limit", "unit", "evidence"], rows)]
        for one in healthy:
            parts += _illustrations(illustrated, one.id)
    if absent := findings.of_severity(result, "unavailable"):
        rows = [[one.id, one.title, f"{one.evidence} {one.remedy}"] for one in absent]
        parts += ["## Not measured", table(["id", "what", "why"], rows)]
    return parts


def _illustrations(illustrated: Iterable[Illustration], about: str) -> list[str]:
    parts = []
    for one in illustrated:
        if one.about == about:
            parts += [f"![{escape(one.alt)}]({one.file})", *([paragraph(one.note)] if one.note else [])]
    return parts


def _other_illustrations(result: Result, illustrated: Sequence[Illustration]) -> list[str]:
    """Those that belong to nothing that is listed."""
    known = {finding.id for finding in result.findings} | set(result.measures)
    abouts = dict.fromkeys(one.about for one in illustrated if one.about not in known)
    parts = [part for about in abouts for part in _illustrations(illustrated, about)]
    return ["## Plots and pictures", *parts] if parts else []


def _channels(result: Result) -> list[str]:
    found = channels(result)
    return ["## Per channel, raw latents", table(found.head, found.rows)] if found else []


def _published(result: Result) -> list[str]:
    beside = published.beside(result)
    if beside is None:
        return []
    notes = "\n".join(f"- {paragraph(note)}" for note in beside.notes)
    return [f"## {published.TITLE}", table([escape(name) for name in beside.head], beside.rows), notes]


def _images(result: Result) -> list[str]:
    words = {"grid": "original, reconstruction, difference", "worst": "the worst pictures and their worst windows"}
    named = {key: result.artifacts[key] for key in words if key in result.artifacts}
    return [f"![{words[key]}]({PurePath(name).name})" for key, name in named.items()]


def _skipped(result: Result) -> list[str]:
    skipped = result.data.skipped
    if not skipped:
        return []
    parts = [f"## {figures.count(len(skipped), 'picture')} skipped"]
    parts.append(table(["id", "reason"], [[picture.id, picture.reason] for picture in skipped[:SKIPPED_SHOWN]]))
    if len(skipped) > SKIPPED_SHOWN:
        parts.append(f"and {len(skipped) - SKIPPED_SHOWN:,} more, in result.json")
    return parts


def _scaling(scaling: Scaling, vae: VAECard | None) -> list[str]:
    parts = ["## Scaling", table(["", ""], tables.scaling_summary(scaling, vae))]
    parts += ["### Per channel, raw latents", table(["channel", "mean", "std"], tables.channels(scaling))]
    for name, code in scaling.snippets.items():
        longest = max((len(run) for run in re.findall("`+", code)), default=0)
        fence = "`" * max(3, longest + 1)
        parts += [f"### {escape(name)}", f"{fence}\n{code}\n{fence}"]
    return parts
