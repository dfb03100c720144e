"""A saved document with one field that is wrong or missing is drawn or refused in a sentence, and never a crash."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vaecheck.errors import InputError
from vaecheck.render import forms
from vaecheck.render.page import to_page
from vaecheck.results.files import from_document

SAVED = sorted(Path(__file__).parent.glob("schema_*/*/result.json"))
WRONG = (None, "", "[/red]<b>|`x`", 0, -1, 1e308, -1e-300, True, [], {}, [1], {"a": 1}, [[]], [None], "9" * 50, 10**30)
MISSING = object()
MUTATIONS = 8
"""Of each document."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field, and the first entries of every list."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def mutated(document: dict[str, Any], draw: random.Random) -> tuple[dict[str, Any], tuple[Any, ...], Any]:
    """The document with one field replaced or left out; which, and by what."""
    *way, last = path = draw.choice(list(places(document)))
    wrong = draw.choice((*WRONG, MISSING, MISSING, MISSING))
    changed = copy.deepcopy(document)
    parent: Any = changed
    for key in way:
        parent = parent[key]
    if wrong is MISSING:
        del parent[last]
    else:
        parent[last] = wrong
    return changed, path, wrong


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.parent.name)
def test_one_wrong_field_is_no_crash(path: Path) -> None:
    draw, saved = random.Random(path.parent.name), json.loads(path.read_text())
    for _ in range(MUTATIONS):
        changed, where, wrong = mutated(saved, draw)
        try:
            document = from_document(changed)
        except InputError:
            continue
        screen = io.StringIO()
        try:
            forms.show(document, Console(file=screen, width=draw.choice((40, 80, 140))))
            text, page = forms.to_markdown(document), to_page(document)
        except Exception as error:
            raise AssertionError(f"{'.'.join(map(str, where))} = {wrong!r} crashes") from error
        assert screen.getvalue().strip()
        assert text.startswith("# ")
        assert page.lower().startswith("<!doctype html>")
