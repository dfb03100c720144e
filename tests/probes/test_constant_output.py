"""constant_output on models whose dependence on the picture is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.probes.round_trips import Change, examined, lossless, scenes
from vaecheck.probes.constant_output import ConstantOutput

FIXED = scenes(1, side=256, seed=9)


def fixed(pixels: Tensor) -> Tensor:
    """One picture whatever goes in."""
    return FIXED[..., : pixels.shape[-2], : pixels.shape[-1]].expand_as(pixels).clone()


def faint(pixels: Tensor) -> Tensor:
    return 0.2 + 1e-4 * pixels


PICTURES = {
    "many": scenes(8),
    "two": scenes(2),
    "one": scenes(1),
    "flat": torch.full((3, 3, 64, 64), 0.2),
    "low contrast": 0.2 * scenes(6),
}


@pytest.mark.parametrize("pictures", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: torch.full_like(pixels, -1.0),
        lambda pixels: torch.zeros_like(pixels),
        fixed,
        faint,
        lambda pixels: 0.3 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["black", "grey", "one picture", "a trace", "noise alone"],
)
def test_constant_is_a_fault(change: Change, pictures: Tensor) -> None:
    result = examined(ConstantOutput(), lossless(change), pictures)
    assert result.finding.severity == "fault"
    assert result.finding.value == pytest.approx(0.0, abs=0.02)
    assert bool(result.panels) == (float(pictures.std()) > 0.01)


@pytest.mark.parametrize("pictures", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels,
        lambda pixels: 0.5 * pixels + 0.5,
        lambda pixels: -pixels,
        lambda pixels: (pixels + 1) * 255 / 2,
        lambda pixels: pixels + 0.2 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["lossless", "half the range", "inverted", "eight bits", "noise"],
)
def test_what_depends_on_the_picture_is_healthy(change: Change, pictures: Tensor) -> None:
    assert examined(ConstantOutput(), lossless(change), pictures).finding.severity == "healthy"


@pytest.mark.parametrize(("gain", "severity"), [(0.1, "fault"), (0.3, "warning"), (0.6, "healthy")])
def test_damped_output_returns_the_square_of_the_gain(gain: float, severity: str) -> None:
    finding = examined(ConstantOutput(), lossless(lambda pixels: gain * pixels + 0.3), scenes(6)).finding
    assert finding.value == pytest.approx(gain**2, abs=1e-3)
    assert finding.severity == severity


def test_exactly_constant_is_farthest_past_its_limit() -> None:
    black = examined(ConstantOutput(), lossless(lambda pixels: torch.full_like(pixels, -1.0)), scenes(4)).finding
    damped = examined(ConstantOutput(), lossless(lambda pixels: 0.2 * pixels), scenes(4)).finding
    assert black.past_limit > damped.past_limit > 0


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels: int) -> None:
    pictures = scenes(4, channels=channels)
    assert examined(ConstantOutput(), lossless(channels=channels), pictures).finding.severity == "healthy"
    grey = lossless(torch.zeros_like, channels=channels)
    assert examined(ConstantOutput(), grey, pictures).finding.severity == "fault"


def test_unavailable_where_nothing_is_finite() -> None:
    finding = examined(ConstantOutput(), lossless(lambda pixels: pixels * torch.nan), scenes(4)).finding
    assert finding.severity == "unavailable"


def black_where_bright(pixels: Tensor) -> Tensor:
    """As a half-precision overflow does it."""
    bright = pixels.mean((1, 2, 3), keepdim=True) > 0.3
    return torch.where(bright, -1.0, pixels)


def test_one_black_picture_of_many_is_a_fault_and_is_shown() -> None:
    pictures = torch.cat([0.6 * scenes(5) - 0.2, 0.4 * scenes(1, seed=8) + 0.5])
    result = examined(ConstantOutput(), lossless(black_where_bright), pictures)
    assert result.finding.severity == "fault"
    assert result.finding.value == pytest.approx(0.0, abs=1e-6)
    assert "5.png" in result.finding.evidence
    assert "1 of 6" in result.finding.evidence
    assert int(result.panels[0].images[1][1].max()) == 0


def test_flat_pictures_among_others_are_not_held_against_it() -> None:
    pictures = torch.cat([scenes(3), torch.full((1, 3, 64, 64), 0.4)])
    assert examined(ConstantOutput(), lossless(), pictures).finding.severity == "healthy"


def test_a_dark_picture_that_wrong_levels_crush_to_black_is_no_constant_output() -> None:
    """A range mapped twice: contrast_shift is the cause, and leads."""
    pictures = torch.cat([0.5 * scenes(5), 0.15 * scenes(1, seed=8) - 0.8])
    result = examined(ConstantOutput(), lossless(lambda pixels: (2 * pixels - 1).clamp(-1, 1)), pictures)
    assert result.finding.severity != "fault"
