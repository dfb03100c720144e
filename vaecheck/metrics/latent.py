"""Moments of raw latents: what their mean, spread and shape are, and so what scales them to unit variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows, Sum
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.intervals import bootstrap_ci95
from vaecheck.metrics.per_image import finite_or_none
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.results.types import LatentScaling, Measure

DEFINITIONS = {
    "latent_mean": "mean over all elements of all raw latents",
    "latent_std": "standard deviation over all elements of all raw latents (population)",
    "posterior_std": "root of the mean posterior variance over all elements",
    "latent_shape": "channels, height and width of one picture's latents",
    "compression_ratio": "pixel values (3 H W for RGB) over latent values (C h w)",
}
ELEMENTS, SUM_MEAN, SUM_MEAN_SQ, SUM_VAR, SUM_USED, SUM_USED_SQ = range(6)
PIXEL_VALUES, CHANNELS, HEIGHT, WIDTH, STOCHASTIC = range(6, 11)


@dataclass(frozen=True)
class Moments:
    """Of all elements of all images, in float64: the posterior means, their variances, and their sum."""

    mean: float
    std_of_means: float
    posterior_std: float

    @property
    def std(self) -> float:
        """Of posterior samples, exactly: Var(means) + mean variance (the law of total variance)."""
        return float(np.hypot(self.std_of_means, self.posterior_std))


@dataclass(frozen=True)
class Scaled:
    """Posterior samples after a shipped scaling: over all elements, and the channel whose std is farthest from 1.

    worst_channel: of the folded latents, those that the scaling has a figure for; where all share one, of the latents.
    """

    mean: float
    std: float
    worst_channel: int
    worst_std: float


def fold(latents: Tensor, patch: int) -> Tensor:
    """(B, C, h, w) -> (B, C * patch^2, n): every position of a patch is a channel, in pixel_unshuffle's order.

    That order is channel, row in the patch, column in the patch. Sides that are no multiple are filled with zeros.
    """
    height, width = latents.shape[-2:]
    whole = F.pad(latents, (0, -width % patch, 0, -height % patch))
    return F.pixel_unshuffle(whole, patch).flatten(2)


class LatentMoments:
    """latent_mean, latent_std, posterior_std, latent_shape, compression_ratio; and Moments for `scale-factor`.

    patch: moments are kept for each channel and each position in patches of that side (LatentScaling.patch).

    latent_mean and latent_std are of the latents that were decoded: posterior means with --posterior mode,
    samples with --posterior sample.

    Why sums of float64, one row an image: they merge exactly, and a bootstrap over images needs nothing
    more. Averaging the standard deviations of batches instead is a known public bug (a factor 16 off).
    Checked against NumPy in float64 on all latents at once, 1e-6.
    """

    name = "latent"
    needs = frozenset({Need.POSTERIOR})

    def __init__(self, *, seed: int = 0, patch: int = 1) -> None:
        self.seed = seed
        self.patch = patch
        self.rows = Rows(11)
        self.channel_sums = Sum()

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        assert batch.latents is not None
        mean = fold(to_float64(batch.posterior.mean), self.patch)
        used = fold(to_float64(batch.latents), self.patch)
        log_var = batch.posterior.log_var
        var = mean.new_zeros(mean.shape) if log_var is None else fold(to_float64(log_var).exp(), self.patch)
        per_channel = [mean.sum(2), (mean**2).sum(2), var.sum(2), used.sum(2), (used**2).sum(2)]
        shape = batch.posterior.mean.shape[1:]
        fixed = np.array([batch.original[0].numel(), *shape, float(log_var is not None)])
        batch.bring(
            partial(self._keep, batch.ids, shape, fixed),
            torch.stack(per_channel, dim=1),  # (B, 5, C * patch^2)
            (mean + var + used).flatten(1).isfinite().all(1),
        )

    def _keep(
        self,
        ids: Sequence[str],
        shape: torch.Size,
        fixed: NDArray[np.float64],
        per_channel: Tensor,
        all_finite: Tensor,
    ) -> None:
        finite = all_finite.numpy()
        sums = np.where(finite[:, None, None], per_channel.numpy(), np.nan)
        elements = np.full((len(ids), 1), shape.numel())
        self.rows.add(ids, np.concatenate([elements, sums.sum(2), np.tile(fixed, (len(ids), 1))], axis=1))
        ones = torch.ones((1, *shape), dtype=torch.float64)
        counts = finite.sum() * fold(ones, self.patch).sum(2).numpy()
        self.channel_sums.add(np.concatenate([counts, sums[finite].sum(0)]))

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows, "channel_sums": self.channel_sums}

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        rows = self.rows.ordered()
        std = np.sqrt(_variance(rows[:, SUM_USED], rows[:, SUM_USED_SQ], rows[:, ELEMENTS]))
        return {"latent_std": finite_or_none(std)}

    @property
    def lost(self) -> int:
        """Pictures left out because their latents are not finite."""
        return len(self.rows) - len(self._rows())

    def moments(self) -> Moments:
        return _moments(self._rows().sum(0))

    def channel_moments(self) -> tuple[Moments, ...]:
        """One for each latent channel."""
        sums = self._channel_sums()
        return tuple(_moments(column) for column in sums.reshape(len(sums), -1, self.patch**2).sum(2).T)

    def folded_moments(self) -> tuple[tuple[Moments, ...], NDArray[np.float64]]:
        """One for each channel of the folded latents, and the share of all elements that each has."""
        sums = self._channel_sums()
        return tuple(_moments(column) for column in sums.T), sums[ELEMENTS] / sums[ELEMENTS].sum()

    def scaled(self, scaling: LatentScaling) -> Scaled | None:
        """What the scaling makes of these latents, exactly; None where it is of other channels than these.

        Of channel c with share p_c of the elements, mean m_c and std s_c after its own affine map, the whole has the
        mean m = sum p_c m_c and the variance sum p_c (s_c^2 + (m_c - m)^2) (the law of total variance).
        """
        channels, shares = self.folded_moments()
        shifts, gains = (np.array(values) for values in scaling.of_channels(len(channels)))
        if len(gains) != len(channels) or (scaling.channel_stds is not None and scaling.patch != self.patch):
            return None
        means = (np.array([channel.mean for channel in channels]) - shifts) * gains
        stds = np.array([channel.std for channel in channels]) * np.abs(gains)
        mean = float(shares @ means)
        with np.errstate(divide="ignore"):
            worst = int(np.abs(np.log(stds)).argmax())
        return Scaled(mean, float(np.sqrt(shares @ (stds**2 + (means - mean) ** 2))), worst, float(stds[worst]))

    def _channel_sums(self) -> NDArray[np.float64]:
        self._rows()
        assert self.channel_sums.value is not None
        return self.channel_sums.value

    def scaling_factor_ci95(self) -> tuple[float, float] | None:
        """95 % bootstrap interval over images of 1 / std of posterior samples."""

        def scaling_factor(rows: NDArray[np.float64]) -> float:
            return 1.0 / _moments(rows.sum(0)).std

        return bootstrap_ci95(self._rows(), scaling_factor, self.seed)

    def compute(self) -> tuple[Measure, ...]:
        rows = self._rows()
        n, total = len(rows), rows.sum(0)
        missing = len(self.rows) - n
        caveat = f"{missing} of {n + missing} pictures have NaN or infinity in their latents" if missing else ""
        deterministic = total[STOCHASTIC] == 0
        shapes = {tuple(int(side) for side in shape) for shape in rows[:, [CHANNELS, HEIGHT, WIDTH]]}
        ratio = float(total[PIXEL_VALUES] / total[ELEMENTS])

        def measure(name: str, value: float | tuple[int, ...] | None, **rest: object) -> Measure:
            status = {"status": "unreliable", "reason": caveat, "counts": {"non_finite": missing}} if caveat else {}
            return Measure(name, value, "", None, n, DEFINITIONS[name], **(status | rest))  # type: ignore[arg-type]

        return (
            measure(
                "latent_mean",
                float(total[SUM_USED] / total[ELEMENTS]),
                ci95=bootstrap_ci95(rows, lambda r: float(r[:, SUM_USED].sum() / r[:, ELEMENTS].sum()), self.seed),
            ),
            measure(
                "latent_std", _used_std(total), ci95=bootstrap_ci95(rows, lambda r: _used_std(r.sum(0)), self.seed)
            ),
            measure("posterior_std", None, status="unavailable", reason="the encoder is deterministic")
            if deterministic
            else measure(
                "posterior_std",
                _moments(total).posterior_std,
                ci95=bootstrap_ci95(rows, lambda r: _moments(r.sum(0)).posterior_std, self.seed),
            ),
            measure("latent_shape", next(iter(shapes)))
            if len(shapes) == 1
            else measure(
                "latent_shape", None, status="unavailable", reason="the pictures are of several sizes; use --fit crop"
            ),
            measure("compression_ratio", ratio),
        )

    def _rows(self) -> NDArray[np.float64]:
        if not len(self.rows):
            raise NotEnoughImages("latent statistics need at least one picture", hint="Check the IMAGES given.")
        rows = self.rows.ordered().astype(np.float64)
        finite = rows[np.isfinite(rows).all(1)]
        if not len(finite):
            raise NotEnoughImages(
                f"the latents of all {len(rows)} pictures hold NaN or infinity",
                hint="The weights are broken, or their values overflow in 16 bits.",
            )
        return finite


def _variance(
    total: NDArray[np.float64], total_of_squares: NDArray[np.float64], count: NDArray[np.float64]
) -> NDArray[np.float64]:
    mean = total / count
    return np.maximum(total_of_squares / count - mean**2, 0.0)


def _moments(sums: NDArray[np.float64]) -> Moments:
    """sums: (elements, sum of means, sum of squared means, sum of variances, ...)."""
    count = sums[ELEMENTS]
    return Moments(
        mean=float(sums[SUM_MEAN] / count),
        std_of_means=float(np.sqrt(_variance(sums[SUM_MEAN], sums[SUM_MEAN_SQ], count))),
        posterior_std=float(np.sqrt(sums[SUM_VAR] / count)),
    )


def _used_std(sums: NDArray[np.float64]) -> float:
    return float(np.sqrt(_variance(sums[SUM_USED], sums[SUM_USED_SQ], sums[ELEMENTS])))
