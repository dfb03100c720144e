"""What every figure and every finding means: formula, source, usual values, the usual mistake.

Why a table of text beside the code: a person asks for a name out of a report, and must not wait for torch to load.
A test holds that every metric and every finding has an entry.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from vaecheck.errors import InputError


@dataclass(frozen=True)
class Explanation:
    """One entry: of one name, or of several that are one idea.

    role: "predicts" or "describes", of a latent measure; evidence: for it. remedy: of a finding.
    """

    names: tuple[str, ...]
    title: str
    what: str
    formula: str
    source: str
    usual: str
    mistake: str
    role: str = ""
    evidence: str = ""
    remedy: str = ""


@cache
def explanations() -> tuple[Explanation, ...]:
    """Every entry, in the order of the reports."""
    text = (resources.files("vaecheck") / "assets" / "explanations.toml").read_text(encoding="utf-8")
    return tuple(
        Explanation(**{**entry, "names": tuple(entry["names"])}) for entry in tomllib.loads(text)["explanation"]
    )


def names() -> tuple[str, ...]:
    return tuple(name for entry in explanations() for name in entry.names)


def explain(name: str) -> Explanation:
    """The entry of a metric or a finding. Raises InputError for an unknown name, with the nearest."""
    wanted = name.strip().lower().replace("-", "_")
    for entry in explanations():
        if wanted in entry.names:
            return entry
    near = [one for one in names() if wanted and wanted in one][:3] or difflib.get_close_matches(
        wanted, names(), 3, 0.4
    )
    raise InputError(
        f"there is nothing to explain by the name {name!r}",
        hint=f"Did you mean {' or '.join(near)}?" if near else "vaecheck explain lists all names.",
    )


def told(entry: Explanation) -> tuple[tuple[str, str], ...]:
    """The entry's fields that have words, by what they are called."""
    called = {"what": "What", "usual": "Usual values", "mistake": "Usual mistake", "role": "Role"}
    return tuple(
        (called.get(one.name, one.name.capitalize()), str(getattr(entry, one.name)))
        for one in fields(entry)
        if one.name not in ("names", "title") and getattr(entry, one.name)
    )
