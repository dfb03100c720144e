"""PSNR as public evaluations have it: the same formula, with their floors and epsilons."""

from __future__ import annotations

import torch
from torch import Tensor

from vaecheck.pixels import to_float64
from vaecheck.protocols import PSNR

WHITE = 255.0


def public_psnr_db(original: Tensor, reconstruction: Tensor, variant: PSNR) -> Tensor:
    """Peak signal-to-noise ratio of each picture, in dB.

    uint8 or float32 [0, 255] (B, 3, H, W) twice -> float64 (B,); +inf for an identical pair without an epsilon.
    20 log10(peak / (sqrt(max(MSE, floor) + epsilon) + root's epsilon)), the MSE on a scale of 0 to peak.
    Source: the scripts that protocols.PROTOCOLS names; piq 0.8 for 1e-8 on the MSE.
    Checked against scikit-image's peak_signal_noise_ratio and these formulas in NumPy, 1e-6 dB.
    Differs from metrics.pixel.psnr_db in that it takes floats too.
    """
    error = (to_float64(original) - to_float64(reconstruction)) * (variant.peak / WHITE)
    mse = (error * error).flatten(1).mean(1).clamp_min(variant.mse_floor) + variant.mse_epsilon
    decibel: Tensor = 20 * torch.log10(variant.peak / (mse.sqrt() + variant.rmse_epsilon))
    return decibel
