"""vaecheck vaes"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from vaecheck import published
from vaecheck.cli import options as o
from vaecheck.cli import screen
from vaecheck.errors import InputError

ALIAS_HEAD = ("alias", "what it is", "class", "usual scaling", "from")


def command(
    model: Annotated[
        str | None,
        typer.Option("--published", metavar="MODEL", help="What was published of an alias, hub id or model name."),
    ] = None,
    protocols: Annotated[
        bool, typer.Option("--protocols", help="The public evaluations that --protocol takes.")
    ] = False,
    json: o.Json = False,
) -> None:
    """The aliases that --vae takes, with their usual scaling; published figures; evaluation protocols.

    Example: vaecheck vaes --published sdxl-vae
    """
    if model is not None and protocols:
        raise InputError("--published and --protocols are two lists", hint="Ask for one of them.")
    if model is not None:
        return _published(model, json)
    return _protocols(json) if protocols else _aliases(json)


def _aliases(json: bool) -> None:
    from vaecheck.render.listing import entries
    from vaecheck.vae.aliases import ALIASES

    if json:
        facts = {name: published.facts(published.of_vae(name)) for name in ALIASES}
        screen.print_json({name: asdict(alias) | facts[name] for name, alias in ALIASES.items()})
        return
    with screen.stdout():
        entries(ALIAS_HEAD, published.aliases(), screen.output())


def _published(ref: str, json: bool) -> None:
    from vaecheck.render.listing import paragraphs
    from vaecheck.render.published import groups

    model = published.find(ref)
    if model is None:
        alike = published.nearest(ref)
        hint = f"Known names like it: {', '.join(alike)}." if alike else "vaecheck vaes lists the aliases."
        raise InputError(f"nothing published is known of {ref!r}", hint=hint)
    rows = published.rows(model)
    if json:
        screen.print_json({"model": asdict(model), "published": [published.document(row) for row in rows]})
        return
    with screen.stdout():
        about = published.described(model.class_name, model), f"usual scaling: {published.usual_scaling(model)}"
        paragraphs(groups(model.name, about, rows), screen.output())


def _protocols(json: bool) -> None:
    from vaecheck.protocols import PROTOCOLS
    from vaecheck.render.listing import evaluation, paragraphs

    if json:
        screen.print_json({name: asdict(p) | {"settings": dict(p.settings)} for name, p in PROTOCOLS.items()})
        return
    groups = [(name, evaluation(p.about, p.source, p.settings, p.not_reproduced)) for name, p in PROTOCOLS.items()]
    with screen.stdout():
        paragraphs(groups, screen.output())
