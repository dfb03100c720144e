"""The transfer of detail against closed forms: blurs, noise, low passes and tone curves that are known exactly."""

from __future__ import annotations

import math

import pytest
from torch import Tensor

from tests.probes.probe_walk import batch_of, gaussian, low_pass, scenes, wave, white
from vaecheck.probes.transfer import EITHER, FINE, RADIUS, Transfer, energy, reduction_of, rings, transfer_of
from vaecheck.results.types import VAECard


def transfer(originals: Tensor, back: Tensor, cell: int = 16) -> Transfer:
    found = Transfer()
    for x, y in zip(originals, back, strict=True):
        found.add_pair(x, y, cell)
    return found


def test_the_identity_loses_blurs_and_adds_nothing() -> None:
    pictures = scenes()
    found = transfer(pictures, pictures)
    assert found.lost() < 1e-3
    assert found.blur() < 0.02
    assert found.explained_blur() < 0.02


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.5, 2.5])
def test_a_gaussian_has_its_own_sigma_and_loses_nothing(sigma: float) -> None:
    pictures = scenes()
    found = transfer(pictures, gaussian(pictures, sigma))
    assert found.blur() == pytest.approx(sigma, rel=0.09)
    if sigma < 1:  # beyond, the finest detail is left with less than a hundredth of its contrast
        assert found.lost() < 0.01


def test_the_gain_of_a_gaussian_is_its_transfer_function() -> None:
    pictures = scenes()
    found = transfer(pictures, gaussian(pictures, 1.0))
    gain = (rings(found.reconstruction) / rings(found.original)).sqrt()
    for ring in (8, 12, 16):
        assert float(gain[ring]) == pytest.approx(math.exp(-2 * (math.pi * ring / 64) ** 2), rel=0.08)


@pytest.mark.parametrize("above", [0.125, 0.25])
def test_an_ideal_low_pass_loses_what_is_above_it(above: float) -> None:
    pictures = scenes()
    found = transfer(pictures, low_pass(pictures, above))
    expected = energy(found.original * (above < EITHER)) / energy(found.original)
    assert found.lost() == pytest.approx(expected, abs=0.03)
    assert found.reduced_lost(0.5 / above) == pytest.approx(expected, abs=1e-9)
    assert found.explained_blur() == pytest.approx(found.blur(), rel=0.05)


def test_of_unrelated_pictures_everything_is_lost() -> None:
    found = transfer(scenes(seed=0), scenes(seed=1))
    assert found.lost() > 0.95
    assert found.blur() < 0.1


def test_half_the_energy_is_lost_where_half_of_it_is_replaced() -> None:
    """y = sqrt(c) x + sqrt(1 - c) w with w unrelated and alike: |Sxy|^2 / (Sxx Syy) = c, and Syy = Sxx."""
    x, w = scenes(8, seed=0), scenes(8, seed=1)
    coarse, fine, other = low_pass(x, 1 / 32), x - low_pass(x, 1 / 32), w - low_pass(w, 1 / 32)
    found = transfer(x, coarse + math.sqrt(0.5) * fine + math.sqrt(0.5) * other)
    assert found.lost() == pytest.approx(0.5, abs=0.02)
    assert found.blur() < 0.1


@pytest.mark.parametrize(
    "tone",
    [lambda x: 0.6 * x, lambda x: x + 0.3, lambda x: 0.5 * x - 0.2, lambda x: x + 0.2 * x**2 - 0.1 * x**3],
    ids=["contrast", "brightness", "affine", "cubic"],
)
def test_a_tone_curve_moves_nothing(tone) -> None:
    pictures = scenes()
    found = transfer(pictures, tone(pictures))
    assert found.lost() < 0.02
    assert found.blur() < 0.15


def test_noise_hides_no_blur_and_loses_no_detail() -> None:
    pictures = scenes()
    pictures[..., 128:] = 0.1  # half of each picture is flat: there the noise is seen
    blurred = gaussian(pictures, 1.5)
    clean, noisy = transfer(pictures, blurred), transfer(pictures, blurred + white(pictures, 0.05))
    assert noisy.blur() == pytest.approx(clean.blur(), rel=0.1)
    sharp = transfer(pictures, pictures + white(pictures, 0.03))
    assert sharp.lost() < 0.06


def test_a_lattice_is_left_out() -> None:
    pictures = gaussian(scenes(), 1.0)
    lattice = 0.1 * wave(pictures, 8) * wave(pictures, 2, down=True, across=False)
    assert transfer(pictures, pictures + lattice).lost() == pytest.approx(0.0, abs=0.02)


def test_the_last_batch_is_computed_once_and_broken_pictures_are_left_out() -> None:
    pictures = scenes(3)

    def trip(x: Tensor) -> Tensor:
        back = x.clone()
        back[1, 0, 0, 0] = math.nan
        return back

    batch = batch_of(pictures, trip, 8)
    found = transfer_of(batch)
    assert transfer_of(batch) is found
    assert found.count == 2 * 49
    assert transfer_of(batch_of(pictures[..., :16, :16], lambda x: x, 8)).count == 0


def test_windows_of_small_pictures() -> None:
    """Coarse structure reaches farther into detail there, so that a blur counts as less."""
    pictures = scenes(6, side=40)
    assert transfer(pictures, pictures).lost() < 1e-3
    assert 0.9 < transfer(pictures, gaussian(pictures, 1.5)).blur() < 1.5


def test_rings_keep_the_energy() -> None:
    found = transfer(scenes(2), scenes(2))
    assert float(rings(found.original).sum()) > energy(found.original)
    assert float(RADIUS[FINE].min()) == 1 / 16


@pytest.mark.parametrize(
    ("f", "latents", "image", "codes", "expected"),
    [
        (8, 4, 3, None, 8 * math.sqrt(3 / 4)),
        (8, 32, 3, None, 8 * math.sqrt(3 / 32)),
        (16, 768, 3, None, 16 * math.sqrt(3 / 32)),
        (8, 4, 1, None, 4.0),
        (16, 256, 3, 1024, 16 * math.sqrt(3 / 1.25)),
        (1, 16, 3, None, 1.0),
    ],
)
def test_the_reduction_with_as_many_values(
    f: int, latents: int, image: int, codes: int | None, expected: float
) -> None:
    card = VAECard("x", "X", None, f, latents, None, "float32", image_channels=image, codebook_size=codes)
    assert reduction_of(card) == pytest.approx(expected)
