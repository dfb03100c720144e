"""Close-ups for the findings: the place of a kept picture with the most detail, and amplified cards, as 8-bit RGB."""

from __future__ import annotations

from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.probes.protocol import ModelRefused, Subject
from vaecheck.probes.shown import Shown, rgb
from vaecheck.results.types import Panel

SIDE, ENLARGED = 96, 3
"""Of a close-up, in pixels, and how many pixels of the panel one of them takes."""


def busiest(subject: Subject, about: str, title: str, note: str) -> tuple[Panel, ...]:
    """The original and its reconstruction where a kept picture has the most detail.

    Nothing where the model gives nothing finite or refuses the picture: a finding does not hang on its close-up.
    """
    try:
        pictures = subject.stacked()
        index, place = _busiest_place(pictures)
        original = pictures[index : index + 1]
        back = subject.round_trip(original)
    except ModelRefused:
        return ()
    if not back.isfinite().all():
        return ()
    shown = (("original", as_rgb(original[0][place])), ("reconstruction", as_rgb(back[0][place])))
    return (Panel(about, about, title, shown, note),)


def _busiest_place(pictures: Tensor) -> tuple[int, tuple[EllipsisType, slice, slice]]:
    smooth = F.avg_pool2d(F.pad(pictures, (4,) * 4, mode="replicate"), 9, 1)
    detail = (pictures - smooth).square().mean(1, keepdim=True)
    side = min(SIDE, *pictures.shape[-2:])
    places = F.avg_pool2d(detail, side, stride=8)
    index, row, column = (int(part) for part in torch.unravel_index(places.argmax(), places[:, 0].shape))
    return index, (..., slice(row * 8, row * 8 + side), slice(column * 8, column * 8 + side))


def as_rgb(pixels: Tensor, enlarged: int = ENLARGED) -> Shown:
    """(channels, H, W) pixels -> 8-bit RGB (H, W, 3), each pixel a square of `enlarged`."""
    shown: Shown = rgb(pixels[None])[0].repeat(enlarged, 0).repeat(enlarged, 1)
    return shown


def amplified(pixels: Tensor, to: float = 0.9) -> tuple[Tensor, float]:
    """What differs from the mean, times what brings the largest of it to `to`, and that factor; at most 100."""
    centred = pixels - pixels.mean((-2, -1), keepdim=True)
    factor = min(to / max(float(centred.abs().max()), 1e-6), 100.0)
    return centred * factor, factor
