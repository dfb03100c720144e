"""The import table of the package, held against the code; and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vaecheck"
BELOW_TASKS = {
    *("pipeline", "gallery", "saving", "unet_cost", "images", "pixels", "vae", "metrics", "probes", "train"),
    *("signals", "transfers", "cells", "world", "weights", "feature_cache", "event_files"),
    *("protocols", "provenance", "published", "explanations", "results", "errors"),
}

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"tasks", "vae", "results", "errors"},
    "__main__": {"cli"},
    "cli": {
        *("__init__", "tasks", "train", "render", "results", "weights", "feature_cache", "vae"),
        *("published", "protocols", "explanations", "memory", "world", "errors"),
    },
    "tasks": BELOW_TASKS,
    "pipeline": {"cells", "images", "vae", "metrics", "pixels", "transfers", "errors"},
    "gallery": {"cells", "metrics", "pixels", "results"},
    "saving": {"cells", "metrics", "pixels", "errors"},
    "event_files": set(),
    "cells": {"errors"},
    "images": {"cells", "results", "hub_errors", "deadline", "errors"},
    "pixels": set(),
    "transfers": set(),
    "loading": set(),
    "signals": set(),
    "vae": {"pixels", "transfers", "results", "hub_errors", "deadline", "errors"},
    "metrics": {
        *("cells", "loading", "pixels", "transfers", "weights", "feature_cache", "protocols", "results", "vae"),
        "errors",
    },
    "probes": {"images", "vae", "metrics", "pixels", "results", "errors"},
    "train": {"signals", "pipeline", "images", "pixels", "vae", "metrics", "weights", "results", "errors"},
    "weights": {"deadline", "errors"},
    "feature_cache": {"__init__", "errors"},
    "hub_errors": {"errors"},
    "deadline": set(),
    "world": {"errors"},
    "memory": set(),
    "protocols": {"errors"},
    "explanations": {"errors"},
    "provenance": {"__init__", "results"},
    "unet_cost": {"results", "errors"},
    "published": {"results", "vae"},
    "results": {"errors"},
    "render": {"protocols", "unet_cost", "results", "errors"},
    "errors": set(),
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager"}
LONGEST_MODULE = 400

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms of vaecheck that a module imports, anywhere in its body."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            if node.module == "vaecheck":
                names = [f"vaecheck.{alias.name}" for alias in node.names]
            elif node.module:
                names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] == "vaecheck":
                inside = name.split(".")[1] if "." in name else "__init__"
                known = (PACKAGE / inside).is_dir() or (PACKAGE / f"{inside}.py").exists()
                found.add(inside if known else "__init__")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_room_may(path: Path) -> None:
    here = room(path)
    assert here in MAY_IMPORT, f"{here} is no room of the table: add it there with what it may import"
    assert imports(path) - MAY_IMPORT[here] - {here} == set()


def test_table_has_no_cycle() -> None:
    """The package's own names are bound on first use, so importing it imports no room."""
    table = MAY_IMPORT | {"__init__": set()}
    done: set[str] = set()
    while rest := set(table) - done:
        free = {name for name in rest if table[name] - {name} <= done}
        assert free, f"a cycle among {sorted(rest)}"
        done |= free


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_has_one_job_and_a_name_that_says_it(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


def test_commands_stay_thin() -> None:
    commands = [path for path in (PACKAGE / "cli").glob("*.py") if path.stem not in {"options", "screen", "app"}]
    assert {path.stem: lines for path in commands if (lines := len(path.read_text().splitlines())) > 80} == {}


def test_only_pixels_does_range_arithmetic() -> None:
    """x / 127.5 - 1 and its inverse are written once."""
    offenders = [path for path in MODULES if "127.5" in path.read_text() and path.stem != "pixels"]
    assert offenders == []


@pytest.mark.parametrize("arguments", [["--help"], ["reconstruct", "--help"], ["--version"]])
def test_help_loads_no_heavy_package(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['vaecheck', *" + repr(arguments) + "]\n"
        "from vaecheck.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = set('torch diffusers lpips torch_fidelity scipy matplotlib PIL numpy'.split()) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_package_import_loads_no_torch() -> None:
    code = "import sys, vaecheck; assert vaecheck.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_gate_on_saved_results_loads_no_torch(tmp_path: Path) -> None:
    """A CI judges what was measured before in a second, on a machine that need not run a VAE."""
    (tmp_path / "gate.toml").write_text("[gate.psnr_db]\nmin = 10\n")
    saved = Path(__file__).parent / "golden" / "schema_1" / "reconstruct"
    arguments = ["gate", "--result", str(saved), "--rules", str(tmp_path / "gate.toml")]
    code = (
        f"import sys; sys.argv = ['vaecheck', *{arguments!r}]\n"
        "from vaecheck.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
