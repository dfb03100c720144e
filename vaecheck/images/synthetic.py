"""Synthetic cards: pictures whose every pixel is known, for faults that are the model's own.

What comes back of a constant colour with any structure in it was put there by the model. A card needs no data set,
so these faults are found on any pictures, and with none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Of greys and ramps, as pixels: black, three greys, white."""
PRIMARIES = (
    *((1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)),
    *((1.0, 1.0, -1.0), (1.0, -1.0, 1.0), (-1.0, 1.0, 1.0)),
)
"""Red, green, blue, yellow, magenta, cyan, at full saturation."""
MUTED = 0.5
"""The share of full saturation of the muted colours, which photographs do hold."""
CLOUDS = 4


@dataclass(frozen=True)
class Card:
    """A few pictures of one kind.

    name: of the kind. pixels: (n, image channels, side, side) float32 in [-1, 1]. labels: of the n pictures.
    """

    name: str
    pixels: Tensor
    labels: tuple[str, ...]


def greys(side: int, channels: int = 3) -> Card:
    """Five constant greys from black to white."""
    pixels = torch.tensor(LEVELS)[:, None, None, None].expand(-1, 3, side, side)
    return _card("greys", pixels, tuple(f"{level:+.1f}" for level in LEVELS), channels)


def colours(side: int, channels: int = 3) -> Card:
    """Constant colours: the six primaries and secondaries, at half saturation around mid grey."""
    pixels = MUTED * torch.tensor(PRIMARIES)[:, :, None, None].expand(-1, 3, side, side)
    return _card("colours", pixels, ("red", "green", "blue", "yellow", "magenta", "cyan"), channels)


def ramps(side: int, channels: int = 3) -> Card:
    """Black to white, from left to right and from top to bottom."""
    ramp = torch.linspace(-1.0, 1.0, side)
    across = ramp[None, :].expand(side, side)
    return _card("ramps", torch.stack([across, across.T])[:, None].expand(-1, 3, -1, -1), ("across", "down"), channels)


def impulses(side: int, channels: int = 3, square: int = 2) -> Card:
    """One white square of `square` pixels in the middle of mid grey, and one black."""
    pixels = torch.zeros(2, 3, side, side)
    middle = slice((side - square) // 2, (side - square) // 2 + square)
    pixels[0, :, middle, middle], pixels[1, :, middle, middle] = 1.0, -1.0
    return _card("impulses", pixels, ("white", "black"), channels)


def patches(side: int, channels: int = 3) -> Card:
    """One picture of 3 x 3 flat patches: black, grey, white, and the six primaries at half saturation."""
    flat = [(-0.9,) * 3, (0.0,) * 3, (0.9,) * 3, *(tuple(MUTED * part for part in colour) for colour in PRIMARIES)]
    grid = torch.tensor(flat).T.reshape(1, 3, 3, 3)
    index = torch.arange(side) * 3 // side
    return _card("patches", grid[:, :, index][:, :, :, index], ("patches",), channels)


def clouds(side: int, channels: int = 3) -> Card:
    """CLOUDS seeded random fields, as smooth as the large areas of photographs, in muted colours.

    Luma has the power spectrum 1 / f^4 and a std of 0.45 around mid grey; red-green and blue-yellow, drawn apart from
    it, 1 / f^6 and 0.15. Why these: a model of photographs gives back what looks like one. On flat muted colours
    kl-f8-tiny is up to 0.4 off, on these 0.02; and here every level comes with every colour, which a few photographs
    do not promise.
    """
    noise = torch.randn(CLOUDS, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squared = torch.fft.fftfreq(side).square()[:, None] + torch.fft.rfftfreq(side).square()
    squared[0, 0] = 1.0
    weight = torch.stack([squared**-1.0, squared**-1.5, squared**-1.5])
    weight[:, 0, 0] = 0.0
    fields = torch.fft.irfft2(torch.fft.rfft2(noise) * weight, s=(side, side))
    fields = fields / fields.std((2, 3), keepdim=True).clamp_min(1e-12)
    luma, red_green, blue_yellow = (fields * torch.tensor([0.45, 0.15, 0.15])[:, None, None]).unbind(1)
    warm = luma + 0.3 * blue_yellow
    rgb = torch.stack([warm + red_green, warm - 0.5 * red_green, luma - blue_yellow], 1)
    return _card("clouds", rgb.clamp(-1.0, 1.0).float(), tuple(map(str, range(CLOUDS))), channels)


def as_channels(rgb: Tensor, channels: int) -> Tensor:
    """(n, 3, H, W) RGB pixels -> (n, channels, H, W): the mean of RGB for grey, opaque alpha as a fourth channel."""
    if channels == 3:
        return rgb.contiguous()
    grey = rgb.mean(1, keepdim=True)
    if channels == 4:
        return torch.cat([rgb, torch.ones_like(grey)], 1)
    return grey.expand(-1, channels, -1, -1).contiguous()


def _card(name: str, rgb: Tensor, labels: tuple[str, ...], channels: int) -> Card:
    return Card(name, as_channels(rgb, channels), labels)
