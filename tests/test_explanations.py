"""Every metric and every finding is explained, and what is explained exists."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vaecheck import explanations
from vaecheck.errors import InputError
from vaecheck.metrics import catalogue, latent_catalogue
from vaecheck.probes.catalogue import HOMES

SPEED = (
    *("encode_images_per_second", "decode_images_per_second", "peak_memory_bytes"),
    *("encode_flops_per_image", "decode_flops_per_image", "scaling_factor", "std_after"),
)


def test_every_metric_and_finding_has_one_entry_and_no_entry_is_of_nothing() -> None:
    names = explanations.names()
    assert len(names) == len(set(names))
    assert set(names) == {*catalogue.NAMES, *latent_catalogue.NAMES, *HOMES, *SPEED}


@pytest.mark.parametrize("entry", explanations.explanations(), ids=lambda entry: entry.names[0])
def test_an_entry_is_complete(entry: explanations.Explanation) -> None:
    assert entry.title
    for field in ("what", "formula", "source", "usual", "mistake"):
        assert len(getattr(entry, field)) > 10, field
    assert entry.role in ("", "predicts", "describes")
    assert bool(entry.role) == bool(entry.evidence)
    assert bool(entry.remedy) == (entry.names[0] in HOMES)


def test_the_role_is_the_one_that_the_measure_has() -> None:
    for entry in explanations.explanations():
        for name in entry.names:
            if name in latent_catalogue.NAMES:
                template = latent_catalogue.TEMPLATES[name]
                assert (entry.role, entry.evidence) == (template.role, template.evidence), name


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="psrn") as caught:
        explanations.explain("psrn")
    assert "psnr_db" in caught.value.hint
    assert explanations.explain("LPIPS-alex").names[0] == "lpips_alex"


def test_the_command_prints_the_entry_and_loads_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['vaecheck', 'explain', 'rfid', '--json']\n"
        "from vaecheck.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["names"] == ["rfid"]
