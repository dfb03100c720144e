"""Equivariance errors of encoders whose error is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.metrics.laws import check_laws
from vaecheck.errors import InputError
from vaecheck.metrics.equivariance import ROTATION, SCALE, Equivariance, relative_error, resized
from vaecheck.metrics.protocol import Batch
from vaecheck.results.types import Measure

NAMES = (ROTATION, SCALE)


def averages(pixels: Tensor) -> Tensor:
    """4 x 4 means of the mean over channels, and of the red one: commutes with turns by quarters."""
    return F.avg_pool2d(torch.stack([pixels.mean(1), pixels[:, 0]], 1), 4)


def pictures(count: int = 6, side: int = 32, width: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return 2 * torch.rand(count, 3, side, width or side, generator=generator) - 1


def measured(encode: Callable[[Tensor], Tensor], pixels: Tensor, names: tuple[str, ...] = NAMES) -> dict[str, Measure]:
    metric = Equivariance(encode, 4, names)
    metric.update(batch(pixels))
    return {measure.name: measure for measure in metric.compute()}


def batch(pixels: Tensor, start: int = 0) -> Batch:
    ids = tuple(f"{start + i}.png" for i in range(len(pixels)))
    return Batch(ids, torch.zeros(pixels.shape, dtype=torch.uint8), pixels=pixels)


def test_an_encoder_that_commutes_with_turns_has_no_error() -> None:
    assert measured(averages, pictures())[ROTATION].value == pytest.approx(0, abs=1e-12)


def test_pictures_that_are_not_square_turn_too() -> None:
    assert measured(averages, pictures(width=48))[ROTATION].value == pytest.approx(0, abs=1e-12)


def test_constant_pictures_scale_without_error() -> None:
    pixels = torch.linspace(-1, 1, 6).view(6, 1, 1, 1).expand(6, 3, 32, 32)
    assert measured(averages, pixels)[SCALE].value == pytest.approx(0, abs=1e-12)


def test_a_linear_ramp_scales_without_error_where_averages_meet_their_centres() -> None:
    """Of a ramp every average is its centre's value, and bilinear sampling between centres is exact but at the rim."""
    ramp = torch.linspace(-31 / 32, 31 / 32, 32).expand(1, 3, 32, 32)
    found = measured(averages, ramp, (SCALE,))[SCALE]
    assert found.value == pytest.approx(0, abs=1e-10)


def test_an_encoder_that_forgets_to_turn_has_the_error_of_its_latents() -> None:
    """A constant code, turned, is off by a known amount: E(x) = c for all x, so t E(x) - E(t x) = t c - c."""
    code = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = sum(float(((torch.rot90(code, k, (-2, -1)) - code) ** 2).sum() / (code**2).sum()) for k in (1, 2, 3)) / 3
    found = measured(lambda pixels: code.expand(len(pixels), -1, -1, -1), pictures(), (ROTATION,))
    assert found[ROTATION].value == pytest.approx(expected, rel=1e-6)


def test_a_shift_by_one_cell_has_the_known_error() -> None:
    """E(x) = averages rolled by one to the right, of pictures x = 1 in one 4 x 4 cell: the turned code misses wholly.

    Turning moves that one cell elsewhere, so ||t E(x) - E(t x)||^2 = 2 ||E||^2 unless both cells are one; at 180
    degrees a shift to the right and one to the left never meet on a ring of 8.
    """

    def shifted(pixels: Tensor) -> Tensor:
        return averages(pixels).roll(1, -1)

    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., 8:12, 4:8] = 1.0
    assert measured(shifted, pixels, (ROTATION,))[ROTATION].value == pytest.approx(2.0, rel=1e-9)


def test_independent_noise_is_as_far_as_can_be() -> None:
    generator = torch.Generator().manual_seed(3)
    found = measured(lambda pixels: torch.randn(len(pixels), 4, 64, 64, generator=generator), pictures(), (ROTATION,))
    assert found[ROTATION].value == pytest.approx(2.0, rel=0.03)


def test_sizes_that_the_model_refuses_are_left_out_and_named() -> None:
    def fixed(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] < 16:
            raise InputError("too small")
        return averages(pixels)

    found = measured(fixed, pictures())[SCALE]
    assert found.status == "unreliable"
    assert "scaled by 0.25" in found.reason
    assert found.n == 6


def test_a_model_of_one_size_cannot_be_scaled_but_turned() -> None:
    def fixed(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != 32:
            raise InputError("another size")
        return averages(pixels)

    found = measured(fixed, pictures())
    assert found[ROTATION].status == "ok"
    assert (found[SCALE].status, found[SCALE].value) == ("unavailable", None)


def test_nan_is_left_out_and_counted() -> None:
    def broken(pixels: Tensor) -> Tensor:
        latents = averages(pixels)
        latents[:1] = float("nan")
        return latents

    found = measured(broken, pictures())[ROTATION]
    assert (found.status, found.n) == ("unreliable", 5)
    assert "1 of 6 pictures" in found.reason
    every = measured(lambda pixels: torch.full((len(pixels), 1, 2, 2), float("nan")), pictures())
    assert {measure.status for measure in every.values()} == {"unavailable"}


def test_padding_is_cut_to_whole_cells() -> None:
    assert measured(averages, pictures(side=34))[ROTATION].value == pytest.approx(0, abs=1e-12)


def test_only_what_is_asked_costs_passes() -> None:
    seen: list[tuple[int, ...]] = []

    def counting(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return averages(pixels)

    measured(counting, pictures(width=48), (ROTATION,))
    assert seen == [(32, 48), (48, 32), (32, 48), (48, 32)]
    seen.clear()
    measured(counting, pictures(), (SCALE,))
    assert seen == [(32, 32), (8, 8), (16, 16), (24, 24)]


def test_plots_show_each_transform() -> None:
    metric = Equivariance(averages, 4, NAMES)
    metric.update(batch(pictures()))
    turned, scaled = metric.plots()
    assert turned.lines[0].x == (90.0, 180.0, 270.0)
    assert scaled.lines[0].x == (0.25, 0.5, 0.75)
    means = {measure.name: measure.value for measure in metric.compute()}
    assert sum(scaled.lines[0].y) / 3 == pytest.approx(means[SCALE])


def test_halving_is_the_mean_of_four() -> None:
    planes = pictures()
    torch.testing.assert_close(resized(planes, (16, 16)), F.avg_pool2d(planes, 2))


def test_relative_error() -> None:
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert relative_error(a, b).item() == pytest.approx((9 + 4) / 4)
    assert relative_error(a, 0 * b).isnan().all()


def test_laws() -> None:
    pixels = pictures(8)
    check_laws(
        lambda: Equivariance(lambda x: averages(x).roll(1, -1), 4, NAMES),
        [batch(pixels[:3]), batch(pixels[3:4], 3), batch(pixels[4:], 4)],
        rtol=1e-6,
    )
