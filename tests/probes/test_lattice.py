"""Lattice energies against closed forms: cosines, cells that repeat, noise without any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.probes.probe_walk import wave, white
from vaecheck.probes.lattice import energies, families, pattern, spectrum


def test_families() -> None:
    assert families(8) == ((16, 8, 4, 2),)
    assert families(1) == ((2,),)
    assert families(14) == ((16, 8, 4, 2), (28, 14, 7))
    assert families(3) == ((4, 2), (6, 3))


@pytest.mark.parametrize("period", [2, 4, 8, 16])
@pytest.mark.parametrize(("down", "across"), [(True, False), (False, True), (True, True)])
def test_a_wave_has_its_energy_at_its_own_period(period: int, down: bool, across: bool) -> None:
    plain = torch.zeros(1, 3, 128, 128)
    lattice = 0.02 * wave(plain, period, down=down, across=across)
    found = energies(plain + lattice, (16, 8, 4, 2))
    assert float(found[period].excess) == pytest.approx(float(lattice.square().mean()), rel=0.02)
    assert all(abs(float(found[other].excess)) < 1e-7 for other in found if other != period)


def test_a_random_cell_has_its_energy_over_its_divisors() -> None:
    cell = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    cell = cell - cell.mean()
    found = energies(0.02 * cell.repeat(16, 16)[None, None], (16, 8, 4, 2))
    total = sum(float(found[period].excess) for period in (2, 4, 8))
    assert total == pytest.approx(float((0.02 * cell).square().mean()), rel=0.02)
    assert float(found[8].excess) > 0.5 * total
    assert abs(float(found[16].excess)) < 1e-7


def test_an_odd_period() -> None:
    picture = (0.03 * wave(torch.zeros(1, 1, 140, 140), 7))[None, None]
    found = energies(picture, (28, 14, 7))
    assert float(found[7].excess) == pytest.approx(0.03**2 / 2, rel=0.02)
    assert abs(float(found[14].excess)) < 1e-7


def test_noise_has_no_lattice() -> None:
    noise = white(torch.zeros(40, 1, 128, 128), 0.1)
    for found in energies(noise, (16, 8, 4, 2)).values():
        assert float((found.excess < 3 * found.spread).float().mean()) > 0.9
        assert float(found.lattice.mean()) == pytest.approx(float(found.beside.mean()), rel=0.4)


def test_small_pictures_have_short_periods_alone() -> None:
    assert set(energies(torch.zeros(1, 1, 32, 40), (16, 8, 4, 2))) == {8, 4, 2}
    assert energies(torch.zeros(1, 1, 6, 6), (16, 8, 4, 2)) == {}


def test_the_spectrum_of_a_wave() -> None:
    power = spectrum(wave(torch.zeros(1, 1, 64, 64), 8)[None, None])[0]
    assert float(power[0, 8]) == pytest.approx(0.25, rel=1e-3)
    assert float(power[0, 11]) < 1e-6


def test_the_pattern_is_the_cell() -> None:
    cell = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    cell = cell - cell.mean((1, 2), keepdim=True)
    tiled = cell.repeat(1, 17, 18)[None, :, :131, :140]
    assert torch.allclose(pattern(tiled, 8)[..., :128, :136], tiled[..., :128, :136], atol=1e-5)
    noisy = tiled + white(tiled, 0.3)
    assert float((pattern(noisy, 8) - tiled).std()) < 0.3 * 1.6 / 16


@pytest.mark.parametrize("picture", [white(torch.zeros(1, 3, 128, 128), 0.1), torch.zeros(1, 1, 16, 16)])
def test_without_a_lattice_there_is_no_pattern(picture: Tensor) -> None:
    assert float(pattern(picture, 16).abs().max()) == 0.0
