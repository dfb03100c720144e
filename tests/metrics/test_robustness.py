"""Noise robustness of linear decoders, whose Jacobian is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.laws import check_laws
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.robustness import (
    LEVELS,
    LPIPS_DOUBLING,
    MSE_DOUBLING,
    PSNR_10,
    PSNR_20,
    SENSITIVITY,
    TEMPLATES,
    Robustness,
    doubling,
)
from vaecheck.pixels import Levels, to_image
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior

STDS = (0.5, 3.0, 1.0)
WITHOUT_LPIPS = tuple(name for name in TEMPLATES if name != LPIPS_DOUBLING)
MIX = torch.tensor([[0.08, 0.01, 0.0], [0.0, 0.03, 0.02], [0.05, 0.0, -0.04]])


def linear(latents: Tensor) -> Tensor:
    """One pixel a latent: colours are MIX times channels. tr(J J^T) / values = sum_c std_c^2 |MIX_c|^2 / 3."""
    return torch.einsum("rc,bchw->brhw", MIX.to(latents), latents)


def trace() -> float:
    return float((MIX**2 @ torch.tensor(STDS) ** 2).sum() / 3)


def batches(offset: float = 0.05, count: int = 8, side: int = 24) -> list[Batch]:
    """Pictures whose reconstructions are off by `offset` of [-1, 1], as floats in [0, 255]."""
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(count, 3, side, side, generator=generator)
    back = linear(latents)
    original = to_image(back + offset, Levels.NONE)
    ids = tuple(f"{i}.png" for i in range(count))
    return [
        Batch(
            ids[part],
            original[part],
            Posterior(latents[part]),
            latents[part],
            to_image(back[part], Levels.NONE),
            back[part],
            torch.ones(len(ids[part]), dtype=torch.bool),
        )
        for part in (slice(0, 3), slice(3, 4), slice(4, count))
    ]


def made(
    decode: Callable[[Tensor], Tensor] = linear, names: tuple[str, ...] = WITHOUT_LPIPS, **rest: object
) -> Robustness:
    return Robustness(decode, STDS, names, **rest)


def measured(metric: Robustness, found: list[Batch]) -> dict[str, Measure]:
    for batch in found:
        metric.update(batch)
    return {measure.name: measure for measure in metric.compute()}


def test_sensitivity_of_a_linear_decoder_is_the_trace_of_its_jacobian() -> None:
    found = measured(made(), batches())
    assert found[SENSITIVITY].value == pytest.approx(trace(), rel=0.02)
    assert found[SENSITIVITY].n == 8


def test_error_under_noise_is_the_sum_that_theory_says() -> None:
    """E||x - D(z + s e)||^2 = ||x - D(z)||^2 + s^2 tr(J J^T), in grey levels of 255 for a range of 2."""
    found = measured(made(), batches())
    for name, level in ((PSNR_10, 0.1), (PSNR_20, 0.2)):
        error = 127.5**2 * (0.05**2 + level**2 * trace())
        assert found[name].value == pytest.approx(10 * math.log10(255**2 / error), abs=0.05)


@pytest.mark.parametrize("offset", [0.002, 0.01, 0.02])
def test_the_error_doubles_where_noise_adds_as_much(offset: float) -> None:
    """s^2 tr(J J^T) = ||x - D(z)||^2, also below the smallest level that is tried."""
    expected = offset / math.sqrt(trace())
    assert (expected < LEVELS[0]) == (offset == 0.002)
    found = measured(made(), batches(offset))[MSE_DOUBLING]
    assert found.value == pytest.approx(expected, rel=0.03)
    assert found.ci95 is not None
    assert isinstance(found.value, float)
    assert found.ci95[0] <= found.value <= found.ci95[1]


def test_a_doubling_beyond_the_curve_is_no_figure() -> None:
    found = measured(made(), batches(0.2))[MSE_DOUBLING]
    assert (found.value, found.status) == (None, "unavailable")
    said = re.fullmatch(r"more than 0.5: there the squared error is (\S+) times that without noise", found.reason)
    assert said
    assert float(said[1]) == pytest.approx(1 + 0.25 * trace() / 0.2**2, abs=0.02)


def test_lpips_doubling_with_a_distance_that_is_a_square() -> None:
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return ((a.double() - b.double()) ** 2).flatten(1).mean(1)

    found = measured(made(names=tuple(TEMPLATES), lpips=distance, net="vgg"), batches(0.02))
    assert found[LPIPS_DOUBLING].value == pytest.approx(found[MSE_DOUBLING].value, rel=1e-6)
    assert "LPIPS (vgg)" in found[LPIPS_DOUBLING].definition


def test_foreign_weights_make_only_lpips_unreliable() -> None:
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() - b.double()).abs().flatten(1).mean(1)

    found = measured(made(names=tuple(TEMPLATES), lpips=distance, caveat="not the published ones"), batches(0.01))
    assert found[LPIPS_DOUBLING].status == "unreliable"
    assert found[LPIPS_DOUBLING].reason == "not the published ones"
    assert found[PSNR_10].status == "ok"


def test_a_decoder_deaf_to_its_latents_doubles_nothing() -> None:
    fixed = torch.full((1, 3, 24, 24), 0.3)
    deaf = made(lambda latents: fixed.expand(len(latents), -1, -1, -1))
    for batch in batches():
        pixels = fixed.expand(len(batch.ids), -1, -1, -1)
        deaf.update(Batch(batch.ids, batch.original, batch.posterior, batch.latents, None, pixels))
    measures = {measure.name: measure for measure in deaf.compute()}
    assert measures[SENSITIVITY].value == 0
    assert measures[MSE_DOUBLING].value is None


def test_identical_pictures_have_nothing_to_double() -> None:
    found = measured(made(), batches(0.0))
    assert found[MSE_DOUBLING].counts == {"identical": 8}
    assert found[PSNR_10].value == pytest.approx(10 * math.log10(4 / (0.01 * trace())), abs=0.05)


def test_noise_is_drawn_by_id_and_scaled_by_each_channel() -> None:
    seen: list[Tensor] = []

    def watching(latents: Tensor) -> Tensor:
        seen.append(latents)
        return linear(latents)

    batch = batches()[2]
    made(watching).update(batch)
    assert batch.latents is not None
    noise = [(latents - batch.latents) / level for latents, level in zip(seen, LEVELS, strict=True)]
    for one in noise[1:]:
        torch.testing.assert_close(one, noise[0], rtol=1e-3, atol=1e-3)
    assert noise[0].std((0, 2, 3)).tolist() == pytest.approx(STDS, rel=0.05)


def test_pictures_that_break_are_left_out_and_counted() -> None:
    def broken(latents: Tensor) -> Tensor:
        pixels = linear(latents)
        pixels[0, 0, 0, 0] = float("inf")
        return pixels

    found = measured(made(broken), batches())
    assert {measure.n for measure in found.values()} == {5}
    assert found[PSNR_10].status == "unreliable"
    assert found[PSNR_10].reason.startswith("3 of 8 pictures were decoded to NaN")
    nothing = measured(made(lambda latents: torch.full_like(latents, float("nan"))), batches())
    assert {(measure.status, measure.value) for measure in nothing.values()} == {("unavailable", None)}


def test_padding_is_cut_off() -> None:
    (batch,) = batches()[2:]
    assert batch.reconstruction_pixels is not None
    cut = Batch(
        batch.ids,
        batch.original[..., :20, :22],
        batch.posterior,
        batch.latents,
        None,
        batch.reconstruction_pixels[..., :20, :22],
        padded=(4, 2),
    )
    found = measured(made(), [cut])
    assert found[SENSITIVITY].value == pytest.approx(trace(), rel=0.03)


def test_doubling_between_levels_follows_the_square_law_exactly() -> None:
    for at in (0.03, 0.06, 0.15, 0.3, 0.49):
        curve = [1.0, *(1 + (level / at) ** 2 for level in LEVELS)]
        assert doubling(np.array([curve])) == pytest.approx(at, rel=1e-12)
    assert doubling(np.array([[1.0, 0.9, 0.95, 1.5, 1.9]])) is None
    assert doubling(np.array([[1.0, 0.9, 0.95, 1.5, 2.5]])) == pytest.approx(0.2 * 2.5 ** (math.log(2) / math.log(3)))
    assert doubling(np.array([[1.0, 0.9, 0.95, 2.5, 3.5]])) == pytest.approx(0.2 * math.sqrt(1 / 1.5))


def test_curves_and_a_panel() -> None:
    metric = made()
    for batch in batches():
        metric.update(batch)
    (curve,) = metric.plots()
    assert curve.lines[0].x == LEVELS
    assert list(curve.lines[0].y) == sorted(curve.lines[0].y, reverse=True)
    assert curve.lines[1].y[0] == pytest.approx(10 * math.log10(4 / 0.05**2), abs=1e-3)
    assert metric.panels() == ()  # these pictures are floats
    eight_bits = made()
    for batch in batches():
        eight_bits.update(
            Batch(
                batch.ids,
                batch.original.clamp(0, 255).to(torch.uint8),
                None,
                batch.latents,
                None,
                batch.reconstruction_pixels,
            )
        )
    (panel,) = eight_bits.panels()
    assert [label for label, _ in panel.images][:2] == ["original", "no noise"]
    assert {image.shape for _, image in panel.images} == {(24, 24, 3)}


def test_laws() -> None:
    check_laws(lambda: made(), batches(), rtol=1e-6)
