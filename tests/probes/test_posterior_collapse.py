"""posterior_collapse against Gaussian latents whose share of noise, n = var / (S + var), is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.probes.latent_batches import examined, found, linear, log_variance, normal, shown, subject
from tests.probes.probe_walk import scenes
from vaecheck.probes.latent_signal import Signal
from vaecheck.probes.posterior_collapse import PosteriorCollapse, _shares
from vaecheck.results.types import Finding
from vaecheck.vae.protocol import Posterior


def shares(means: Tensor, log_vars: Tensor | None) -> Tensor:
    signal = shown(Signal(), means, log_vars)
    return torch.from_numpy(_shares(signal, signal.between))


@pytest.mark.parametrize("snr", [0.03, 0.25, 1.0, 100.0])
def test_the_share_of_noise_of_a_gaussian_channel_of_known_snr(snr: float) -> None:
    means = math.sqrt(snr) * normal(8, 3, 64, 64)
    found_shares = shares(means, torch.zeros_like(means))
    torch.testing.assert_close(found_shares, torch.full((3,), 1 / (1 + snr), dtype=torch.float64), rtol=0.03, atol=1e-4)


def test_the_scale_of_the_latents_does_not_matter() -> None:
    means = normal(4, 2, 32, 32)
    small = shares(1e-3 * means, log_variance(0.5e-3, means))
    torch.testing.assert_close(small, shares(means, log_variance(0.5, means)), rtol=1e-4, atol=1e-6)


def test_a_map_that_is_the_same_for_every_picture_is_no_signal() -> None:
    fixed = normal(1, 2, 32, 32).expand(6, -1, -1, -1)
    assert shares(fixed, torch.zeros_like(fixed)).min() > 0.999


def test_the_variance_between_pictures_has_no_bias_and_needs_one_picture_at_least() -> None:
    offsets = normal(400, 1, 1, 1)
    signal = shown(Signal(), offsets.expand(-1, 1, 2, 2), pixels=normal(400, 3, 16, 16))
    assert float(signal.between[0]) == pytest.approx(1.0, rel=0.15)
    one = shown(Signal(), normal(1, 2, 64, 64))
    assert one.between == pytest.approx([1.0, 1.0], rel=0.05)


def judged(after_encode: Callable[[Posterior], Posterior], log_var: float | None = -8.0) -> Finding:
    return found(PosteriorCollapse(), linear(after_encode, log_var=log_var), scenes(6, 128))


def prior_in(posterior: Posterior, channels: list[int]) -> Posterior:
    mean, log_var = posterior.mean.clone(), posterior.log_var
    assert log_var is not None
    log_var = log_var.clone()
    mean[:, channels], log_var[:, channels] = 0.0, 0.0
    return Posterior(mean, log_var)


def test_a_healthy_model_is_healthy_with_its_nats() -> None:
    finding = judged(lambda posterior: posterior)
    assert finding.severity == "healthy"
    assert finding.value is not None
    assert finding.value < 0.05
    assert finding.figures["nats_per_element"] > 1.5


@pytest.mark.parametrize(("channels", "severity"), [([0, 1, 2, 3, 4], "fault"), ([1, 3], "fault"), ([4], "warning")])
def test_channels_that_give_the_prior_are_counted_and_named(channels: list[int], severity: str) -> None:
    finding = judged(lambda posterior: prior_in(posterior, channels))
    assert finding.severity == severity
    assert finding.value == pytest.approx(len(channels) / 5)
    assert str(channels[-1]) in finding.evidence


def at_snr(snr: float) -> Finding:
    """Of a model whose cards have no signal at all, so that they excuse nothing."""
    means = math.sqrt(snr) * normal(6, 5, 32, 32)
    silent = linear(lambda posterior: Posterior(0 * posterior.mean, posterior.log_var))
    return shown(PosteriorCollapse(), means, torch.zeros_like(means)).examine(subject(silent)).finding


@pytest.mark.parametrize(("std", "severity"), [(0.3, "healthy"), (0.5, "warning"), (0.9, "warning"), (0.985, "fault")])
def test_a_high_kl_weight_that_still_carries_the_picture_is_a_warning_at_most(std: float, severity: str) -> None:
    """Means of variance 1 - std^2, so that samples have unit variance, as a strong KL weight makes them."""
    finding = at_snr((1 - std**2) / std**2)
    assert finding.severity == severity
    if severity != "fault":
        assert finding.value == pytest.approx(std**2, rel=0.05)
        assert finding.figures["nats_per_element"] == pytest.approx(-math.log(std), rel=0.1)


def test_an_encoder_that_gives_the_same_latents_for_every_picture_has_collapsed() -> None:
    fixed = normal(1, 5, 64, 64)

    def alike(posterior: Posterior) -> Posterior:
        height, width = posterior.mean.shape[-2:]
        return Posterior(fixed[..., :height, :width].expand_as(posterior.mean), posterior.log_var)

    assert judged(alike).severity == "fault"
    finding = judged(alike, log_var=None)
    assert finding.severity == "fault"
    assert "same for every picture" in finding.evidence


def test_a_dead_channel_without_noise_is_left_to_dead_channels() -> None:
    def silent(posterior: Posterior) -> Posterior:
        mean = posterior.mean.clone()
        mean[:, 1] = 0.3
        return Posterior(mean, torch.full_like(mean, -20.0))

    assert judged(silent).severity == "healthy"


def test_a_deterministic_encoder_is_healthy() -> None:
    examined_ = examined(PosteriorCollapse(), linear(log_var=None), scenes(3, 128))
    assert examined_.finding.severity == "healthy"
    assert "deterministic" in examined_.finding.evidence
    assert examined_.plots == ()


@pytest.mark.parametrize("level", [None, 0.0])
def test_grey_and_flat_pictures_accuse_nobody(level: float | None) -> None:
    grey = scenes(4, 128).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    pictures = grey if level is None else torch.full((4, 3, 128, 128), level)
    assert found(PosteriorCollapse(), linear(log_var=-4.0), pictures).severity != "fault"


def test_pictures_without_finite_latents_are_unavailable() -> None:
    probe = shown(PosteriorCollapse(), torch.full((2, 5, 16, 16), torch.nan), torch.zeros(2, 5, 16, 16))
    assert probe.examine(subject(linear())).finding.severity == "unavailable"
