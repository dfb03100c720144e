"""The range code."""

from __future__ import annotations

import torch

from vaecheck.pixels import to_pixels, to_uint8


def test_every_grey_level_survives_the_way_there_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    pixels = to_pixels(levels)
    assert (pixels.min(), pixels.max(), pixels.dtype) == (-1, 1, torch.float32)
    assert torch.equal(to_uint8(pixels), levels)
    assert torch.equal(levels, torch.arange(256, dtype=torch.uint8)), "the input is not changed"


def test_rounds_to_nearest_and_clamps() -> None:
    pixels = torch.tensor([-3.0, -1.0, 1.6 / 127.5 - 1, 1.4 / 127.5 - 1, 3.0])
    assert to_uint8(pixels).tolist() == [0, 0, 2, 1, 255]
