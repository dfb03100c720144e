"""Every defect of the zoo against every probe: the confusion matrix holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.probes import confusion, zoo
from tests.probes.confusion import HEALTHY, IMAGES, Row
from vaecheck.probes.catalogue import HOMES
from vaecheck.results.types import Finding

SHARED = Path(os.environ.get("VAECHECK_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def found(name: str, severity: str, past: float = 1.0) -> Finding:
    return Finding(name, severity, 1.0, 0.5, "", "evidence", past_limit=past)


@pytest.mark.parametrize("name", zoo.DEFECTS)
@pytest.mark.parametrize("strength", [zoo.PLAIN, zoo.SUBTLE])
def test_a_defect_is_one_of_the_contract_and_the_sick_model_still_runs(name: str, strength: str) -> None:
    assert zoo.DEFECTS[name].probe in HOMES
    model = zoo.sick("kl_f8_tiny", name, strength)
    pixels = 0.2 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) + 0.6
    pixels[..., 20:22, 10:50] = -1
    with torch.inference_mode():
        posterior = model.encode(pixels)
        decoded = model.decode(posterior.mean)
        healthy = zoo.well("kl_f8_tiny")
        unharmed = healthy.decode(healthy.encode(pixels).mean)
    assert decoded.shape == pixels.shape
    hidden = ("exploded", "tiny_latents", "spikes", "idle", "overflow", "encoder_overflow", "offset", "turned")
    if strength == zoo.PLAIN and name not in (*hidden, "skin"):
        assert not torch.allclose(decoded, unharmed, atol=0.02, equal_nan=True)
    if name in hidden[:6]:
        assert torch.allclose(decoded, unharmed, atol=2e-3)


def test_every_probe_has_a_defect_at_two_strengths() -> None:
    assert {defect.probe for defect in zoo.DEFECTS.values()} == set(HOMES)


def test_a_row_holds_only_where_the_right_probe_says_it_first() -> None:
    row = Row("kl_f8_tiny", "blur", zoo.PLAIN, "blur", (found("blur", "fault"), found("text_loss", "info")))
    assert row.holds
    assert not replace(row, findings=(found("detail_loss", "fault"), found("blur", "fault"))).holds
    assert not replace(row, findings=(found("blur", "warning"),)).holds
    assert replace(row, strength=zoo.SUBTLE, findings=(found("text_loss", "warning"), found("blur", "warning"))).holds
    assert not replace(row, strength=zoo.SUBTLE, findings=(found("blur", "healthy"),)).holds
    well = Row("taef2", HEALTHY, IMAGES, "", (found("blur", "warning"),))
    assert not well.holds
    assert replace(well, base="kl_f8_tiny").holds
    assert not confusion.holds([well, row])


@pytest.mark.slow
def test_a_part_of_the_matrix_holds() -> None:
    only = ["black", "noise", "green", "blur", "lattice_8"]
    rows = confusion.matrix(["kl_f8_tiny"], "samples", limit=4, only=only, processes=1, quick=True)
    assert all(row.holds for row in rows if row.strength == zoo.PLAIN), confusion.printed(rows)


@pytest.mark.zoo
def test_the_matrix_holds_on_kl_f8_tiny() -> None:
    rows = confusion.matrix(["kl_f8_tiny"], "samples", limit=4, quick=True)
    print(confusion.printed(rows))
    assert confusion.holds(rows), confusion.printed(rows)


@pytest.mark.zoo
def test_the_matrix_holds_on_taef2(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, photographs = SHARED / "models" / "taef2", SHARED / "data" / "photos" / "val"
    if not (weights / "encoder.pth").is_file() or not photographs.is_dir():
        pytest.skip("needs taef2's weights and the photographs of VAECHECK_SHARED")
    monkeypatch.setenv("TAEF2_WEIGHTS", str(weights))
    rows = confusion.matrix(["taef2"], str(photographs), limit=4, quick=True)
    print(confusion.printed(rows))
    assert confusion.holds(rows), confusion.printed(rows)
