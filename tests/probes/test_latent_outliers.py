"""latent_outliers against distributions whose largest deviation and whose quantiles are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.probes.latent_batches import found, linear, normal, shown, subject
from tests.probes.probe_walk import scenes
from vaecheck.probes.latent_outliers import LatentOutliers, Spread
from vaecheck.results.types import Finding
from vaecheck.vae.protocol import Posterior


def judged(means: Tensor) -> Finding:
    """Of latents far larger than those of the cards, so that only they count."""
    return shown(LatentOutliers(), 100.0 * means).examine(subject(linear())).finding


def test_the_histogram_gives_numpys_medians_quantiles_and_energies() -> None:
    values = torch.stack([normal(50_000, seed=1) * 3 + 40, normal(50_000, seed=2).exp() - 7]).double()
    spread = Spread(values[:, :1000].median(1).values)
    for part in values.split(7_000, dim=1):
        spread.add(part)
    medians = spread.medians()
    assert medians == pytest.approx(np.median(values.numpy(), 1), abs=0.01)
    away = np.abs(values.numpy() - medians[:, None])
    assert spread.quantile_away(medians, 0.95) == pytest.approx(np.quantile(away, 0.95, axis=1), rel=0.02)
    limits = np.array([6.0, 4.0])
    expected = (away**2 * (away > limits[:, None])).sum(1) / (away**2).sum(1)
    assert spread.energy_beyond(medians, limits) == pytest.approx(expected, rel=0.05)


def test_a_gaussians_farthest_latent_is_counted_in_its_standard_deviations() -> None:
    means = normal(4, 5, 32, 32) * torch.tensor([1.0, 20.0, 0.5, 3.0, 7.0])[:, None, None] + 9
    finding = judged(means)
    assert finding.severity == "healthy"
    largest = ((means - 9).abs().transpose(0, 1).flatten(1).amax(1) / torch.tensor([1.0, 20.0, 0.5, 3.0, 7.0])).max()
    assert finding.value == pytest.approx(float(largest), rel=0.05)


def test_an_exponential_tail_is_healthy() -> None:
    """Laplace: 95 % lie within ln 20 scales, the largest of n at about ln n."""
    uniform = torch.rand(8, 5, 64, 64, generator=torch.Generator().manual_seed(1)) - 0.5
    laplace = -uniform.sign() * torch.log1p(-2 * uniform.abs())
    finding = judged(laplace)
    assert finding.severity == "healthy"
    expected = float(laplace.abs().max()) / (math.log(20) / 1.96)
    assert finding.value == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("height", "severity"), [(8.0, "healthy"), (16.0, "warning"), (40.0, "fault")])
def test_a_spike_in_every_picture_is_found_and_placed(height: float, severity: str) -> None:
    means = normal(6, 5, 32, 32)
    means[:, 3, 7, 20] += height
    finding = judged(means)
    assert finding.severity == severity
    assert finding.figures["channel"] == 3
    assert ("row 7, column 20 in 6 pictures" in finding.evidence) == (severity != "healthy")
    assert math.isclose(finding.value or 0, height, rel_tol=0.25)


def test_the_share_of_the_variance_that_a_spike_holds() -> None:
    means = normal(2, 5, 32, 32)
    means[:, 0, 0, 0] = 50.0
    expected = 50**2 / (50**2 + 32 * 32 - 1)
    assert judged(means).figures["energy_of_outliers"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("share", [0.0005, 0.01])
def test_scattered_large_latents_are_found(share: float) -> None:
    means = normal(4, 5, 32, 32)
    far = torch.rand(means.shape, generator=torch.Generator().manual_seed(2)) < share
    assert judged(torch.where(far, 15 * means, means)).severity == "fault"


@pytest.mark.parametrize(("pictures", "exploded"), [(8, 1), (8, 3), (3, 1)])
def test_a_few_pictures_whose_latents_explode_are_counted(pictures: int, exploded: int) -> None:
    means = normal(pictures, 5, 32, 32)
    means[:exploded] *= 20
    finding = judged(means)
    assert finding.severity == "fault"
    assert f"{exploded} of {pictures} pictures" in finding.evidence


def test_a_channel_of_large_scale_is_no_outlier_and_batches_do_not_matter() -> None:
    means = normal(6, 5, 32, 32) * torch.tensor([1.0, 1.0, 1.0, 1.0, 1e4])[:, None, None]
    whole = judged(means)
    assert whole.severity == "healthy"
    probe = LatentOutliers()
    for start in (0, 2, 4):
        shown(probe, 100.0 * means[start : start + 2], start=start)
    assert probe.examine(subject(linear())).finding.value == pytest.approx(whole.value)


def test_drawings_whose_latents_are_mostly_one_value_are_healthy() -> None:
    pictures = torch.full((4, 3, 128, 128), 0.95)
    pictures[:, :, 40:44, 10:120] = -1.0
    assert found(LatentOutliers(), linear(), pictures).severity == "healthy"
    assert found(LatentOutliers(), linear(), torch.full((2, 3, 128, 128), 0.3)).severity == "healthy"


def test_the_same_spike_on_flat_pictures_is_found() -> None:
    def spiked(posterior: Posterior) -> Posterior:
        mean = posterior.mean.clone()
        mean[:, 2, 3, 3] += 30.0
        return Posterior(mean, posterior.log_var)

    assert found(LatentOutliers(), linear(spiked), torch.full((2, 3, 128, 128), 0.3)).severity == "fault"
    assert found(LatentOutliers(), linear(spiked), scenes(3, 128)).severity == "fault"


def test_latents_that_are_not_finite_are_left_out() -> None:
    means = normal(4, 5, 32, 32)
    means[1, 0, 0, 0] = torch.inf
    assert judged(means).severity == "healthy"
    assert judged(torch.full((2, 5, 16, 16), torch.nan)).severity == "unavailable"
    constant = linear(lambda posterior: Posterior(0 * posterior.mean, posterior.log_var))
    assert found(LatentOutliers(), constant, scenes(2, 128)).severity == "unavailable"
