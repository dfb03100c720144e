"""tiling_seams on models that depend on the place or on the content of their input, and on those that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.probes.round_trips import Change, lossless, scenes, subject_of
from vaecheck.probes.protocol import Examined
from vaecheck.probes.tiling_seams import ALL_WRONG, TilingSeams, middle, tile_side, tone_rms
from vaecheck.results.types import Finding
from vaecheck.vae.load import load_vae

SIDE = 192


def examine(change: Change = lambda pixels: pixels, pictures: Tensor | None = None, **rest: int) -> Examined:
    shown = 0.6 * scenes(3, side=SIDE, channels=rest.get("channels", 3)) if pictures is None else pictures
    return TilingSeams().examine(subject_of(lossless(change, **rest), shown))


def found(change: Change = lambda pixels: pixels, pictures: Tensor | None = None, **rest: int) -> Finding:
    return examine(change, pictures, **rest).finding


def darker_border(depth: float) -> Change:
    def change(pixels: Tensor) -> Tensor:
        y, x = (torch.linspace(-1, 1, side) for side in pixels.shape[-2:])
        return pixels - depth * torch.maximum(y[:, None].abs(), x.abs()) ** 4

    return change


def shaded_border(depth: float) -> Change:
    """As a vignette of a lens: a factor on what is bright."""

    def change(pixels: Tensor) -> Tensor:
        y, x = (torch.linspace(-1, 1, side) for side in pixels.shape[-2:])
        return (pixels + 1) * (1 - depth * torch.maximum(y[:, None].abs(), x.abs()) ** 4) - 1

    return change


def towards_grey(strength: float) -> Change:
    return lambda pixels: pixels - strength * pixels.mean((1, 2, 3), keepdim=True)


def normalised(pixels: Tensor) -> Tensor:
    """Every input gets the same mean and standard deviation."""
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return 0.4 * (pixels - mean) / (pixels.std((1, 2, 3), keepdim=True) + 0.05)


@pytest.mark.parametrize("f", [1, 2, 8, 16, 32])
def test_a_model_of_single_pixels_has_no_seams(f: int) -> None:
    finding = found(lambda pixels: 0.8 * pixels.clamp(-1, 1) ** 3, f=f)
    assert finding.severity == "healthy"
    assert finding.value == pytest.approx(0.0, abs=1e-4)
    assert finding.figures["tile"] == (256 if f == 32 else 128)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels: int) -> None:
    finding = found(darker_border(0.6), channels=channels)
    assert finding.severity == "fault"


@pytest.mark.parametrize(("depth", "severity"), [(0.02, "healthy"), (0.12, "warning"), (0.6, "fault")])
@pytest.mark.parametrize("border", [darker_border, shaded_border])
def test_a_border(border: type[Change], depth: float, severity: str) -> None:
    examined = examine(border(depth))
    finding = examined.finding
    assert finding.severity == severity
    if severity != "healthy":
        assert "depends on the place" in finding.remedy
    (panel,) = examined.panels
    assert [label for label, _ in panel.images] == ["tiled", "whole", "difference x 8"]
    assert all(image.shape == (SIDE, SIDE, 3) for _, image in panel.images)


def test_a_border_is_found_on_flat_pictures_too() -> None:
    assert found(darker_border(0.6), torch.full((3, 3, SIDE, SIDE), 0.2)).severity == "fault"


@pytest.mark.parametrize("change", [towards_grey(0.9), normalised])
def test_each_tile_with_its_own_tone(change: Change) -> None:
    dark_and_light = torch.linspace(-0.7, 0.7, SIDE).expand(3, 3, SIDE, SIDE) + 0.2 * scenes(3, side=SIDE)
    finding = found(change, dark_and_light)
    assert (finding.severity, finding.limit) == ("fault", 6.0)
    assert "takes its tone from its own content" in finding.remedy


def test_the_figure_of_known_offsets() -> None:
    """A picture of two halves at -0.5 and +0.5, drawn to grey by 0.4 of its mean, in 2 x 2 tiles of 128 and 96.

    The window is of 192 pixels; tiles begin at 0 and 96, the second is as wide as what is left, 96. Their means are
    (-0.5 * 96 + 0.5 * 32) / 128 = -0.25 and 0.5. The right tile fades in from column 96 to 128, so columns left of it
    change by +0.1 and those right of it by -0.2, and the fade is linear between them but where four tiles meet.
    """
    picture = torch.full((1, 3, SIDE, SIDE), -0.5)
    picture[..., 96:] = 0.5
    offsets = np.full(SIDE, 0.1)
    offsets[128:] = -0.2
    offsets[96:128] = 0.1 - 0.3 * np.arange(32) / 32
    squares = 127.5 * offsets.reshape(-1, 16).mean(1)
    finding = found(towards_grey(0.4), picture.expand(2, -1, -1, -1))
    assert finding.figures["on_pictures_levels_rms"] == pytest.approx(squares.std(), rel=0.02)
    assert finding.figures["on_cards_levels_rms"] == pytest.approx(0.0, abs=1e-4)
    whole, tiled = picture[0, 0, 0].numpy(), picture[0, 0, 0].numpy() + offsets
    mse = np.mean((127.5 * (tiled - whole)) ** 2)
    assert finding.figures["tiled_against_whole_psnr_db"] == pytest.approx(10 * math.log10(255**2 / mse), abs=0.02)


@pytest.mark.parametrize("std", [0.03, 0.12])
def test_noise_is_not_a_seam(std: float) -> None:
    """The same noise for the same shape, so that it is another one in tiles."""
    finding = found(lambda x: x + std * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    assert finding.severity == "healthy"
    assert finding.value < 0.5


def test_small_pictures_are_mirrored() -> None:
    assert found(darker_border(0.6), 0.6 * scenes(3, side=32)).severity == "fault"
    assert found(lambda x: x, 0.6 * scenes(3, side=32)).severity == "healthy"


def test_one_fixed_size_cannot_be_tiled() -> None:
    finding = found(fixed_size=64, pictures=scenes(2, side=64))
    assert finding.severity == "unavailable"
    assert "64x64" in finding.evidence


def test_what_is_broken_whole_is_another_fault() -> None:
    assert found(lambda x: x * math.nan).severity == "unavailable"


def test_what_breaks_in_tiles_alone() -> None:
    def change(pixels: Tensor) -> Tensor:
        return pixels if pixels.shape[-1] == SIDE else pixels * math.nan

    finding = found(change)
    assert (finding.severity, finding.value) == ("fault", ALL_WRONG)
    assert all(value is None or math.isfinite(value) for value in finding.figures.values())


def test_tone_of_known_changes() -> None:
    """Halves at +3 and -3 have an RMS of 3; an even change none; white noise none; NaN all."""
    halves = torch.full((1, 3, 128, 128), 3.0)
    halves[..., 64:] = -3.0
    assert tone_rms(halves) == pytest.approx(3.0)
    assert tone_rms(torch.full((1, 3, 128, 128), 9.0)) == 0.0
    noise = 10 * torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(5))
    assert tone_rms(noise) < 0.2
    assert tone_rms(halves + noise) == pytest.approx(3.0, abs=0.1)
    assert tone_rms(halves * math.nan) == ALL_WRONG


@pytest.mark.parametrize(("f", "side"), [(1, 128), (2, 128), (3, 132), (8, 128), (16, 128), (32, 256), (64, 512)])
def test_tiles(f: int, side: int) -> None:
    assert tile_side(f) == side


def test_middle() -> None:
    """numpy's symmetric padding, as often as it takes; of larger pictures the middle."""
    small, large = torch.rand(1, 2, 5, 7), torch.rand(1, 2, 30, 41)
    expected = np.pad(small.numpy(), [(0, 0), (0, 0), (0, 15), (0, 13)], mode="symmetric")
    assert np.array_equal(middle(small, 20).numpy(), expected)
    assert torch.equal(middle(large, 20), large[..., 5:25, 10:30])


def test_the_bundled_model_is_healthy() -> None:
    finding = TilingSeams().examine(subject_of(load_vae("kl-f8-tiny"), 0.6 * scenes(2, side=SIDE))).finding
    assert finding.severity == "healthy"
    assert finding.figures["on_cards_levels_rms"] < 1.2
