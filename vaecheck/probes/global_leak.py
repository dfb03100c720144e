"""Information smuggled through one latent cell: a "black hole" that the decoder reads for the whole picture.

Trained with a KL weight next to nothing, an encoder may drive the log-variance of one cell to its clamp and store there
what the whole picture needs; a diffusion model that gets this one cell wrong gets the picture wrong. How far every cell
reaches is in `reach`: pixels that are far from it in decoding, and in encoding cells that are far from what changed.

Why a ratio to other cells: attention and GroupNorm let every cell of a healthy model reach everything, a little.
Decoding: to the median cell (without gradients, the one in the middle), which counts as 0.2 grey levels at least, since
of a model whose cells reach nowhere ten times nothing is nothing. So 5 is 1 grey level all over the far picture, a step
of 8 bits that shows on flat ground, and 10 is 2 of them. Healthy, at 256 pixels: kl-f8-tiny at most 1.8 (0.35 grey
levels), taef2 1.0; at 128 pixels 3.
Encoding: to what 99 % of the cells stay within, since far black and white move busy cells through the norms more than
the median; it counts as 0.25 standard deviations at least. Healthy: kl-f8-tiny at most 2.4 and taef2 2.0, on 140
photographs, drawings and grey pictures; 3.5 is half as much again, and one cell alone.
Why a log-variance at the clamp is no fault by itself: with a KL weight of 1e-6 the noise is nil everywhere, and flat
regions come close to the clamp (kl-f8-tiny: -28 on drawings). It is told, and mapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaecheck.metrics.protocol import Batch
from vaecheck.probes.latent_signal import GAUSSIAN, QUANTILE, Signal, lively, own_signal
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.reach import FEWEST, Cell, backward_reach, encoder_reach, forward_reach, grouped_reach
from vaecheck.results.types import Finding, Plot

LOWEST, HIGHEST = -30.0, 20.0
"""Where KL autoencoders clamp their log-variance (CompVis/latent-diffusion, distributions.py)."""
AT_CLAMP = 1e-3
MOST_PIXELS = 256
"""Side of the picture that is looked at, where the model's f and its fixed size allow."""
FLAT = 0.1
"""Standard deviation of pixels in [-1, 1] below which a texture is looked at instead."""
WORST = 2
"""Cells of the farthest reach to first order that are changed."""
FAULT = 10.0
LEVELS, STDS = 0.2, 0.25
"""Least reach, in grey levels and in standard deviations, that other cells count as."""


ENCODING = Limit(
    (None, 3.5),
    (None, 7.0),
    "times what 99 % of the cells stay within",
    "of healthy models the worst cell is at most 2.4 times there; 7 is one latent that far pixels move by 2 standard "
    "deviations or more",
)


class GlobalLeak:
    """How much farther the worst latent cell reaches than others, in decoding or in encoding."""

    id = "global_leak"
    title = "one latent cell holds the whole picture"
    limit = Limit(
        (None, 5.0),
        (None, FAULT),
        "times a typical cell",
        "5 is one cell that moves the far picture by 1 grey level (a typical one counts as 0.2), 10 by 2 grey levels",
    )
    remedy = (
        "Raise the KL weight, or penalise latents that vary more than their neighbours, and train again: a diffusion "
        "model that gets this one cell wrong changes the whole picture."
    )
    needs = Signal.needs

    def __init__(self) -> None:
        self.signal = Signal()
        self.low = self.high = self.elements = 0
        self._clamped: dict[str, int] = {}

    def update(self, batch: Batch) -> None:
        assert batch.posterior is not None
        self.signal.update(batch)
        log_vars = batch.posterior.log_var
        if log_vars is None:
            return
        low = (log_vars <= LOWEST + AT_CLAMP).flatten(1).sum(1).tolist()
        self.low += sum(low)
        self.high += int((log_vars >= HIGHEST - AT_CLAMP).sum())
        self.elements += log_vars.numel()
        self._clamped |= dict(zip(batch.ids, low, strict=True))

    def examine(self, subject: Subject) -> Examined:
        if not self.signal.pictures:
            return Examined(unavailable(self, "No picture has finite latents, so no cell's reach can be measured."))
        pixels = self._picture(subject)
        posterior = subject.encode(pixels)
        latents = posterior.mean
        if min(latents.shape[-2:]) < FEWEST:
            return Examined(unavailable(self, f"With {latents.shape[-1]} latents a side no cell is far from another."))
        shown = subject.decode(latents)
        if not bool(latents.isfinite().all() & shown.isfinite().all()):
            return Examined(unavailable(self, "The picture comes back with NaN or infinity."))
        stds = _stds(subject, latents)
        decoding, reach = _decoding(subject, latents, shown, posterior.log_var, stds)
        encoding, seen = _encoding(subject, pixels, latents, stds)
        plots = (
            [_plot("cell_reach", "grey levels of far pixels for one standard deviation", reach)]
            if reach is not None
            else []
        )
        plots.append(_plot("cell_sees", "standard deviations for black or white far away", seen))
        if posterior.log_var is not None:
            plots.append(_plot("log_variance", "least log-variance of any channel", posterior.log_var[0].amin(0)))
        return Examined(self._finding(decoding, encoding), tuple(plots))

    def _finding(self, decoding: Leak, encoding: Leak) -> Finding:
        figures = {
            "decoder_grey_levels": decoding.worst,
            "decoder_median_grey_levels": decoding.others,
            "encoder_stds": encoding.worst,
            "encoder_stds_of_99_percent": encoding.others,
        }
        clamped = ""
        if self.elements:
            low, high = self.low / self.elements, self.high / self.elements
            figures |= {"at_lowest": low, "at_highest": high}
            if self.low or self.high:
                clamped = (
                    f" {low:.2%} of the log-variances are at the clamp of {LOWEST:.0f}, {high:.2%} at that of "
                    f"{HIGHEST:.0f}."
                )
        findings = [
            limit.finding(
                self,
                leak.ratio,
                leak.told + clamped,
                figures=figures | {"row": float(leak.cell[0]), "column": float(leak.cell[1])},
            )
            for limit, leak in ((self.limit, decoding), (ENCODING, encoding))
        ]
        return max(findings, key=lambda one: (("healthy", "warning", "fault").index(one.severity), one.past_limit))

    def _picture(self, subject: Subject) -> Tensor:
        """One to look at, (1, channels, H, W): of the kept ones that with most log-variances at the clamp, else that
        with the highest contrast; a texture where they are flat."""
        f = subject.vae.card.f
        largest = subject.vae.fixed_size or max(MOST_PIXELS // f, FEWEST) * f
        fitting = [one for one in subject.pictures if min(one.pixels.shape[-2:]) >= FEWEST * f]
        rated = [
            (self._clamped.get(one.id, 0), float(one.pixels.std()), one.pixels)
            for one in fitting
            if bool(one.pixels.isfinite().all()) and float(one.pixels.std()) > FLAT
        ]
        if not rated:
            return lively(subject.card_side, subject.image_channels)[-1:].to(subject.device)
        pixels = max(rated, key=lambda one: one[:2])[2]
        height, width = (min(side, largest) // f * f for side in pixels.shape[-2:])
        top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
        return pixels[None, :, top : top + height, left : left + width].to(subject.device)


@dataclass(frozen=True)
class Leak:
    """The worst cell of one direction.

    worst, others: its reach and that of the others, in grey levels or in standard deviations. ratio: of the two, the
    others counting as the least reach at least. told: a sentence with the figures.
    """

    cell: Cell
    worst: float
    others: float
    ratio: float
    told: str


def _decoding(
    subject: Subject, latents: Tensor, shown: Tensor, log_var: Tensor | None, stds: Tensor
) -> tuple[Leak, Tensor | None]:
    """The leak, measured by changing cells; and the map of reach to first order, where there is one."""
    reach = backward_reach(subject, latents, shown, stds)
    cells = [(latents.shape[-2] // 2, latents.shape[-1] // 2), _suspect(latents, log_var)]
    if reach is not None:
        order = [divmod(int(place), reach.shape[1]) for place in reach.flatten().argsort()]
        cells = [order[len(order) // 2], *order[-WORST:], cells[1]]
    leak = _changed(subject, latents, cells, stds)
    if leak.ratio <= FAULT and (traced := grouped_reach(subject, latents, shown)) is not None:
        leak = max(leak, _changed(subject, latents, [cells[0], traced], stds), key=lambda one: one.ratio)
    return leak, reach


def _changed(subject: Subject, latents: Tensor, cells: list[Cell], stds: Tensor) -> Leak:
    """cells: a typical one, then those to try."""
    moved = forward_reach(subject, latents, cells, stds)
    worst = max(range(len(cells)), key=lambda one: moved[one])
    told = (
        f"Changing the one latent cell at row {cells[worst][0]}, column {cells[worst][1]} moves the far pixels by "
        f"{moved[worst]:.2g} grey levels, a typical cell moves them by {moved[0]:.2g}."
    )
    return Leak(cells[worst], moved[worst], moved[0], moved[worst] / max(moved[0], LEVELS), told)


def _encoding(subject: Subject, pixels: Tensor, latents: Tensor, stds: Tensor) -> tuple[Leak, Tensor]:
    seen = encoder_reach(subject, pixels, latents, stds).nan_to_num(0.0, 0.0, 0.0)
    row, column = divmod(int(seen.argmax()), seen.shape[1])
    worst, others = float(seen.max()), float(seen.quantile(0.99))
    told = (
        f"Far pixels alone move the latent cell at row {row}, column {column} by {worst:.2g} standard deviations; 99 % "
        f"of the cells move by {others:.2g} or less."
    )
    return Leak((row, column), worst, others, worst / max(others, STDS), told), seen


def _stds(subject: Subject, latents: Tensor) -> Tensor:
    """Of the channels, (C,) float64: a quantile's, which outliers do not move, or that on cards, where it is larger.

    On flat or grey pictures the latents of a healthy VAE hardly vary, and any change would be many of theirs.
    """
    values = latents[0].double().cpu().flatten(1)
    away = (values - values.median(1, keepdim=True).values).abs()
    stds = away.quantile(QUANTILE, dim=1) / GAUSSIAN
    return torch.maximum(stds, torch.from_numpy(own_signal(subject)).sqrt()).clamp(min=1e-6)


def _suspect(latents: Tensor, log_var: Tensor | None) -> Cell:
    """The cell of least log-variance, or the one farthest from its channels' means."""
    if log_var is not None:
        strange = -log_var[0].double().mean(0)
    else:
        away = latents[0].double() - latents[0].double().mean((1, 2), keepdim=True)
        strange = (away / away.std((1, 2), keepdim=True).clamp(min=1e-12)).abs().amax(0)
    return divmod(int(strange.argmax()), latents.shape[-1])


def _plot(name: str, what: str, values: Tensor) -> Plot:
    finite = values.double().cpu().nan_to_num(0.0, 0.0, 0.0)
    return Plot(
        name=name,
        about=GlobalLeak.id,
        kind="matrix",
        title=f"Latent cells: {what}",
        x_label="column",
        y_label="row",
        matrix=tuple(tuple(row) for row in finite.tolist()),
        note="One cell that stands out holds more than its own patch of the picture.",
    )
