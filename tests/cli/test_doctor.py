"""vaecheck doctor: printed at 80 columns, as JSON, and where torch cannot be imported."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.cli.conftest import Run

MARKS = {"ok", "note", "missing"}


def test_every_line_is_marked_and_fits_80_columns(run: Run) -> None:
    done = run("doctor", COLUMNS="80")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in done.out
    assert all(line.startswith(" ") or line.split()[0] in MARKS for line in lines)
    assert "   -> vaecheck weights fetch inception (91 MB), or from a file:" in done.out


def test_json_has_the_same_checks(run: Run) -> None:
    document = run("doctor", "--json").document
    assert document["missing"] == []
    assert {check["mark"] for check in document["checks"]} <= MARKS
    assert {"Python", "torch", "weights inception", "hub cache", "memory", "text"} <= {
        check["subject"] for check in document["checks"]
    }


def test_without_torch_it_still_prints_and_ends_with_3(run: Run) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['vaecheck', 'doctor']\n"
        "from vaecheck.cli.app import main\nmain()"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert time.perf_counter() - started < 30
    assert "missing  torch" in done.stdout
    assert "text  " in done.stdout
    assert "missing: torch" in done.stderr
    assert "Traceback" not in done.stderr
