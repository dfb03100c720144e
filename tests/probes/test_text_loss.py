"""Text after a round trip of known effect: nothing, no text, a known contrast, thin strokes lost."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.probes import probe_walk
from tests.probes.round_trips import Change, lossless, subject_of
from vaecheck.errors import SetupError
from vaecheck.images.text_cards import SIZES, text
from vaecheck.probes import ocr, text_loss
from vaecheck.probes.protocol import Examined
from vaecheck.probes.text_loss import Legibility, TextLoss, fault_px, legibility, legible_from
from vaecheck.results.types import VAECard
from vaecheck.vae.load import load_vae

ROOT = Path(__file__).resolve().parents[2]
TAEF2 = Path(os.environ.get("VAECHECK_SHARED", ROOT.parent / "shared")) / "models" / "taef2"
NO_PICTURES = torch.zeros(0, 3, 64, 64)


@pytest.fixture(autouse=True)
def _without_ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> ocr.Reader:
        raise SetupError("rapidocr is not installed")

    monkeypatch.setattr(ocr, "reader", absent)


def examined(change: Change, **options: int) -> Examined:
    return TextLoss().examine(subject_of(lossless(change, **options), NO_PICTURES))


def median(pixels: Tensor, side: int) -> Tensor:
    windows = F.pad(pixels, (side // 2,) * 4, mode="reflect").unfold(2, side, 1).unfold(3, side, 1)
    return windows.flatten(-2).median(-1).values


def test_what_comes_back_as_it_went_in_is_read_whole_at_every_size() -> None:
    card = text(256)
    for px in SIZES:
        found = legibility(card, card.card.pixels, px)
        assert found.read == 1
        assert found.contrast == pytest.approx(1)
        assert found.psnr_db == math.inf
    finding = examined(lambda pixels: pixels).finding
    assert finding.severity == "healthy"
    assert finding.value == SIZES[0]
    assert finding.figures["psnr_db_12px"] is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_one_grey_holds_no_text(value: float) -> None:
    finding = examined(lambda pixels: torch.full_like(pixels, value)).finding
    assert finding.severity == "fault"
    assert finding.value == SIZES[-1]
    assert "at no size up to 40 px" in finding.evidence
    assert {finding.figures[f"read_{px}px"] for px in SIZES} == {0.0}


@pytest.mark.parametrize("gain", [0.3, 0.7])
def test_contrast_is_the_gain_of_strokes_over_that_of_areas(gain: float) -> None:
    card = text(256)
    paler = gain * card.card.pixels
    assert legibility(card, paler, 16).contrast == pytest.approx(gain)
    assert legibility(card, paler, 16, gain).contrast == pytest.approx(1)
    assert legibility(card, paler, 16).read == 1
    mse = ((1 - gain) * card.card.pixels).square().mean() / 4  # over all, as paper and ink are alike far from grey
    assert legibility(card, paler, 16).psnr_db == pytest.approx(-10 * math.log10(float(mse)), abs=0.5)
    assert examined(lambda pixels: gain * pixels).finding.value == SIZES[0]


def test_brightness_noise_and_a_turned_contrast_of_areas_do_not_count_as_text_lost() -> None:
    noise = 0.1 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    for change in (lambda p: p + 0.15, lambda p: p + noise[..., : p.shape[-2], : p.shape[-1]]):
        assert examined(change).finding.severity == "healthy"


def test_inverted_text_is_read_by_nobody() -> None:
    assert legibility(text(256), -text(256).card.pixels, 24).read < 0.1


def test_a_median_of_five_that_leaves_large_shapes_is_a_fault_where_there_is_room_for_text() -> None:
    finding = examined(lambda pixels: median(pixels, 5)).finding
    assert finding.severity == "fault"
    assert 20 < finding.value < 32
    assert "room for this text" in finding.remedy
    card = text(256)
    assert legibility(card, median(card.card.pixels, 5), 40).read > 0.95


def test_a_median_of_three_is_a_warning_of_its_size() -> None:
    finding = examined(lambda pixels: median(pixels, 3)).finding
    assert finding.severity == "warning"
    assert 12 < finding.value < 16
    assert finding.limit == 12


def test_the_size_is_interpolated_between_the_last_illegible_and_the_next() -> None:
    def size(px: int, read: float) -> Legibility:
        return Legibility(px, 50, read, 1.0, 20.0)

    assert legible_from([size(10, 0.45), size(20, 0.9), size(30, 1.0)]) == pytest.approx(20)
    assert legible_from([size(10, 0.36), size(20, 1.08), size(30, 1.0)]) == pytest.approx(10 + 10 * 0.6 / 0.8)
    assert legible_from([size(10, 1.0), size(20, 0.5), size(30, 1.0)]) == pytest.approx(20 + 10 * 0.4 / 0.5)
    assert legible_from([size(10, 1.0), size(20, 1.0)]) == 10
    assert legible_from([size(10, 1.0), size(20, 0.2)]) == 20


def test_room_for_a_letter_grows_with_channels_and_shrinks_with_f() -> None:
    card = VAECard("", "", None, 8, 4, None, "float32")
    face = text_loss.text_cards.typeface(40)
    numbers = face.width * face.height / 40**2 * fault_px(card) ** 2 * card.latent_channels / card.f**2
    assert numbers == pytest.approx(text_loss.NUMBERS)
    assert fault_px(replace(card, latent_channels=16)) == pytest.approx(fault_px(card) / 2)
    assert fault_px(replace(card, f=16)) == pytest.approx(2 * fault_px(card))
    assert fault_px(replace(card, latent_channels=64)) == text_loss.LEAST_FAULT
    assert fault_px(replace(card, latent_channels=256, codebook_size=2**16)) == pytest.approx(fault_px(card))


def test_a_model_without_room_for_text_is_warned_of_and_not_accused() -> None:
    vae = probe_walk.Direct(torch.zeros_like, f=32, latent_channels=32)
    finding = TextLoss().examine(probe_walk.subject_of(vae, NO_PICTURES)).finding
    assert finding.severity == "warning"
    assert "Expect no smaller text" in finding.remedy


def test_a_side_that_holds_no_small_print_is_unavailable() -> None:
    finding = examined(lambda pixels: pixels, fixed_size=16, f=4).finding
    assert finding.severity == "unavailable"
    assert "16 px" in finding.evidence


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_rgba_models(channels: int) -> None:
    assert examined(lambda pixels: pixels, channels=channels).finding.severity == "healthy"
    assert examined(lambda pixels: 0 * pixels, channels=channels).finding.severity == "fault"


def test_the_plot_and_the_panel_show_what_was_judged() -> None:
    found = examined(lambda pixels: median(pixels, 3))
    read, contrast = found.plots[0].lines
    assert read.x == contrast.x == tuple(map(float, SIZES))
    assert read.y == tuple(found.finding.figures[f"read_{px}px"] for px in SIZES)
    assert found.plots[0].marks["limit"] == 12
    (_, before), (_, after) = found.panels[0].images
    assert before.shape == after.shape == (before.shape[0], 256, 3)
    assert (before != after).any()


def test_kl_f8_tiny_is_warned_of_and_not_accused() -> None:
    finding = TextLoss().examine(subject_of(load_vae("kl-f8-tiny"), NO_PICTURES)).finding
    assert finding.severity == "warning"
    assert 18 < finding.value < 28


@pytest.mark.skipif(not TAEF2.is_dir(), reason=f"there is no TAEF2 at {TAEF2}")
def test_taef2_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAEF2_WEIGHTS", str(TAEF2))
    vae = load_vae(f"{ROOT / 'examples' / 'taef2.py'}:taef2")
    finding = TextLoss().examine(subject_of(vae, NO_PICTURES)).finding
    assert finding.severity == "healthy"
    assert finding.value < 11
