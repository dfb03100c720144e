"""dead_channels on a linear VAE of which one channel is dead, ignored, weak or clamped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.probes.latent_batches import examined, found, linear, normal, shown, subject
from tests.probes.probe_walk import scenes
from vaecheck.probes.dead_channels import DeadChannels, _effects, _shown
from vaecheck.probes.saturation import Saturation
from vaecheck.results.types import Finding
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.protocol import Posterior

PICTURES = scenes(4, 128)


def judged(vae: LoadedVAE, pictures: Tensor = PICTURES) -> Finding:
    return found(DeadChannels(), vae, pictures)


def with_mean(posterior: Posterior, channel: int, value: Tensor | float) -> Posterior:
    mean = posterior.mean.clone()
    mean[:, channel] = value
    return Posterior(mean, posterior.log_var)


def weighted(latents: Tensor, channel: int, weight: float) -> Tensor:
    latents = latents.clone()
    latents[:, channel] *= weight
    return latents


def test_every_channel_of_a_healthy_model_is_alive() -> None:
    result = examined(DeadChannels(), linear(), PICTURES)
    assert result.finding.severity == "healthy"
    assert len(result.plots[0].lines[0].y) == 5


def test_the_effect_of_a_channel_is_the_change_when_it_is_exchanged() -> None:
    """A linear VAE: exchanging the red of two pictures moves one plane of three by the difference of their reds."""
    inspected = subject(linear(), 0.2 * PICTURES[:1])
    pixels = 0.4 * _shown(inspected)
    reds = inspected.encode(pixels).mean[:, 0]
    levels = float((reds[0] - reds[1]).square().mean().div(3).sqrt()) * 255 / 2
    effects = _effects(subject(linear(lambda posterior: Posterior(0.4 * posterior.mean, None)), 0.2 * PICTURES[:1]))
    assert effects is not None
    assert effects.exchanged[0] == pytest.approx(levels, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.7, -30.0])
def test_a_constant_channel_is_dead_and_named(value: float) -> None:
    finding = judged(linear(lambda posterior: with_mean(posterior, 2, value), lambda z: weighted(z, 2, 0.01)))
    assert finding.severity == "fault"
    assert finding.figures["channel"] == 2
    assert "encoder holds channel 2 constant" in finding.evidence


def test_a_channel_that_the_decoder_ignores_is_dead_and_named() -> None:
    finding = judged(linear(before_decode=lambda latents: weighted(latents, 1, 0.0)))
    assert finding.severity == "fault"
    assert "decoder makes next to nothing of channel 1" in finding.evidence


def test_a_map_that_is_the_same_for_every_picture_is_dead() -> None:
    fixed = normal(64, 64)

    def same_map(posterior: Posterior) -> Posterior:
        return with_mean(posterior, 0, fixed[: posterior.mean.shape[-2], : posterior.mean.shape[-1]])

    assert judged(linear(same_map)).severity == "fault"


@pytest.mark.parametrize(("weight", "severity"), [(0.5, "healthy"), (0.01, "warning"), (0.001, "fault")])
def test_a_weak_channel_is_judged_by_what_is_seen_of_it(weight: float, severity: str) -> None:
    assert judged(linear(before_decode=lambda latents: weighted(latents, 0, weight))).severity == severity


def test_a_channel_of_small_scale_that_the_decoder_uses_is_alive() -> None:
    def small(posterior: Posterior) -> Posterior:
        return with_mean(posterior, 0, 1e-3 * posterior.mean[:, 0])

    assert judged(linear(small, lambda latents: weighted(latents, 0, 1e3))).severity == "healthy"


def test_of_many_channels_the_dead_one_is_found_with_and_without_gradients() -> None:
    def many(posterior: Posterior) -> Posterior:
        mean = torch.cat([posterior.mean] * 4, 1)
        mean[:, 13] = 0.5
        return Posterior(mean, None)

    def sum_of(latents: Tensor) -> Tensor:
        return latents.unflatten(1, (4, 5)).mean(1)

    smooth = judged(linear(many, sum_of))
    rough = judged(linear(many, lambda latents: sum_of(latents.detach())))
    for finding in (smooth, rough):
        assert finding.severity == "fault"
        assert finding.figures["channel"] == 13
        assert finding.figures["dead_channels"] == 1


@pytest.mark.parametrize("level", [None, 0.0])
def test_grey_and_flat_pictures_leave_the_channels_of_colour_alive(level: float | None) -> None:
    grey = PICTURES.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert judged(linear(), grey if level is None else torch.full((2, 3, 128, 128), level)).severity == "healthy"


def test_a_decoder_whose_output_never_changes_makes_no_channel_stand_out() -> None:
    finding = judged(linear(after_decode=lambda pixels, latents: 0 * pixels))
    assert finding.severity == "unavailable"
    finding = judged(linear(after_decode=lambda pixels, latents: pixels * torch.nan))
    assert finding.severity == "unavailable"


def test_pictures_smaller_than_a_card_are_judged_on_cards() -> None:
    assert judged(linear(), scenes(2, 64)).severity == "healthy"


def clamped_at(limit: float) -> LoadedVAE:
    """Of the clamped channel, the colour red, whose pixels have a standard deviation of about 0.35."""
    return linear(lambda posterior: with_mean(posterior, 0, posterior.mean[:, 0].clamp(-limit, limit)))


@pytest.mark.parametrize(("limit", "severity"), [(0.95, "healthy"), (0.45, "warning"), (0.15, "fault")])
def test_a_clamp_is_found_by_the_share_at_its_value(limit: float, severity: str) -> None:
    finding = judged(clamped_at(limit))
    assert finding.severity == severity
    if severity != "healthy":
        assert abs(finding.figures["at"] or 0) == pytest.approx(limit)
        assert "clamp" in finding.remedy


def test_the_share_at_a_clamp_of_a_gaussian_is_that_of_its_tail() -> None:
    means = normal(4, 2, 32, 32)
    saturation = shown(Saturation(), means.clamp(-1.0, 1.5), pixels=normal(4, 3, 256, 256))
    shares, values = saturation.shares()
    assert saturation.judged
    assert shares == pytest.approx([0.1587] * 2, abs=0.02)
    assert values == pytest.approx([-1.0] * 2)


def test_flat_pictures_quantised_latents_and_codebooks_are_not_clamped() -> None:
    means = normal(4, 2, 32, 32).clamp(-0.5, 0.5)
    assert not shown(Saturation(), means, pixels=torch.zeros(4, 3, 256, 256)).judged
    levels = (normal(4, 2, 32, 32) * 2).round().clamp(-2, 2)
    assert not shown(Saturation(), levels, pixels=normal(4, 3, 256, 256)).judged
    half = linear(lambda posterior: with_mean(posterior, 0, posterior.mean[:, 0].clamp(-0.1, 0.1)), codebook_size=512)
    assert judged(half).severity == "healthy"
