"""Latent moments against NumPy in float64 over all latents at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.protocol import Posterior, noise_for

IDS = tuple("abcdefgh")
SHAPE = (8, 4, 6, 5)


def posterior(offset: float = 0.3) -> Posterior:
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.1, 1.0, 5.0, 20.0]).view(1, 4, 1, 1)
    mean = offset + scale * torch.randn(SHAPE, generator=generator)
    return Posterior(mean, torch.randn(SHAPE, generator=generator) - 2)


def measured(q: Posterior, latents: torch.Tensor, *, step: int = 3) -> LatentMoments:
    metric = LatentMoments()
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
    assert "float32" in caught.value.hint
