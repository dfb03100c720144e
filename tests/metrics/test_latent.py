"""Latent moments against NumPy in float64 over all latents at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.protocol import Batch
from vaecheck.results.types import LatentScaling
from vaecheck.vae.protocol import Posterior, noise_for

IDS = tuple("abcdefgh")
SHAPE = (8, 4, 6, 5)


def posterior(offset: float = 0.3) -> Posterior:
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.1, 1.0, 5.0, 20.0]).view(1, 4, 1, 1)
    mean = offset + scale * torch.randn(SHAPE, generator=generator)
    return Posterior(mean, torch.randn(SHAPE, generator=generator) - 2)


def measured(q: Posterior, latents: torch.Tensor, *, step: int = 3, patch: int = 1) -> LatentMoments:
    metric = LatentMoments(patch=patch)
    for i in range(0, len(IDS), step):
        part = slice(i, i + step)
        log_var = q.log_var[part] if q.log_var is not None else None
        original = torch.zeros(len(IDS[part]), 3, 48, 40, dtype=torch.uint8)
        metric.update(Batch(IDS[part], original, Posterior(q.mean[part], log_var), latents[part]))
    return metric


@pytest.mark.parametrize("offset", [0.0, 0.3, 1000.0])
@pytest.mark.parametrize("sampled", [False, True])
def test_agree_with_numpy(offset: float, sampled: bool) -> None:
    q = posterior(offset)
    latents = q.sample(noise_for(IDS, q.mean, 0)) if sampled else q.mean
    measures = {measure.name: measure for measure in measured(q, latents).compute()}
    used = latents.double().numpy()
    assert measures["latent_mean"].value == pytest.approx(np.mean(used), rel=1e-6, abs=1e-6)
    assert measures["latent_std"].value == pytest.approx(np.std(used), rel=1e-6)
    assert q.log_var is not None
    variances = np.exp(q.log_var.double().numpy())
    assert measures["posterior_std"].value == pytest.approx(np.sqrt(variances.mean()), rel=1e-6)
    assert measures["latent_shape"].value == (4, 6, 5)
    assert measures["compression_ratio"].value == 3 * 48 * 40 / (4 * 6 * 5)
    assert {measure.n for measure in measures.values()} == {8}


def test_std_of_samples_is_exact_without_drawing_any() -> None:
    q = posterior()
    many = torch.cat([q.sample(noise_for(IDS, q.mean, seed)) for seed in range(400)])
    assert measured(q, q.mean).moments().std == pytest.approx(many.double().std().item(), rel=2e-3)


def test_per_channel_moments() -> None:
    q = posterior()
    channels = measured(q, q.mean).channel_moments()
    values = q.mean.double().numpy()
    assert [channel.mean for channel in channels] == pytest.approx(values.mean((0, 2, 3)).tolist(), rel=1e-6)
    assert [channel.std_of_means for channel in channels] == pytest.approx(values.std((0, 2, 3)).tolist(), rel=1e-6)


def samples(q: Posterior) -> np.ndarray:
    """mean + s and mean - s: twice as many values with exactly the mean and variance of the posterior samples."""
    assert q.log_var is not None
    mean, std = q.mean.double().numpy(), np.exp(0.5 * q.log_var.double().numpy())
    return np.concatenate([mean + std, mean - std])


@pytest.mark.parametrize("offset", [0.0, 0.3, 1000.0])
@pytest.mark.parametrize("step", [1, 3, 8])
@pytest.mark.parametrize(
    "scaling",
    [
        LatentScaling(0.18215),
        LatentScaling(-0.3611, 0.1159),
        LatentScaling(None, None, (0.1, -2.0, 3.0, 0.0), (0.1, 1.0, 5.0, 20.0)),
        LatentScaling(0.5, None, (0.1, -2.0, 3.0, 0.0), (0.1, 1.0, 5.0, 20.0)),
    ],
)
def test_a_scaling_of_channels_against_numpy(scaling: LatentScaling, step: int, offset: float) -> None:
    q = posterior(offset)
    raw = samples(q)
    means, stds = (
        np.array(scaling.channel_means or 4 * [scaling.shift_factor or 0.0]),
        scaling.channel_stds or 4 * [1.0],
    )
    factor = 1.0 if scaling.scaling_factor is None else scaling.scaling_factor
    expected = (raw - means[:, None, None]) / np.array(stds)[:, None, None] * factor
    after = measured(q, q.mean, step=step).scaled(scaling)
    assert after is not None
    assert after.mean == pytest.approx(expected.mean(), rel=1e-6, abs=1e-9)
    assert after.std == pytest.approx(expected.std(), rel=1e-6)
    channels = expected.std((0, 2, 3))
    worst = np.abs(np.log(channels)).argmax()
    assert (after.worst_channel, after.worst_std) == (worst, pytest.approx(channels[worst], rel=1e-6))


@pytest.mark.parametrize("patch", [2, 3])
def test_a_scaling_of_patches_against_numpy(patch: int) -> None:
    """6x5 latents are no multiple of 2 or 3: the positions that are there count, and no others."""
    q = posterior()
    count = 4 * patch**2
    generator = np.random.default_rng(2)
    means, stds = generator.normal(size=count), generator.uniform(0.5, 20, size=count)
    expected = samples(q)
    rows, columns = np.arange(6)[:, None] % patch, np.arange(5)[None] % patch
    for channel in range(4):
        place = channel * patch**2 + rows * patch + columns
        expected[:, channel] = (expected[:, channel] - means[place]) / stds[place]
    metric = measured(q, q.mean, patch=patch)
    after = metric.scaled(LatentScaling(None, None, tuple(means), tuple(stds), patch))
    assert after is not None
    assert after.mean == pytest.approx(expected.mean(), rel=1e-6)
    assert after.std == pytest.approx(expected.std(), rel=1e-6)
    folded, whole = metric.channel_moments(), measured(q, q.mean).channel_moments()
    assert [c.std for c in folded] == pytest.approx([c.std for c in whole], rel=1e-9)


def test_pictures_with_nan_count_for_no_channel() -> None:
    q = posterior()
    q.mean[2, 1, 0, 0] = float("nan")
    after = measured(q, q.mean, patch=2).scaled(LatentScaling(2.0))
    assert after is not None
    assert q.log_var is not None
    rest = Posterior(*(torch.cat([part[:2], part[3:]]) for part in (q.mean, q.log_var)))
    assert after.std == pytest.approx(2 * samples(rest).std(), rel=1e-6)


def test_a_scaling_of_other_channels_is_none() -> None:
    q = posterior()
    assert measured(q, q.mean).scaled(LatentScaling(None, None, (0.0,) * 3, (1.0,) * 3)) is None
    assert measured(q, q.mean).scaled(LatentScaling(None, None, (0.0,) * 16, (1.0,) * 16, patch=2)) is None


def test_batches_do_not_matter() -> None:
    """The public bug this guards against: averaging the standard deviations of batches, 16 times off."""
    q = posterior()
    one, eight = (measured(q, q.mean, step=step).compute() for step in (1, 8))
    for a, b in zip(one, eight, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-12)


def test_interval_holds_the_value_and_is_deterministic() -> None:
    q = posterior()
    first, second = measured(q, q.mean), measured(q, q.mean)
    interval = first.scaling_factor_ci95()
    assert interval is not None
    assert interval[0] <= 1 / first.moments().std <= interval[1]
    assert interval == second.scaling_factor_ci95()


def test_deterministic_encoder() -> None:
    q = Posterior(posterior().mean)
    metric = measured(q, q.mean)
    measures = {measure.name: measure for measure in metric.compute()}
    assert measures["posterior_std"].status == "unavailable"
    assert metric.moments().std == metric.moments().std_of_means


def test_pictures_with_nan_latents_are_left_out_and_counted() -> None:
    q = posterior()
    q.mean[2, 1, 0, 0] = float("inf")
    metric = measured(q, q.mean)
    rest = np.delete(q.mean.double().numpy(), 2, axis=0)
    measures = {measure.name: measure for measure in metric.compute()}
    assert measures["latent_std"].value == pytest.approx(rest.std(), rel=1e-6)
    assert measures["latent_std"].status == "unreliable"
    assert metric.channel_moments()[1].mean == pytest.approx(rest[:, 1].mean(), rel=1e-6)


def test_nothing_but_nan_is_an_error_with_the_remedy() -> None:
    q = posterior()
    q.mean[:] = float("nan")
    with pytest.raises(NotEnoughImages, match="NaN") as caught:
        measured(q, q.mean).compute()
    assert "weights are broken" in caught.value.hint
