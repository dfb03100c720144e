"""global_leak on a local linear VAE whose every reach is nil, but for one cell that leaks by a known amount."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.probes.latent_batches import examined, found, linear, log_variance, normal, shown, subject
from tests.probes.probe_walk import scenes
from vaecheck.probes.global_leak import GlobalLeak
from vaecheck.probes.reach import backward_reach, encoder_reach, far_from, forward_reach, regions
from vaecheck.results.types import Finding
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.protocol import Posterior

PICTURES = scenes(2, 256)
ROW, COLUMN = 21, 9
GREY_LEVEL = 2 / 255


def judged(vae: LoadedVAE, pictures: Tensor = PICTURES) -> Finding:
    return found(GlobalLeak(), vae, pictures)


def leaking(secret: Callable[[Tensor], Tensor]) -> LoadedVAE:
    """Every pixel is brighter by secret(channel 1 of one cell)."""

    def leak(pixels: Tensor, latents: Tensor) -> Tensor:
        row, column = min(ROW, latents.shape[-2] - 1), min(COLUMN, latents.shape[-1] - 1)
        return pixels + secret(latents[:, 1, row, column])[:, None, None, None]

    return linear(after_decode=leak)


def test_every_cell_is_far_from_a_region_and_no_region_is_far_from_itself() -> None:
    for side in (8, 16, 31, 32):
        far = torch.stack([far_from(part.distances(side, side)) for part in regions(side, side)])
        assert bool(far.any(0).all())
        inside = torch.stack([part.distances(side, side) == 0 for part in regions(side, side)])
        assert not bool((far & inside).any())


def test_a_local_model_reaches_nowhere() -> None:
    result = examined(GlobalLeak(), linear(), PICTURES)
    assert result.finding.severity == "healthy"
    assert result.finding.value == 0
    assert {plot.name for plot in result.plots} == {"cell_reach", "cell_sees", "log_variance"}
    assert len(result.plots[0].matrix) == 32


def test_the_reach_of_each_cell_is_the_gain_of_its_leak() -> None:
    """Every far pixel moves by gain for one unit of one channel: to first order gain times its std, exactly."""
    gain, stds = 0.02, torch.tensor([1.0, 0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    vae = leaking(lambda cell: gain * cell)
    inspected = subject(vae, 0.3 * PICTURES)
    latents = inspected.encode(0.3 * PICTURES[:1]).mean
    pixels = inspected.decode(latents)
    reach = backward_reach(inspected, latents, pixels, stds)
    assert reach is not None
    assert int(reach.argmax()) == ROW * 32 + COLUMN
    others = reach.clone()
    others[ROW, COLUMN] = 0.0
    assert float(others.max()) == 0.0
    moved = forward_reach(inspected, latents, [(ROW, COLUMN), (3, 3)], stds)
    assert moved[0] == pytest.approx(2 * 0.5 * gain / GREY_LEVEL, rel=0.01)
    assert moved[1] == 0.0


@pytest.mark.parametrize(("gain", "severity"), [(0.002, "healthy"), (0.012, "warning"), (0.1, "fault")])
def test_a_leaking_cell_is_found_and_judged_in_grey_levels(gain: float, severity: str) -> None:
    finding = judged(leaking(lambda cell: gain * cell))
    assert finding.severity == severity
    if severity != "healthy":
        assert (finding.figures["row"], finding.figures["column"]) == (ROW, COLUMN)
        assert f"row {ROW}, column {COLUMN}" in finding.evidence


@pytest.mark.parametrize(
    "secret",
    [
        lambda cell: 0.2 * (cell > 0),
        lambda cell: 0.3 * torch.round(4 * cell) / 4,
        lambda cell: 0.3 * cell.detach(),
    ],
    ids=["threshold", "rounding", "detached"],
)
def test_a_leak_without_a_derivative_is_traced_to_its_cell(secret: Callable[[Tensor], Tensor]) -> None:
    bright = PICTURES.clone()
    bright[:, :, : 4 * 32] = bright[:, :, : 4 * 32].abs()
    bright[:, 1, ROW * 8 : ROW * 8 + 8, COLUMN * 8 : COLUMN * 8 + 8] = 0.6
    bright[:, 1, 4 * 32 :, 22 * 8 : 23 * 8] = -0.6
    bright[:, 1, (47 - ROW) * 8 : (48 - ROW) * 8, 22 * 8 : 23 * 8] = -0.6
    finding = judged(leaking(secret), bright)
    assert finding.severity == "fault"
    assert (finding.figures["row"], finding.figures["column"]) == (ROW, COLUMN)


def test_a_decoder_that_cannot_be_differentiated_is_still_examined() -> None:
    def without(pixels: Tensor, latents: Tensor) -> Tensor:
        return pixels.detach()

    result = examined(GlobalLeak(), linear(after_decode=without), PICTURES)
    assert result.finding.severity == "healthy"
    assert "cell_reach" not in {plot.name for plot in result.plots}


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_a_decoder_that_draws_noise_does_not_leak(std: float) -> None:
    generator = torch.Generator().manual_seed(4)

    def noisy(pixels: Tensor, latents: Tensor) -> Tensor:
        return pixels + std * torch.randn(pixels.shape, generator=generator)

    assert judged(linear(after_decode=noisy)).severity == "healthy"


def seeing(gain: float) -> LoadedVAE:
    """One latent holds the brightness of the whole picture, as many times over."""
    weights = torch.ones(3) / 3

    def hide(posterior: Posterior) -> Posterior:
        mean = posterior.mean.clone()
        row, column = min(ROW, mean.shape[-2] - 1), min(COLUMN, mean.shape[-1] - 1)
        mean[:, 1, row, column] = gain * (mean[:, :3].mean((2, 3)) * weights).sum(1)
        return Posterior(mean, posterior.log_var)

    return linear(hide)


@pytest.mark.parametrize(("gain", "severity"), [(0.1, "healthy"), (1.1, "warning"), (5.0, "fault")])
def test_a_cell_that_holds_what_is_far_away_is_found_in_the_encoder(gain: float, severity: str) -> None:
    finding = judged(seeing(gain))
    assert finding.severity == severity
    if severity != "healthy":
        assert (finding.figures["row"], finding.figures["column"]) == (ROW, COLUMN)
        assert "Far pixels alone move" in finding.evidence


def test_what_a_cell_sees_is_the_change_from_black_to_white_in_its_stds() -> None:
    """A quarter of the picture from black to white moves its mean by a half."""
    vae, stds = seeing(3.0), torch.full((5,), 0.5, dtype=torch.float64)
    mean = vae.encode(PICTURES[:1]).mean
    seen = encoder_reach(subject(vae, PICTURES), PICTURES[:1], mean, stds)
    assert float(seen[ROW, COLUMN]) == pytest.approx(3.0 * 0.5 / 0.5, rel=1e-4)


def test_a_small_global_reach_of_every_cell_is_healthy_and_one_that_stands_out_is_not() -> None:
    """As attention and group norms have it."""

    def mixed(extra: float) -> Finding:
        def leak(pixels: Tensor, latents: Tensor) -> Tensor:
            row, column = min(ROW, latents.shape[-2] - 1), min(COLUMN, latents.shape[-1] - 1)
            everywhere = 0.005 * latents[:, 1].flatten(1).sum(1).sin() + extra * latents[:, 1, row, column]
            return pixels + everywhere[:, None, None, None]

        return judged(linear(after_decode=leak), 0.3 * PICTURES)

    assert mixed(0.0).severity == "healthy"
    assert mixed(0.3).severity == "fault"


def test_log_variances_at_the_clamp_are_counted_and_are_no_fault() -> None:
    log_vars = log_variance(0.01, torch.zeros(2, 5, 32, 32))
    log_vars[:, 0, 3, 4] = -30.0
    log_vars[0, 1, 0, 0] = 20.0
    probe = shown(GlobalLeak(), normal(2, 5, 32, 32), log_vars)
    finding = probe.examine(subject(linear(), PICTURES)).finding
    assert finding.severity == "healthy"
    assert finding.figures["at_lowest"] == pytest.approx(2 / (2 * 5 * 32 * 32))
    assert finding.figures["at_highest"] == pytest.approx(1 / (2 * 5 * 32 * 32))
    assert "at the clamp of -30" in finding.evidence


def test_flat_pictures_small_pictures_and_deterministic_models() -> None:
    assert judged(linear(), torch.full((2, 3, 128, 128), 0.4)).severity == "healthy"
    assert judged(leaking(lambda cell: 0.2 * cell), torch.full((2, 3, 256, 256), 0.4)).severity == "fault"
    assert judged(linear(), scenes(2, 32)).severity == "healthy"
    result = examined(GlobalLeak(), linear(log_var=None), PICTURES)
    assert result.finding.severity == "healthy"
    assert "at_lowest" not in result.finding.figures
    nan = linear(after_decode=lambda pixels, latents: pixels * torch.nan)
    assert judged(nan).severity == "unavailable"
