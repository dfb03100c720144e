"""Levels and colours over large areas: known lines and matrices come back, and detail does not move them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.probes.round_trips import lossless, scenes, subject_of
from vaecheck.images.synthetic import clouds, ramps
from vaecheck.metrics.protocol import Batch
from vaecheck.probes.tones import Tones, of_clouds

MATRIX = torch.tensor([[0.9, 0.05, 0.0], [0.02, 0.8, 0.1], [0.0, -0.1, 1.1]])
OFFSET = torch.tensor([0.05, -0.02, 0.1])


def through(pictures: torch.Tensor, matrix: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix, pictures) + offset[:, None, None]


def test_known_matrix_comes_back() -> None:
    tones = Tones()
    pictures = torch.cat([scenes(6), 0.5 * ramps(64).pixels])
    tones.add(pictures, through(pictures, MATRIX, OFFSET))
    fit = tones.fit()
    assert fit is not None
    torch.testing.assert_close(fit.matrix, MATRIX.double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(fit.offset, OFFSET.double(), atol=1e-4, rtol=0)
    assert fit.gain == pytest.approx(1.0, abs=1e-4)  # rows sum to 0.95, 0.92 and 1.0: nothing that all share
    assert fit.shift == 0.0  # offsets of both signs
    assert fit.within == pytest.approx(fit.gain, abs=1e-4)
    assert float(fit.bent.abs().max()) < 1e-4


def test_batches_do_not_matter() -> None:
    pictures = scenes(5)
    once, thrice = Tones(), Tones()
    once.add(pictures, 0.5 * pictures)
    for part in pictures.split(2):
        thrice.add(part, 0.5 * part)
    for sums in ("moments", "means", "places", "curve"):
        torch.testing.assert_close(getattr(once, sums), getattr(thrice, sums))


def test_what_the_pictures_do_not_hold_is_no_change_without_cards_and_the_cards_with_them() -> None:
    grey = scenes(4).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    swapped = torch.eye(3)[[2, 1, 0]]
    tones, cards = Tones(), Tones()
    tones.add(grey, through(grey, swapped, torch.zeros(3)))
    alone = tones.fit()
    assert alone is not None
    torch.testing.assert_close(alone.matrix, torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0)
    card = clouds(64).pixels
    cards.add(card, through(card, swapped, torch.zeros(3)))
    joined = tones.fit(cards)
    assert joined is not None
    torch.testing.assert_close(joined.matrix, swapped.double(), atol=1e-4, rtol=0)


def test_detail_does_not_move_the_line() -> None:
    pictures = scenes(4, side=256)
    noise = 0.2 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    coarse = F.interpolate(F.avg_pool2d(pictures, 8), scale_factor=8)
    for changed in (pictures + noise, coarse):
        tones = Tones()
        tones.add(pictures, changed)
        fit = tones.fit()
        assert fit is not None
        assert fit.gain == pytest.approx(1.0, abs=0.01)
        assert fit.shift == pytest.approx(0.0, abs=0.005)


def test_gain_inside_pictures_is_seen_where_each_keeps_its_mean() -> None:
    pictures = scenes(6) * 0.6 + torch.linspace(-0.5, 0.5, 6)[:, None, None, None]
    means = pictures.mean((1, 2, 3), keepdim=True)
    tones = Tones()
    tones.add(pictures, means + 0.7 * (pictures - means))
    fit = tones.fit()
    assert fit is not None
    assert fit.within == pytest.approx(0.7, abs=0.03)
    assert fit.gain > fit.within + 0.05


def test_variance_that_returns() -> None:
    pictures = scenes(8)

    def share(changed: torch.Tensor) -> float:
        tones = Tones()
        tones.add(pictures, changed)
        return tones.varied()[1]

    assert share(pictures) == pytest.approx(1.0, abs=1e-6)
    assert share(0.3 * pictures - 0.2) == pytest.approx(0.09, abs=1e-6)
    assert share(-pictures) == pytest.approx(1.0, abs=1e-6)
    assert share(pictures[:1].expand_as(pictures)) == pytest.approx(0.0, abs=1e-9)
    assert share(0.5 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))) < 0.02


def test_std_of_originals_is_that_over_pictures_place_by_place() -> None:
    levels = torch.tensor([-0.3, 0.3])[:, None, None, None].expand(-1, 3, 64, 64)
    tones = Tones()
    tones.add(levels, levels)
    assert tones.varied()[0] == pytest.approx(0.3, abs=1e-6)


def test_flat_and_non_finite_pictures_are_left_out() -> None:
    pictures = torch.cat([scenes(2), torch.full((1, 3, 64, 64), 0.2)])
    back = pictures.clone()
    back[0, 0, 0, 0] = torch.nan
    tones = Tones()
    finite = back.isfinite().flatten(1).all(1)
    tones.watch(Batch(("a", "b", "c"), pictures, reconstruction_pixels=back, finite=finite, pixels=pictures))
    assert (tones.count, tones.left_out) == (1, 1)
    assert "1 flat or tiny one" in tones.described


def test_nothing_gives_nothing() -> None:
    assert Tones().fit() is None
    assert Tones().varied() == (0.0, 0.0)


def test_clouds_card_goes_through_the_model() -> None:
    tones = of_clouds(subject_of(lossless(lambda pixels: 0.5 * pixels), scenes(1)))
    fit = Tones().fit(tones)
    assert fit is not None
    assert fit.gain == pytest.approx(0.5, abs=1e-5)


def test_clouds_card_that_is_refused_is_empty() -> None:
    def refuse(pixels: torch.Tensor) -> torch.Tensor:
        if pixels.shape[-1] > 64:
            raise RuntimeError("no room")
        return pixels

    assert of_clouds(subject_of(lossless(refuse), scenes(1))).count == 0


@pytest.mark.parametrize(
    ("gains", "offsets", "gain", "shift"),
    [
        ((0.7, 0.7, 0.7), (0.1, 0.1, 0.1), 0.7, 0.1),
        ((0.7, 0.8, 0.9), (0.1, 0.2, 0.3), 0.9, 0.1),
        ((1.2, 1.0, 1.0), (0.0, -0.2, 0.0), 1.0, 0.0),
        ((1.1, 1.2, 1.3), (-0.3, -0.2, -0.1), 1.1, -0.1),
        ((-1.0, -1.0, -1.0), (0.2, -0.1, -0.1), -1.0, 0.0),
    ],
)
def test_contrast_is_what_all_channels_share(
    gains: tuple[float, ...], offsets: tuple[float, ...], gain: float, shift: float
) -> None:
    tones, pictures = Tones(), scenes(6)
    tones.add(pictures, through(pictures, torch.diag(torch.tensor(gains)), torch.tensor(offsets)))
    fit = tones.fit()
    assert fit is not None
    assert (fit.gain, fit.shift) == (pytest.approx(gain, abs=1e-3), pytest.approx(shift, abs=1e-3))
