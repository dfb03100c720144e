"""vaecheck demo"""

from __future__ import annotations

from pathlib import Path

from vaecheck.cli import options as o
from vaecheck.cli import screen

DEMO_FOLDER = Path("vaecheck-demo")


def command(out: o.Out = DEMO_FOLDER, json: o.Json = False) -> None:
    """`reconstruct` on the bundled pictures with the bundled kl-f8-tiny: no download, a report to look at."""
    from vaecheck.tasks.reconstruct import reconstruct
    from vaecheck.tasks.settings import Settings

    with screen.listening(out) as listener:
        result, shown = reconstruct("samples", "kl-f8-tiny", Settings(offline=True), listener)
    screen.finish(result, out=out, as_json=json, shown=shown)
