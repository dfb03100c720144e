"""VIV of Gaussians of known covariance, LNC of classes that are apart or not there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import quad

from tests.metrics.laws import check_laws
from vaecheck.metrics.classes import LNC, VIV, Classes, class_of, neighbour_shares, shrunk, velocity_variance
from vaecheck.metrics.latent_store import LatentReadings, LatentStore, Stored
from vaecheck.metrics.protocol import Batch
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior

Values = NDArray[np.float64]


def stored(values: NDArray[np.floating], ids: list[str]) -> Stored:
    """Sorted by id, as a store gives them."""
    order = np.argsort(ids)
    return Stored(tuple(ids[i] for i in order), values[order].astype(np.float32), len(ids))


def read(values: NDArray[np.floating], ids: list[str]) -> dict[str, Measure]:
    return {measure.name: measure for measure in Classes((VIV, LNC)).read(stored(values, ids), ()).measures}


def ids_of(sizes: list[int]) -> list[str]:
    return [f"class{label}/{i:03d}.png" for label, size in enumerate(sizes) for i in range(size)]


@pytest.mark.parametrize("variance", [0.01, 0.3, 1.0, 7.0, 400.0])
def test_the_integral_of_the_irreducible_variance(variance: float) -> None:
    """integral over t of lambda / ((1 - t)^2 + t^2 lambda) = pi / 2 sqrt(lambda), by SciPy's quadrature."""
    found, _ = quad(lambda t: variance / ((1 - t) ** 2 + t**2 * variance), 0, 1, limit=200)
    assert found == pytest.approx(math.pi / 2 * math.sqrt(variance), rel=1e-8)


@pytest.mark.parametrize("variance", [0.2, 5.0])
def test_the_integrand_is_what_a_velocity_keeps_unknown(variance: float) -> None:
    """Var(x1 - x0 | x_t) of jointly normal draws, by regression on many of them."""
    draw = np.random.default_rng(0)
    x0, x1 = draw.normal(size=400_000), math.sqrt(variance) * draw.normal(size=400_000)
    for t in (0.1, 0.5, 0.8):
        state, velocity = (1 - t) * x0 + t * x1, x1 - x0
        residual = velocity - state * (state @ velocity) / (state @ state)
        assert residual.var() == pytest.approx(variance / ((1 - t) ** 2 + t**2 * variance), rel=0.02)


def kronecker(n: int, spatial: Values, channel: Values, seed: int) -> Values:
    """(n, C, h, w) draws with covariance spatial (x) channel, from roots of both."""
    draw = np.random.default_rng(seed)
    side = math.isqrt(len(spatial))
    noise = draw.normal(size=(n, len(channel), len(spatial)))
    found = np.linalg.cholesky(channel) @ noise @ np.linalg.cholesky(spatial).T
    return np.asarray(found.reshape(n, len(channel), side, side))


def smooth(positions: int, reach: float) -> Values:
    """exp(-distance / reach) over a square grid."""
    side = math.isqrt(positions)
    places = np.stack(np.divmod(np.arange(positions), side), 1)
    return np.asarray(np.exp(-np.linalg.norm(places[:, None] - places[None], axis=2) / reach))


CHANNEL = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 0.3]])


def exact(spatial: Values, channel: Values) -> float:
    """Of the whole covariance, without its factors."""
    return math.pi / 2 * float(np.sqrt(np.linalg.eigvalsh(np.kron(spatial, channel))).sum())


@pytest.mark.parametrize("reach", [0.01, 1.0, 4.0])
def test_of_a_known_covariance_with_many_pictures(reach: float) -> None:
    spatial = smooth(36, reach)
    found = velocity_variance(kronecker(400, spatial, CHANNEL, 0))
    assert found == pytest.approx(exact(spatial, CHANNEL), rel=0.02)


def test_few_pictures_are_shrunk_and_do_not_count_what_is_missing_as_zero() -> None:
    """20 pictures of 3 channels are 57 rows of 256 positions: without shrinking it would miss most directions."""
    spatial = smooth(256, 1.0)
    truth = exact(spatial, CHANNEL)
    found = np.mean([velocity_variance(kronecker(20, spatial, CHANNEL, seed)) for seed in range(5)])
    assert found == pytest.approx(truth, rel=0.15)


def test_compact_and_anisotropic_classes_score_lower() -> None:
    white = velocity_variance(kronecker(200, np.eye(36), np.eye(3), 1))
    assert white == pytest.approx(math.pi / 2 * 108, rel=0.03)
    half = velocity_variance(kronecker(200, np.eye(36), np.eye(3), 1) / 2)
    assert half == pytest.approx(white / 2, rel=1e-6)
    same_trace = smooth(36, 3.0)
    assert velocity_variance(kronecker(200, same_trace, np.eye(3), 1)) < 0.8 * white


def test_a_class_of_one_latent_has_no_variance() -> None:
    assert velocity_variance(np.ones((4, 2, 3, 3))) == 0


def explicit_oas(rows: Values, degrees: int) -> Values:
    """Equation 23 of Chen et al. 2010 on matrices."""
    sample, p = rows.T @ rows / degrees, rows.shape[1]
    trace, squares = np.trace(sample), np.trace(sample @ sample)
    weight = min(1.0, ((1 - 2 / p) * squares + trace**2) / ((degrees + 1 - 2 / p) * (squares - trace**2 / p)))
    return np.asarray((1 - weight) * sample + weight * trace / p * np.eye(p))


@pytest.mark.parametrize("rows", [4, 11, 12, 200])
def test_shrinking_against_explicit_matrices(rows: int) -> None:
    draw = np.random.default_rng(rows)
    values = draw.normal(size=(rows, 12)) * np.arange(1, 13)
    expected = explicit_oas(values, rows)
    found = shrunk(values, rows)
    np.testing.assert_allclose(np.sort(found.eigenvalues), np.linalg.eigvalsh(expected), rtol=1e-9)
    whitened = found.whiten(values)
    np.testing.assert_allclose(whitened @ whitened.T, values @ np.linalg.inv(expected) @ values.T, rtol=1e-6, atol=1e-9)


def test_viv_is_the_mean_over_classes_of_normalised_latents() -> None:
    """Two white classes whose means are far apart: normalising shrinks each by the spread of both."""
    latents = kronecker(200, np.eye(16), np.eye(2), 3)
    latents[100:] += 4.0
    found = read(latents, ids_of([100, 100]))[VIV]
    assert found.status == "ok"
    assert found.n == 200
    assert found.value == pytest.approx(math.pi / 2 * 32 / math.sqrt(1 + 4), rel=0.05)
    assert "2 classes; white latents would give 50" in found.definition


def test_viv_of_thin_classes_is_unreliable_and_says_how_many_it_needs() -> None:
    found = read(kronecker(20, np.eye(64), np.eye(2), 3), ids_of([10, 10]))[VIV]
    assert found.status == "unreliable"
    assert found.reason.startswith("2 of 2 classes have fewer than 129 pictures")


def test_viv_of_large_latents_says_that_no_class_would_do() -> None:
    found = read(kronecker(8, np.eye(1089), np.eye(2), 3), ids_of([4, 4]))[VIV]
    assert found.reason.startswith("33 x 33 positions of 2 channels need 2179 pictures of a class, more than the 513")


def test_lnc_of_classes_that_are_apart_is_one_even_where_one_has_few_pictures() -> None:
    latents = kronecker(63, np.eye(16), np.eye(3), 5) * 0.1
    labels = np.repeat([0, 1, 2], [30, 30, 3])
    latents += 10 * np.eye(3)[labels][:, :, None, None]
    found = read(latents, ids_of([30, 30, 3]))[LNC]
    assert found.value == 1
    assert (found.status, found.n) == ("unreliable", 63)


def test_lnc_of_labels_that_mean_nothing_is_chance() -> None:
    sizes = [400, 200, 200]
    found = read(kronecker(800, np.eye(16), np.eye(4), 6), ids_of(sizes))[LNC]
    chance = sum(size * (size - 1) for size in sizes) / (800 * 799)
    assert found.value == pytest.approx(chance, abs=0.03)
    assert found.definition.endswith(f"3 classes, where chance gives {chance:.3g}")
    assert found.status == "ok"


def test_neighbours_agree_with_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    draw = np.random.default_rng(7)
    points, labels = draw.normal(size=(120, 8)), np.repeat(["a", "b", "c"], 40)
    order = NearestNeighbors(n_neighbors=6, metric="cosine").fit(points).kneighbors(return_distance=False)
    expected = (labels[order[:, :5]] == labels[:, None]).mean(1)
    np.testing.assert_array_equal(neighbour_shares(points, labels), expected)


def test_neighbours_by_cosine_not_by_length() -> None:
    points = np.array([[1.0, 0.0], [90.0, 1.0], [0.0, 2.0], [1.0, 80.0]])
    assert neighbour_shares(points, np.array(["a", "a", "b", "b"])).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (["a.png", "b.png"], "no folders"),
        (["x/a.png", "x/b.png"], "1 folders of pictures, 1 of them with two or more"),
        (["x/a.png", "x/b.png", "y/c.png"], "2 folders of pictures, 1 of them with two or more"),
        (["a.tar/1.png", "a.tar/2.png", "b.tar/1.png", "b.tar/2.png"], "no folders"),
    ],
)
def test_without_classes_it_says_what_to_do(ids: list[str], found: str) -> None:
    for measure in read(np.random.default_rng(0).normal(size=(len(ids), 2, 3, 3)), ids).values():
        assert (measure.status, measure.value) == ("unavailable", None)
        assert "put the pictures of each class into a folder of its own" in measure.reason
        assert measure.reason.endswith(f"found {found}")


def test_class_of() -> None:
    assert class_of("cats/1.png") == "cats"
    assert class_of("train/cats/1.png") == "train/cats"
    assert class_of("data.tar/cats/1.png") == "data.tar/cats"
    assert [class_of(name) for name in ("1.png", "data-0.tar/1.png", "t.parquet/0001")] == [None, None, None]


def test_laws() -> None:
    generator = torch.Generator().manual_seed(1)
    found = []
    for start, count in ((0, 6), (6, 1), (7, 8)):
        mean = torch.randn(count, 2, 3, 3, generator=generator)
        ids = tuple(f"{'ab'[i % 2]}/{i}.png" for i in range(start, start + count))
        found.append(Batch(ids, torch.zeros(count, 3, 12, 12, dtype=torch.uint8), Posterior(mean), mean))
    check_laws(lambda: LatentReadings(LatentStore((2, 3, 3)), [Classes((VIV, LNC))]), found, rtol=1e-6)
