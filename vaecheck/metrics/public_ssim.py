"""SSIM as public evaluations have it: other windows, borders, covariances and data ranges.

Why apart from metrics.pixel.ssim: that one is our measure, made fast for one set of constants. This one is slower
and readable, and its variants are there to show how far the settings alone move a figure.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.pixel import SSIM_K1, SSIM_K2, SSIM_SIGMA, SSIM_WINDOW
from vaecheck.pixels import to_float64
from vaecheck.protocols import SSIM

WHITE = 255.0
UNIFORM_WINDOW = 7


def public_ssim(original: Tensor, reconstruction: Tensor, variant: SSIM) -> Tensor:
    """Structural similarity of each picture, the mean over positions and RGB.

    uint8 or float32 [0, 255] (B, 3, H, W) twice -> float64 (B,); NaN where a side is smaller than the window.
    (2 mx my + C1) (2 cov + C2) / ((mx^2 + my^2 + C1) (vx + vy + C2)), C1 = (0.01 L)^2, C2 = (0.03 L)^2, with L and
    the window as `variant` says; a sample covariance is the population's times n / (n - 1), n pixels to the window.
    Source: Wang et al. 2004, "Image quality assessment", equation 13.
    Checked against scikit-image's structural_similarity (uniform window, sample covariance) and torchmetrics'
    structural_similarity_index_measure (Gaussian window, mirrored border), 1e-5.
    Differs from metrics.pixel.ssim by what `variant` says.
    """
    side = SSIM_WINDOW if variant.window == "gaussian" else UNIFORM_WINDOW
    if min(original.shape[-2:]) < side:
        return torch.full((len(original),), math.nan, dtype=torch.float64)
    return torch.stack([_ssim_of_one(x, y, variant) for x, y in zip(original, reconstruction, strict=True)])


def _ssim_of_one(original: Tensor, reconstruction: Tensor, variant: SSIM) -> Tensor:
    """(3, H, W) twice -> float64 scalar."""
    x, y = (
        to_float64(image) * ((variant.white - variant.black) / WHITE) + variant.black
        for image in (original, reconstruction)
    )
    data_range = variant.data_range
    if data_range is None:
        data_range = max(float(image.max() - image.min()) for image in (x, y))
    window = _window(variant).to(x)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _filter(torch.stack([x, y, x * x, y * y, x * y]), window, variant)
    pixels = len(window) ** 2
    unbiased = pixels / (pixels - 1) if variant.covariance == "sample" else 1.0
    variances = unbiased * (mean_xx - mean_x**2 + mean_yy - mean_y**2)
    covariance = unbiased * (mean_xy - mean_x * mean_y)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    similarity: Tensor = (luminance * structure).mean()
    return similarity


def _window(variant: SSIM) -> Tensor:
    """float64 (side,), its sum 1; both axes are filtered with it."""
    if variant.window == "uniform":
        return torch.full((UNIFORM_WINDOW,), 1 / UNIFORM_WINDOW, dtype=torch.float64)
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    return weights / weights.sum()


def _filter(maps: Tensor, window: Tensor, variant: SSIM) -> Tensor:
    """(N, 3, H, W) -> the weighted means of all windows, (N, 3, H or H - side + 1, ...)."""
    flat = maps.flatten(0, 1)[:, None]
    if variant.border == "reflect":
        flat = F.pad(flat, [len(window) // 2] * 4, mode="reflect")
    rows = F.conv2d(flat, window[None, None, :, None])
    means = F.conv2d(rows, window[None, None, None, :])
    return means.reshape(*maps.shape[:2], *means.shape[-2:])
