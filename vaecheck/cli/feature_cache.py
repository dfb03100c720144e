"""vaecheck weights cache"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vaecheck import feature_cache
from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    clear: Annotated[bool, typer.Option("--clear", help="Empty it first.")] = False, json: o.Json = False
) -> None:
    """What networks and yardsticks made of your originals, kept so that a second run need not make it again.

    VAECHECK_CACHE is its folder, VAECHECK_CACHE_GB its limit: 2 unless it is set, 0 for none.
    """
    from vaecheck.render.listing import facts

    if clear:
        feature_cache.clear()
    found = feature_cache.facts()
    if json:
        screen.print_json(asdict(found) | {"place": str(found.place)})
        return
    lines = [
        ("file", str(found.place)),
        ("entries", f"{found.entries:,}"),
        ("size", _megabytes(found.bytes)),
        ("limit", _megabytes(found.limit)),
    ]
    with screen.stdout():
        facts("feature cache", lines, screen.output())


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
