"""The Typer root: the commands, the error boundary and the exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from typing import Annotated

import typer

from vaecheck import __version__
from vaecheck.cli import (
    bench,
    compare,
    demo,
    diagnose,
    doctor,
    e2e,
    explain,
    gate,
    latents,
    reconstruct,
    report,
    scale_factor,
    score,
    train,
    vaes,
    watch,
    weights,
)
from vaecheck.cli.screen import said
from vaecheck.errors import VaecheckError
from vaecheck.memory import keep_freed_memory
from vaecheck.world import launched

INTERNAL = 70
SHARED = ("reconstruct", "compare", "scale-factor", "latents", "gate", "train", "e2e")
"""Commands that several processes share; every other one is the first process's alone."""

app = typer.Typer(
    name="vaecheck",
    help="Check a VAE before training a latent diffusion model on it.",
    epilog="Exit codes: 0 good, 1 the gate says no, 2 bad input, 3 something is missing, 70 a bug, 130 interrupted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vaecheck {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", envvar="VAECHECK_DEBUG", help="Show tracebacks.")] = False,
) -> None:
    if debug:
        os.environ["VAECHECK_DEBUG"] = "1"
    if launched()[0] and context.invoked_subcommand not in SHARED:
        raise typer.Exit  # the first process does it alone


app.command("reconstruct")(reconstruct.command)
app.command("compare")(compare.command)
app.command("scale-factor")(scale_factor.command)
app.command("latents")(latents.command)
app.command("diagnose")(diagnose.command)
app.command("gate")(gate.command)
app.command("score")(score.command)
app.command("bench")(bench.command)
app.command("report")(report.command)
app.command("watch")(watch.command)
app.command("e2e")(e2e.command)
app.add_typer(train.app, name="train")
app.add_typer(weights.app, name="weights")
app.command("vaes")(vaes.command)
app.command("doctor")(doctor.command)
app.command("explain")(explain.command)
app.command("demo")(demo.command)


def main() -> None:
    """Run the command line. Whatever happens, what is printed is a sentence and the exit code is the contract's.

    Usage errors (2) and Ctrl-C (130) are Typer's.
    """
    keep_freed_memory()
    atexit.register(gc.freeze)  # else the interpreter looks for garbage in all of torch at its end, for 0.7 s
    try:
        app()
    except VaecheckError as error:
        if os.environ.get("VAECHECK_DEBUG") and error.exit_code:
            traceback.print_exc()
        if error.exit_code:
            _say(error.message, error.hint)
        sys.exit(error.exit_code)
    except Exception as error:
        traceback.print_exc()
        _say(f"internal error: {error}", "This is a bug in vaecheck. Please report it with the lines above.")
        sys.exit(INTERNAL)


def _say(message: str, hint: str) -> None:
    rank, size = launched()
    said("error:" if size == 1 else f"error in process {rank} of {size}:", "bold red", message)
    if hint:
        said("hint:", "bold", hint)
