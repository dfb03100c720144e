"""contrast_shift against the closed form: the RMS over grey levels of a known tone curve."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.probes.round_trips import Change, examined, lossless, scenes
from vaecheck.probes.contrast_shift import ContrastShift
from vaecheck.results.types import Finding

LEVELS = torch.linspace(-1 + 1 / 16, 1 - 1 / 16, 16, dtype=torch.float64)


def found(change: Change, pictures: Tensor | None = None, channels: int = 3) -> Finding:
    shown = scenes(6, channels=channels) if pictures is None else pictures
    return examined(ContrastShift(), lossless(change, channels=channels), shown).finding


@pytest.mark.parametrize(("gain", "shift"), [(1.0, 0.0), (0.9, 0.0), (1.0, 0.04), (0.7, 0.0), (1.0, -0.15), (1.2, 0.1)])
def test_line_is_the_closed_form(gain: float, shift: float) -> None:
    finding = found(lambda pixels: gain * pixels + shift)
    expected = 50 * math.sqrt(float((((gain - 1) * LEVELS + shift) ** 2).mean()))
    assert finding.value == pytest.approx(expected, abs=0.01)
    assert finding.figures["gain"] == pytest.approx(gain, abs=1e-3)
    assert finding.figures["shift"] == pytest.approx(shift, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda pixels: pixels, "healthy"),
        (lambda pixels: 0.9 * pixels, "warning"),
        (lambda pixels: pixels + 0.04, "warning"),
        (lambda pixels: 0.7 * pixels, "fault"),
        (lambda pixels: pixels + 0.15, "fault"),
        (lambda pixels: pixels.clamp(-0.5, 0.5), "fault"),
        (lambda pixels: ((pixels + 1) / 2).clamp(0, 1) ** 0.7 * 2 - 1, "fault"),
    ],
)
def test_severity(change: Change, severity: str) -> None:
    assert found(change).severity == severity


def test_grey_pictures_of_low_contrast_are_judged_alike() -> None:
    pictures = 0.3 * scenes(6).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert found(lambda pixels: pixels, pictures).severity == "healthy"
    assert found(lambda pixels: 0.7 * pixels, pictures).figures["gain"] == pytest.approx(0.7, abs=1e-3)


def test_flat_pictures_are_left_to_the_card() -> None:
    flat = torch.full((3, 3, 64, 64), 0.3)
    finding = found(lambda pixels: 0.7 * pixels, flat)
    assert finding.severity == "fault"
    assert "cards" in finding.evidence


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels[:, [2, 1, 0]],
        lambda pixels: pixels + torch.tensor([0.0, 0.2, 0.0])[:, None, None],
        lambda pixels: 0.5 * pixels + 0.5 * pixels.mean(1, keepdim=True),
        lambda pixels: pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3)),
    ],
    ids=["channels swapped", "green", "washed out", "noise"],
)
def test_other_faults_do_not_move_it(change: Change) -> None:
    assert found(change).severity == "healthy"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda pixels: (pixels + 1) / 2, "[0, 1]"),
        (lambda pixels: 2 * pixels - 1, "twice"),
        (lambda pixels: -pixels, "inverted"),
        (lambda pixels: (pixels + 1) * 255 / 2, "[0, 255]"),
    ],
)
def test_remedy_names_the_range(change: Change, word: str) -> None:
    finding = found(change)
    assert finding.severity == "fault"
    assert word in finding.remedy


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channel_counts(channels: int) -> None:
    assert found(lambda pixels: pixels, channels=channels).severity == "healthy"
    assert found(lambda pixels: 0.7 * pixels, channels=channels).severity == "fault"


def test_alpha_does_not_count() -> None:
    def alpha_lost(pixels: Tensor) -> Tensor:
        return torch.cat([pixels[:, :3], -torch.ones_like(pixels[:, 3:])], 1)

    assert found(alpha_lost, channels=4).severity == "healthy"


def test_clipped_end_is_in_the_tone_curve() -> None:
    plot = examined(ContrastShift(), lossless(lambda pixels: pixels.clamp(max=0.5)), scenes(6, side=256)).plots[0]
    this, unchanged = plot.lines
    assert this.y[-1] < 0.8 < unchanged.y[-1]
    assert this.y[6] == pytest.approx(unchanged.y[6], abs=0.05)


def test_a_fault_shows_the_worst_picture() -> None:
    pictures = scenes(4)
    pictures[2] *= 0.3
    darker = 0.5 + torch.arange(4.0)[:, None, None, None] / 10
    panel = examined(ContrastShift(), lossless(lambda pixels: 0.5 * pixels), (pictures * darker)).panels[0]
    assert panel.images[0][1].shape == (64, 64, 3)
    assert panel.title == "Levels of 3.png"


def test_unavailable_where_nothing_is_finite() -> None:
    finding = found(lambda pixels: pixels * torch.nan)
    assert finding.severity == "unavailable"


def test_huge_output_stays_finite() -> None:
    finding = found(lambda pixels: 1e30 * pixels)
    assert finding.severity == "fault"
    assert finding.value is not None
    assert math.isfinite(finding.value)
