"""Channel statistics against NumPy and scipy.stats, and on distributions whose answer is known."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import stats

from tests.metrics.laws import check_laws
from vaecheck.cells import merge, states
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.channels import ChannelStatistics
from vaecheck.metrics.protocol import Batch
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior


def fed(mean: torch.Tensor, log_var: torch.Tensor | None = None, *, step: int = 3) -> ChannelStatistics:
    metric = ChannelStatistics(mean.shape[1])
    for start in range(0, len(mean), step):
        part = slice(start, start + step)
        ids = tuple(f"{i:04}.png" for i in range(len(mean)))[part]
        q = Posterior(mean[part], None if log_var is None else log_var[part])
        metric.update(Batch(ids, torch.zeros(len(ids), 3, 8, 8, dtype=torch.uint8), q, q.mean))
    return metric


def measures(metric: ChannelStatistics) -> dict[str, Measure]:
    return {measure.name: measure for measure in metric.compute()}


def value(metric: ChannelStatistics, name: str) -> float:
    found = measures(metric)[name].value
    assert isinstance(found, float)
    return found


def latents(seed: int = 0, offset: float = 0.0) -> torch.Tensor:
    """(10, 4, 6, 5), channels of their own means and spreads, correlated."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator)
    picture = torch.randn(10, 4, 1, 1, generator=generator)
    cells = torch.randn(10, 4, 6, 5, generator=generator).exp()
    return offset + torch.einsum("ij,njhw->nihw", mixing, picture + cells)


def exponential(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).exponential(size=shape)).float()


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("step", [1, 4, 10])
def test_moments_agree_with_scipy(offset: float, step: int) -> None:
    z = latents(offset=offset)
    metric = fed(z, step=step)
    columns = z.double().transpose(0, 1).flatten(1).numpy()
    channels = metric.channels()
    assert [c["mean"] for c in channels] == pytest.approx(columns.mean(1), rel=1e-9)
    assert [c["std_of_means"] for c in channels] == pytest.approx(columns.std(1), rel=1e-9)
    assert [c["skew"] for c in channels] == pytest.approx(stats.skew(columns, axis=1), rel=1e-9)
    assert [c["excess_kurtosis"] for c in channels] == pytest.approx(stats.kurtosis(columns, axis=1), rel=1e-9)
    assert value(metric, "latent_skew") == pytest.approx(np.abs(stats.skew(columns, axis=1)).mean())
    standardised = (columns - columns.mean(1, keepdims=True)) / columns.std(1, keepdims=True)
    assert value(metric, "latent_kurtosis") == pytest.approx(stats.kurtosis(standardised.ravel()))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_covariance_agrees_with_numpy(offset: float) -> None:
    z = latents(offset=offset)
    metric = fed(z)
    columns = z.double().transpose(0, 1).flatten(1).numpy()
    eigenvalues = np.linalg.eigvalsh(np.cov(columns, bias=True))
    correlation = np.abs(np.corrcoef(columns))
    assert value(metric, "channel_correlation") == pytest.approx(correlation[np.triu_indices(4, 1)].mean(), rel=1e-9)
    assert value(metric, "effective_rank") == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-9)
    assert value(metric, "condition_number") == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-6)
    matrix = next(plot.matrix for plot in metric.plots() if plot.kind == "matrix")
    assert np.array(matrix) == pytest.approx(correlation, abs=1e-4)


@pytest.mark.parametrize(
    ("draw", "skew", "kurtosis"),
    [
        (lambda rng, shape: rng.exponential(size=shape), 2.0, 6.0),
        (lambda rng, shape: -rng.exponential(size=shape), 2.0, 6.0),
        (lambda rng, shape: rng.laplace(size=shape), 0.0, 3.0),
        (lambda rng, shape: rng.normal(size=shape), 0.0, 0.0),
        (lambda rng, shape: rng.uniform(size=shape), 0.0, -1.2),
    ],
    ids=["exponential", "exponential mirrored", "laplace", "normal", "uniform"],
)
def test_known_shapes(draw, skew: float, kurtosis: float) -> None:
    z = torch.from_numpy(draw(np.random.default_rng(0), (16, 4, 64, 64))).float()
    metric = fed(z * torch.tensor([0.1, 1.0, 10.0, 3.0]).view(1, 4, 1, 1) + 5)
    assert value(metric, "latent_skew") == pytest.approx(skew, abs=0.04)
    assert value(metric, "latent_kurtosis") == pytest.approx(kurtosis, abs=0.3)
    for name in ("latent_skew", "latent_kurtosis"):
        measure = measures(metric)[name]
        assert measure.ci95 is not None
        assert measure.ci95[0] <= value(metric, name) <= measure.ci95[1]


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_gaussian_of_rank_k_has_effective_rank_k(rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0][:, :rank]
    z = torch.einsum("ck,nkhw->nchw", directions, torch.randn(32, rank, 32, 32, generator=generator))
    metric = fed(z)
    assert value(metric, "effective_rank") == pytest.approx(rank, rel=0.01)
    condition = measures(metric)["condition_number"]
    if rank < 8:
        assert (condition.status, condition.value) == ("unavailable", None)
        assert "singular" in condition.reason
    else:
        assert condition.value == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0, 60.0])
def test_a_posterior_of_known_snr(snr_db: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.2, 1.0, 4.0]).view(1, 3, 1, 1)
    noise = torch.randn(16, 3, 32, 32, generator=generator)
    std = noise.std((0, 2, 3), correction=0, keepdim=True)
    mean = 3 + scale * noise / std
    log_var = (2 * scale.log() - snr_db / 10 * math.log(10)).expand_as(mean)
    metric = fed(mean, log_var)
    assert value(metric, "posterior_snr_db") == pytest.approx(snr_db, abs=1e-4)
    assert [c["posterior_snr_db"] for c in metric.channels()] == pytest.approx([snr_db] * 3, abs=1e-4)


def test_std_is_of_samples_by_the_law_of_total_variance() -> None:
    mean = latents()
    log_var = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2)) - 1
    metric = fed(mean, log_var)
    std = log_var.exp().double().sqrt()
    both = torch.cat([mean.double() + std, mean.double() - std]).transpose(0, 1).flatten(1).numpy()
    assert [c["std"] for c in metric.channels()] == pytest.approx(both.std(1), rel=1e-9)
    kl = 0.5 * (mean.double() ** 2 + log_var.double().exp() - 1 - log_var.double())
    assert [c["kl_nats_per_element"] for c in metric.channels()] == pytest.approx(kl.mean((0, 2, 3)).tolist())


@pytest.mark.parametrize("codes", [None, torch.zeros(10, 6, 5, dtype=torch.int64)])
def test_without_a_posterior_there_is_no_snr(codes: torch.Tensor | None) -> None:
    metric = ChannelStatistics(4)
    q = Posterior(latents(), codes=codes)
    metric.update(Batch(tuple("abcdefghij"), torch.zeros(10, 3, 8, 8, dtype=torch.uint8), q, q.mean))
    snr = measures(metric)["posterior_snr_db"]
    assert (snr.status, snr.value) == ("unavailable", None)
    assert ("deterministic" if codes is None else "quantised") in snr.reason
    assert {c["posterior_snr_db"] for c in metric.channels()} == {None}
    assert {c["kl_nats_per_element"] for c in metric.channels()} == {None}


def test_a_posterior_variance_of_zero_is_no_infinite_snr() -> None:
    metric = fed(latents(), torch.full((10, 4, 6, 5), -math.inf))
    assert measures(metric)["posterior_snr_db"].reason == "the posterior variance is 0"
    assert {c["posterior_snr_db"] for c in metric.channels()} == {None}
    assert_json(metric)


def test_active_units_by_definition() -> None:
    """Unit variances on both sides of 0.01: half of channel 0, all of channel 1, none of channel 2."""
    generator = torch.Generator().manual_seed(0)
    std = torch.zeros(3, 4, 4)
    std[0, :2], std[0, 2:], std[1], std[2] = 0.5, 0.05, 0.2, 0.01
    position = 5 * torch.randn(1, 3, 4, 4, generator=generator)  # what is the same in every picture is no activity
    mean = position + std * torch.randn(400, 3, 4, 4, generator=generator)
    metric = fed(mean, step=50)
    assert [c["active_units"] for c in metric.channels()] == [0.5, 1.0, 0.0]
    assert value(metric, "active_units") == pytest.approx(0.5)
    assert "0.01" in measures(metric)["active_units"].definition
    columns = mean.double().numpy().var(0, ddof=1)
    assert value(metric, "active_units") == (columns > 0.01).mean()


def test_active_units_of_one_picture_are_unavailable() -> None:
    assert measures(fed(latents()[:1]))["active_units"].status == "unavailable"


def test_pictures_of_several_sizes() -> None:
    metric = ChannelStatistics(4)
    parts = [latents(0), latents(1)[:, :, :3], latents(2)[..., :2]]
    for number, part in enumerate(parts):
        ids = tuple(f"{number}-{i}" for i in range(len(part)))
        metric.update(Batch(ids, torch.zeros(len(part), 3, 8, 8), Posterior(part), part))
    columns = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1).double().numpy()
    assert [c["std"] for c in metric.channels()] == pytest.approx(columns.std(1), rel=1e-9)
    assert value(metric, "channel_correlation") == pytest.approx(
        np.abs(np.corrcoef(columns))[np.triu_indices(4, 1)].mean()
    )
    assert 0 < value(metric, "active_units") <= 1
    other = fed(latents(3)[..., :1, :1])
    merge(other, states(metric))
    assert len(other.rows) == 40


def test_dead_and_constant_channels() -> None:
    z = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 7.3
    z[:, 2] *= 0.01
    metric = fed(z)
    assert [c["dead"] for c in metric.channels()] == [0.0, 1.0, 1.0, 0.0]
    assert value(metric, "dead_channel_count") == 2
    constant = metric.channels()[1]
    assert (constant["std"], constant["skew"], constant["saturated_share"]) == (0.0, None, None)
    assert measures(metric)["condition_number"].status == "unavailable"
    rest = np.abs(np.corrcoef(z[:, [0, 2, 3]].double().transpose(0, 1).flatten(1).numpy()))
    assert value(metric, "channel_correlation") == pytest.approx(rest[np.triu_indices(3, 1)].mean())
    assert_json(metric)


@pytest.mark.parametrize("channels", [1, 4])
def test_constant_latents_have_no_shape_and_say_so(channels: int) -> None:
    metric = fed(torch.full((5, channels, 4, 4), 0.1), torch.full((5, channels, 4, 4), -2.0))
    found = measures(metric)
    for name in ("latent_skew", "latent_kurtosis", "effective_rank", "condition_number", "posterior_snr_db"):
        assert (found[name].status, found[name].value) == ("unavailable", None), name
        assert found[name].reason
    assert value(metric, "dead_channel_count") == channels
    assert value(metric, "active_units") == 0
    assert_json(metric)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_saturated_share(scale: float) -> None:
    z = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z[:, 1].clamp_(-1, 1)
    z[:, 2] = torch.rand(z[:, 2].shape, generator=torch.Generator().manual_seed(1))
    normal, clamped, even = (c["saturated_share"] for c in fed(scale * z).channels())
    assert normal is not None
    assert clamped is not None
    assert even is not None
    assert normal < 1e-3
    beyond = 2 * stats.norm.sf(1)
    assert beyond < clamped < beyond + 2 * 0.03 * stats.norm.pdf(1)
    assert even == pytest.approx(0.02, abs=0.006)


def test_histograms_are_densities_of_the_channels() -> None:
    z = torch.randn(32, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 20 + 0.7 * z[:, 1]
    plot = next(plot for plot in fed(z).plots() if plot.name == "channel_histograms")
    for line in plot.lines:
        assert sum(line.y) * 0.2 == pytest.approx(1.0, abs=0.01)
        assert np.array(line.y) == pytest.approx(stats.norm.pdf(line.x), abs=0.02)


def test_of_many_channels_the_least_and_the_most_gaussian_are_drawn() -> None:
    z = torch.randn(16, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    z[:, [2, 5, 7]] = exponential((16, 3, 32, 32))
    plot = next(plot for plot in fed(z).plots() if plot.name == "channel_histograms")
    drawn = [int(line.label.split(",")[0].removeprefix("channel ")) for line in plot.lines[1:]]
    assert len(drawn) == 6
    assert {2, 5, 7} <= set(drawn)


def test_pictures_with_nan_are_left_out_and_counted() -> None:
    z = latents()
    z[3, 1, 0, 0] = math.nan
    z[6, 0, 1, 1] = math.inf
    metric = fed(z)
    rest = np.delete(z.double().numpy(), [3, 6], axis=0).transpose(1, 0, 2, 3).reshape(4, -1)
    assert value(metric, "latent_kurtosis") == pytest.approx(stats.kurtosis(rest, axis=1).mean())
    kurtosis = measures(metric)["latent_kurtosis"]
    assert (kurtosis.status, kurtosis.n, kurtosis.counts) == ("unreliable", 8, {"non_finite": 2})
    assert value(metric, "active_units") == (rest.reshape(4, 8, 6, 5).var(1, ddof=1) > 0.01).mean()
    assert_json(metric)


def test_nothing_but_nan_is_an_error_with_the_remedy() -> None:
    with pytest.raises(NotEnoughImages, match="NaN"):
        fed(torch.full((3, 2, 4, 4), math.nan)).compute()


def test_every_measure_says_what_it_is() -> None:
    for measure in fed(latents(), latents()).compute():
        assert measure.role == "describes"
        assert measure.better is None
        assert measure.definition
        assert measure.evidence
        assert "{" not in measure.definition


def assert_json(metric: ChannelStatistics) -> None:
    """No NaN and no infinity anywhere."""
    json.dumps([asdict(m) for m in metric.compute()], allow_nan=False)
    json.dumps([asdict(plot) for plot in metric.plots()], allow_nan=False)
    json.dumps(metric.channels(), allow_nan=False)


@pytest.mark.parametrize("stochastic", [True, False])
def test_laws(stochastic: bool) -> None:
    z = latents()
    z[5, 0, 0, 0] = math.nan
    z[7] *= 3
    batches = []
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        part = z[start:stop] if start else z[start:stop, :, :4]
        ids = tuple(f"{i}.png" for i in range(start, stop))
        original = torch.zeros(len(ids), 3, 8, 8, dtype=torch.uint8)
        batches.append(Batch(ids, original, Posterior(part, part - 2 if stochastic else None), part))
    check_laws(lambda: ChannelStatistics(4), batches)
