"""A decoded picture -> the pixels that a VAE sees: one function per fit.

Why each is exact: figures of two runs compare only where the pixels do, and half a pixel of offset or another
filter moves PSNR by more than most VAEs differ. `crop` is the default protocol; `adm` is that of guided
diffusion, behind many published figures.

Why plane by plane: Pillow resizes RGBA and LA with colours multiplied by alpha, so that what lies under transparent
pixels turns black. A VAE of such pictures sees every plane as it is, and float planes have no other way; RGB is
the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaecheck.errors import InputError
from vaecheck.images.policy import BadPicture
from vaecheck.images.public_crops import PUBLIC_FITS, public_crop

FITS = ("crop", "pad", "resize", "none", "adm")
"""Those that --fit takes; a protocol may have one of PUBLIC_FITS instead."""
OWN_SIZE = ("none", "pad")
"""Fits that leave each picture its own size."""
SIZED_FITS = ("crop", "resize", "adm", *PUBLIC_FITS)
MAX_SIZE = 16_384
MAX_RESIZED_PIXELS = 1 << 26  # beyond it (256 MiB in Pillow) only the window itself is resized

NEEDS_MULTIPLES = "this VAE needs multiples"

BICUBIC = Image.Resampling.BICUBIC
BOX = Image.Resampling.BOX

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """array: (H, W, 3) of an RGB picture, (H, W, 1) of a plane; uint8, or float32 in [0, 255]; C-contiguous.

    enlarged: a side had to grow.
    valid: (H, W) of the picture alone, in the top left corner; less than the array's only with fit "pad".
    """

    array: Pixels
    enlarged: bool
    valid: tuple[int, int]


def check_size(size: int | None, fit: str, multiple: int) -> None:
    """InputError unless `fit` is known and `size` suits it and a VAE that needs multiples of `multiple`."""
    if fit not in (*FITS, *PUBLIC_FITS):
        raise InputError(f"--fit {fit} is not known", hint=f"Use one of {', '.join(FITS)}.")
    if fit not in SIZED_FITS:
        return
    if size is None or not 1 <= size <= MAX_SIZE:
        raise InputError(f"--fit {fit} needs a size from 1 to {MAX_SIZE}, not {size}", hint="Try --size 256.")
    if size % multiple:
        below, above = size // multiple * multiple, (size // multiple + 1) * multiple
        nearest = f"--size {below} or --size {above}" if below else f"--size {above}"
        raise InputError(f"--size {size} is no multiple of {multiple}, which this VAE needs", hint=f"Try {nearest}.")


def fit_picture(image: Image.Image, *, size: int | None, fit: str, multiple: int) -> Fitted:
    """A picture of mode RGB, L or F, of any size -> pixels whose sides are multiples of `multiple`.

    crop: shorter side to `size`, centre window. resize: straight to size x size, aspect lost. adm: guided
    diffusion's center_crop_arr. none: own size, BadPicture if it does not suit. pad: own size, mirrored at the
    right and bottom. All resizing is Pillow's BICUBIC (adm halves with BOX first), on 8 bits
    or on floats; what it overshoots is cut off at 0 and 255, of floats at the end. Others: see public_crops.
    Raises InputError as check_size does.
    """
    check_size(size, fit, multiple)
    if fit == "none":
        return _as_is(image, multiple)
    if fit == "pad":
        return _padded(image, multiple)
    assert size is not None  # check_size
    if fit in PUBLIC_FITS:
        return Fitted(_clipped(public_crop(image, size, fit)), min(image.size) < size, (size, size))
    if fit == "resize":
        fitted = _resized(image, (size, size))
    else:
        fitted = _crop(image, size) if fit == "crop" else _adm(image, size)
    return Fitted(_array(fitted), min(image.size) < size, (size, size))


def _array(image: Image.Image) -> Pixels:
    array = np.array(image)
    return _clipped(array if array.ndim == 3 else array[..., None])


def _clipped(array: Pixels) -> Pixels:
    return np.clip(array, 0, 255, out=array) if array.dtype == np.float32 else array


def _crop(image: Image.Image, size: int) -> Image.Image:
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    return _centre(image, (width, height), size)


def _adm(image: Image.Image, size: int) -> Image.Image:
    """Dhariwal and Nichol 2021: halved while it can be, then BICUBIC. It multiplies by the quotient."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), BOX)
    scale = size / min(image.size)
    return _centre(image, (round(image.width * scale), round(image.height * scale)), size)


def _centre(image: Image.Image, resized: tuple[int, int], size: int) -> Image.Image:
    """The window at ((W - size) // 2, (H - size) // 2) of the picture resized to (W, H)."""
    width, height = resized
    left, top = (width - size) // 2, (height - size) // 2
    window = (left, top, left + size, top + size)
    if width * height > MAX_RESIZED_PIXELS:
        return _resized_window(image, resized, window)
    image = _resized(image, resized)
    return image if resized == (size, size) else image.crop(window)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, BICUBIC)


def _resized_window(image: Image.Image, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
    """`window` of the picture resized to `size`, without ever making the rest of it.

    Pillow keeps a box in float32, so this is not to the bit what cropping gives; nothing smaller comes here.
    """
    (width, height), (left, top, right, bottom) = size, window
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
    return image.resize((right - left, bottom - top), BICUBIC, box=box)


def _as_is(image: Image.Image, multiple: int) -> Fitted:
    width, height = image.size
    if width % multiple or height % multiple:
        raise BadPicture(f"is {width}x{height}; {NEEDS_MULTIPLES} of {multiple}")
    return Fitted(_array(image), False, (height, width))


def _padded(image: Image.Image, multiple: int) -> Fitted:
    """Mirrored about the last row and column; the last one repeated where the side is too short to mirror."""
    array: NDArray[Any] = _array(image)
    height, width = array.shape[:2]
    for axis, side in enumerate((height, width)):
        missing = -side % multiple
        widths = [(0, missing if i == axis else 0) for i in range(3)]
        array = np.pad(array, widths, mode="reflect" if missing < side else "edge")
    return Fitted(np.ascontiguousarray(array), False, (height, width))
