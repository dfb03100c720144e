"""detail_loss: judged against a reduction to as many values as the latents have; blind to blur, noise and tone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.probes.probe_walk import gaussian, low_pass, scenes, walked, white
from vaecheck.probes.detail_loss import DetailLoss
from vaecheck.vae.yardsticks import Bicubic


def reduced(f: int):
    codec = Bicubic(f)
    return lambda pixels: codec.decode(codec.encode(pixels).mean)


def test_the_identity_keeps_all() -> None:
    found = walked(DetailLoss(), scenes(), lambda x: x)
    assert found.finding.severity == "healthy"
    assert found.finding.value == pytest.approx(1.0, abs=1e-3)
    assert found.finding.remedy == ""
    assert found.panels == ()


@pytest.mark.parametrize(("f", "severity"), [(2, "warning"), (4, "fault"), (8, "fault")])
def test_pictures_carried_smaller_on_32_channels(f: int, severity: str) -> None:
    """8 sqrt(3 / 32) = 2.4: half the side holds a little more than that, a quarter far less."""
    found = walked(DetailLoss(), scenes(), reduced(f))
    assert found.finding.severity == severity
    assert [label for label, _ in found.panels[0].images] == ["original", "reconstruction"]


def test_of_few_channels_less_is_asked() -> None:
    """A quarter of the side is more than 4 channels at 1 / 8 hold, 1 / 6.9: a limit of capacity, and no fault."""
    found = walked(DetailLoss(), scenes(), reduced(4), latent_channels=4)
    assert found.finding.severity == "warning"
    assert found.finding.limit == pytest.approx(0.7)
    assert walked(DetailLoss(), scenes(), reduced(8), latent_channels=4).finding.severity == "fault"


def test_a_decoder_that_invents_everything_is_a_fault() -> None:
    other = scenes(seed=5)
    found = walked(DetailLoss(), scenes(3), lambda x: low_pass(x, 1 / 32) + (other - low_pass(other, 1 / 32))[: len(x)])
    assert found.finding.severity == "fault"
    assert found.finding.value == pytest.approx(0.0, abs=0.05)


def test_the_kept_share_is_that_of_the_low_pass() -> None:
    """Of a spectrum 1 / f^2 in two dimensions every octave has the same energy."""
    found = walked(DetailLoss(), scenes(), lambda x: low_pass(x, 0.125), latent_channels=4)
    assert found.finding.value is not None
    assert 0.3 < found.finding.value < 0.45  # one octave of the three from 1 / 16 to 1 / 2, and corners


@pytest.mark.parametrize(
    "trip",
    [
        lambda x: gaussian(x, 0.8),
        lambda x: x + white(x, 0.03),
        lambda x: 0.5 * x + 0.3,
        lambda x: x + 0.2 * x**2,
        lambda x: x.roll(1, -1),
    ],
    ids=["blur", "noise", "affine", "curve", "shift"],
)
def test_what_other_probes_name_is_healthy_here(trip) -> None:
    pictures = scenes()
    pictures[..., 160:] = 0.2
    assert walked(DetailLoss(), pictures, trip).finding.severity == "healthy"


@pytest.mark.parametrize("trip", [torch.zeros_like, lambda x: x * 1e30, lambda x: white(x, 1.0)])
def test_garbage_has_a_finding(trip) -> None:
    found = walked(DetailLoss(), scenes(), trip)
    assert found.finding.value is not None
    assert math.isfinite(found.finding.value)


def test_a_constant_keeps_nothing() -> None:
    found = walked(DetailLoss(), scenes(), torch.zeros_like)
    assert found.finding.severity == "fault"
    assert found.finding.value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "pictures",
    [torch.full((3, 3, 64, 64), 0.3), torch.nn.functional.interpolate(scenes(3, side=4), 128, mode="bicubic")],
    ids=["flat", "soft"],
)
def test_pictures_without_detail_accuse_nobody(pictures: Tensor) -> None:
    found = walked(DetailLoss(), pictures, lambda x: low_pass(x, 1 / 16))
    assert found.finding.severity in ("unavailable", "healthy")
    flat = walked(DetailLoss(), torch.full((3, 3, 64, 64), 0.3), lambda x: x)
    assert flat.finding.severity == "unavailable"
    assert flat.finding.value is None
    assert "detail" in flat.finding.evidence


def test_blurry_pictures_accuse_nobody() -> None:
    pictures = gaussian(scenes(), 2.0)
    assert walked(DetailLoss(), pictures, lambda x: low_pass(x, 0.25)).finding.severity == "healthy"


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(channels: int) -> None:
    pictures = scenes(channels=channels)
    assert walked(DetailLoss(), pictures, lambda x: x).finding.severity == "healthy"
    found = walked(DetailLoss(), pictures, lambda x: low_pass(x, 1 / 16))
    assert found.finding.severity == "fault"
    assert found.panels[0].images[0][1].shape[2] == 3


def test_the_plot_is_of_finite_numbers() -> None:
    found = walked(DetailLoss(), scenes(), lambda x: low_pass(x, 0.2))
    for line in found.plots[0].lines:
        assert len(line.x) == len(line.y)
        assert all(math.isfinite(value) for value in line.y)
    this = dict(zip(found.plots[0].lines[0].x, found.plots[0].lines[0].y, strict=True))
    assert this[0.125] > 0.97
    assert this[0.375] < 0.05


def test_broken_pictures_leave_nothing_to_measure() -> None:
    found = walked(DetailLoss(), scenes(2), lambda x: x * math.nan)
    assert found.finding.severity == "unavailable"
