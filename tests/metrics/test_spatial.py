"""Autocorrelation, LDS and CDS against sums over all pairs, and on fields of known correlation."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.metrics.laws import check_laws
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics import token_cosines
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.spatial import Spatial
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior


def fed(z: torch.Tensor, *, step: int = 3) -> Spatial:
    metric = Spatial(z.shape[1])
    ids = tuple(f"{i:04}.png" for i in range(len(z)))
    for start in range(0, len(z), step):
        part = slice(start, start + step)
        original = torch.zeros(len(ids[part]), 3, 8, 8, dtype=torch.uint8)
        metric.update(Batch(ids[part], original, Posterior(z[part]), z[part]))
    return metric


def measures(metric: Spatial) -> dict[str, Measure]:
    return {measure.name: measure for measure in metric.compute()}


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def autoregressive(rho: float, shape: tuple[int, int, int, int], seed: int = 0) -> torch.Tensor:
    """Gaussian fields whose cells at Manhattan distance d correlate by rho^d: AR(1) down and across."""
    innovations = np.random.default_rng(seed).normal(size=shape)
    for axis in (2, 3):
        fields = np.moveaxis(innovations, axis, 0)
        for i in range(1, len(fields)):
            fields[i] = rho * fields[i - 1] + math.sqrt(1 - rho**2) * fields[i]
    return torch.from_numpy(innovations).float()


def by_pairs(z: NDArray[np.float64]) -> tuple[float, float]:
    """LDS and CDS of latents of at most 16 x 16 cells, pair by pair as published."""
    standardised = (z - z.mean((0, 2, 3), keepdims=True)) / z.std((0, 2, 3), keepdims=True)
    lds, cds = [], []
    for picture in standardised:
        near: dict[int, list[float]] = {}
        far = []
        cells = [(y, x) for y in range(picture.shape[1]) for x in range(picture.shape[2])]
        for i, (y, x) in enumerate(cells):
            for v, u in cells[i + 1 :]:
                a, b = picture[:, y, x], picture[:, v, u]
                cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                distance = abs(y - v) + abs(x - u)
                near.setdefault(distance, []).append(cosine)
                if distance >= 6:
                    far.append(cosine)
        lds.append(np.mean(near[1]) - np.mean(far))
        distances = [d for d in range(1, 9) if d in near]
        cds.append(-np.polyfit(distances, [np.mean(near[d]) for d in distances], 1)[0])
    return float(np.mean(lds)), float(np.mean(cds))


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("step", [1, 4, 7])
def test_autocorrelation_agrees_with_numpy(offset: float, step: int) -> None:
    z = offset + white(7, 3, 1, 1) + autoregressive(0.7, (7, 3, 9, 12)) * torch.tensor([0.1, 1.0, 5.0]).view(3, 1, 1)
    metric = fed(z, step=step)
    values = z.double().numpy()
    centred = values - values.mean((0, 2, 3), keepdims=True)
    for channel, figures in enumerate(metric.channels()):
        one = centred[:, channel]
        for lag in (1, 2, 4):
            products = [one[:, lag:] * one[:, :-lag], one[..., lag:] * one[..., :-lag]]
            expected = np.concatenate([each.ravel() for each in products]).mean() / one.var()
            assert figures[f"autocorrelation_{lag}"] == pytest.approx(expected, rel=1e-9)
        assert figures["autocorrelation_8"] is None


@pytest.mark.parametrize(("height", "width"), [(7, 7), (6, 9), (3, 5)])
def test_lds_and_cds_agree_with_sums_over_all_pairs(height: int, width: int) -> None:
    z = 3 + white(3, 4, 1, 1) + autoregressive(0.8, (3, 4, height, width)) * torch.tensor([0.1, 1, 5, 20]).view(4, 1, 1)
    found = measures(fed(z))
    lds, cds = by_pairs(z.double().numpy())
    assert found["lds"].value == pytest.approx(lds, rel=1e-5)
    assert found["cds"].value == pytest.approx(cds, rel=1e-5)


def test_white_noise_has_no_structure() -> None:
    found = measures(fed(white(32, 8, 32, 32), step=8))
    for lag in (1, 2, 4, 8):
        assert found[f"autocorrelation_{lag}"].value == pytest.approx(0.0, abs=0.01)
    assert found["lds"].value == pytest.approx(0.0, abs=0.01)
    assert found["cds"].value == pytest.approx(0.0, abs=0.002)
    length = found["correlation_length"].value
    assert isinstance(length, float)
    assert length < 1


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_an_autoregressive_field_of_known_correlation(rho: float) -> None:
    found = measures(fed(autoregressive(rho, (24, 32, 32, 32)), step=8))
    for lag in (1, 2, 4, 8):
        assert found[f"autocorrelation_{lag}"].value == pytest.approx(rho**lag, abs=0.01)
    assert found["correlation_length"].value == pytest.approx(-1 / math.log(rho), rel=0.03)
    distance = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    pairs = distance[:, None, :, None] + distance[None, :, None, :]
    assert found["lds"].value == pytest.approx(rho - (rho ** pairs[pairs >= 6]).mean(), abs=0.015)
    slope = np.polyfit(np.arange(1, 9), rho ** np.arange(1, 9), 1)[0]
    assert found["cds"].value == pytest.approx(-slope, abs=0.003)


def test_a_correlation_that_stays_has_no_length_and_says_how_far_it_was_followed() -> None:
    length = measures(fed(white(16, 2, 1, 1) + 0.1 * white(16, 2, 20, 20)))["correlation_length"]
    assert (length.status, length.value) == ("unavailable", None)
    assert "within 8 cells" in length.reason


def test_scale_and_offset_of_a_channel_change_nothing() -> None:
    z = autoregressive(0.8, (6, 3, 20, 20)).double()
    moved = z * torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1) - 25
    plain = measures(fed(z))
    for name, measure in measures(fed(moved)).items():
        assert measure.value == pytest.approx(plain[name].value, rel=1e-4), name


def test_constant_channels_are_left_out() -> None:
    z = autoregressive(0.8, (6, 3, 16, 16))
    z[:, 1] = 0.1
    metric = fed(z)
    rest = measures(fed(z[:, [0, 2]]))
    for name, measure in measures(metric).items():
        assert measure.value == pytest.approx(rest[name].value, rel=1e-9), name
    assert set(metric.channels()[1].values()) == {None}
    assert_json(metric)


def test_constant_latents_have_no_structure_and_say_so() -> None:
    metric = fed(torch.full((5, 2, 16, 16), 0.1))
    for measure in metric.compute():
        assert (measure.status, measure.value) == ("unavailable", None)
        assert "constant" in measure.reason
    assert_json(metric)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (4, 1)])
def test_latents_of_few_cells(height: int, width: int) -> None:
    metric = fed(white(6, 2, height, width))
    found = measures(metric)
    assert found["autocorrelation_4"].status == "unavailable"
    assert "too few cells" in found["lds"].reason
    assert_json(metric)


def test_pictures_of_several_sizes() -> None:
    z, wide = autoregressive(0.8, (40, 8, 16, 16)), autoregressive(0.8, (40, 8, 8, 40), seed=1)
    metric = fed(z)
    ids = tuple(f"wide {i}" for i in range(40))
    metric.update(Batch(ids, torch.zeros(40, 3, 8, 8), Posterior(wide), wide))
    found = measures(metric)
    assert {measure.n for measure in found.values()} == {80}
    assert found["autocorrelation_2"].value == pytest.approx(0.64, abs=0.03)


def test_of_many_pictures_the_same_windows_are_taken_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cosines, "MOST_WINDOWS", 5)
    z = autoregressive(0.8, (20, 4, 20, 20))
    forward, backward = Spatial(4), Spatial(4)
    for metric, order in ((forward, range(20)), (backward, range(19, -1, -1))):
        for i in order:
            metric.update(Batch((f"{i}.png",), torch.zeros(1, 3, 8, 8), Posterior(z[i : i + 1]), z[i : i + 1]))
    ours, theirs = measures(forward)["lds"], measures(backward)["lds"]
    assert ours.n == theirs.n == 5
    assert ours.value == pytest.approx(theirs.value, rel=1e-9)
    assert measures(forward)["autocorrelation_1"].n == 20


def test_pictures_with_nan_are_left_out_and_counted() -> None:
    z = autoregressive(0.8, (8, 2, 10, 10))
    z[3, 1, 0, 0] = math.nan
    metric = fed(z)
    rest = measures(fed(torch.cat([z[:3], z[4:]])))
    for name, measure in measures(metric).items():
        if measure.value is not None and name.startswith("auto"):
            assert measure.value == pytest.approx(rest[name].value, rel=1e-9), name
            assert (measure.status, measure.n, measure.counts) == ("unreliable", 7, {"non_finite": 1})
    assert measures(metric)["lds"].counts == {"non_finite": 1}
    assert_json(metric)
    with pytest.raises(NotEnoughImages, match="NaN"):
        fed(torch.full((3, 2, 8, 8), math.nan)).compute()


def test_every_measure_says_what_it_is() -> None:
    for measure in fed(autoregressive(0.8, (6, 3, 20, 20))).compute():
        assert measure.definition
        assert measure.evidence
        predicts = measure.name in ("lds", "cds")
        assert (measure.role, measure.better) == (("predicts", "higher") if predicts else ("describes", None))


def assert_json(metric: Spatial) -> None:
    json.dumps([asdict(m) for m in metric.compute()], allow_nan=False)
    json.dumps([asdict(plot) for plot in metric.plots()], allow_nan=False)
    json.dumps(metric.channels(), allow_nan=False)


def test_laws() -> None:
    z = autoregressive(0.8, (10, 4, 20, 18))
    z[5, 0, 0, 0] = math.nan
    batches = []
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        part = z[start:stop] if start else z[start:stop, :, :8]
        original = torch.zeros(stop - start, 3, 8, 8, dtype=torch.uint8)
        batches.append(Batch(tuple(f"{i}.png" for i in range(start, stop)), original, Posterior(part), part))
    check_laws(lambda: Spatial(4), batches)
