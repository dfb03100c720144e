"""equivariance_rotation, equivariance_scale: whether turning or shrinking a picture does the same to its latents.

Why bilinear and without antialiasing: so EQ-VAE resamples, pictures and latents alike, in its training code. Turns by
quarters move pixels and interpolate nothing.

Why sizes are rounded: a scaled picture must again be a multiple of f, so the latents' sides are rounded to whole
numbers and the picture takes f times as many pixels. At 256 pixels and f = 8 nothing is rounded.

Why it is watched and not minimised: trained on alone, the error goes down while the latents collapse (EQ-VAE, Table 7:
gFID 141), and of seven properties it followed gFID least over 86 tokenizers (arXiv 2606.03578).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.cells import Cell, Rows
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.intervals import mean_ci95
from vaecheck.metrics.latent_store import OTHER_SHAPES, template
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_float64
from vaecheck.results.types import Line, Measure, Plot

QUARTERS = (1, 2, 3)
SCALES = (0.25, 0.5, 0.75)
ROTATION, SCALE = "equivariance_rotation", "equivariance_scale"
ROTATED = tuple(f"turned by {90 * quarters}" for quarters in QUARTERS)
SCALED = tuple(f"scaled by {scale:g}" for scale in SCALES)
FORMULA = "mean over pictures and transforms of ||t E(x) - E(t x)||^2 / ||E(t x)||^2 of the latents E"
EVIDENCE = (
    "EQ-VAE (arXiv 2502.09509) lowered it and gFID together, {figures}; but minimised alone it collapses the latents "
    "(gFID 141), and over 86 tokenizers it followed gFID least (arXiv 2606.03578)."
)
TEMPLATES = {
    ROTATION: template(
        ROTATION,
        f"{FORMULA}, t turning by 90, 180 and 270 degrees",
        better="lower",
        role="predicts",
        evidence=EVIDENCE.format(figures="SD-VAE from 0.89 to 0.56 and from 43.8 to 34.1"),
    ),
    SCALE: template(
        SCALE,
        f"{FORMULA}, t scaling to 0.25, 0.5 and 0.75 of the side (bilinear, no antialiasing; sides rounded to "
        f"multiples of f); {OTHER_SHAPES}",
        better="lower",
        role="predicts",
        evidence=EVIDENCE.format(figures="SD-VAE from 0.69 to 0.43 and from 43.8 to 34.1"),
    ),
}


class Equivariance:
    """One row of six errors for each picture; NaN where the encoder refuses the transformed picture.

    encode: pixels (B, C, H, W) float32 in [-1, 1] -> latents; may raise InputError for a size that it does not take.
    f: of the VAE; pictures are cut to multiples of it. Seven passes of the encoder, four pictures' worth.
    Source: Kouzelis et al. 2025 (EQ-VAE), appendix C.
    """

    name = "equivariance"
    needs: frozenset[Need] = frozenset()

    def __init__(self, encode: Callable[[Tensor], Tensor], f: int, names: Sequence[str], *, seed: int = 0) -> None:
        self.encode = encode
        self.f = f
        self.names = tuple(names)
        self.seed = seed
        self.rows = Rows(len(ROTATED) + len(SCALED))

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        height, width = (side // self.f * self.f for side in batch.pixels.shape[-2:])
        pixels = batch.pixels[..., :height, :width]
        errors = np.full((len(batch.ids), self.rows.width), np.nan)
        latents = self._encoded(pixels) if height and width else None
        if latents is not None:
            for place, (turned, expected) in enumerate(self._transforms(pixels, latents)):
                found = None if turned is None else self._encoded(turned)
                if found is not None and expected is not None:
                    errors[:, place] = relative_error(expected, found).cpu().numpy()
        self.rows.add(batch.ids, errors)

    def _transforms(self, pixels: Tensor, latents: Tensor) -> list[tuple[Tensor | None, Tensor | None]]:
        """The transformed picture and the transformed latents; None of what is not asked for or would not change."""
        pairs: list[tuple[Tensor | None, Tensor | None]] = [(None, None)] * self.rows.width
        if ROTATION in self.names:
            for place, quarters in enumerate(QUARTERS):
                pairs[place] = tuple(torch.rot90(each, quarters, (-2, -1)) for each in (pixels, latents))  # type: ignore[assignment]
        if SCALE in self.names:
            sides = latents.shape[-2:]
            for place, scale in enumerate(SCALES, start=len(QUARTERS)):
                height, width = (max(1, round(scale * side)) for side in sides)
                if (height, width) != tuple(sides):
                    pairs[place] = (
                        resized(pixels, (height * self.f, width * self.f)),
                        resized(latents, (height, width)),
                    )
        return pairs

    def _encoded(self, pixels: Tensor) -> Tensor | None:
        try:
            return self.encode(pixels.contiguous())
        except InputError:
            return None

    def cells(self) -> Mapping[str, Cell]:
        return {"rows": self.rows}

    def compute(self) -> tuple[Measure, ...]:
        errors = self._errors()
        parts = {ROTATION: slice(0, len(ROTATED)), SCALE: slice(len(ROTATED), None)}
        labels = (*ROTATED, *SCALED)
        return tuple(
            self._measure(name, errors[:, part], labels[part]) for name, part in parts.items() if name in self.names
        )

    def _measure(self, name: str, errors: NDArray[np.float64], labels: Sequence[str]) -> Measure:
        measured: NDArray[np.bool_] = np.asarray(np.isfinite(errors).any(0))
        if not measured.any():
            reason = (
                "the encoder takes no picture at these sizes, or gives nothing finite there; a model of one fixed size "
                "cannot be measured"
            )
            return replace(TEMPLATES[name], reason=reason)
        kept = errors[:, measured]
        kept = kept[np.isfinite(kept).all(1)]
        if not len(kept):
            return replace(TEMPLATES[name], reason="no picture has finite latents at every transform")
        reasons = []
        if not measured.all():
            missing = [label for label, there in zip(labels, measured.tolist(), strict=True) if not there]
            reasons.append(f"without pictures {', '.join(missing)}: the encoder takes none, or they would not change")
        if lost := len(errors) - len(kept):
            reasons.append(f"{lost} of {len(errors)} pictures have no finite figure and are left out")
        values = kept.mean(1)
        return replace(
            TEMPLATES[name],
            value=float(values.mean()),
            n=len(values),
            sd=float(values.std(ddof=1)) if len(values) > 1 else None,
            ci95=mean_ci95(values, self.seed),
            status="unreliable" if reasons else "ok",
            reason="; ".join(reasons),
        )

    def plots(self) -> tuple[Plot, ...]:
        """The error of each transform: bars at degrees and at scales."""
        errors = self._errors()
        plots = []
        for name, x, start, label in (
            (ROTATION, tuple(90.0 * quarters for quarters in QUARTERS), 0, "degrees"),
            (SCALE, SCALES, len(QUARTERS), "scale"),
        ):
            columns = errors[:, start : start + 3]
            means = [
                float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None for column in columns.T
            ]
            bars = [(place, mean) for place, mean in zip(x, means, strict=True) if mean is not None]
            if name in self.names and bars:
                places, heights = zip(*bars, strict=True)
                plots.append(
                    Plot(
                        name=name,
                        about=name,
                        kind="bars",
                        title="How far latents of a transformed picture are from transformed latents",
                        x_label=label,
                        y_label="squared error / energy",
                        lines=(Line("error", places, heights),),
                        note="0: the encoder commutes with the transform. 2: as far apart as unrelated latents.",
                    )
                )
        return tuple(plots)

    def _errors(self) -> NDArray[np.float64]:
        if not len(self.rows):
            raise NotEnoughImages("equivariance needs at least one picture", hint="Check the IMAGES that were given.")
        return self.rows.ordered()


def relative_error(expected: Tensor, found: Tensor) -> Tensor:
    """||expected - found||^2 / ||found||^2 of each picture: float64 (B,). NaN where that is not finite."""
    a, b = to_float64(expected).flatten(1), to_float64(found).flatten(1)
    ratio = ((a - b) ** 2).sum(1) / (b**2).sum(1)
    return ratio.where(ratio.isfinite(), torch.nan)


def resized(planes: Tensor, sides: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *sides), bilinear between pixel centres, without antialiasing."""
    return F.interpolate(planes, size=sides, mode="bilinear", align_corners=False)
