"""A VAE of your own behind a factory:

    vaecheck reconstruct samples --vae examples/own_vae.py:dct_vae

The pattern is the function at the end: it takes no argument and returns an object with `encode` and `decode`.
Load your checkpoint there; vaecheck finds f and the channel count itself, and moves and casts the modules.

The model is small enough to read and needs no training: it keeps the lowest frequencies of each 8x8 block of
a picture (a discrete cosine transform, as in JPEG), more of them for brightness than for colour.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

F8 = 8
LUMA, BLUE, RED = (1, 1, 1), (-1, -1, 2), (1, -1, 0)  # orthogonal directions in RGB
FREQUENCIES = {
    LUMA: ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)),
    BLUE: ((0, 0), (0, 1), (1, 0)),
    RED: ((0, 0), (0, 1), (1, 0)),
}


class Posterior(NamedTuple):
    """What `encode` of a VAE returns: both (B, C, H/8, W/8). A deterministic encoder returns one tensor instead."""

    mean: Tensor
    log_var: Tensor


def cosine(frequency: int) -> Tensor:
    """One row of the orthonormal DCT-II of length 8."""
    n = torch.arange(F8, dtype=torch.float64)
    row = torch.cos(math.pi * (n + 0.5) * frequency / F8)
    return row / row.norm()


def basis() -> Tensor:
    """(12, 3, 8, 8) orthonormal filters: a direction in RGB times a horizontal and a vertical cosine."""
    filters = []
    for direction, frequencies in FREQUENCIES.items():
        colour = torch.tensor(direction, dtype=torch.float64)
        colour = colour / colour.norm()
        filters += [torch.einsum("c,h,w->chw", colour, cosine(v), cosine(h)) for v, h in frequencies]
    return torch.stack(filters).float()


class DCTAutoencoder(nn.Module):
    """12 latents for each 8x8 block; a posterior of one fixed width around them."""

    scaling_factor = 0.5  # optional, as is shift_factor: what you multiply latents by before the U-Net

    def __init__(self, posterior_std: float = 0.05) -> None:
        super().__init__()
        self.filters = nn.Parameter(basis())
        self.log_var = 2.0 * math.log(posterior_std)

    def encode(self, pixels: Tensor) -> Posterior:
        """pixels: (B, 3, H, W) in [-1, 1]."""
        mean = F.conv2d(pixels, self.filters, stride=F8)
        return Posterior(mean, torch.full_like(mean, self.log_var))

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W); they need not be clamped."""
        return F.conv_transpose2d(latents, self.filters, stride=F8)


def dct_vae() -> DCTAutoencoder:
    """The factory. A trained model would be built and its state dict loaded here."""
    return DCTAutoencoder()
