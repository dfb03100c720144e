"""TwoNN on point sets whose dimension is known, embedded in a larger space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.spatial import cKDTree

from tests.metrics.laws import check_laws
from vaecheck.metrics.intrinsic_dimension import NAME, IntrinsicDimension, two_nn
from vaecheck.metrics.latent_store import LatentReadings, LatentStore, Stored
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.protocol import Posterior

DRAW = np.random.default_rng(0)


def embedded(points: NDArray[np.float64], space: int) -> NDArray[np.float64]:
    """Turned into a larger space: distances stay as they are."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(space, points.shape[1])))
    return np.asarray(points @ turn.T + 100.0)


def stored(points: NDArray[np.float64], shape: tuple[int, int, int]) -> Stored:
    ids = tuple(f"{i:05d}" for i in range(len(points)))
    return Stored(ids, points.reshape(-1, *shape).astype(np.float32), len(points))


@pytest.mark.parametrize("dimension", [1, 2, 5, 10])
@pytest.mark.parametrize("kind", ["cube", "normal"])
def test_known_dimension(kind: str, dimension: int) -> None:
    draw = np.random.default_rng(dimension)
    shape = (3000, dimension)
    points = draw.random(shape) if kind == "cube" else draw.normal(size=shape)
    # the edge of a finite set takes from the higher dimensions: Facco et al. 2017, figure 3
    assert two_nn(embedded(points, 64)).dimension == pytest.approx(dimension, rel=0.06 if dimension < 10 else 0.15)


def test_agrees_with_exact_distances_and_a_fit_by_scipy() -> None:
    points = embedded(DRAW.normal(size=(400, 4)), 32)
    distances, _ = cKDTree(points).query(points, k=3)
    logs = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    most = int(0.9 * 400)
    (slope,), _ = curve_fit(lambda x, m: m * x, logs[:most], -np.log(1 - np.arange(1, most + 1) / 400))
    assert two_nn(points).dimension == pytest.approx(slope, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "count"), [(2, 300), (5, 400), (10, 600)])
def test_agrees_with_scikit_dimension(dimension: int, count: int) -> None:
    from skdim.id import TwoNN

    points = embedded(np.random.default_rng(dimension).normal(size=(count, dimension)), 32)
    assert two_nn(points).dimension == pytest.approx(TwoNN(discard_fraction=0.1).fit(points).dimension_, rel=1e-6)


def test_a_ring_of_pictures_has_one_dimension_and_noise_adds_more() -> None:
    angle = DRAW.uniform(0, 2 * np.pi, 500)
    ring = embedded(np.stack([np.cos(angle), np.sin(angle)], 1), 48)
    assert two_nn(ring).dimension == pytest.approx(1, rel=0.1)
    assert two_nn(ring + 0.1 * DRAW.normal(size=ring.shape)).dimension > 5


def test_twins_are_left_out_and_counted() -> None:
    points = embedded(DRAW.random((300, 3)), 16)
    points[1::30] = points[::30]
    found = two_nn(points)
    assert found.twins == 20
    assert found.dimension == pytest.approx(3, rel=0.15)


def test_the_measure_has_an_interval_that_holds_the_truth_and_a_plot() -> None:
    read = IntrinsicDimension().read(stored(embedded(DRAW.normal(size=(1000, 4)), 36), (4, 3, 3)), ())
    (measure,), (plot,) = read.measures, read.plots
    assert measure.status == "ok"
    assert measure.role == "predicts"
    assert measure.ci95 is not None
    assert isinstance(measure.value, float)
    assert measure.ci95[0] < measure.value < measure.ci95[1]
    assert measure.ci95[0] < 4.2
    assert measure.ci95[1] > 3.8
    points, line = plot.lines
    assert len(points.x) == 200
    assert line.y[1] / line.x[1] == pytest.approx(measure.value)


def test_few_pictures_are_unreliable_and_fewer_unavailable() -> None:
    few = IntrinsicDimension().read(stored(DRAW.normal(size=(50, 36)), (4, 3, 3)), ()).measures[0]
    assert (few.status, few.n) == ("unreliable", 50)
    assert "50 pictures are few" in few.reason
    none = IntrinsicDimension().read(stored(DRAW.normal(size=(9, 36)), (4, 3, 3)), ()).measures[0]
    assert (none.status, none.value) == ("unavailable", None)
    same = IntrinsicDimension().read(stored(np.ones((60, 36)), (4, 3, 3)), ()).measures[0]
    assert same.status == "unavailable"
    assert "60 of 60 pictures have the latents of another one" in same.reason


def test_laws() -> None:
    generator = torch.Generator().manual_seed(1)
    found = []
    for start, count in ((0, 20), (20, 1), (21, 30)):
        mean = torch.randn(count, 2, 3, 3, generator=generator)
        ids = tuple(f"{i}.png" for i in range(start, start + count))
        found.append(Batch(ids, torch.zeros(count, 3, 12, 12, dtype=torch.uint8), Posterior(mean), mean))
    check_laws(lambda: LatentReadings(LatentStore((2, 3, 3)), [IntrinsicDimension()]), found, rtol=1e-6)


def test_name_is_the_measures() -> None:
    read = IntrinsicDimension().read(stored(DRAW.normal(size=(20, 36)), (4, 3, 3)), ("a caveat",))
    assert read.measures[0].name == NAME
    assert read.measures[0].reason.startswith("a caveat; ")
