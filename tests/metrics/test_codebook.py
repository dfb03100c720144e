"""Codebook figures against closed forms, SciPy and torchmetrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torchmetrics.text import Perplexity

from tests.vae.small_diffusers import saved_diffusers
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics import catalogue
from vaecheck.metrics.catalogue import CODEBOOK_NAMES, Catalogue
from vaecheck.metrics.codebook import Codebook, perplexity
from vaecheck.metrics.protocol import Batch
from vaecheck.results.types import Measure
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings
from vaecheck.vae.protocol import Posterior


def batch_of(codes: Tensor, start: int = 0) -> Batch:
    ids = tuple(f"{start + i}.png" for i in range(len(codes)))
    latents = torch.zeros(len(codes), 3, *codes.shape[1:])
    return Batch(ids, torch.zeros(len(codes), 3, 8, 8, dtype=torch.uint8), Posterior(latents, codes=codes), latents)


def measured(codes: Tensor, size: int) -> dict[str, Measure]:
    metric = Codebook(size)
    metric.update(batch_of(codes))
    return {measure.name: measure for measure in metric.compute()}


def skewed(size: int, seed: int = 0) -> Tensor:
    """Codes (20, 8, 8), of which the lower ones are by far the more frequent."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy((size * generator.random((20, 8, 8)) ** 4).astype(np.int64))


@pytest.mark.parametrize("size", [16, 128])
def test_agrees_with_scipy_and_torchmetrics(size: int) -> None:
    codes = skewed(size)
    counts = np.bincount(codes.flatten(), minlength=size)
    found = measured(codes, size)
    entropy = scipy.stats.entropy(counts)
    assert found["codebook_perplexity"].value == pytest.approx(np.exp(entropy), rel=1e-9)
    assert found["codebook_use"].value == np.count_nonzero(counts) / size
    theirs = Perplexity().set_dtype(torch.float64)
    log_frequencies = torch.from_numpy(np.log(np.maximum(counts, 1e-300) / counts.sum()))
    theirs.update(log_frequencies.expand(1, codes.numel(), size), codes.reshape(1, -1))
    assert found["codebook_perplexity"].value == pytest.approx(theirs.compute().item(), rel=1e-6)


@pytest.mark.parametrize("used", [1, 2, 7, 16])
def test_evenly_used_entries_count_as_many(used: int) -> None:
    codes = torch.arange(used).repeat(160).reshape(-1, 4, 4)
    found = measured(codes, 16)
    assert found["codebook_perplexity"].value == pytest.approx(used)
    assert found["codebook_use"].value == used / 16
    assert {measure.status for measure in found.values()} == {"ok"}


def test_perplexity_closed_form() -> None:
    assert perplexity(np.array([3.0, 1.0, 0.0])) == pytest.approx(4 / 3**0.75)


def test_of_all_pictures_not_the_mean_of_batches() -> None:
    """Two pictures that use one entry each use two between them; the mean of the batches would say one."""
    metric = Codebook(2)
    for entry in range(2):
        metric.update(batch_of(torch.full((1, 8, 8), entry), start=entry))
    use, spread = metric.compute()
    assert (use.value, spread.value) == (1.0, pytest.approx(2.0))
    assert metric.columns() == {"codebook_entries": (1.0, 1.0)}


def test_too_few_codes_are_said_with_what_would_do() -> None:
    found = measured(torch.arange(16).reshape(1, 4, 4), 64)
    for measure in found.values():
        assert measure.status == "unreliable"
        assert "16 codes were seen of 64 entries, of which at most 25.0% can have been used" in measure.reason
        assert "here 40 pictures" in measure.reason
    assert found["codebook_use"].value == 0.25


def test_pictures_that_are_not_finite_are_left_out_and_counted() -> None:
    metric, batch = Codebook(2), batch_of(torch.tensor([0, 1, 1]).view(3, 1, 1).expand(3, 8, 8))
    assert batch.posterior is not None
    batch.posterior.mean[0, 0, 0, 0] = float("nan")
    metric.update(batch)
    use, spread = metric.compute()
    assert (use.value, spread.value, use.n) == (0.5, pytest.approx(1.0), 2)
    assert (use.status, use.counts) == ("unreliable", {"non_finite": 1})
    assert metric.columns() == {"codebook_entries": (None, 1.0, 1.0)}


def test_nothing_finite_has_no_value() -> None:
    metric, batch = Codebook(2), batch_of(torch.zeros(1, 8, 8, dtype=torch.int64))
    assert batch.posterior is not None
    batch.posterior.mean[:] = float("inf")
    metric.update(batch)
    assert {(measure.value, measure.status) for measure in metric.compute()} == {(None, "unavailable")}
    with pytest.raises(NotEnoughImages):
        Codebook(2).compute()


def test_in_the_default_metrics_only_with_a_codebook() -> None:
    assert not set(CODEBOOK_NAMES) & set(catalogue.default_names())
    assert set(CODEBOOK_NAMES) <= set(catalogue.default_names(codebook=True))


def test_asked_of_a_vae_without_one_it_is_unavailable() -> None:
    measures = Catalogue(torch.device("cpu")).build(CODEBOOK_NAMES).measures()
    assert {(measure.value, measure.status) for measure in measures.values()} == {(None, "unavailable")}
    assert all("no codebook" in measure.reason for measure in measures.values())


def test_reconstruct_of_a_quantised_model(tmp_path: Path) -> None:
    """With the default metrics: rFID and LPIPS are not to be had offline, the rest is."""
    folder = saved_diffusers("VQModel", tmp_path / "vq")
    settings = Settings(size=64, limit=4, batch_size=3, workers=0, offline=True, yardstick="none")
    result, _ = reconstruct("samples", folder, settings)
    assert result.vae is not None
    assert (result.vae.codebook_size, result.vae.deterministic) == (32, True)
    assert result.measures["kl_nats_per_image"].reason.startswith("quantised")
    assert result.measures["codebook_use"].n == 4
    assert len(result.per_image.columns["codebook_entries"]) == 4
