"""vaecheck weights list / fetch / verify / import / convert / cache"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vaecheck import weights
from vaecheck.cli import convert, feature_cache, screen
from vaecheck.cli import options as o
from vaecheck.errors import WeightsError

app = typer.Typer(help="Weight files: those of the metric networks, and any VAE's, converted.", no_args_is_help=True)


@app.command("list")
def list_(json: o.Json = False) -> None:
    """Every file the metrics can need, where it was found and what is wrong with it."""
    _show(weights.listing(), json)


@app.command()
def verify(json: o.Json = False) -> None:
    """Hash every file that was found; end with 3 when one is not the published one."""
    _show(rows := weights.verify(), json)
    if not any(row.found for row in rows):
        screen.warn("there is no weight file to verify; `vaecheck weights fetch` brings them")
    if broken := [row for row in rows if row.found is not None and not row.found.published]:
        raise WeightsError(f"not the published file: {', '.join(row.name for row in broken)}", hint=broken[0].problem)


@app.command()
def fetch(names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="All by default.")] = None) -> None:
    """Download weight files, check their hashes and put them where they are looked for."""
    with screen.downloading() as progress:
        for file in weights.fetch(tuple(names) if names else None, progress):
            screen.output().print(f"{file.name}: {file.path}", markup=False, soft_wrap=True)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `weights list` calls it.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file brought by hand.")],
) -> None:
    """Check a file and copy it to where it is looked for."""
    found = weights.import_file(name, file)
    screen.output().print(f"{found.name}: {found.path}", markup=False, soft_wrap=True)
    if not found.published:
        screen.warn(f"not the published file: {', '.join(weights.published(name).needed_by)} will be marked unreliable")


app.command("convert")(convert.command)
app.command("cache")(feature_cache.command)


def _show(rows: tuple[weights.Listed, ...], json: bool) -> None:
    from vaecheck.render.listing import facts

    if json:
        screen.print_json([asdict(row) | {"found": _found(row)} for row in rows])
    for row in () if json else rows:
        state = "absent" if row.found is None else "published" if row.found.published else "NOT the published file"
        lines = [
            ("state", state if row.found is None else f"{state}, from {row.found.origin}"),
            ("file", str(row.found.path) if row.found else row.published.file_name),
            ("for", f"{', '.join(row.published.needed_by)} ({row.published.megabytes} MB)"),
            ("source", row.published.url),
            ("licence", row.published.licence),
            ("remedy", row.problem),
        ]
        with screen.stdout():
            facts(row.name, [(name, fact) for name, fact in lines if fact], screen.output())


def _found(row: weights.Listed) -> dict[str, object] | None:
    return None if row.found is None else asdict(row.found) | {"path": str(row.found.path)}
