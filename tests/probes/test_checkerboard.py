"""checkerboard: lattices of known period and rms, on cards and in pictures; blind to those of the pictures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.probes.probe_walk import gaussian, low_pass, scenes, walked, wave, white
from vaecheck.probes.checkerboard import Checkerboard


@pytest.mark.parametrize("period", [2, 4, 8, 16])
@pytest.mark.parametrize(("amplitude", "severity"), [(0.025, "warning"), (0.1, "fault")])
def test_a_lattice_of_one_period(period: int, amplitude: float, severity: str) -> None:
    lattice = wave(torch.zeros(256, 256), period, down=True)
    rms = amplitude * float(lattice.square().mean().sqrt())

    def trip(x: Tensor) -> Tensor:
        return x + amplitude * wave(x, period, down=True)

    found = walked(Checkerboard(), scenes(side=128), trip).finding
    assert found.figures["worst_period"] == period
    assert found.value == pytest.approx(rms, rel=0.1)
    assert found.severity == (severity if rms < 0.025 or severity == "fault" else "warning")


def test_a_cell_that_repeats() -> None:
    cell = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    cell = cell - cell.mean()

    def trip(x: Tensor) -> Tensor:
        return x + 0.02 * cell.repeat(x.shape[-2] // 8, x.shape[-1] // 8)

    found = walked(Checkerboard(), scenes(side=128), trip).finding
    assert found.severity == "warning"
    assert found.figures["worst_period"] == 8


def test_a_lattice_that_follows_the_brightness() -> None:
    found = walked(Checkerboard(), scenes(side=128), lambda x: x * (1 + 0.2 * wave(x, 4, down=True))).finding
    assert found.severity == "fault"
    assert found.figures["worst_period"] == 4


def test_a_lattice_that_follows_the_contrast_is_seen_in_pictures_alone() -> None:
    def trip(x: Tensor) -> Tensor:
        strength = (x - gaussian(x, 2.0)).square().mean((-2, -1), keepdim=True).sqrt()
        return x + 0.15 * strength * wave(x, 8)

    found = walked(Checkerboard(), scenes(6, side=128), trip).finding
    assert found.severity == "warning"
    assert found.figures["worst_period"] == 8


@pytest.mark.parametrize(
    "trip",
    [
        lambda x: x,
        lambda x: gaussian(x, 2.0),
        lambda x: low_pass(x, 0.1),
        lambda x: 0.5 * x + 0.3,
        lambda x: x + 0.2 * x**2,
        lambda x: x + white(x, 0.1),
        lambda x: x + 0.1 * wave(x, 32),
        lambda x: x + 0.1 * torch.cos(2 * math.pi * torch.arange(x.shape[-1]) / 6.1),
    ],
    ids=["identity", "blur", "low_pass", "affine", "curve", "noise", "longer", "between"],
)
def test_what_is_no_lattice(trip) -> None:
    assert walked(Checkerboard(), scenes(side=128), trip).finding.severity == "healthy"


def screens() -> Tensor:
    pictures = scenes(side=128)
    return pictures + 0.3 * wave(pictures, 4)


def tiles() -> Tensor:
    return scenes(side=32).repeat(1, 1, 4, 4)


def blocks() -> Tensor:
    pictures = scenes(side=128)
    coarse = torch.nn.functional.avg_pool2d(pictures, 8)
    return 0.7 * pictures + 0.3 * torch.nn.functional.interpolate(coarse, scale_factor=8)


@pytest.mark.parametrize("pictures", [screens(), tiles(), blocks()], ids=["screens", "tiles", "blocks"])
@pytest.mark.parametrize("trip", [lambda x: low_pass(x, 0.1), lambda x: gaussian(x, 1.0)], ids=["low_pass", "blur"])
def test_pictures_with_a_lattice_of_their_own(pictures: Tensor, trip) -> None:
    assert walked(Checkerboard(), pictures, trip).finding.severity == "healthy"
    found = walked(Checkerboard(), pictures, lambda x: trip(x) + 0.1 * wave(x, 8, down=True))
    assert found.finding.severity == "fault"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures(count: int) -> None:
    pictures = scenes(count, side=128)
    assert walked(Checkerboard(), pictures, lambda x: low_pass(x, 0.1)).finding.severity == "healthy"
    assert walked(Checkerboard(), pictures, lambda x: x + 0.05 * wave(x, 8)).finding.severity == "fault"


@pytest.mark.parametrize(("f", "period"), [(1, 2), (2, 4), (14, 7), (16, 32), (32, 64)])
def test_other_strides(f: int, period: int) -> None:
    side = 8 * max(f, 16)
    found = walked(Checkerboard(), scenes(4, side=side), lambda x: x + 0.1 * wave(x, period, down=True), f=f)
    assert found.finding.severity == "fault"
    assert found.finding.figures["worst_period"] == period


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int) -> None:
    found = walked(Checkerboard(), scenes(channels=channels, side=128), lambda x: x + 0.1 * wave(x, 2))
    assert found.finding.severity == "fault"
    assert len(found.panels[0].images) == 3


def test_broken_models() -> None:
    assert walked(Checkerboard(), scenes(2, side=128), lambda x: x * math.nan).finding.severity == "unavailable"
    far = walked(Checkerboard(), scenes(2, side=128), lambda x: x + 1e30 * wave(x, 2)).finding
    assert far.value is not None
    assert math.isfinite(far.value)


def test_the_plots_hold_the_lattice() -> None:
    found = walked(Checkerboard(), scenes(side=128), lambda x: x + 0.1 * wave(x, 8))
    bars, spectrum = found.plots
    cards = dict(zip(bars.lines[0].x, bars.lines[0].y, strict=True))
    assert cards[8.0] == pytest.approx(0.1 / math.sqrt(2), rel=0.02)
    line = spectrum.lines[0]
    assert line.x[max(range(len(line.y)), key=lambda index: line.y[index])] == pytest.approx(0.125)
