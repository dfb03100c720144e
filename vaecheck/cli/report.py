"""vaecheck report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A folder that --out named, or its result.json.")],
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Draw a saved result again, of any command and any version; its figures stay as they are.

    Example: vaecheck report vaecheck-demo
    """
    from vaecheck.render.redraw import redraw

    with screen.listening(out):
        document, folder = redraw(result, out)
    screen.say(document, folder, as_json=json)
