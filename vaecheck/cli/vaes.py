"""vaecheck vaes"""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(json: o.Json = False) -> None:
    """The aliases that --vae takes."""
    from vaecheck.vae.aliases import ALIASES

    if json:
        screen.print_json({name: alias.target for name, alias in ALIASES.items()})
        return
    table = Table("alias", "what it is, and where it comes from", box=None, pad_edge=False)
    for name, alias in ALIASES.items():
        table.add_row(name, escape(f"{alias.about}\n{alias.target}"))
    with screen.stdout():
        screen.output().print(table)
