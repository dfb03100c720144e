"""The template, its style and its script; and every text made safe to show.

Why the style and the script are let in by their hashes: a page is made of file names and model ids that others chose,
and whatever of them should ever slip past the escaping still cannot run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from vaecheck.render.printable import printable


def render(name: str, context: Mapping[str, Any], **trusted: Any) -> str:
    """The template of this name, in which every text is escaped.

    context: its texts are made printable first. trusted: texts that are printable already, or code to be pasted.
    """
    template = _environment().get_template(f"{name}.html.j2")
    return template.render(shown_as_text(dict(context)), contents=[], **trusted)


def shown_as_text(value: Any) -> Any:
    """The same structure with every text made printable, so that no id can hide or reorder what follows it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {shown_as_text(key): shown_as_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(shown_as_text(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: shown_as_text(getattr(value, field.name)) for field in fields(value)})
    return value


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("style.css", "script.js"):
        kind, text = name.partition(".")[0], _read(name)
        environment.globals[kind] = Markup(text)  # our own file, with nothing from outside in it
        environment.globals[f"{kind}_hash"] = _hash(text)
    return environment


def _read(name: str) -> str:
    return (resources.files("vaecheck") / "assets" / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it lets in."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
