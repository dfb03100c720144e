"""Hue, saturation and tint: what the model makes of colours, brightness and contrast aside.

Why a palette and not the pictures' own colours: a tenth less saturation is far below notice in a muted photograph,
and is there all the same. The fit of large areas (see tones) is applied to six muted colours and to greys; what
greys become in all channels alike is taken off first, and lightness is held, so that only colour is left.

Why these limits: CIEDE2000 (Sharma, Wu and Dalal 2005) is made so that 1 is just noticeable. On eight photographs of
256 pixels or more kl-f8-tiny measures 0.2 to 1.3 and taef2 0.3 to 0.9, of 128 pixels 1.1, on three 0.3 to 1.4 (of
128 pixels kl-f8-tiny 1.8); the card alone 0.9 and 0.6, drawings up to 1.6. 1.5 is above the photographs, and from 3
on a colour is another.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.images.synthetic import MUTED, PRIMARIES
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.tones import GRID, ToneFit, Tones, coloured, luma, of_clouds
from vaecheck.probes.worst import Worst
from vaecheck.results.types import Finding, Panel

GREYS = (-0.5, 0.0, 0.5)
LEAST_GAIN = 0.2
"""With less contrast left, colours are read off what is nearly a constant."""
SWAPPED = 0.5
"""A swap of channels explains the matrix where it leaves less than this of its distance from no change."""


class ColourShift:
    """The mean CIEDE2000 by which muted colours move, or greys where that is more, at their own lightness."""

    id = "colour_shift"
    title = "Colours changed"
    limit = Limit(
        (None, 1.5),
        (None, 3.0),
        "CIEDE2000",
        "1 is just noticeable, and healthy models stay below 1.3 on photographs; from about 3 on a colour is another.",
    )
    remedy = (
        "Check the order and the normalisation of the channels at both ends; if they are right, train with a loss on "
        "low-frequency colour until hue and saturation return."
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.tones = Tones()
        self.worst = Worst()

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        if batch.pixels.shape[1] < 3:
            return
        self.tones.watch(batch)
        moved = coloured(batch.reconstruction_pixels) - coloured(batch.pixels)
        cells = torch.nn.functional.adaptive_avg_pool2d(moved, GRID).movedim(1, -1)
        self.worst.watch(batch, (cells - luma(cells)[..., None]).square().mean((1, 2, 3)))

    def examine(self, subject: Subject) -> Examined:
        if subject.image_channels < 3:
            return Examined(unavailable(self, f"The pictures have {subject.image_channels} channels and so no colour."))
        fit = self.tones.fit(of_clouds(subject))
        if fit is None:
            return Examined(
                unavailable(self, "No picture and no card came back finite, so there are no colours to compare.")
            )
        if abs(fit.gain) < LEAST_GAIN:
            return Examined(
                unavailable(self, f"Contrast comes back times {fit.gain:.2f}: too little is left to read a colour off.")
            )
        finding = self._finding(fit)
        return Examined(finding, panels=() if finding.severity == "healthy" else self._panels())

    def _finding(self, fit: ToneFit) -> Finding:
        matrix, offset = fit.matrix / fit.gain, (fit.offset - fit.shift) / fit.gain
        colours, greys = _palette()
        moved_colours, saturation = _moved(colours, matrix, offset)
        moved_greys, _ = _moved(greys, matrix, offset)
        tint = ", ".join(
            f"{name} {50 * part:+.1f} %" for name, part in zip(("red", "green", "blue"), offset.tolist(), strict=True)
        )
        evidence = (
            f"By large areas of {self.tones.described}, muted colours come back {moved_colours:.1f} off and greys "
            f"{moved_greys:.1f} (CIEDE2000); saturation is times {saturation:.2f}, and mid grey gets {tint}."
        )
        return self.limit.finding(
            self,
            max(moved_colours, moved_greys),
            evidence,
            remedy=_swap(matrix, offset),
            figures={"colours": moved_colours, "greys": moved_greys, "saturation": saturation}
            | dict(zip(("red", "green", "blue"), offset.tolist(), strict=True)),
        )

    def _panels(self) -> tuple[Panel, ...]:
        if not self.worst.images():
            return ()
        note = "Compare hue and saturation of large areas."
        return (Panel("colour", self.id, f"Colours of {self.worst.id}", self.worst.images(), note),)


def _palette() -> tuple[Tensor, Tensor]:
    """The six muted colours and three greys, as pixels: float64 (n, 3)."""
    colours = MUTED * torch.tensor(PRIMARIES, dtype=torch.float64)
    return colours, torch.tensor(GREYS, dtype=torch.float64)[:, None].expand(-1, 3)


def _moved(colours: Tensor, matrix: Tensor, offset: Tensor) -> tuple[float, float]:
    """Mean CIEDE2000 at equal lightness, and mean chroma over the original's (1 for greys)."""
    from skimage.color import deltaE_ciede2000

    before, after = _lab(colours), _lab(colours @ matrix.T + offset)
    after[:, 0] = before[:, 0]
    chroma = [float(np.hypot(lab[:, 1], lab[:, 2]).mean()) for lab in (before, after)]
    return float(deltaE_ciede2000(before, after).mean()), chroma[1] / chroma[0] if chroma[0] > 1.0 else 1.0


def _lab(colours: Tensor) -> NDArray[np.float64]:
    """(n, 3) pixels -> (n, 3) CIELAB of sRGB, D65; what is out of range is cut."""
    from skimage.color import rgb2lab

    lab: NDArray[np.float64] = rgb2lab(((colours.clamp(-1, 1) + 1) / 2).numpy())
    return lab


def _swap(matrix: Tensor, offset: Tensor) -> str | None:
    """The remedy where a swap of channels explains the matrix."""
    unit = torch.eye(3, dtype=torch.float64)
    orders = [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)]
    nearest = min(orders, key=lambda order: float((matrix - unit[list(order)]).norm()))
    if float((matrix - unit[list(nearest)]).norm()) > SWAPPED * float((matrix - unit).norm()):
        return None
    names = "".join("RGB"[channel] for channel in nearest)
    return f"Its channels come back in the order {names}: give the model RGB, and put its output back into that order."
