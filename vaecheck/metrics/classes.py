"""viv and lnc: how the latents of one class lie, where the pictures are sorted into folders by class.

Why I = (pi / 2) sum sqrt(lambda): at time t a flow sees x_t = t x_1 + (1 - t) x_0, x_1 a latent of the class with
variance lambda along an eigenvector, x_0 standard normal. Given x_t, the velocity x_1 - x_0 keeps the variance
lambda / ((1 - t)^2 + t^2 lambda), that of two jointly normal variables. With u = t sqrt(lambda) / (1 - t) its integral
over t from 0 to 1 becomes that of sqrt(lambda) / (1 + u^2) over u from 0 to infinity: sqrt(lambda) pi / 2.

Why a Kronecker product: C h w latents of a few dozen pictures say nothing of a full covariance. As in the paper it is
taken as spatial (x) channel, fitted by flip-flop, and scaled to the total variance of the class.

Why shrunk: with fewer rows than positions the spatial covariance lacks directions, whose sqrt(lambda) would count as 0.
Each factor is drawn towards a multiple of the identity by the oracle-approximating weight of Chen et al. 2010 (IEEE
Transactions on Signal Processing 58, equation 23), made for normal rows, which these are once whitened by the other.
What is then added is a guess, so such figures are `unreliable`.

Why at most 10 classes of at most 256 pictures, and fewer where latents have more than 1,024 positions: a fit takes
decompositions of that size, seconds for each class, and the mean over classes settles early.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vaecheck.metrics.intervals import mean_ci95
from vaecheck.metrics.latent_store import OTHER_SHAPES, Read, Stored, template
from vaecheck.results.types import Measure

Values = NDArray[np.float64]

VIV, LNC = "viv", "lnc"
MOST_CLASSES, MOST_OF_A_CLASS, LARGEST = 10, 256, 1024
ROWS = 4
"""Rows that a class needs for each of its positions: with one VIV was 10 % too high, with 125 1 %."""
FEWEST, RELIABLE_LNC = 2, 100
NEIGHBOURS = 5
FLIPS = 3
SHARDS = (".tar", ".tar.gz", ".tgz", ".parquet", ".arrow")
TEMPLATES = {
    VIV: template(
        VIV,
        "velocity irreducible variance: mean over classes of (pi / 2) sum sqrt(lambda), lambda being the eigenvalues "
        "of the covariance of a class's latents, spatial (x) channel by flip-flop; channels normalised to std 1; the "
        f"sum over all C h w directions, not their mean; {OTHER_SHAPES}",
        better="lower",
        role="predicts",
        evidence="|r| = 0.87 with gFID over 43 tokenizers of one latent shape and like reconstruction (SiT-B, arXiv "
        "2606.03578); across shapes nothing is known.",
    ),
    LNC: template(
        LNC,
        f"latent neighbour consistency: share of a picture's {NEIGHBOURS} nearest others, by the cosine of its "
        "latents' mean over positions (channels normalised), that are of its class; fewer neighbours where its class "
        "has no more",
        better="higher",
        role="predicts",
        evidence="Follows linear probing with r = 0.993, and with spatial structure explains gFID with R2 = 0.91 over "
        "tokenizers of one latent shape (arXiv 2606.03578, there over foreground latents alone).",
    ),
}
WITHOUT = (
    "needs classes: put the pictures of each class into a folder of its own, two classes with two pictures at least; "
    "found {found}"
)


def class_of(image_id: str) -> str | None:
    """The folder that holds the picture; None for one at the root, or directly in a shard or a table."""
    folder, _, _ = image_id.rpartition("/")
    return folder if folder and not folder.lower().endswith(SHARDS) else None


@dataclass(frozen=True)
class Classes:
    """A reading of latents. names: which of viv and lnc are asked for."""

    names: tuple[str, ...]
    seed: int = 0

    def read(self, stored: Stored, caveats: tuple[str, ...]) -> Read:
        labels = [class_of(image_id) for image_id in stored.ids]
        sizes = Counter(label for label in labels if label is not None)
        usable = {label for label, size in sizes.items() if size >= FEWEST}
        if len(usable) < 2:
            found = (
                f"{len(sizes)} folders of pictures, {len(usable)} of them with two or more" if sizes else "no folders"
            )
            return Read(tuple(replace(TEMPLATES[name], reason=WITHOUT.format(found=found)) for name in self.names))
        places = [place for place, label in enumerate(labels) if label in usable]
        latents = stored.normalised()[places]
        kept = np.array([labels[place] for place in places])
        made = {VIV: _viv, LNC: _lnc}
        return Read(tuple(made[name](latents, kept, caveats, self.seed) for name in self.names))


def _viv(latents: NDArray[np.float32], labels: NDArray[np.str_], caveats: Sequence[str], seed: int) -> Measure:
    by_size = sorted(Counter(labels.tolist()).items(), key=lambda each: (-each[1], each[0]))[:MOST_CLASSES]
    _, channels, height, width = latents.shape
    most = MOST_OF_A_CLASS if height * width <= LARGEST else max(2, LARGEST // channels + 1)
    groups = [latents[labels == label][:most] for label, _ in by_size]
    values = np.array([velocity_variance(group) for group in groups])
    reasons = list(caveats)
    thin = sum((len(group) - 1) * channels < ROWS * height * width for group in groups)
    if thin:
        needed = math.ceil(ROWS * height * width / channels) + 1
        reasons.append(
            f"{thin} of {len(groups)} classes have fewer than {needed} pictures, what {height} x {width} positions of "
            f"{channels} channels need; their covariances are shrunk towards the identity"
            if needed <= most
            else f"{height} x {width} positions of {channels} channels need {needed} pictures of a class, more than "
            f"the {most} taken: their covariances are shrunk towards the identity; a smaller --size needs fewer"
        )
    white = math.pi / 2 * channels * height * width
    return replace(
        TEMPLATES[VIV],
        value=float(values.mean()),
        n=sum(map(len, groups)),
        sd=float(values.std(ddof=1)),
        ci95=mean_ci95(values, seed),
        definition=f"{TEMPLATES[VIV].definition}; {len(groups)} classes; white latents would give {white:,.0f}",
        status="unreliable" if reasons else "ok",
        reason="; ".join(reasons),
    )


def velocity_variance(latents: NDArray[np.floating]) -> float:
    """(pi / 2) sum sqrt(lambda) of the latents (n, C, h, w) of one class, n >= 2.

    Source: Zhong et al. 2026, arXiv 2606.03578, equations 3 to 5. Differs from a public reimplementation, which takes
    the mean over directions and adds 1e-12 where this shrinks.
    """
    n, channels = latents.shape[:2]
    centred = latents.reshape(n, channels, -1).astype(np.float64)
    centred = centred - centred.mean(0)
    total = float((centred**2).sum()) / (n - 1)
    if total == 0:
        return 0.0
    positions = centred.shape[2]
    rows = n - 1
    of_positions = centred
    for _ in range(FLIPS):
        channel = shrunk(of_positions.transpose(0, 2, 1).reshape(-1, channels), rows * positions)
        of_channels = channel.whiten(centred.transpose(0, 2, 1)).transpose(0, 2, 1)
        spatial = shrunk(of_channels.reshape(-1, positions), rows * channels)
        of_positions = spatial.whiten(centred)
    # the roots of the products of two spectra sum to the product of the sums of their roots
    scale = total / (channel.eigenvalues.sum() * spatial.eigenvalues.sum())
    return float(
        math.pi / 2 * math.sqrt(scale) * np.sqrt(channel.eigenvalues).sum() * np.sqrt(spatial.eigenvalues).sum()
    )


@dataclass(frozen=True)
class Covariance:
    """eigenvalues: (p,), all of them. directions: (p, r) eigenvectors of the first r; the others are all `floor`."""

    eigenvalues: Values
    directions: Values
    floor: float

    def whiten(self, rows: Values) -> Values:
        """rows (..., p) times the inverse root of the covariance; directions without variance become 0."""
        with np.errstate(divide="ignore"):
            gains = np.where(self.eigenvalues > 0, 1 / np.sqrt(self.eigenvalues), 0.0)[: self.directions.shape[1]]
        rest = 1 / math.sqrt(self.floor) if self.floor > 0 else 0.0
        found: Values = (rows @ self.directions) * (gains - rest) @ self.directions.T + rest * rows
        return found


def shrunk(rows: Values, degrees: int) -> Covariance:
    """The covariance of centred rows (m, p) with so many degrees of freedom, drawn towards the identity.

    (1 - rho) S + rho tr(S) / p I, where
    rho = min(1, ((1 - 2/p) tr S^2 + tr(S)^2) / ((n + 1 - 2/p) (tr S^2 - tr(S)^2 / p))).
    Source: Chen, Wiesel, Eldar and Hero 2010, equation 23. Checked against the formula on explicit matrices, 1e-9.
    """
    m, p = rows.shape
    if m >= p:
        spectrum, directions = np.linalg.eigh(rows.T @ rows)
    else:  # the same spectrum from the smaller product
        spectrum, left = np.linalg.eigh(rows @ rows.T)
        directions = rows.T @ (left / np.sqrt(np.maximum(spectrum, spectrum[-1] * 1e-12)))
    kept = spectrum > spectrum[-1] * 1e-12
    sample, directions = spectrum[kept] / degrees, directions[:, kept]
    squares, trace = float((sample**2).sum()), float(sample.sum())
    spread = (degrees + 1 - 2 / p) * (squares - trace**2 / p)
    weight = min(1.0, ((1 - 2 / p) * squares + trace**2) / spread) if spread > 0 else 1.0
    floor = weight * trace / p
    eigenvalues = np.full(p, floor)
    eigenvalues[: len(sample)] += (1 - weight) * sample
    return Covariance(eigenvalues, directions, floor)


def _lnc(latents: NDArray[np.float32], labels: NDArray[np.str_], caveats: Sequence[str], seed: int) -> Measure:
    shares = neighbour_shares(latents.mean((2, 3), dtype=np.float64), labels)
    counts = np.array(list(Counter(labels.tolist()).values()))
    n = len(labels)
    chance = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    reasons = list(caveats)
    if n < RELIABLE_LNC:
        reasons.append(f"{n} pictures are few: with {RELIABLE_LNC} a share is known to about 0.05")
    return replace(
        TEMPLATES[LNC],
        value=float(shares.mean()),
        n=n,
        sd=float(shares.std(ddof=1)),
        ci95=mean_ci95(shares, seed),
        definition=f"{TEMPLATES[LNC].definition}; {len(counts)} classes, where chance gives {chance:.3g}",
        status="unreliable" if reasons else "ok",
        reason="; ".join(reasons),
    )


def neighbour_shares(points: Values, labels: NDArray[np.str_]) -> Values:
    """Of each point (n, D), the share of its nearest others by cosine that have its label: (n,) in [0, 1].

    As many neighbours as NEIGHBOURS, or as the label has other points where those are fewer, so that 1 can be reached.
    Checked against scikit-learn's NearestNeighbors with the cosine, exactly.
    """
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    unit = points / np.where(norms > 0, norms, 1.0)
    sizes = Counter(labels.tolist())
    shares = np.empty(len(points))
    for place, point in enumerate(unit):
        closeness = unit @ point
        closeness[place] = -np.inf
        k = min(NEIGHBOURS, sizes[labels[place]] - 1)
        nearest = np.argsort(-closeness, kind="stable")[:k]
        shares[place] = (labels[nearest] == labels[place]).mean()
    return shares
