"""Brightness and contrast: what the model makes of grey levels from black to white.

Why per cent of the range from black to white: sRGB levels are nearly even in perceived lightness, so that 1 % is
about one unit of L* (CIE 1976), which is just noticeable side by side.

Why these limits: on photographs of 128 to 512 pixels, on drawings and on grey pictures kl-f8-tiny measures 0.1 to
0.8 % and taef2 0.3 to 0.9. 1.5 % is above all of them and is seen side by side. 4 % alone keeps PSNR below 28 dB, and
is seen without the original. Blur of 8 pixels reaches 1.3 %.
"""

from __future__ import annotations

import math

import torch

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.tones import GRID, LEVELS, ToneFit, Tones, coloured, luma, of_clouds
from vaecheck.probes.worst import Worst
from vaecheck.results.types import Line, Panel, Plot

RANGES = (
    (
        0.5,
        0.5,
        "It seems to answer in [0, 1]: either map its output by 2 y - 1, or give its encoder pixels in [-1, 1].",
    ),
    (2.0, -1.0, "Its output seems to be mapped from [0, 1] to [-1, 1] twice: leave out one 2 y - 1."),
    (255 / 2, 255 / 2, "It seems to answer in [0, 255]: map its output by y * 2 / 255 - 1."),
    (-1.0, 0.0, "The pictures come back inverted: change the sign of the output."),
)
"""Gain and shift that misused ranges leave, and what mends each."""
NEAR = 0.15


class ContrastShift:
    """The RMS change of grey levels from black to white, over large areas.

    In per cent of the range: 100 / 2 sqrt(mean_l ((g - 1) l + b + c(l))^2).

    l: 16 levels from -1 to 1. g, b: gain and shift that all channels share (see tones); g over all areas or inside
    pictures, whichever is farther from 1. c: what the line leaves at the
    levels that smooth areas have (gamma, clipped shadows and lights).
    """

    id = "contrast_shift"
    title = "Brightness or contrast changed"
    limit = Limit(
        (None, 1.5),
        (None, 4.0),
        "% of the range from black to white, RMS",
        "1 % is about one unit of lightness L*, which is just noticeable; healthy models stay below 0.9 % on "
        "photographs, and 4 % alone keeps PSNR below 28 dB.",
    )
    remedy = (
        "Check that encoder and decoder both work on pixels in [-1, 1]; if they do, train with a plain L1 or L2 loss "
        "until levels return."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.tones = Tones()
        self.worst = Worst()

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        self.tones.watch(batch)
        moved = coloured(batch.reconstruction_pixels) - coloured(batch.pixels)
        cells = torch.nn.functional.adaptive_avg_pool2d(moved, GRID).movedim(1, -1)
        self.worst.watch(batch, luma(cells).square().mean((1, 2)))

    def examine(self, subject: Subject) -> Examined:
        fit = self.tones.fit(of_clouds(subject))
        if fit is None:
            return Examined(
                unavailable(self, "No picture and no card came back finite, so there are no levels to compare.")
            )
        levels, moved = tone_curve(fit)
        value = off_by(moved)
        evidence = (
            f"Over large areas of {self.tones.described}, contrast comes back times {fit.gain:.2f} (inside pictures "
            f"{fit.within:.2f}), and mid grey {50 * abs(fit.shift):.1f} % of the range "
            f"{'brighter' if fit.shift > 0 else 'darker'}; grey levels are {value:.1f} % off (RMS)."
        )
        finding = self.limit.finding(
            self,
            value,
            evidence,
            remedy=self._remedy(fit),
            figures={
                "gain": fit.gain,
                "gain_inside_pictures": fit.within,
                "shift": fit.shift,
                "black": float(levels[0] + moved[0]),
                "white": float(levels[-1] + moved[-1]),
                "bend": float(fit.bent.abs().max()) if len(fit.bent) else None,
            },
        )
        panels = () if finding.severity == "healthy" else self._panels()
        return Examined(finding, (_plot(levels, moved),), panels)

    def _remedy(self, fit: ToneFit) -> str:
        return next(
            (
                text
                for gain, shift, text in RANGES
                if max(abs(fit.gain - gain), abs(fit.shift - shift)) < NEAR * max(abs(gain), 1.0)
            ),
            self.remedy,
        )

    def _panels(self) -> tuple[Panel, ...]:
        if not self.worst.images():
            return ()
        note = "Compare how bright large areas are, and how far apart dark and light ones."
        return (Panel("contrast", self.id, f"Levels of {self.worst.id}", self.worst.images(), note),)


def off_by(moved: torch.Tensor) -> float:
    """RMS of what levels in [-1, 1] move by, in % of the range."""
    return 50 * math.sqrt(float((moved**2).mean()))


def tone_curve(fit: ToneFit) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels from black to white, and how far each moves, float64 (LEVELS,): the line, and what bends it where seen."""
    step = 2 / LEVELS
    levels = torch.arange(LEVELS, dtype=torch.float64) * step - 1 + step / 2
    gain = max(fit.gain, fit.within, key=lambda each: abs(each - 1))
    moved = (gain - 1) * levels + fit.shift
    places = ((fit.levels + 1) / step).long().clamp(0, LEVELS - 1)
    return levels, moved.index_add(0, places, fit.bent)


def _plot(levels: torch.Tensor, moved: torch.Tensor) -> Plot:
    x = tuple(levels.tolist())
    return Plot(
        name="tone_curve",
        about="contrast_shift",
        kind="lines",
        title="Tone curve",
        x_label="grey level of the original, -1 black, 1 white",
        y_label="grey level of the reconstruction",
        lines=(Line("this VAE", x, tuple((levels + moved).tolist())), Line("unchanged", x, x)),
        note="A flatter line is lost contrast, a line above the other is brighter, and a bent end is clipped.",
    )
