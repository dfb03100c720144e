"""vaecheck explain"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vaecheck import explanations
from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A metric or a finding; without one, all names are listed.")
    ] = None,
    json: o.Json = False,
) -> None:
    """What a metric or a finding means: formula, source, usual values, the usual mistake.

    Example: vaecheck explain psnr_db
    """
    from vaecheck.render.listing import paragraphs

    if name is None:
        if json:
            return screen.print_json([asdict(entry) for entry in explanations.explanations()])
        groups: list[tuple[str, tuple[str, ...]]] = [
            (entry.title, (", ".join(entry.names),)) for entry in explanations.explanations()
        ]
    else:
        entry = explanations.explain(name)
        if json:
            return screen.print_json(asdict(entry))
        heading = f"{entry.title} ({', '.join(entry.names)})"
        groups = [(heading, tuple(line for what, words in explanations.told(entry) for line in (what, f"  {words}")))]
    with screen.stdout():
        paragraphs(groups, screen.output())
