"""The only range code in the project: images in [0, 255] to pixels in [-1, 1], and back; and the step to float64."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class Levels(StrEnum):
    """What values of both sides of a pair are compared.

    ROUND: 8 bits, clamped and rounded, what a viewer would see. TRUNCATE: 8 bits, clamped, the fraction cut off, as
    some public scripts do. CLAMP: float32 in [0, 255], not rounded. NONE: float32, neither clamped nor rounded.
    """

    ROUND = "round"
    TRUNCATE = "truncate"
    CLAMP = "clamp"
    NONE = "none"


def to_pixels(image: Tensor) -> Tensor:
    """uint8 or float32 [0, 255] -> float32 [-1, 1], same shape: x / 127.5 - 1."""
    return image.to(torch.float32, copy=True).div_(127.5).sub_(1.0)


def to_image(pixels: Tensor, levels: Levels) -> Tensor:
    """float [-1, 1] -> [0, 255], same shape: uint8 with ROUND and TRUNCATE, else float32."""
    if levels is Levels.ROUND:
        return to_uint8(pixels)
    image = pixels.to(torch.float32, copy=True).add_(1.0).mul_(127.5)
    if levels is Levels.NONE:
        return image
    image.clamp_(0, 255)
    return image.to(torch.uint8) if levels is Levels.TRUNCATE else image


def truncated(image: Tensor) -> Tensor:
    """uint8 -> uint8, same shape: to [-1, 1] in float32 and back, the fraction cut off.

    What SEED-Voken's evaluation compares instead of the original: 95 of the 256 grey levels come out one lower.
    """
    return to_image(image.to(torch.float32).mul_(2).sub_(255).div_(255), Levels.TRUNCATE)


def to_uint8(pixels: Tensor) -> Tensor:
    """float [-1, 1] -> uint8 [0, 255], same shape: clamped, then rounded to nearest.

    What a viewer would see. Truncation instead of rounding moves 95 of 256 grey levels down by one.
    """
    return pixels.float().add(1.0).mul_(127.5).clamp_(0, 255).round_().to(torch.uint8)


def to_8_bits(image: Tensor) -> Tensor:
    """uint8 or float [0, 255] -> uint8, same shape: clamped, then rounded to nearest. uint8 passes as it is."""
    return image.clamp(0, 255).round().to(torch.uint8) if image.is_floating_point() else image


def to_float64(tensor: Tensor) -> Tensor:
    """The same values in float64; on the CPU where the device has no such type (Apple's GPUs)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
