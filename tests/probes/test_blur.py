"""blur: the sigma of known Gaussians; a warning where the lost detail explains it, a fault beyond."""

from __future__ import annotations

import math

import pytest
import torch

from tests.probes.probe_walk import gaussian, low_pass, scenes, walked, wave, white
from vaecheck.probes.blur import Blur


@pytest.mark.parametrize(
    ("sigma", "severity"), [(0.0, "healthy"), (0.3, "healthy"), (0.75, "warning"), (1.5, "fault"), (2.5, "fault")]
)
def test_gaussians(sigma: float, severity: str) -> None:
    found = walked(Blur(), scenes(), lambda x: gaussian(x, sigma))
    assert found.finding.value == pytest.approx(sigma, rel=0.09, abs=0.05)
    assert found.finding.severity == severity
    assert bool(found.panels) == (severity != "healthy")


def test_blur_that_lost_detail_explains_is_a_warning() -> None:
    """An ideal low pass is what a decoder of least squared error makes of latents that hold no more."""
    found = walked(Blur(), scenes(), lambda x: low_pass(x, 0.125))
    assert found.finding.severity == "warning"
    assert found.finding.figures["explained_by_lost_detail"] == pytest.approx(found.finding.value, rel=0.05)
    worse = walked(Blur(), scenes(), lambda x: gaussian(low_pass(x, 0.125), 2.5))
    assert worse.finding.severity == "fault"


def test_blur_in_one_direction() -> None:
    """Half the energy of detail is blurred along x alone: softer than nothing, sharper than both ways."""
    weights = torch.exp(-2 * (math.pi * 3.0 * torch.fft.fftfreq(256)) ** 2)
    found = walked(Blur(), scenes(), lambda x: torch.fft.ifft(torch.fft.fft(x) * weights).real)
    assert found.finding.value is not None
    assert 0.7 < found.finding.value < 2.0
    assert found.finding.severity != "healthy"


@pytest.mark.parametrize(
    "trip",
    [
        lambda x: 0.5 * x,
        lambda x: x + 0.4,
        lambda x: x + 0.2 * x**2,
        lambda x: x + white(x, 0.1),
        lambda x: x + 0.1 * wave(x, 8, down=True),
        lambda x: 1.5 * x - 0.5 * gaussian(x, 1.0),
        lambda x: x.roll((1, 2), (-2, -1)),
    ],
    ids=["contrast", "brightness", "curve", "noise", "lattice", "sharpened", "shift"],
)
def test_what_is_no_blur(trip) -> None:
    assert walked(Blur(), scenes(), trip).finding.severity == "healthy"


def test_invented_texture_of_the_right_strength_is_sharp() -> None:
    other = scenes(seed=5)
    found = walked(Blur(), scenes(3), lambda x: low_pass(x, 0.1) + (other - low_pass(other, 0.1))[: len(x)])
    assert found.finding.severity == "healthy"


def test_blurry_pictures_accuse_nobody() -> None:
    pictures = gaussian(scenes(), 2.0)
    found = walked(Blur(), pictures, lambda x: x + white(x, 0.002))
    assert found.finding.severity == "healthy"
    assert found.finding.value == pytest.approx(0.0, abs=0.1)


def test_noise_does_not_hide_a_blur() -> None:
    pictures = scenes()
    pictures[..., 128:] = 0.1
    assert walked(Blur(), pictures, lambda x: gaussian(x, 2.0) + white(x, 0.1)).finding.severity == "fault"


def test_flat_pictures_and_garbage() -> None:
    assert walked(Blur(), torch.zeros(2, 3, 64, 64), lambda x: x).finding.severity == "unavailable"
    assert walked(Blur(), scenes(2), lambda x: x * math.inf).finding.severity == "unavailable"
    for found in (walked(Blur(), scenes(2), torch.zeros_like), walked(Blur(), scenes(2), lambda x: white(x, 1.0))):
        assert found.finding.value is not None
        assert math.isfinite(found.finding.value)


def test_the_plot_shows_the_transfer_function() -> None:
    found = walked(Blur(), scenes(), lambda x: gaussian(x, 1.0))
    seen = dict(zip(found.plots[0].lines[0].x, found.plots[0].lines[0].y, strict=True))
    for f in (0.125, 0.1875, 0.25):
        assert seen[f] == pytest.approx(math.exp(-2 * (math.pi * f) ** 2), rel=0.08)
    assert all(math.isfinite(value) for line in found.plots[0].lines for value in line.y)
