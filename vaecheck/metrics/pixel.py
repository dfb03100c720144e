"""PSNR and SSIM on pictures of any channels, as pure functions of (original, reconstruction)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from vaecheck.pixels import to_float64

PEAK = 255.0
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11
SSIM_K1, SSIM_K2 = 0.01, 0.03
SSIM_TILE = 128
"""Windows along a side of a tile, at most."""
_BELL = [math.exp(-((place - SSIM_WINDOW // 2) ** 2) / (2 * SSIM_SIGMA**2)) for place in range(SSIM_WINDOW)]
SSIM_WEIGHTS = tuple(weight / sum(_BELL) for weight in _BELL)
"""Of the window along one side; their sum is 1."""


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
    (1 - var(d) / (var(x) + var(y) + C2)). In this form, and with each tile's mean taken off both pictures, little
    cancels, so that float32 is enough; with the products themselves a flat bright area would be 2e-5 off.
    """
    if min(original.shape[-2:]) < SSIM_WINDOW:
        return torch.full((len(original),), math.nan, dtype=torch.float64)
    return torch.stack([_ssim_of_one(x, y) for x, y in zip(original, reconstruction, strict=True)])


def _ssim_of_one(x: Tensor, y: Tensor) -> Tensor:
    """(C, H, W) twice -> float64 scalar. One tile at a time fits into the processor's cache."""
    height, width = x.shape[-2:]
    tiles = [(..., rows, columns) for rows in _spans(height) for columns in _spans(width)]
    sums = [to_float64(_similarities(x[tile].float(), y[tile].float())).sum() for tile in tiles]
    windows = len(x) * (height - SSIM_WINDOW + 1) * (width - SSIM_WINDOW + 1)
    return torch.stack(sums).sum() / windows


def _spans(side: int) -> list[slice]:
    """Equal parts, as few as SSIM_TILE allows, that overlap so that each window lies in one of them."""
    windows = side - SSIM_WINDOW + 1
    parts = -(-windows // SSIM_TILE)
    bounds = [part * windows // parts for part in range(parts + 1)]
    return [slice(start, end + SSIM_WINDOW - 1) for start, end in pairwise(bounds)]


def _similarities(x: Tensor, y: Tensor) -> Tensor:
    """float32 (C, h, w) twice -> (C, h - 10, w - 10), one of each window."""
    shift_x, shift_y = x.mean((-2, -1), keepdim=True), y.mean((-2, -1), keepdim=True)
    x, y = x - shift_x, y - shift_y
    mean_x, mean_y, mean_dd, mean_squares = map(_window_means, (x, y, (x - y) ** 2, x * x + y * y))
    mean_d = mean_x - mean_y
    var_d, var_x_and_y = mean_dd - mean_d**2, mean_squares - mean_x**2 - mean_y**2
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    squares_of_means = (mean_x + shift_x) ** 2 + (mean_y + shift_y) ** 2
    luminance = 1 - (mean_d + shift_x - shift_y) ** 2 / (squares_of_means + c1)
    structure = 1 - var_d / (var_x_and_y + c2)
    return luminance * structure


def _window_means(maps: Tensor) -> Tensor:
    """(C, h, w) -> (C, h - 10, w - 10), the weighted mean of each window.

    Why sums of shifted maps: on a CPU convolutions of single channels take several times as long.
    """
    for dimension in (-2, -1):
        length = maps.shape[dimension] - SSIM_WINDOW + 1
        shifted = [maps.narrow(dimension, place, length) for place in range(SSIM_WINDOW)]
        total = shifted[0] * SSIM_WEIGHTS[0]
        for one, weight in zip(shifted[1:], SSIM_WEIGHTS[1:], strict=True):
            total = total.add_(one, alpha=weight)
        maps = total
    return maps
