"""Which options of `gate` go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaecheck.cli import screen
from vaecheck.errors import InputError

if TYPE_CHECKING:
    from vaecheck.tasks.gate_rules import Rules
    from vaecheck.tasks.settings import Settings


def check_usage(
    images: str | None,
    vaes: Sequence[str] | None,
    results: Sequence[Path] | None,
    baseline: Path | None,
    rules: Path | None,
    *,
    calibrate: bool,
    metrics: str | None,
) -> None:
    """Raises InputError for options that contradict each other, before anything is opened."""
    wrong = {
        "--result and a VAE were both given: a saved result needs no run": results and (vaes or images),
        "--calibrate runs a VAE, and --result has none": results and calibrate,
        "--calibrate writes rules, and --rules gives some": calibrate and rules,
        "--metrics is for --calibrate: the rules say what a gate measures": metrics and not calibrate,
        "neither --vae nor --result was given": not vaes and not results,
        "a gate judges one --vae": len(vaes or ()) > 1 and not calibrate,
        "--calibrate takes one --vae, and one more that is as good": len(vaes or ()) > 2,
        "--calibrate takes a second --vae or a --baseline, not both": len(vaes or ()) > 1 and baseline,
    }
    for problem, is_so in wrong.items():
        if is_so:
            raise InputError(problem, hint="gate IMAGES --vae REF --rules FILE, or gate --result DIR --rules FILE.")


def read(rules: Path | None, *, has_baseline: bool) -> Rules:
    """The rules; where they were found without --rules, that is said. A baseline they need is missed before the run."""
    from vaecheck.tasks.gate_rules import need_baseline, read_rules

    asked = read_rules(rules)
    if rules is None:
        screen.errors().print(f"no --rules given: using {asked.source}", highlight=False, markup=False)
    need_baseline(asked, is_given=has_baseline)
    return asked


def warn_of_ignored(settings: Settings) -> None:
    """Say which options of a run were given beside a saved result, which needs none."""
    if ignored := sorted((settings.given or frozenset()) - {"out", "offline"}):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
        screen.warn(f"{names} {'has' if len(ignored) == 1 else 'have'} no effect on a saved result")
