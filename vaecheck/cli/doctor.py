"""vaecheck doctor"""

from __future__ import annotations

from dataclasses import asdict

from vaecheck.cli import options as o
from vaecheck.cli import screen
from vaecheck.errors import SetupError


def command(json: o.Json = False) -> None:
    """What this machine and this installation can do, line by line, each with its remedy. Uses no network.

    Ends with 3 where something that every run needs is missing.
    """
    from vaecheck.tasks.doctor import doctor

    checks = doctor()
    missing = list(dict.fromkeys(check.subject for check in checks if check.mark == "missing"))
    if json:
        screen.print_json({"checks": [asdict(check) for check in checks], "missing": missing})
    else:
        from vaecheck.render.listing import marked

        with screen.stdout():
            marked([(check.mark, check.subject, check.state, check.remedy) for check in checks], screen.output())
    if missing:
        raise SetupError(f"missing: {', '.join(missing)}", hint="Each has its remedy above.")
