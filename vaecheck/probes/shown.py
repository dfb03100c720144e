"""Pixels of any number of channels as a viewer sees them: for panels, for OCR, and for the finder of faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaecheck.pixels import to_uint8

Shown = NDArray[np.uint8]
"""8-bit RGB, (H, W, 3) or (n, H, W, 3)."""


def rgb(pixels: Tensor) -> Shown:
    """(n, channels, H, W) pixels -> (n, H, W, 3): the first three channels, or the first thrice; NaN is mid grey."""
    image = to_uint8(pixels.nan_to_num(0.0)).cpu()
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)
    shown: Shown = image.permute(0, 2, 3, 1).contiguous().numpy()
    return shown
