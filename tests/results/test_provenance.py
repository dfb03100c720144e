"""Provenance against what the packages and the standard library say of themselves."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy
import PIL
import pytest
import torch

import vaecheck
from vaecheck import provenance
from vaecheck.results import files


def test_environment_names_the_installed_versions_and_this_machine() -> None:
    found = provenance.environment("cpu", seconds={"encode": 1.5})
    assert found.versions["torch"] == torch.__version__
    assert found.versions["numpy"] == numpy.__version__
    assert found.versions["pillow"] == PIL.__version__
    assert found.versions["python"] == platform.python_version()
    assert found.versions["vaecheck"]
    assert found.threads == torch.get_num_threads()
    assert (found.device, found.accelerator, found.seconds) == ("cpu", None, {"encode": 1.5})
    assert found.cpu
    assert found.started.endswith("+00:00")


def test_packages_that_are_absent_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise provenance.metadata.PackageNotFoundError

    monkeypatch.setattr(provenance.metadata, "version", absent)
    assert provenance.versions() == {"vaecheck": vaecheck.__version__, "python": platform.python_version()}


def test_results_and_provenance_import_without_torch() -> None:
    names = ("vaecheck.provenance", "vaecheck.results.files", "vaecheck.render.report", "vaecheck.render.terminal")
    code = f"import sys\nfor name in {names}: __import__(name)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(files.__file__).parents[2])
