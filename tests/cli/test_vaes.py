"""vaecheck vaes: the aliases, what was published, and the protocols; without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import Run
from vaecheck.protocols import PROTOCOLS
from vaecheck.vae.aliases import ALIASES


@pytest.mark.parametrize("columns", ["80", "200"])
def test_every_alias_has_its_target_and_scaling(run: Run, columns: str) -> None:
    done = run("vaes", COLUMNS=columns)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= int(columns)
    flat = "".join(done.out.split())
    assert all(name in flat for name in ALIASES)
    if columns == "80":
        assert all(alias.target in flat for alias in ALIASES.values())
    assert "factor 0.3611, shift 0.1159" in " ".join(done.out.split())


def test_json_has_the_target_and_the_facts(run: Run) -> None:
    document = run("vaes", "--json").document
    assert set(document) == set(ALIASES)
    assert document["sdxl-vae"]["target"] == "stabilityai/sdxl-vae"
    assert document["sdxl-vae"]["scaling_factor"] == 0.13025
    assert document["sdxl-vae"]["f"] == 8
    assert document["flux-dev"]["shift_factor"] == 0.1159
    assert document["kl-f8-tiny"]["published"] == 0


def test_published_figures_of_a_model(run: Run) -> None:
    done = run("vaes", "--published", "stabilityai/sdxl-vae", COLUMNS="80")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    flat = " ".join(done.out.split())
    assert "psnr_db 25.38, ssim 0.7276, lpips_alex 0.0666, rfid 0.72" in flat
    assert "pictures 50,000; size 256 px" in flat
    assert "not stated: crop, posterior, SSIM, software" in flat
    assert "psim is a perceptual distance of another scale; it is not LPIPS." in flat
    assert run("vaes", "--published", "sdxl-vae", COLUMNS="80").out == done.out


def test_published_as_json_has_null_for_what_is_not_stated(run: Run) -> None:
    document = run("vaes", "--published", "FLUX.1 VAE", "--json").document
    assert document["model"]["key"] == "flux-dev"
    rows = [row for row in document["published"] if row["protocol"] == "omnidoc"]
    assert [row["metrics"]["psnr_db"] for row in rows] == [26.24]
    assert rows[0]["n_images"] == 3042
    assert rows[0]["lpips_net"] == "vgg"
    assert any(row["n_images"] is None for row in document["published"])
    assert not any("differs" in row for row in document["published"])


def test_a_model_without_figures_says_so(run: Run) -> None:
    done = run("vaes", "--published", "taesd")
    assert done.code == 0
    assert "no reconstruction figure was published" in done.out


def test_an_unknown_model_gets_the_nearest_names(run: Run) -> None:
    done = run("vaes", "--published", "sdxl-vea")
    assert done.code == 2
    assert "sdxl-vae" in done.err
    assert run("vaes", "--published", "x", "--protocols").code == 2


def test_protocols_say_what_they_set_and_what_they_cannot(run: Run) -> None:
    done = run("vaes", "--protocols", COLUMNS="80")
    assert done.code == 0, done.err
    flat = " ".join(done.out.split())
    for protocol in PROTOCOLS.values():
        assert protocol.about in flat
        assert all(" ".join(text.split()) in flat for text in protocol.not_reproduced)
        assert all(" ".join(f"{name}: {words}".split()) in flat for name, words in protocol.settings.items())
    document = run("vaes", "--protocols", "--json").document
    assert set(document) == set(PROTOCOLS)
    assert document["llamagen"]["settings"]["posterior"] == "sample"


@pytest.mark.parametrize(
    "arguments", [["vaes"], ["vaes", "--published", "sdxl-vae"], ["vaes", "--protocols", "--json"]]
)
def test_no_torch_is_loaded(arguments: list[str]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['vaecheck', *" + json.dumps(arguments) + "]\n"
        "from vaecheck.cli.app import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
