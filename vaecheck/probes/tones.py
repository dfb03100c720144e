"""What becomes of levels and colours over large areas: the one measurement behind three probes of tone.

Why large areas: the means of an 8 x 8 grid of cells hold brightness, contrast and colour, and next to nothing of
blur, noise and fine artefacts, so that a fault of detail is not told as one of tone. Why not clamped: noise at black
and white has a mean of zero only before it is cut off. Values beyond FARTHEST are cut, so that sums stay finite.

Why a matrix: red, green and blue of the reconstruction are fitted by least squares on those of the original,
y = x + K (x - m) + d. The row sums of I + K say what a grey becomes in each channel. What all channels share of that,
the value nearest to no change between the least and the greatest, is contrast (contrast_shift); what is left is colour
(colour_shift). A green drift does not move the one, nor a loss of contrast the other.

Why flat pictures are left out: on flat colours a model of photographs drifts by itself (kl-f8-tiny by 0.06, and by
0.4 at worst), and those who have flat pictures alone are served by the card.

Why cards join: K is known only in directions that the pictures hold. The clouds card counts as an eighth of the
pictures, and as two at least, so that grey pictures leave colour to the card and photographs hardly notice it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.images.planes import LUMA
from vaecheck.images.synthetic import clouds
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_float64
from vaecheck.probes.protocol import ModelRefused, Subject

GRID, FINE_GRID = 8, 32
FARTHEST = 1000.0
"""Where pixels in [-1, 1] are cut: an output in [0, 255] is not."""
LEVELS = 16
"""Steps of the tone curve from black to white."""
SMOOTH = 0.1
"""A cell of the fine grid joins the curve where the 3 x 3 cells around it span less: there blur moves nothing."""
OCCUPIED = 16
"""Cells that a step of the curve needs."""
LEAST_SIDE = 32
"""Smaller pictures have no large areas: kl-f8-tiny drifts by a twentieth of the range on those of 16 pixels."""
FLAT = 0.1
"""The std of luma below which a picture is flat, of pixels in [-1, 1]; photographs have 0.15 and more."""
SEEN = 0.005**2
"""A direction of colour of less variance is not seen: half a level of 8 bits."""
CARD_SHARE, CARD_LEAST = 1 / 8, 2
CLOUD_SIDE = 256
"""At 128 pixels both healthy models lose a tenth of the card's chroma, at 256 a hundredth."""


def coloured(pixels: Tensor) -> Tensor:
    """(B, channels, H, W) without alpha: RGB of 3 and 4 channels, the first of 1 and 2."""
    return pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1]


def luma(values: Tensor) -> Tensor:
    """(..., C) -> (...): Pillow's weights of RGB, the value itself of one channel."""
    return values[..., 0] if values.shape[-1] == 1 else values @ values.new_tensor(LUMA)


def not_flat(pixels: Tensor, least: float = FLAT) -> Tensor:
    """(B, channels, H, W) -> bool (B,): whether the std of luma is `least` or more."""
    return luma(coloured(pixels).movedim(1, -1)).flatten(1).std(1, correction=0) >= least


@dataclass(frozen=True)
class ToneFit:
    """y = matrix x + offset over large areas, and the luma that this line leaves at each occupied level.

    matrix: (C, C), offset: (C,), levels, bent: (n,), float64. within: of greys, the gain inside pictures, the mean of
    each taken off: a model that pulls every picture to its own mean shows there.
    """

    matrix: Tensor
    offset: Tensor
    levels: Tensor
    bent: Tensor
    within: float

    @property
    def gain(self) -> float:
        """Of greys: what all channels share."""
        return _gain(self.matrix)

    @property
    def shift(self) -> float:
        """Of mid grey: what all channels share; of pixels in [-1, 1]."""
        return _shared(self.offset, 0.0)


class Tones:
    """Sums over pictures; every picture counts once, whatever its size.

    flat: pictures whose luma has a lower std are left out, and counted.
    """

    def __init__(self, flat: float = FLAT) -> None:
        self.flat = flat
        self.count = self.left_out = 0
        self.moments: Tensor | None = None  # (2C + 1, 2C + 1): of x, 1, y over cells, mean over the grid
        self.means: Tensor | None = None  # the same of each picture's means
        self.places: Tensor | None = None  # (GRID^2, 2C + 1): of x, 1, y
        self.curve: Tensor | None = None  # (LEVELS, 2C + 1): of x, 1, y over smooth cells of the fine grid

    def watch(self, batch: Batch) -> None:
        """Add a batch's finite pictures, but for flat ones."""
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        assert batch.finite is not None
        varied = not_flat(batch.pixels, self.flat)
        if min(batch.pixels.shape[-2:]) < LEAST_SIDE:
            varied = torch.zeros_like(varied)
        good = batch.finite & varied
        self.left_out += int((~varied).sum())
        if bool(good.any()):
            self.add(batch.pixels[good], batch.reconstruction_pixels[good])

    def add(self, original: Tensor, reconstruction: Tensor) -> None:
        """(B, channels, H, W) pixels twice, finite."""
        x, y = coloured(original), coloured(reconstruction).clamp(-FARTHEST, FARTHEST)
        cells = torch.cat([_cells(x, GRID), torch.ones(len(x), GRID**2, 1, dtype=torch.float64), _cells(y, GRID)], 2)
        self.count += len(x)
        self.moments = _plus(self.moments, torch.einsum("bni,bnj->ij", cells, cells) / GRID**2)
        self.means = _plus(self.means, cells.mean(1).T @ cells.mean(1))
        self.places = _plus(self.places, cells.sum(0))
        self.curve = _plus(self.curve, _curve(x, y))

    @property
    def described(self) -> str:
        """Of what a fit with cards is, in words."""
        if not self.count:
            return (
                "cards, the pictures being too flat or too small" if self.left_out else "cards, no picture being finite"
            )
        return f"{self.count} pictures" + (f" ({self.left_out} flat or tiny ones left out)" if self.left_out else "")

    def fit(self, cards: Tones | None = None) -> ToneFit | None:
        """Of the pictures and the cards together, of what there is; None where there is nothing."""
        both = [(self, 1.0), (cards, self._share(cards))] if cards else [(self, 1.0)]
        both = [(tones, weight) for tones, weight in both if tones.count]
        if not both:
            return None
        moments, means, curve = (
            torch.stack([weight * getattr(tones, sums) for tones, weight in both]).sum(0)
            for sums in ("moments", "means", "curve")
        )
        matrix, mean, moved = _slopes(moments, len(moments) // 2)
        within, _, _ = _slopes(moments, len(moments) // 2, means)
        offset = moved - (matrix - torch.eye(len(matrix), dtype=torch.float64)) @ mean
        one = len(matrix)
        curve = curve[curve[:, one] >= OCCUPIED]
        curve = curve / curve[:, one : one + 1]
        x, y = curve[:, :one], curve[:, one + 1 :]
        return ToneFit(matrix, offset, luma(x), luma(y - x @ matrix.T - offset), _gain(within))

    def _share(self, cards: Tones | None) -> float:
        return max(CARD_SHARE * self.count, CARD_LEAST) / cards.count if cards and cards.count else 0.0

    def varied(self) -> tuple[float, float]:
        """The std of the originals over pictures, each place apart; and the share of that variance that returns.

        The share is of what is linear in the original's colour at the same place: tr(A S A') / tr(S), where S is the
        originals' covariance and A the regression of the reconstructions on them. 1 for equal pictures, g^2 after a
        gain of g, and 0 for one picture whatever the input, and for noise.
        """
        if self.count < 2 or self.moments is None or self.places is None:
            return 0.0, 0.0
        one = len(self.moments) // 2
        inside = self.moments / self.count - self.places.T @ self.places / (GRID * self.count) ** 2
        std, share = _returned(inside[None, :one, :one], inside[None, :one, one + 1 :])
        return float(std), float(share)


def varied_in_each(original: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """As Tones.varied inside each picture: std and share, float64 (B,) each.

    The share is at least the reconstruction's own variance over the original's: a picture that comes back displaced or
    too soft for this grid is wrong, but it is not constant.
    """
    x, y = (_cells(coloured(side), GRID) for side in (original, reconstruction.clamp(-FARTHEST, FARTHEST)))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    std, share = _returned(x.mT @ x / x.shape[1], x.mT @ y / x.shape[1])
    own = y.square().sum((1, 2)) / x.square().sum((1, 2)).clamp(min=1e-12)
    return std, torch.maximum(share, own.clamp(max=1.0))


def cloud_side(subject: Subject) -> int:
    """Of the clouds card, in pixels."""
    f = subject.vae.card.f
    return subject.vae.fixed_size or max(subject.card_side, -(-CLOUD_SIDE // f) * f)


def of_clouds(subject: Subject) -> Tones:
    """What becomes of the clouds card; empty where the model refuses it or gives NaN."""
    card, tones = clouds(cloud_side(subject), subject.image_channels), Tones()
    try:
        back = subject.back(card)
    except ModelRefused:
        return tones
    good = back.isfinite().flatten(1).all(1)
    if bool(good.any()):
        tones.add(card.pixels[good], back[good])
    return tones


def _cells(pixels: Tensor, grid: int) -> Tensor:
    """(B, C, H, W) -> float64 (B, grid^2, C), on the CPU."""
    return to_float64(F.adaptive_avg_pool2d(pixels, grid).flatten(2).transpose(1, 2)).cpu()


def _curve(x: Tensor, y: Tensor) -> Tensor:
    """Sums of x, 1, y over smooth cells by the level of x's luma."""
    before, after = _cells(x, FINE_GRID), _cells(y, FINE_GRID)
    level = luma(before)
    plane = level.view(-1, 1, FINE_GRID, FINE_GRID)
    span = F.max_pool2d(plane, 3, 1, 1) + F.max_pool2d(-plane, 3, 1, 1)
    smooth = span.flatten(1) < SMOOTH
    values = torch.cat([before, torch.ones_like(level)[..., None], after], 2)[smooth]
    steps = ((level[smooth] + 1) / 2 * LEVELS).long().clamp(0, LEVELS - 1)
    return torch.zeros(LEVELS, values.shape[1], dtype=torch.float64).index_add_(0, steps, values)


def _slopes(moments: Tensor, one: int, means: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """y = matrix x + ... by least squares: the matrix, the mean of x, and the mean of y - x.

    moments: of x, 1, y; one: the place of the 1. means: the moments to take off instead of those of the whole's mean.
    Why y - x is fitted: in directions that x does not hold nothing is known, and the matrix is that of no change.
    """
    moments = moments / moments[one, one]
    x, y = slice(0, one), slice(one + 1, None)
    mean, moved = moments[x, one], moments[one, y] - moments[one, x]
    spread = moments - (torch.outer(moments[:, one], moments[one]) if means is None else means / means[one, one])
    slopes = _inverse(spread[x, x]) @ (spread[x, y] - spread[x, x])
    return torch.eye(one, dtype=torch.float64) + slopes.T, mean, moved


def _gain(matrix: Tensor) -> float:
    """Of greys: what all channels share."""
    return _shared(matrix.sum(1), 1.0)


def _shared(channels: Tensor, unchanged: float) -> float:
    """The value nearest to no change between the least and the greatest of the channels."""
    return min(max(unchanged, float(channels.min())), float(channels.max()))


def _returned(cov: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
    """The std that cov (B, C, C) has, and the share of its variance that returns by `cross`, cov(x, y): (B,) each."""
    total = cov.diagonal(dim1=1, dim2=2).sum(1).clamp_min(0.0)
    back = (cross.mT @ _inverse(cov) @ cross).diagonal(dim1=1, dim2=2).sum(1)
    return (total / cov.shape[1]).sqrt(), torch.where(total > 0, back / total.clamp_min(1e-12), torch.zeros_like(total))


def _inverse(cov: Tensor) -> Tensor:
    """The inverse of (..., C, C) in the directions whose variance is seen, zero in others."""
    variances, axes = torch.linalg.eigh(cov)
    inverse = torch.where(variances > SEEN, 1 / variances.clamp_min(SEEN), torch.zeros_like(variances))
    return torch.einsum("...ij,...j,...kj->...ik", axes, inverse, axes)


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value
