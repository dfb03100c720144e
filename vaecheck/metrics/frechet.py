"""Distances between the features of all originals and of all reconstructions: Frechet (rFID) and kernel (KID).

Why a jackknife and not a bootstrap: resampling repeats images, which pushes a Frechet distance up (on 300
synthetic images a distance of 15.28 got the percentile interval 15.69 to 15.83). The infinitesimal jackknife
needs the influence of each image, which has a closed form here.

Why on the logarithm: in simulation (Gaussian, Student t with 10 degrees, gamma and Laplace features, paired, N = 24 to
400, D = 32 and 64, 48 settings) the 95 % interval covered the expected distance in 93 to 99 % of the draws. On the
same draws of 24 settings (N = 24 to 60): on the logarithm 94 to 98 %, on the distance itself 89 to 95 %, and there
deleting one image in turn 88 to 95 %, a twelfth of them 90 to 95 %, for N and 12 more decompositions. In a trial with
features so heavy-tailed that the distance has no variance (Student t with 4 degrees, N = 24 to 100) all fell short:
the chosen one to 75 to 83 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from vaecheck.errors import InputError, NotEnoughImages

Features = NDArray[np.floating]
Values = NDArray[np.float64]

CHUNK = 4096  # rows converted to float64 at a time
KID_SUBSET = 1000
WIDEST_LOG_INTERVAL = 5.0


@dataclass(frozen=True)
class _Gaussian:
    """The Gaussian fitted to (N, D) features: mean (D,), root (K, D) with root^T root = covariance (ddof 1).

    to_root: (D, K), takes a centred image to its row of P, where centred features = sqrt(N - 1) P root and
    P^T P = 1. None where K = N and P is the identity.
    """

    n: int
    mean: Values
    root: Values
    to_root: Values | None


@dataclass(frozen=True)
class Moments:
    """Sums over pairs of (N, D) features: n, of each side (2, D), and of their products x^T x and y^T y (2, D, D)."""

    n: int
    sums: Values
    products: Values

    @classmethod
    def of(cls, pairs: Features) -> Moments:
        """pairs: (N, 2 D), an original's features and its reconstruction's in each row."""
        sides = [side.astype(np.float64) for side in np.split(pairs, 2, axis=1)]
        return cls(len(pairs), np.stack([s.sum(0) for s in sides]), np.stack([s.T @ s for s in sides]))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.sums + other.sums, self.products + other.products)


def frechet_distance(x: Features, y: Features) -> float:
    """Frechet (2-Wasserstein) distance, squared, between the Gaussians fitted to two sets of features.

    x, y: (N, D) and (M, D), any float; computed in float64. Never negative: a value below 0, which is rounding, is 0.
    Raises NotEnoughImages for fewer than 2 rows.
    Formula: |mu_x - mu_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2).
    With roots S = K^T K, the eigenvalues of S_x S_y = K_x^T (K_x K_y^T) K_y are those of (K_x K_y^T)(K_x K_y^T)^T,
    so the trace of its square root is the nuclear norm of K_x K_y^T, and no complex root is taken. For N - 1 <= D the
    centred features are such a root: an N x N product, exact. For more images it is the eigendecomposition
    of S, D x D.
    Source: Dowson and Landau 1982; Heusel et al. 2017, equation 6.
    Checked against torch_fidelity.metric_fid (1e-3 relative or 2e-3) and scipy.linalg.sqrtm (1e-8 for small D).
    """
    a, b = _fit(x), _fit(y)
    return _distance(a, b, float(np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum()))


def frechet_influence(x: Features, y: Features) -> tuple[float, Values]:
    """The distance, and what each image pulls it by: its derivative when image i gets more weight, on both sides.

    x, y: (N, D), row i of y being the reconstruction of row i of x. Influences: (N,) float64, their sum 0.
    Formula, with K_x K_y^T = U s V^T and row P_i of an image (see _Gaussian):
    2 (mu_x - mu_y).(x_i - y_i) + |x_i|^2 + |y_i|^2 - N [(P_x U s U^T P_x^T)_ii + (P_y V s V^T P_y^T)_ii], centred;
    the last from d tr (S_x S_y)^(1/2) = tr(T dS_x + T^-1 dS_y) / 2 with the optimal transport map T.
    Source: Jaeckel 1972 and Efron 1982 (chapter 6) for the infinitesimal jackknife.
    Checked against numerical derivatives with respect to weights, 1e-5.
    """
    if len(x) != len(y):
        raise InputError(f"{len(x)} originals and {len(y)} reconstructions", hint="Give one reconstruction each.")
    distance, pull = _influence(x, y, _fit(x), _fit(y))
    return distance, pull - pull.mean()


def frechet_of_many(x: Features, y: Features, rest: Moments) -> tuple[float, Values, int]:
    """As frechet_influence for more images than are kept: the distance, the influences of those kept, and N.

    x, y: (M, D), a random sample of all; M > D. rest: of the N - M others. The distance is that of all N, exactly; so
    are the influences, up to a constant that centres those of the sample.
    """
    every = rest
    for start in range(0, len(x), CHUNK):
        every += Moments.of(np.concatenate([side[start : start + CHUNK] for side in (x, y)], axis=1))
    a, b = (_fit_of_moments(every.n, *side) for side in zip(every.sums, every.products, strict=True))
    distance, pull = _influence(x, y, a, b)
    return distance, pull - pull.mean(), every.n


def jackknife_ci95(distance: float, influence: Values, n: int | None = None) -> tuple[float, float]:
    """95 % interval: distance * exp(+- t se / distance), t being Student's with N - 1 degrees, se the jackknife's.

    It says how far the distance would move with other images of the same kind, at this N. It says nothing of the
    bias of few images, which all such draws share: more images give a smaller distance.
    distance, influence: of frechet_influence; the module has the coverage. n: images, where the influences are those of
    a random sample of them.

    Why the logarithm: a distance cannot be negative, and its spread grows with it. Where the half width is many times
    the distance (two images, or a distance of 0), the plain interval, cut at 0.
    """
    n = n or len(influence)
    half_width = float(stdtrit(n - 1, 0.975) * math.sqrt((influence**2).mean() / (n - 1)))
    if half_width >= WIDEST_LOG_INTERVAL * distance:
        return 0.0, distance + half_width
    factor = math.exp(half_width / distance)
    return distance / factor, distance * factor


def kid(x: Features, y: Features) -> float:
    """Kernel Inception distance: the unbiased squared MMD with a cubic kernel, averaged over 100 subsets.

    x, y: (N, D) float32. Near 0, and negative as often as positive, for sets that do not differ.
    Source: Binkowski et al. 2018. This is torch_fidelity.metric_kid with its defaults (its seed too) and
    subsets of min(1000, N). Differs from figures quoted "times 1000".
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    _at_least_two(len(x))
    originals, reconstructions = (torch.from_numpy(np.ascontiguousarray(side)) for side in (x, y))
    size = min(KID_SUBSET, len(x), len(y))
    found = kid_features_to_metric(originals, reconstructions, kid_subset_size=size, verbose=False)
    return float(found[KEY_METRIC_KID_MEAN])


def _fit(features: Features) -> _Gaussian:
    n, d = features.shape
    _at_least_two(n)
    mean = features.mean(0, dtype=np.float64)
    if n - 1 <= d:
        return _Gaussian(n, mean, (features - mean) / math.sqrt(n - 1), None)
    covariance = np.zeros((d, d))
    for block in _centred(features, mean):
        covariance += block.T @ block
    return _fit_of_covariance(n, mean, covariance / (n - 1))


def _fit_of_moments(n: int, total: Values, products: Values) -> _Gaussian:
    mean = total / n
    return _fit_of_covariance(n, mean, (products - n * np.outer(mean, mean)) / (n - 1))


def _fit_of_covariance(n: int, mean: Values, covariance: Values) -> _Gaussian:
    d = len(mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    kept = eigenvalues > eigenvalues[-1] * d * np.finfo(np.float64).eps
    scales, directions = np.sqrt(eigenvalues[kept]), eigenvectors[:, kept]
    return _Gaussian(n, mean, (directions * scales).T, directions / (scales * math.sqrt(n - 1)))


def _influence(x: Features, y: Features, a: _Gaussian, b: _Gaussian) -> tuple[float, Values]:
    """The distance of a and b, and what each image of x and y pulls it by, up to a constant."""
    u, s, vt = np.linalg.svd(a.root @ b.root.T)
    n, between = a.n, a.mean - b.mean
    pull = -n * (_weighted_leverage(x, a, u, s) + _weighted_leverage(y, b, vt.T, s))
    start = 0
    for p, q in zip(_centred(x, a.mean), _centred(y, b.mean), strict=True):
        spread = (p**2).sum(1) + (q**2).sum(1)
        pull[start : start + len(p)] += 2 * (p - q) @ between + spread * n / (n - 1)
        start += len(p)
    return _distance(a, b, float(s.sum())), pull


def _distance(a: _Gaussian, b: _Gaussian, nuclear_norm: float) -> float:
    traces = float((a.root**2).sum() + (b.root**2).sum())
    return max(0.0, float(((a.mean - b.mean) ** 2).sum()) + traces - 2 * nuclear_norm)


def _weighted_leverage(features: Features, fit: _Gaussian, vectors: Values, s: Values) -> Values:
    """(N,): the diagonal of P vectors s vectors^T P^T."""
    vectors = vectors[:, : len(s)]
    if fit.to_root is None:
        return np.asarray(vectors**2 @ s)
    projection = fit.to_root @ vectors
    return np.concatenate([(block @ projection) ** 2 @ s for block in _centred(features, fit.mean)])


def _centred(features: Features, mean: Values) -> Iterator[Values]:
    """Blocks of rows minus the mean, in float64, so that the whole never lies in memory twice."""
    for start in range(0, len(features), CHUNK):
        yield features[start : start + CHUNK] - mean


def _at_least_two(n: int) -> None:
    if n < 2:
        raise NotEnoughImages(f"a distance between sets needs 2 images, there is {n}", hint="Give more pictures.")
