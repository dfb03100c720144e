"""latent_scale against the closed form std^2 = Var(means) + mean variance, with every kind of scaling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.probes.latent_batches import linear, log_variance, normal, shown, subject
from vaecheck.probes.latent_scale import LatentScale
from vaecheck.results.types import Finding, LatentScaling


def judged(means: torch.Tensor, scaling: LatentScaling, std: float | None = None, contrast: float = 0.4) -> Finding:
    vae = linear()
    vae.card = replace(vae.card, scaling=scaling, latent_channels=means.shape[1])
    pixels = contrast * normal(len(means), 3, 8 * means.shape[-2], 8 * means.shape[-1], seed=3)
    log_vars = None if std is None else log_variance(std, means)
    return shown(LatentScale(), means, log_vars, pixels).examine(subject(vae)).finding


@pytest.mark.parametrize(
    ("factor", "severity"),
    [
        *[(1.0, "healthy"), (-1.0, "healthy"), (0.82, "healthy"), (1.22, "healthy"), (0.7, "warning")],
        *[(1.5, "warning"), (0.45, "fault"), (2.2, "fault"), (30.0, "fault")],
    ],
)
def test_the_std_after_the_factor_is_judged_by_the_contracts_limits(factor: float, severity: str) -> None:
    finding = judged(normal(4, 4, 32, 32), LatentScaling(factor))
    assert finding.severity == severity
    assert finding.value == pytest.approx(abs(factor), rel=0.02)
    assert (finding.remedy == "") == (severity == "healthy")


def test_the_std_is_that_of_samples() -> None:
    finding = judged(0.6 * normal(4, 4, 32, 32), LatentScaling(1.0), std=0.8)
    assert finding.value == pytest.approx(1.0, rel=0.02)
    assert finding.figures["recommended_factor"] == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("std", "severity"), [(0.04, "fault"), (0.06, "healthy"), (1.0, "healthy"), (19.0, "healthy"), (21.0, "fault")]
)
def test_raw_latents_are_judged_where_there_is_no_factor(std: float, severity: str) -> None:
    finding = judged(std * normal(4, 4, 32, 32), LatentScaling())
    assert finding.severity == severity
    assert finding.value == pytest.approx(std, rel=0.02)
    assert "ships no scaling factor" in finding.evidence


def test_a_given_factor_is_told_as_given_and_the_recommended_one_is_named() -> None:
    finding = judged(5.0 * normal(4, 4, 32, 32), LatentScaling(1.0, source="given"))
    assert "given factor 1" in finding.evidence
    assert f"{finding.figures['recommended_factor']:.5g}" in finding.evidence
    assert finding.figures["recommended_factor"] == pytest.approx(0.2, rel=0.02)


def test_a_shift_takes_no_part_in_the_std() -> None:
    assert judged(normal(4, 4, 32, 32) + 7, LatentScaling(1.0, 7.0)).severity == "healthy"


def test_scaling_by_channel() -> None:
    means, stds = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.2])
    latents = normal(4, 2, 32, 32) * stds[:, None, None] + means[:, None, None]
    scaling = LatentScaling(None, None, tuple(means.tolist()), tuple(stds.tolist()))
    finding = judged(latents, scaling)
    assert finding.severity == "healthy"
    assert finding.value == pytest.approx(1.0, rel=0.02)


def test_scaling_of_folded_patches_as_flux2_ships_it() -> None:
    """Each place of a 2 x 2 patch has a std of its own; pixel_unshuffle's order."""
    stds = torch.tensor([1.0, 2.0, 4.0, 8.0])
    latents = torch.nn.functional.pixel_shuffle(normal(4, 4, 16, 16) * stds[:, None, None], 2)
    scaling = LatentScaling(None, None, (0.0,) * 4, tuple(stds.tolist()), patch=2)
    assert judged(latents, scaling).value == pytest.approx(1.0, rel=0.02)


def test_figures_of_other_channels_leave_the_raw_latents_to_be_judged() -> None:
    finding = judged(normal(4, 4, 16, 16), LatentScaling(None, None, (0.0,) * 3, (1.0,) * 3))
    assert finding.severity == "healthy"
    assert "not of these latents' channels" in finding.evidence


def test_one_channel_alone_far_off_is_a_warning_at_most() -> None:
    latents = normal(4, 4, 32, 32) * torch.tensor([1.15, 1.15, 1.15, 0.05])[:, None, None]
    finding = judged(latents, LatentScaling(1.0))
    assert finding.severity == "warning"
    assert finding.value == pytest.approx(0.05, rel=0.05)
    assert "Channel 3 alone" in finding.evidence


def test_a_small_std_of_pictures_without_contrast_is_no_fault_and_a_large_one_is() -> None:
    assert judged(0.1 * normal(4, 4, 16, 16), LatentScaling(1.0), contrast=0.05).severity == "warning"
    assert judged(0.1 * normal(4, 4, 16, 16), LatentScaling(1.0), contrast=0.4).severity == "fault"
    assert judged(3.0 * normal(4, 4, 16, 16), LatentScaling(1.0), contrast=0.05).severity == "fault"


def test_latents_without_a_spread_and_latents_that_are_not_finite() -> None:
    constant = judged(torch.zeros(2, 4, 16, 16), LatentScaling(1.0))
    assert constant.severity == "fault"
    assert constant.value == 0
    assert constant.figures["recommended_factor"] is None
    latents = normal(3, 4, 16, 16)
    latents[1, 0, 0, 0] = torch.inf
    assert judged(latents, LatentScaling(1.0)).value == pytest.approx(1.0, rel=0.05)
    assert judged(torch.full((2, 4, 16, 16), torch.nan), LatentScaling(1.0)).severity == "unavailable"
