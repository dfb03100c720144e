"""noise_*, decoder_sensitivity: what noise on the latents does to the decoded picture.

A diffusion model never gives exactly the latents of a picture. How fast the decoder turns a small error of the latents
into a visible one is measured with noise of s standard deviations of each channel, against the original picture.

Why against the original: to first order E||x - D(z + s e)||^2 = ||x - D(z)||^2 + s^2 tr(J J^T), J being the decoder's
Jacobian in units of the channels' stds (arXiv 2603.21085). A decoder that reproduces every detail has
little error to double, so read the doublings beside the figures without noise.

Why s = 0.05 for the sensitivity: half of one per cent of a latent's range. Smaller steps drown in the rounding of
16-bit decoders, whose squared error would be divided by a smaller s^2; the error of the finite step is of order s^2.

Why the excess is interpolated in logarithms: by that formula log(excess) is a line of slope 2 in log(s), along which a
straight line is exact; below the smallest s the same line is followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.intervals import bootstrap_ci95, mean_ci95
from vaecheck.metrics.latent_store import OTHER_SHAPES, template
from vaecheck.metrics.pixel import PEAK, psnr_db
from vaecheck.metrics.protocol import Batch, Need, View, compared
from vaecheck.pixels import Levels, to_float64, to_image
from vaecheck.results.types import Line, Measure, Panel, Plot
from vaecheck.vae.protocol import noise_for

Values = NDArray[np.float64]

LEVELS = (0.05, 0.1, 0.2, 0.5)
LOUDEST = LEVELS[-1]
PSNR_10, PSNR_20, MSE_DOUBLING = "noise_psnr_db_10", "noise_psnr_db_20", "noise_mse_doubling"
LPIPS_DOUBLING, SENSITIVITY = "noise_lpips_doubling", "decoder_sensitivity"
BEYOND = "beyond_the_curve"
NOISY = "decoded after noise of {share} of each latent channel's standard deviation"
EVIDENCE = (
    "Decoders that were made to bear noise gave better generations with worse PSNR: FID-10K of DiT-B from 31.93 to "
    "29.03 with LDM's VAE and from 22.27 to 19.42 with VA-VAE (arXiv 2603.21085); no correlation over many models "
    "was found."
)


def _described(name: str, definition: str, better: str, unit: str = "") -> Measure:
    return template(name, definition, better=better, role="predicts", evidence=EVIDENCE, unit=unit)


TEMPLATES = {
    PSNR_10: _described(PSNR_10, f"PSNR against the original, {NOISY.format(share='0.1')}", "higher", "dB"),
    PSNR_20: _described(PSNR_20, f"PSNR against the original, {NOISY.format(share='0.2')}", "higher", "dB"),
    MSE_DOUBLING: _described(
        MSE_DOUBLING,
        "share of each latent channel's standard deviation at which noise doubles the squared error against the "
        f"original; {OTHER_SHAPES}",
        "higher",
    ),
    LPIPS_DOUBLING: _described(
        LPIPS_DOUBLING,
        "share of each latent channel's standard deviation at which noise doubles LPIPS against the original; "
        + OTHER_SHAPES,
        "higher",
    ),
    SENSITIVITY: _described(
        SENSITIVITY,
        "tr(J J^T) / pixel values, J being the decoder's Jacobian in units of each latent channel's standard deviation "
        f"and pixels in [-1, 1], estimated by E||D(z + {LEVELS[0]} e) - D(z)||^2 / {LEVELS[0]}^2; {OTHER_SHAPES}",
        "lower",
    ),
}


class Robustness:
    """One row for each picture: squared error and LPIPS without noise and at each level, and the sensitivity.

    decode: latents -> pixels, not clamped. stds: of the latent channels. The noise is drawn by image id and seed, the
    same at every level. lpips: distance of two uint8 RGB batches, None where its weights are missing; net: its name.
    """

    name = "robustness"
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        stds: Sequence[float],
        names: Sequence[str],
        *,
        seed: int = 0,
        lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
        net: str = "alex",
        caveat: str = "",
        view: View = compared,
    ) -> None:
        self.decode = decode
        self.stds = tuple(stds)
        self.names = tuple(names)
        self.seed = seed
        self.lpips = lpips if LPIPS_DOUBLING in names else None
        self.net = net
        self.caveat = caveat
        self.view = view
        self.rows = Rows(2 * (1 + len(LEVELS)) + 1)
        self._shown: tuple[str, tuple[tuple[str, Tensor], ...]] | None = None

    def update(self, batch: Batch) -> None:
        assert batch.latents is not None
        assert batch.reconstruction_pixels is not None
        noise = noise_for(batch.ids, batch.latents, self.seed)
        noise = noise * torch.tensor(self.stds, dtype=noise.dtype, device=noise.device).view(1, -1, 1, 1)
        height, width = batch.original.shape[-2:]
        decoded = [batch.reconstruction_pixels]
        decoded += [self.decode(batch.latents + level * noise)[..., :height, :width] for level in LEVELS]
        levels = Levels.CLAMP if batch.original.is_floating_point() else Levels.ROUND
        images = [to_image(pixels.nan_to_num(), levels) for pixels in decoded]
        errors = [PEAK**2 / 10 ** (psnr_db(batch.original, image).cpu() / 10) for image in images]
        distances = [self._distance(batch, image) for image in images]
        step = to_float64(decoded[1] - decoded[0]).flatten(1)
        sensitivity = (step**2).mean(1).cpu() / LEVELS[0] ** 2
        values = torch.stack([*errors, *distances, sensitivity], dim=1)
        finite = torch.stack([pixels.isfinite().flatten(1).all(1).cpu() for pixels in decoded]).all(0)
        values[~finite] = math.nan
        self.rows.add(batch.ids, values.numpy())
        self._show(batch, images, finite)

    def _distance(self, batch: Batch, image: Tensor) -> Tensor:
        if self.lpips is None:
            return torch.zeros(len(batch.ids), dtype=torch.float64)
        return self.lpips(*self.view(replace(batch, reconstruction=image))).cpu().double()

    def _show(self, batch: Batch, images: Sequence[Tensor], finite: Tensor) -> None:
        """Keep the first picture by id, for the panel."""
        if batch.original.dtype != torch.uint8 or batch.original.shape[1] not in (1, 3):
            return
        for place, image_id in enumerate(batch.ids):
            if finite[place] and (self._shown is None or image_id < self._shown[0]):
                labels = ("original", "no noise", *(f"noise {level:g} std" for level in LEVELS))
                kept = [each[place].cpu().clone() for each in (batch.original, *images)]
                self._shown = image_id, tuple(zip(labels, kept, strict=True))

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows}

    def compute(self) -> tuple[Measure, ...]:
        rows, caveats = self._finite()
        if not len(rows):
            return tuple(
                replace(TEMPLATES[name], reason=caveats[0], counts={"non_finite": len(self.rows)})
                for name in self.names
            )
        made: dict[str, Callable[[], Measure]] = {
            PSNR_10: lambda: self._psnr(PSNR_10, rows, 0.1, caveats),
            PSNR_20: lambda: self._psnr(PSNR_20, rows, 0.2, caveats),
            MSE_DOUBLING: lambda: self._doubling(MSE_DOUBLING, _errors(rows), "squared error", caveats),
            LPIPS_DOUBLING: lambda: self._doubling(
                LPIPS_DOUBLING,
                _distances(rows),
                f"LPIPS ({self.net})",
                [*caveats, *([self.caveat] * bool(self.caveat))],
            ),
            SENSITIVITY: lambda: _mean(SENSITIVITY, rows[:, -1], caveats, self.seed),
        }
        return tuple(make() for name, make in made.items() if name in self.names)

    def _psnr(self, name: str, rows: Values, level: float, caveats: Sequence[str]) -> Measure:
        errors = _errors(rows)[:, 1 + LEVELS.index(level)]
        errors = errors[errors > 0]
        if not len(errors):
            reason = "every picture is identical to its original even with noise"
            return replace(TEMPLATES[name], reason=reason, counts={"identical": len(rows)})
        return _mean(name, 10 * np.log10(PEAK**2 / errors), caveats, self.seed)

    def _doubling(self, name: str, curves: Values, what: str, caveats: Sequence[str]) -> Measure:
        blank = replace(TEMPLATES[name], definition=TEMPLATES[name].definition.replace("LPIPS", f"LPIPS ({self.net})"))
        start = float(curves[:, 0].mean())
        if start <= 0:
            reason = f"the {what} is 0 without noise: there is nothing to double"
            return replace(blank, reason=reason, counts={"identical": len(curves)})
        found = doubling(curves)
        if found is None:
            ratio = float(curves[:, -1].mean()) / start
            reason = f"more than {LOUDEST:g}: there the {what} is {ratio:.3g} times that without noise"
            return replace(blank, n=len(curves), reason=reason, counts={BEYOND: len(curves)})
        interval = bootstrap_ci95(curves, lambda some: doubling(some) or 2 * LOUDEST, self.seed)
        return replace(
            blank,
            value=found,
            n=len(curves),
            ci95=interval if interval and interval[1] <= LOUDEST else None,
            status="unreliable" if caveats else "ok",
            reason="; ".join(caveats),
        )

    def _finite(self) -> tuple[Values, list[str]]:
        rows = self.rows.ordered()
        if not len(rows):
            raise NotEnoughImages("noise robustness needs at least one picture", hint="Check the IMAGES given.")
        kept = rows[np.isfinite(rows).all(1)]
        lost = len(rows) - len(kept)
        return kept, [f"{lost} of {len(rows)} pictures were decoded to NaN or infinity and are left out"] * bool(lost)

    def plots(self) -> tuple[Plot, ...]:
        rows, _ = self._finite()
        if not len(rows):
            return ()
        errors = _errors(rows).mean(0)
        plots = [
            _curve(PSNR_10, "PSNR", "PSNR of the mean error, dB", 10 * np.log10(PEAK**2 / np.maximum(errors, 1e-9)))
        ]
        if self.lpips is not None:
            plots.append(_curve(LPIPS_DOUBLING, "LPIPS", f"LPIPS ({self.net})", _distances(rows).mean(0)))
        return tuple(plots)

    def panels(self) -> tuple[Panel, ...]:
        if self._shown is None:
            return ()
        images = tuple((label, _rgb(image)) for label, image in self._shown[1])
        return (
            Panel(
                name="noise_robustness",
                about=MSE_DOUBLING,
                title="One picture decoded from latents with noise",
                images=images,
                note="Noise in standard deviations of each latent channel; a diffusion model errs like the first.",
            ),
        )


def doubling(curves: Values) -> float | None:
    """The level of noise at which the mean curve is twice its start; None where it is not by the last level.

    curves: (n, 1 + levels), of each picture, first without noise. The excess e(s) = curve(s) - curve(0) is taken as
    a straight line in logarithms between levels, and as e(s) ~ s^2 below the first.
    """
    mean = curves.mean(0)
    target, excess = float(mean[0]), mean[1:] - mean[0]
    above = np.flatnonzero(excess >= target)
    if not len(above):
        return None
    high = int(above[0])
    if high == 0 or excess[high - 1] <= 0:
        return float(LEVELS[high] * math.sqrt(target / excess[high]))
    share = math.log(target / excess[high - 1]) / math.log(excess[high] / excess[high - 1])
    return float(LEVELS[high - 1] * (LEVELS[high] / LEVELS[high - 1]) ** share)


def _errors(rows: Values) -> Values:
    return rows[:, : 1 + len(LEVELS)]


def _distances(rows: Values) -> Values:
    return rows[:, 1 + len(LEVELS) : -1]


def _mean(name: str, values: Values, caveats: Sequence[str], seed: int) -> Measure:
    return replace(
        TEMPLATES[name],
        value=float(values.mean()),
        n=len(values),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        ci95=mean_ci95(values, seed),
        status="unreliable" if caveats else "ok",
        reason="; ".join(caveats),
    )


def _curve(about: str, what: str, label: str, values: Values) -> Plot:
    first, *rest = (float(value) for value in values)
    without = Line("without noise", (LEVELS[0], LOUDEST), (first, first))
    return Plot(
        name=f"noise_{what.lower()}",
        about=about,
        kind="lines",
        title=f"{what} against the original, decoded from latents with noise",
        x_label="noise, standard deviations of each latent channel",
        y_label=label,
        lines=(Line("with noise", LEVELS, tuple(rest)), without),
        log_x=True,
        note="Where the curve leaves the line, errors of a diffusion model begin to show.",
    )


def _rgb(image: Tensor) -> NDArray[np.uint8]:
    """(1 or 3, H, W) uint8 -> (H, W, 3)."""
    found: NDArray[np.uint8] = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return found
