"""Rules are read as written, and every mistake in them is told at once, with its remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vaecheck.errors import InputError
from vaecheck.metrics import catalogue, latent_catalogue
from vaecheck.metrics.throughput import DEFINITIONS as SPEED
from vaecheck.probes.catalogue import HOMES
from vaecheck.tasks.gate_rules import (
    FINDINGS,
    HIGHER,
    LOWER,
    METRICS,
    AgainstBaseline,
    Amount,
    Diagnosis,
    Limit,
    better,
    read_rules,
)

WHOLE = """
[gate.psnr_db]
min = 24
warn = 25.5
[gate.lpips_alex]
max = 0.1
[gate.latent_std]
min = 0.5
max = 2
[gate.ssim]
warn = 0.9
[gate.rfid]
warn = 2
[gate.diagnose]
fail_on = "warning"
ignore = ["face_loss", "text_loss"]
[gate.baseline]
psnr_db = {worse_by = 0.1, warn = 0.05}
rfid = {worse_by = "5%"}
ssim = "significant"
"""


def test_the_whole_language(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(WHOLE)
    rules = read_rules(path)
    assert rules.source == str(path)
    assert rules.limits == (
        Limit("psnr_db", "min", 24.0, 25.5),
        Limit("lpips_alex", "max", 0.1, None),
        Limit("latent_std", "min", 0.5, None),
        Limit("latent_std", "max", 2.0, None),
        Limit("ssim", "min", None, 0.9),
        Limit("rfid", "max", None, 2.0),
    )
    assert rules.baseline == (
        AgainstBaseline("psnr_db", Amount(0.1, False), Amount(0.05, False)),
        AgainstBaseline("rfid", Amount(0.05, True)),
        AgainstBaseline("ssim", significant=True),
    )
    assert rules.diagnosis == Diagnosis(
        "warning", tuple(one for one in FINDINGS if one not in ("face_loss", "text_loss"))
    )
    assert rules.metrics == ("psnr_db", "lpips_alex", "latent_std", "ssim", "rfid")


def test_pyproject_and_a_mapping_hold_the_same_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n[tool.vaecheck.gate.psnr_db]\nmin = 24\n")
    wanted = (Limit("psnr_db", "min", 24.0, None),)
    for given in (None, "pyproject.toml", {"psnr_db": {"min": 24}}, {"gate": {"psnr_db": {"min": 24}}}):
        assert read_rules(given).limits == wanted
    assert read_rules().source == "pyproject.toml"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gate.psrn_db]\nmin = 1", "[gate.psrn_db] there is no metric 'psrn_db'; did you mean psnr_db"),
        ("[gate.psnr_db]\nmni = 1", "[gate.psnr_db] has no key 'mni'; did you mean min?"),
        ("[gate.psnr_db]\nbelow = 1", "has no key 'below'; there are max, min, warn"),
        ("[gate.psnr_db]\nmin = '24'", "[gate.psnr_db] min is '24', not a number"),
        ("[gate.psnr_db]\nmin = true", "min is True, not a number"),
        ("[gate.psnr_db]\nmin = nan", "min is nan: a limit must be finite"),
        ("[gate.psnr_db]\nmin = -inf", "min is -inf: a limit must be finite"),
        (f"[gate.psnr_db]\nmin = {10**400}", "min is inf: a limit must be finite"),
        ("[gate.psnr_db]\nmin = 24\nwarn = nan", "warn is nan: a limit must be finite"),
        ("[gate.psnr_db]", "[gate.psnr_db] is empty; write min = 24 or max = 0.1 below it"),
        ("[gate]\npsnr_db = 24", "[gate.psnr_db] is 24, not a table; write min = 24"),
        ("[gate.latent_std]\nmin = 2\nmax = 1", "min = 2 is above max = 1: nothing could pass"),
        ("[gate.latent_std]\nmin = 1\nmax = 2\nwarn = 1.5", "warn has no side beside both min and max"),
        ("[gate.latent_std]\nwarn = 1", "warn needs min or max beside it: latent_std is better neither high nor low"),
        ("[gate.psnr_db]\nmin = 24\nwarn = 23", "warn = 23 never warns: it must lie above min = 24"),
        ("[gate.rfid]\nmax = 1\nwarn = 1", "warn = 1 never warns: it must lie below max = 1"),
        ("[gate.latent_shape]\nmin = 4", "latent_shape is a shape, not a number"),
        ("[gate.blur]\nmax = 1", 'blur is a finding, not a metric; write only = ["blur"] below [gate.diagnose]'),
        ("[gate]", "[gate] is empty: nothing would be checked"),
        ("gate = 3", "[gate] is 3, not a table"),
        ("[gate.psnr_db]\nmin = 1\n[gaet.rfid]\nmax = 1", "[gaet] is no part of the rules"),
        ("[gate.diagnose]", "[gate.diagnose] is empty"),
        ("[gate.diagnose]\nfail_on = 'error'", 'fail_on is \'error\'; write fail_on = "fault" or "warning"'),
        ("[gate.diagnose]\nignore = ['blur']", "has no fail_on"),
        ("[gate.diagnose]\nfail_on = 'fault'\nonly = 'blur'", "only is 'blur', not a list"),
        ("[gate.diagnose]\nfail_on = 'fault'\nignore = ['blurr']", "there is no finding 'blurr'; did you mean blur?"),
        ("[gate.diagnose]\nfail_on = 'fault'\nonly = ['blur']\nignore = ['blur']", "leaves no finding to look for"),
        ("[gate.baseline]", "names no metric"),
        ("[gate.baseline]\npsnr = 'significant'", "[gate.baseline] there is no metric 'psnr'"),
        ("[gate.baseline]\npsnr_db = 'signficant'", "is 'signficant'; write {worse_by = 0.1}"),
        ("[gate.baseline]\npsnr_db = {worse_by = -1}", "worse_by is -1: how much worse cannot be negative"),
        ("[gate.baseline]\npsnr_db = {worse_by = nan}", "worse_by is nan"),
        ("[gate.baseline]\npsnr_db = {worse_by = 'x%'}", "worse_by is 'x%', not a number"),
        ("[gate.baseline]\npsnr_db = {worse_by = 'nan%'}", "worse_by is nan"),
        ("[gate.baseline]\npsnr_db = {wors_by = 1}", "has no key 'wors_by'; did you mean worse_by?"),
        ("[gate.baseline]\npsnr_db = {}", "[gate.baseline.psnr_db] is empty"),
        ("[gate.baseline]\npsnr_db = {worse_by = 1, warn = 1}", "warn = 1 never warns"),
        ("[gate.baseline]\npsnr_db = {worse_by = 1, warn = '5%'}", "must both be amounts or both be percentages"),
        ("[gate.baseline]\nlatent_std = {worse_by = 1}", "latent_std is better neither high nor low; use min and max"),
        ("[gate.baseline]\nkl_nats_per_image = 'significant'", "is better neither high nor low"),
    ],
)
def test_a_mistake_is_told_with_where_it_stands(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rules(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError, match="4 mistakes") as caught:
        read_rules({"psnr_db": {"min": "x"}, "nothing": {"max": 1}, "ssim": {}, "diagnose": {"fail_on": "x"}})
    assert len(caught.value.message.splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "told"), [(None, "there is no rules file"), ("[gate", "is not TOML"), ("[other]\na = 1", "has no rules")]
)
def test_a_file_without_rules_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "gate.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_rules(path)


@pytest.mark.parametrize("text", ["[project]\nname = 'x'", "tool = 3", "[tool]\nvaecheck = 3"])
def test_a_pyproject_without_rules_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no --rules were given, and there is no pyproject\.toml here"):
        read_rules()
    Path("pyproject.toml").write_text(text)
    with pytest.raises(InputError, match=r"pyproject\.toml has no rules"):
        read_rules()


def test_keys_from_outside_are_shown_harmless() -> None:
    with pytest.raises(InputError) as caught:
        read_rules({"a\x1b[31m\nb": {"min": 1}})
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message.splitlines()) == 2


def test_the_tables_of_names_and_directions_are_those_of_the_catalogues() -> None:
    """They stand in text beside the code, for a gate without torch."""
    known: dict[str, Any] = {name: catalogue._better(name) for name in catalogue.NAMES}
    known |= {name: template.better for name, template in latent_catalogue.TEMPLATES.items()}
    assert set(METRICS) - set(known) - set(SPEED) == {
        *("encode_flops_per_image", "decode_flops_per_image", "scaling_factor", "std_after")
    }
    assert {name: better(name) for name in known} == known
    assert set(FINDINGS) == set(HOMES)
    assert set(HIGHER) | set(LOWER) <= set(METRICS)
    assert not set(HIGHER) & set(LOWER)


def test_a_saved_result_is_judged_without_torch() -> None:
    code = "import sys, vaecheck; vaecheck.gate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
