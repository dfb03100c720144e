"""PSNR and SSIM on pictures of any channels, as pure functions of (original, reconstruction)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.precision import full_precision
from vaecheck.pixels import to_float64

PEAK = 255.0
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
SSIM_K1, SSIM_K2 = 0.01, 0.03
SSIM_TILE = 128
"""Windows along a side of a tile, at most."""


def psnr_db(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, in dB.

    uint8 or float32 [0, 255] (B, C, H, W) twice -> float64 (B,); +inf for an identical pair.
    10 log10(255^2 / MSE), MSE over all channels and positions. Floats are not rounded, so that 16-bit pictures
    scaled to [0, 255] have the PSNR of their own values with a data range of 65535.
    Source: the usual definition (Wang and Bovik 2009, "Mean squared error: love it or leave it?").
    Checked against scikit-image peak_signal_noise_ratio, 1e-4 dB.
    Differs from the PSNR of the mean MSE over a set, which is lower (28.00 against 27.09 dB on 90 photographs).
    """
    exact = torch.float32 if original.is_floating_point() else torch.int32
    error = original.to(exact) - reconstruction.to(exact)
    squares = to_float64(error) ** 2 if error.is_floating_point() else error * error
    mse: Tensor = to_float64(squares.flatten(1).sum(1)) / error[0].numel()
    decibel: Tensor = 10 * torch.log10(PEAK**2 / mse)
    return decibel


def ssim(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Structural similarity of each picture, the mean over positions and channels.

    uint8 or float32 [0, 255] (B, C, H, W) twice -> float64 (B,) in [-1, 1]; NaN where a side is under 11 pixels.
    11 x 11 Gaussian window of sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03, data range 255;
    positions whose window would cross the border are left out.
    Source: Wang et al. 2004, "Image quality assessment", equation 13.
    Checked against scikit-image structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False), 1e-5.
    Differs from scikit-image's default (7 x 7 uniform window, sample covariance), which reads about 0.01 higher.

    Why differences: with d = x - y, equation 13 is (1 - mean(d)^2 / (mean(x)^2 + mean(y)^2 + C1)) times
    (1 - var(d) / (var(x) + var(y) + C2)). In this form, and with each tile's mean taken off, little cancels,
    so that float32 is enough; with the products themselves a flat bright area would be 2e-5 off.
    """
    height, width = (side - SSIM_WINDOW + 1 for side in original.shape[-2:])
    if min(height, width) < 1:
        return torch.full((len(original),), math.nan, dtype=torch.float64)
    with full_precision(original.device):
        tiles = zip(_tiles(original), _tiles(reconstruction), strict=True)
        sums = torch.stack([to_float64(_similarities(x, y).sum((2, 3))) for x, y in tiles])
    means: Tensor = sums.sum(0).view(original.shape[:2]).mean(1) / (height * width)
    return means


def _similarities(x: Tensor, y: Tensor) -> Tensor:
    """float32 (1, N, h, w) twice -> (1, N, h - 10, w - 10), of every window."""
    shift = x.mean((2, 3), keepdim=True)
    x, y = x - shift, y - shift
    mean_x, mean_y = _filtered(x), _filtered(y)
    mean_dd, mean_squares = _filtered((x - y) ** 2), _filtered(torch.addcmul(x * x, y, y))
    square_of_mean_d = (mean_x - mean_y) ** 2
    var_d, var_x_and_y = mean_dd - square_of_mean_d, mean_squares - mean_x**2 - mean_y**2
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    luminance = 1 - square_of_mean_d / ((mean_x + shift) ** 2 + (mean_y + shift) ** 2 + c1)
    structure = 1 - var_d / (var_x_and_y + c2)
    return luminance * structure


def _filtered(maps: Tensor) -> Tensor:
    """Each map's weighted means over all windows.

    Why with all maps as channels, the last dimension in memory: a CPU then filters eight side by side, in a fifth of
    the time that single maps take.
    """
    kernel = _window(maps.device)
    rows = F.conv2d(maps, kernel.view(1, 1, -1, 1).expand(maps.shape[1], 1, -1, 1), groups=maps.shape[1])
    return F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(maps.shape[1], 1, 1, -1), groups=maps.shape[1])


def _tiles(image: Tensor) -> Iterator[Tensor]:
    """(B, C, H, W) -> float32 (1, B C, h, w), which have every window of the pictures once; channels_last.

    Why tiles: memory is bounded for pictures of any size, and no mean that is taken off is that of a far place.
    """
    maps = image.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    for top, bottom in _spans(maps.shape[2]):
        for left, right in _spans(maps.shape[3]):
            yield maps[..., top:bottom, left:right].float()


def _spans(side: int) -> Iterator[tuple[int, int]]:
    """As few parts as SSIM_TILE allows, of equal length, that overlap so that each window is in one of them."""
    windows = side - SSIM_WINDOW + 1
    parts = -(-windows // SSIM_TILE)
    for part in range(parts):
        yield part * windows // parts, (part + 1) * windows // parts + SSIM_WINDOW - 1


@cache
@torch.inference_mode(False)
def _window(device: torch.device) -> Tensor:
    """float32 (11,), of sum 1.

    Why no tensor of inference: it is remembered, and may next be asked for where gradients are wanted.
    """
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    return (weights / weights.sum()).float().to(device)
