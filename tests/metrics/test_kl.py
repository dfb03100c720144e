"""KL against diffusers' DiagonalGaussianDistribution, and the relations between its units."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from vaecheck.metrics.kl import KL, kl_nats
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.protocol import Posterior


def posterior(seed: int = 0, spread: float = 3.0) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    moments = spread * torch.randn(4, 8, 5, 6, generator=generator)
    mean, log_var = moments.chunk(2, dim=1)
    return Posterior(mean, log_var.clamp(-30, 20))


@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
def test_agrees_with_diffusers(spread: float) -> None:
    ours = posterior(spread=spread)
    assert ours.log_var is not None
    parameters = torch.cat([ours.mean, ours.log_var], dim=1).double()
    theirs = DiagonalGaussianDistribution(parameters).kl()
    assert kl_nats(ours).tolist() == pytest.approx(theirs.tolist(), rel=1e-5)


def test_the_standard_normal_itself_has_none() -> None:
    zero = torch.zeros(2, 4, 3, 3)
    assert kl_nats(Posterior(zero, zero)).tolist() == [0.0, 0.0]


def test_three_units_of_one_figure() -> None:
    metric, q = KL(), posterior()
    metric.update(Batch(("a", "b", "c", "d"), torch.zeros(4, 3, 40, 48, dtype=torch.uint8), q, q.mean))
    image, element, bits = (measure.value for measure in metric.compute())
    assert isinstance(image, float)
    assert image == pytest.approx(kl_nats(q).mean().item())
    assert element == pytest.approx(image / (4 * 5 * 6))
    assert bits == pytest.approx(image / math.log(2) / (40 * 48))


def test_a_deterministic_encoder_has_no_kl_and_says_so() -> None:
    metric = KL()
    mean = torch.zeros(1, 4, 2, 2)
    metric.update(Batch(("a",), torch.zeros(1, 3, 16, 16, dtype=torch.uint8), Posterior(mean), mean))
    assert {measure.status for measure in metric.compute()} == {"unavailable"}
    assert all("deterministic" in measure.reason for measure in metric.compute())


def test_a_quantised_model_has_none_and_says_what_it_has_instead() -> None:
    metric = KL()
    mean, codes = torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64)
    metric.update(Batch(("a",), torch.zeros(1, 3, 16, 16, dtype=torch.uint8), Posterior(mean, codes=codes), mean))
    for measure in metric.compute():
        assert (measure.status, measure.value) == ("unavailable", None)
        assert measure.reason.startswith("quantised: no posterior, so no KL; codebook_use and codebook_perplexity")


def test_nan_in_a_posterior_is_counted() -> None:
    metric, q = KL(), posterior()
    q.mean[2, 0, 0, 0] = float("nan")
    metric.update(Batch(("a", "b", "c", "d"), torch.zeros(4, 3, 40, 48, dtype=torch.uint8), q, q.mean))
    assert {(measure.n, measure.status) for measure in metric.compute()} == {(3, "unreliable")}
