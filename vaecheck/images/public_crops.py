"""How public evaluations bring a picture to its size, where that is not one of our own fits.

All of them take torchvision's sizes and its centre: the longer side is cut down to a whole number, where `crop`
rounds it, and the offset of the window is rounded to even, where `crop` rounds it down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaecheck.images.policy import BadPicture

FILTERS = {"pil_bilinear": Image.Resampling.BILINEAR, "pil_lanczos": Image.Resampling.LANCZOS}
PUBLIC_FITS = (*FILTERS, "tensor_bilinear")
MAX_RESIZED_PIXELS = 1 << 26


def public_crop(image: Image.Image, size: int, fit: str) -> NDArray[Any]:
    """A picture of any size -> (size, size, channels).

    pil_bilinear, pil_lanczos: uint8, Pillow's filter of that name. tensor_bilinear: float32 in [0, 255], not
    rounded, bilinear with antialias on the float tensor.
    Raises BadPicture where the resized picture would have more than 2^26 pixels.
    Source: torchvision's Resize and CenterCrop. Checked against both, to the bit, and tensor_bilinear against
    Pillow's bilinear on each channel as float, 2e-3 of 255.
    """
    width, height = resized_sides(image.size, size)
    if width * height > MAX_RESIZED_PIXELS:
        raise BadPicture(f"is {image.width}x{image.height}; {width}x{height} is too large to resize it to")
    if fit == "tensor_bilinear":
        resized = _tensor_bilinear(np.atleast_3d(np.asarray(image)), (height, width))
    else:
        resized = np.atleast_3d(np.asarray(image.resize((width, height), FILTERS[fit])))
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.ascontiguousarray(resized[top : top + size, left : left + size])


def resized_sides(sides: tuple[int, int], size: int) -> tuple[int, int]:
    """(width, height) with the shorter one at `size`; the other is cut down, not rounded."""
    shorter = min(sides)
    width, height = (size if side == shorter else int(size * side / shorter) for side in sides)
    return width, height


def _tensor_bilinear(array: NDArray[np.uint8], sides: tuple[int, int]) -> NDArray[np.float32]:
    import torch
    from torchvision.transforms.functional import resize

    values = torch.from_numpy(array.transpose(2, 0, 1).astype(np.float32))
    resized: NDArray[np.float32] = resize(values, list(sides), antialias=True).numpy().transpose(1, 2, 0)
    return resized
