"""The options of `gate` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaecheck.cli.options import METRICS, MODEL, OUTPUT

RULES = "Rules"

Vaes = Annotated[
    list[str] | None,
    typer.Option(
        "--vae",
        metavar="REF",
        help="The VAE to judge, as for reconstruct. With --calibrate, a second one is a candidate that is as good.",
        rich_help_panel=MODEL,
    ),
]
Results = Annotated[
    list[Path] | None,
    typer.Option(
        "--result",
        metavar="DIR",
        help="Judge a saved result instead of running a VAE; several of one VAE are merged.",
        rich_help_panel=RULES,
    ),
]
Rules = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help=r"TOML with \[gate.METRIC] tables; else \[tool.vaecheck.gate] of ./pyproject.toml.",
        rich_help_panel=RULES,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="DIR",
        help=r"The --out folder of an earlier run on the same pictures, for \[gate.baseline].",
        rich_help_panel=RULES,
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write JUnit XML, one test case a rule.", rich_help_panel=OUTPUT),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Measure how far the figures of one VAE scatter, and print rules with limits of 2.8 standard deviations.",
        rich_help_panel=RULES,
    ),
]
Repeats = Annotated[
    int,
    typer.Option(
        "--repeats",
        min=2,
        help="Runs with other seeds, for --calibrate with --posterior sample.",
        rich_help_panel=RULES,
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="The metrics that --calibrate writes rules for.", rich_help_panel=METRICS),
]
