"""The only range code in the project: 8-bit images to pixels in [-1, 1], and back; and the step to float64."""

from __future__ import annotations

import torch
from torch import Tensor


def to_pixels(image: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1], same shape: x / 127.5 - 1."""
    return image.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(pixels: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255], same shape: clamped, then rounded to nearest.

    What a viewer would see. Truncation instead of rounding moves 95 of 256 grey levels down by one.
    """
    return pixels.float().add(1.0).mul_(127.5).clamp_(0, 255).round_().to(torch.uint8)


def to_float64(tensor: Tensor) -> Tensor:
    """The same values in float64; on the CPU where the device has no such type (Apple's GPUs)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
