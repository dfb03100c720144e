"""Cards hold exactly what their names say, for any number of channels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from vaecheck.images.synthetic import (
    CLOUDS,
    LEVELS,
    MUTED,
    PRIMARIES,
    Card,
    as_channels,
    clouds,
    colours,
    greys,
    impulses,
    patches,
    ramps,
)

MAKERS: tuple[Callable[..., Card], ...] = (greys, colours, ramps, impulses, patches, clouds)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("side", [16, 33, 128])
def test_shape_range_and_labels(make: Callable[..., Card], channels: int, side: int) -> None:
    card = make(side, channels)
    assert card.pixels.shape == (len(card.labels), channels, side, side)
    assert card.pixels.dtype == torch.float32
    assert card.pixels.is_contiguous()
    assert float(card.pixels.abs().max()) <= 1.0
    assert len(set(card.labels)) == len(card.labels)
    torch.testing.assert_close(make(side, channels).pixels, card.pixels, atol=0, rtol=0)


def test_constant_cards_are_constant_at_their_levels() -> None:
    assert greys(16).pixels.std((1, 2, 3)).max() == 0
    assert greys(16).pixels[:, 0, 0, 0].tolist() == list(LEVELS)
    card = colours(16)
    assert card.pixels.std((2, 3)).max() == 0
    torch.testing.assert_close(card.pixels[:, :, 0, 0], MUTED * torch.tensor(PRIMARIES))


def test_ramps_run_from_black_to_white() -> None:
    across, down = ramps(65).pixels
    torch.testing.assert_close(across[0, 0], torch.linspace(-1, 1, 65))
    torch.testing.assert_close(down, across.transpose(-1, -2))


def test_impulses_are_one_square_in_the_middle() -> None:
    white, black = impulses(32, square=4).pixels
    assert float(white.sum()) == 3 * 16
    assert float(white[:, 14:18, 14:18].min()) == 1.0
    torch.testing.assert_close(black, -white)


def test_patches_are_nine_flat_squares() -> None:
    picture = patches(96).pixels[0]
    tiles = picture.unfold(1, 32, 32).unfold(2, 32, 32)
    assert float(tiles.std((-1, -2)).max()) == 0
    assert torch.unique(tiles[..., 0, 0].flatten(1), dim=1).shape[1] == 9


def test_clouds_have_the_spread_and_the_smoothness_they_claim() -> None:
    card = clouds(256)
    assert len(card.labels) == CLOUDS
    rgb = card.pixels.double()
    weights = torch.tensor([19595 / 65536, 38470 / 65536, 7471 / 65536], dtype=torch.float64)
    luma = torch.einsum("c,bchw->bhw", weights, rgb)
    assert float(luma.std()) == pytest.approx(0.45, abs=0.05)
    chroma = rgb[:, 0] - rgb[:, 1]
    assert float(chroma.std()) == pytest.approx(1.5 * 0.15, abs=0.03)
    power = torch.fft.rfft2(luma).abs().square().mean(0)
    fall = torch.log(power[4, 0] + power[0, 4]) - torch.log(power[16, 0] + power[0, 16])
    assert float(fall / torch.log(torch.tensor(4.0))) == pytest.approx(4.0, abs=1.5)


def test_clouds_of_another_side_are_not_cut_from_one() -> None:
    assert not torch.equal(clouds(64).pixels[..., :32, :32], clouds(32).pixels)


def test_channels() -> None:
    rgb = torch.tensor([0.3, 0.0, -0.6])[None, :, None, None].expand(2, -1, 4, 4)
    assert as_channels(rgb, 3).equal(rgb)
    torch.testing.assert_close(as_channels(rgb, 1), torch.full((2, 1, 4, 4), -0.1))
    four = as_channels(rgb, 4)
    assert four[:, :3].equal(rgb)
    assert float(four[:, 3].min()) == 1.0
    assert as_channels(rgb, 2).shape == (2, 2, 4, 4)
