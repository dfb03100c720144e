"""Frechet and kernel distances: against torch-fidelity and scipy, their intervals in simulation, and the metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor

from tests.metrics.laws import check_laws
from tests.stand_in_weights import INCEPTION
from vaecheck.cells import Cell, Rows, Sum
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.feature_distances import FeatureDistances, _sample_caveats, of_a_half
from vaecheck.metrics.frechet import (
    Moments,
    frechet_distance,
    frechet_influence,
    frechet_of_many,
    jackknife_ci95,
    kid,
)
from vaecheck.metrics.perceptual import FeatureExtractor, Inception
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.results.types import Measure

Values = NDArray[np.float64]


def paired_features(
    rng: np.random.Generator, n: int, d: int, tail: str = "gauss", noise: float = 0.3
) -> tuple[Values, Values]:
    """Features with a decaying spectrum, and the same shrunk, mixed and noisy, some images more than others."""
    draw = {
        "gauss": lambda: rng.standard_normal((n, d)),
        "t10": lambda: rng.standard_t(10, (n, d)),
        "gamma": lambda: rng.gamma(2, 1, (n, d)) - 2,
        "laplace": lambda: rng.laplace(size=(n, d)),
    }[tail]
    scale = 1 / np.arange(1, d + 1)
    x, error = draw() * scale, draw() * scale
    difficulty = np.exp(0.4 * rng.standard_normal((n, 1)))
    return x, (1 - 0.3 * noise) * x + noise * (error * difficulty + 0.2 * np.roll(x, 1, axis=1))


def torch_fidelity_distance(x: Values, y: Values) -> float:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(side)) for side in (x, y)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


@pytest.mark.parametrize("n", [2, 40, 128, 129, 130, 500])
def test_equals_torch_fidelity_on_the_same_features(n: int):
    x, y = paired_features(np.random.default_rng(n), n, 128)
    assert frechet_distance(x, y) == pytest.approx(torch_fidelity_distance(x, y), rel=1e-3, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("n", [300, 2500])
def test_equals_torch_fidelity_with_2048_features(n: int):
    x, y = paired_features(np.random.default_rng(n), n, 2048)
    x, y = ((10 * side).astype(np.float32) for side in (x, y))
    assert frechet_distance(x, y) == pytest.approx(torch_fidelity_distance(x, y), rel=1e-3, abs=2e-3)


def test_equals_the_matrix_square_root_of_scipy():
    x, y = paired_features(np.random.default_rng(0), 400, 12)
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_is_exact_for_known_gaussians():
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 6)))[0]
    x = directions - directions.mean(0)
    assert frechet_distance(x, 3 * x + 2) == pytest.approx(4 * 6 + 4 * (x**2).sum() / 59, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(30, 64), (64, 64), (65, 64), (300, 64)])
def test_a_set_and_itself_are_0_apart_and_print_so(n: int, d: int):
    x = np.maximum(paired_features(np.random.default_rng(1), n, d)[0], 0).astype(np.float32)
    distance = frechet_distance(x, x.copy())
    assert 0 <= distance < 1e-6
    assert f"{distance:.3f}" == "0.000"
    assert jackknife_ci95(*frechet_influence(x, x))[0] == 0.0


def test_both_forms_meet_where_images_begin_to_outnumber_features():
    x, y = paired_features(np.random.default_rng(2), 66, 64)
    constant = np.ones((66, 40))
    assert frechet_distance(x, y) == pytest.approx(
        frechet_distance(np.hstack([x, constant]), np.hstack([y, constant])), rel=1e-9
    )


def test_sets_of_different_sizes():
    rng = np.random.default_rng(4)
    x, y = paired_features(rng, 90, 32)[0], paired_features(rng, 20, 32)[1]
    assert frechet_distance(x, y) == pytest.approx(torch_fidelity_distance(x, y), rel=1e-3)
    with pytest.raises(InputError, match="90 originals and 20"):
        frechet_influence(x, y)


def test_one_image_has_no_distance():
    with pytest.raises(NotEnoughImages, match="there is 1"):
        frechet_distance(np.ones((1, 8)), np.ones((1, 8)))


def weighted_distance(x: Values, y: Values, weights: Values) -> float:
    """The distance with image i counted weights[i] times, N - 1 being that of equal weights."""
    p = weights / weights.sum()
    mx, my = p @ x, p @ y
    root = np.sqrt(p * len(x) / (len(x) - 1))[:, None]
    a, b = root * (x - mx), root * (y - my)
    return float(((mx - my) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * np.linalg.norm(a @ b.T, "nuc"))


@pytest.mark.parametrize(("n", "d"), [(20, 40), (60, 12)])
def test_influence_is_the_derivative_with_respect_to_an_images_weight(n: int, d: int):
    x, y = paired_features(np.random.default_rng(6), n, d)
    y += 0.3
    distance, influence = frechet_influence(x, y)
    assert distance == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    step = 1e-4 / n
    for i in (0, n // 2, n - 1):
        towards_i = np.full(n, 1 / n) + step * (np.arange(n) == i) - step / n
        away = np.full(n, 1 / n) - step * (np.arange(n) == i) + step / n
        slope = (weighted_distance(x, y, towards_i) - weighted_distance(x, y, away)) / (2 * step)
        assert influence[i] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def coverage(tail: str, n: int, d: int, noise: float, draws: int) -> float:
    rng = np.random.default_rng(11)
    expected = np.mean([frechet_distance(*paired_features(rng, n, d, tail, noise)) for _ in range(4 * draws)])
    intervals = [jackknife_ci95(*frechet_influence(*paired_features(rng, n, d, tail, noise))) for _ in range(draws)]
    return float(np.mean([low <= expected <= high for low, high in intervals]))


@pytest.mark.parametrize(
    ("tail", "n", "d", "noise"), [("gauss", 24, 32, 0.05), ("t10", 100, 32, 0.3), ("gamma", 48, 64, 0.3)]
)
def test_interval_covers_the_expected_distance(tail: str, n: int, d: int, noise: float):
    assert coverage(tail, n, d, noise, draws=250) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["gauss", "t10", "gamma", "laplace"])
@pytest.mark.parametrize(("n", "d"), [(24, 32), (48, 64), (60, 32), (100, 64), (200, 32), (400, 32)])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_interval_covers_the_expected_distance_everywhere(tail: str, n: int, d: int, noise: float):
    assert coverage(tail, n, d, noise, draws=500) >= 0.90


def test_interval_is_never_negative_nor_infinite():
    assert jackknife_ci95(0.0, np.zeros(5)) == (0.0, 0.0)
    low, high = jackknife_ci95(1e-15, np.array([-1.0, 1.0]))
    assert low == 0.0
    assert high == pytest.approx(12.706, rel=1e-4)


def test_kid_is_torch_fidelitys():
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = (side.astype(np.float32) for side in paired_features(np.random.default_rng(8), 1100, 16))
    expected = kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), kid_subset_size=1000, verbose=False)
    assert kid(x, y) == expected["kernel_inception_distance_mean"]


def colour_extractor(*, published: bool = True, name: str = "colours") -> FeatureExtractor:
    """Six features a picture, each of that picture alone: mean and spread of its channels."""

    def network(images: Tensor) -> Tensor:
        pixels = images.double().flatten(2)
        return torch.cat([pixels.mean(2), pixels.std(2)], dim=1).float()

    return FeatureExtractor(name, "six colours", 6, network, sha256="ab" * 32, published=published, device="cpu")


def batches_of(original: Tensor, reconstruction: Tensor, size: int, finite: Tensor | None = None) -> list[Batch]:
    finite = torch.ones(len(original), dtype=torch.bool) if finite is None else finite
    return [
        Batch(
            ids=tuple(f"{i:03d}.png" for i in range(start, min(start + size, len(original)))),
            original=original[start : start + size],
            reconstruction=reconstruction[start : start + size],
            finite=finite[start : start + size],
        )
        for start in range(0, len(original), size)
    ]


def fed(metric: FeatureDistances, batches: list[Batch]) -> FeatureDistances:
    for batch in batches:
        metric.update(batch)
    return metric


def test_laws(pictures: tuple[Tensor, Tensor]):
    finite = torch.arange(20) % 7 != 3
    check_laws(lambda: FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(*pictures, 4, finite))
    inception_like = colour_extractor(name="inception")
    check_laws(lambda: FeatureDistances(inception_like, ("rfid", "kid")), batches_of(*pictures, 6))


@pytest.mark.parametrize("most", [5, 12])
def test_laws_with_more_pictures_than_are_kept(pictures: tuple[Tensor, Tensor], most: int) -> None:
    check_laws(
        lambda: FeatureDistances(colour_extractor(), ("fd_colours",), most=most),
        batches_of(*pictures, 4),
        rtol=1e-7,
        keeps_all=False,
    )


def test_of_many_images_the_distance_is_that_of_all() -> None:
    """And the influences of those kept, up to a constant, and an interval near that of all."""
    x, y = paired_features(np.random.default_rng(5), 3000, 12)
    distance, influence = frechet_influence(x, y)
    kept = np.random.default_rng(6).permutation(3000)[:600]
    others = np.setdiff1d(np.arange(3000), kept)
    found, pull, n = frechet_of_many(x[kept], y[kept], Moments.of(np.concatenate([x[others], y[others]], axis=1)))
    assert found == pytest.approx(distance, rel=1e-9)
    assert n == 3000
    np.testing.assert_allclose(pull, influence[kept] - influence[kept].mean(), rtol=1e-6, atol=1e-9)
    low, high = jackknife_ci95(found, pull, n)
    of_all = jackknife_ci95(distance, influence)
    assert high - low == pytest.approx(of_all[1] - of_all[0], rel=0.15)


def test_more_pictures_than_are_kept_leave_a_distance_and_no_columns(pictures: tuple[Tensor, Tensor]) -> None:
    whole = FeatureDistances(colour_extractor(), ("fd_colours",))
    few = FeatureDistances(colour_extractor(), ("fd_colours",), most=len(pictures[0]) // 2)
    for batch in batches_of(*pictures, 4):
        whole.update(batch)
        few.update(batch)
    (expected,), (found,) = whole.compute(), few.compute()
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.n == expected.n
    assert whole.columns()
    assert few.columns() == {}


def test_what_a_half_would_have_is_told_by_a_part() -> None:
    """In the mean over draws, of halves of 1,200 and what 300 of them tell; a half tells itself."""
    told, halves, alls = [], [], []
    for seed in range(12):
        x, y = paired_features(np.random.default_rng(seed), 1200, 60)
        alls.append(frechet_distance(x, y))
        halves.append(frechet_distance(x[:600], y[:600]))
        told.append(of_a_half(alls[-1], frechet_distance(x[:300], y[:300]), 300, 1200))
        assert of_a_half(alls[-1], halves[-1], 600, 1200) == pytest.approx(halves[-1])
    excess = np.mean(halves) - np.mean(alls)
    assert excess > 0
    assert np.mean(told) - np.mean(alls) == pytest.approx(excess, rel=0.25)


@pytest.mark.parametrize("kept", [400, 200, 150])
def test_a_distance_that_depends_on_their_number_is_marked_however_many_are_kept(kept: int) -> None:
    x, y = paired_features(np.random.default_rng(7), 400, 60)
    (said,) = _sample_caveats("fd", frechet_distance(x, y), x[:kept], y[:kept], 400, 0)
    assert "it depends on their number" in said
    assert ("of them tell" in said) == (kept < 200)


class MeanOfBatchMeans:
    """The classic fault: a short last batch weighs as much as a full one."""

    name = "brightness"
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.rows, self.means = Rows(1), Sum()

    def update(self, batch: Batch) -> None:
        brightness = batch.original.double().mean((1, 2, 3)).numpy()
        self.rows.add(batch.ids, brightness[:, None])
        self.means.add(np.array([brightness.mean(), 1]))

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "means": self.means}

    def compute(self) -> tuple[Measure, ...]:
        if self.means.value is None:
            raise NotEnoughImages("no picture")
        return (Measure("brightness", float(np.divide(*self.means.value)), "", None, len(self.rows), ""),)


def test_the_laws_catch_a_mean_of_batch_means(pictures: tuple[Tensor, Tensor]):
    with pytest.raises(AssertionError, match="batch size does not matter"):
        check_laws(MeanOfBatchMeans, batches_of(*pictures, 6))


def test_equals_torch_fidelity_on_png_folders_of_the_same_pixels(
    pictures: tuple[Tensor, Tensor], checkpoints: Path, tmp_path: Path
):
    import torch_fidelity

    for name, images in zip(("original", "reconstruction"), pictures, strict=True):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{i:03d}.png")
    expected = torch_fidelity.calculate_metrics(
        input1=str(tmp_path / "original"),
        input2=str(tmp_path / "reconstruction"),
        fid=True,
        kid=True,
        kid_subset_size=20,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(checkpoints / INCEPTION),
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=10,
    )
    inception = Inception(checkpoints / INCEPTION, "cd" * 32, published=False)
    rfid, kid_ = fed(FeatureDistances(inception, ("rfid", "kid")), batches_of(*pictures, 10)).compute()
    assert rfid.value == pytest.approx(expected["frechet_inception_distance"], rel=1e-3, abs=2e-3)
    assert kid_.value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4, abs=1e-6)
    assert rfid.n == kid_.n == 20
    assert rfid.status == kid_.status == "unreliable"
    assert "not the published ones" in kid_.reason
    assert "cd" * 32 in kid_.reason
    assert "20 images are fewer than the 2,048 features" in rfid.reason
    assert rfid.ci95 is not None
    assert rfid.ci95[0] < rfid.value < rfid.ci95[1]


def test_pictures_that_are_not_finite_are_left_out_and_counted(pictures: tuple[Tensor, Tensor]):
    original, reconstruction = pictures
    finite = torch.arange(20) >= 3
    broken = torch.where(finite[:, None, None, None], reconstruction, 0)
    (measure,) = fed(
        FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(original, broken, 5, finite)
    ).compute()
    (expected,) = fed(
        FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(original[3:], reconstruction[3:], 5)
    ).compute()
    assert measure.value == expected.value
    assert measure.n == 17
    assert measure.counts == {"non_finite": 3}
    assert measure.status == "unreliable"
    assert "3 of 20 reconstructions hold NaN or infinity" in measure.reason


def test_too_few_images_raise(pictures: tuple[Tensor, Tensor]):
    metric = fed(FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(*(p[:1] for p in pictures), 1))
    with pytest.raises(NotEnoughImages, match="there are 1"):
        metric.compute()


def test_a_sound_distance_is_ok_and_one_that_hangs_on_the_number_of_images_is_not():
    rng = np.random.default_rng(9)
    bases = torch.from_numpy(rng.integers(30, 220, (4000, 3, 1, 1)))
    texture = torch.from_numpy(rng.integers(-20, 20, (4000, 3, 4, 4)))
    original = (bases + texture).to(torch.uint8)
    metric = FeatureDistances(colour_extractor(), ("fd_colours",))
    shifted = replace(batches_of(original, original, 4000)[0], reconstruction=(bases + texture + 10).to(torch.uint8))
    (sound,) = fed(metric, [shifted]).compute()
    assert sound.value == pytest.approx(300, rel=1e-3)
    assert sound.status == "ok"
    assert sound.reason == ""

    one_outlier = original.clone()
    one_outlier[0] = 255
    (shaky,) = fed(
        FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(original, one_outlier, 4000)
    ).compute()
    assert shaky.status == "unreliable"
    assert "on a random half" in shaky.reason


def test_another_network_never_gives_an_rfid():
    with pytest.raises(InputError, match="does not give rfid"):
        FeatureDistances(colour_extractor(), ("rfid",))


def test_the_hash_of_unpublished_weights_is_told(pictures: tuple[Tensor, Tensor]):
    extractor = colour_extractor(published=False)
    (measure,) = fed(FeatureDistances(extractor, ("fd_colours",)), batches_of(*pictures, 20)).compute()
    assert extractor.sha256 in measure.reason


def test_every_picture_has_its_influence_in_a_column(pictures: tuple[Tensor, Tensor]):
    finite = torch.arange(20) != 3
    metric = fed(FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(*pictures, 20, finite))
    (column,) = metric.columns().values()
    assert list(metric.columns()) == ["fd_colours_influence"]
    kept = [features(side[finite]) for side in pictures]
    assert column == pytest.approx(tuple(frechet_influence(*kept)[1]), rel=1e-9)
    assert len(column) == len(metric.rows.ids) == 19


def test_more_pictures_after_a_look_count(pictures: tuple[Tensor, Tensor]):
    first, second = batches_of(*pictures, 10)
    metric = fed(FeatureDistances(colour_extractor(), ("fd_colours",)), [first])
    before = metric.compute()
    assert len(metric.columns()["fd_colours_influence"]) == 10
    metric.update(second)
    assert len(metric.columns()["fd_colours_influence"]) == 20
    assert metric.compute() != before


def test_as_many_other_pictures_after_a_look_are_not_taken_for_the_first(pictures: tuple[Tensor, Tensor]):
    first, second = batches_of(*pictures, 10)
    metric, other = (fed(FeatureDistances(colour_extractor(), ("fd_colours",)), [one]) for one in (first, second))
    metric.compute()
    metric.rows = other.rows
    assert metric.columns() == other.columns()
    assert metric.compute() == other.compute()


def test_kid_and_a_single_picture_have_no_column(pictures: tuple[Tensor, Tensor]):
    inception_like = colour_extractor(name="inception")
    assert fed(FeatureDistances(inception_like, ("kid",)), batches_of(*pictures, 20)).columns() == {}
    one = fed(FeatureDistances(colour_extractor(), ("fd_colours",)), batches_of(*(p[:1] for p in pictures), 1))
    assert one.columns() == {}


def features(images: Tensor) -> Values:
    return colour_extractor().features(images).numpy().astype(np.float64)
