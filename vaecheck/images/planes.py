"""Values of more than 8 bits -> float planes with every bit of the file, and as many of them as the VAE takes.

Why floats in [0, 255] and not 16-bit integers: 12-bit scans, floats and value ranges then need no rounding at all,
and one range goes through the whole program.

Why colours of 16 bits are read twice: Pillow has no 16-bit colour, and unpacks one byte of each sample. Told that
the bytes are the other way round it unpacks the other byte of each, and the two make the sample again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from vaecheck.images.policy import BadPicture, IntakePolicy

LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # Pillow's weights of L (ITU-R 601)
PHOTOMETRIC, SAMPLE_FORMAT = 262, 339
WHITE_IS_ZERO, UNSIGNED = 0, 1
LITTLE, BIG = "16L", "16B"
SEVERAL_SAMPLES = ("RGB", "RGBA", "LA")
UNKNOWN_WHITE = "which have no agreed white; give --value-range BLACK,WHITE"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Deep:
    """float32 in [0, 255]. colour: (H, W, 1 or 3). alpha: (H, W), opaque where it is 255; None without any.

    clipped: whether values outside the value range were cut off.
    """

    colour: Floats
    alpha: Floats | None = None
    clipped: bool = False


def to_levels(values: NDArray[np.generic], policy: IntakePolicy, white: float | None) -> tuple[Floats, bool]:
    """Black to 0 and white to 255, in a line between: float32 of the same shape, and whether anything was cut off.

    white: what the type of the values says, black being 0; None where it says nothing. A value range of the policy
    goes first, and what lies outside it is cut off.
    Raises BadPicture for NaN and infinity, and for values outside the range of their type.
    """
    floating = values.dtype.kind == "f"
    if floating and not np.isfinite(values).all():
        raise BadPicture("holds NaN or infinity")
    lowest, highest = float(values.min()), float(values.max())
    span = f"from {lowest:g} to {highest:g}"
    if policy.value_range is not None:
        black, white = policy.value_range
    elif white is None:
        raise BadPicture(f"holds signed or 32-bit integers {span}, {UNKNOWN_WHITE}")
    elif floating and (lowest < 0 or highest > white):
        raise BadPicture(f"holds floating-point values {span}, outside [0, {white:g}], {UNKNOWN_WHITE}")
    else:
        black = 0.0
    clipped = lowest < min(black, white) or highest > max(black, white)
    wide = np.result_type(values.dtype, np.float32).type
    levels = values.astype(wide)
    with np.errstate(over="ignore"):  # what overflows lies far outside the range, and is cut off
        levels -= wide(black)
        levels *= wide(255 / (white - black))
    return np.clip(levels, 0, 255, out=levels).astype(np.float32, copy=False), clipped


def read_deep(
    image: ImageFile.ImageFile, raw_mode: str, reopen: Callable[[], ImageFile.ImageFile], policy: IntakePolicy
) -> Deep | None:
    """The values of a picture of more than 8 bits; None where Pillow gives only 8 bits of them.

    raw_mode: as raw_mode_of told before loading. reopen: opens the same bytes anew.
    Raises BadPicture as to_levels does.
    """
    if image.mode.startswith(("I", "F")):
        image.load()
        return _grey(image, raw_mode, policy)
    samples = _samples_of_16_bits(raw_mode, reopen)
    if samples is None:
        return None
    levels, clipped = to_levels(samples, policy, 65535)
    hidden = image.info.get("transparency")
    if isinstance(hidden, tuple):
        return Deep(levels, _opaque_but(samples == np.array(hidden)), clipped)
    if raw_mode.startswith("RGB;"):
        return Deep(levels, None, clipped)
    opacity = samples[..., -1].astype(np.float32) * np.float32(255 / 65535)
    return Deep(levels[..., :-1], opacity, clipped)


def deep_planes(deep: Deep, policy: IntakePolicy, notes: set[str]) -> tuple[Floats, ...]:
    """The planes of a VAE of grey (1), of grey and alpha (2) or of RGBA (4): (H, W) each. Adds to `notes`."""
    colour, alpha = deep.colour, deep.alpha
    if deep.clipped:
        notes.add("clipped")
    if policy.channels == 4 and colour.shape[2] == 1:
        notes.add("grey")
        colour = np.repeat(colour, 3, axis=2)
    elif policy.channels != 4 and colour.shape[2] == 3:
        notes.add("colour_to_grey")
        colour = luma(colour)
    if policy.channels == 1:
        if alpha is not None and alpha.min() < 255:
            notes.add("alpha_flattened")
            behind = luma(np.array(policy.background_rgb, np.float32))
            colour = behind + (colour - behind) * (alpha[..., None] / np.float32(255))
        return (colour[..., 0],)
    if alpha is None:
        notes.add("alpha_added")
        alpha = np.full(colour.shape[:2], 255, np.float32)
    return (*(colour[..., i] for i in range(colour.shape[2])), alpha)


def luma(colour: Floats) -> Floats:
    """(..., 3) -> (..., 1), with the weights of Pillow's convert("L"), not rounded."""
    grey: Floats = (colour @ np.array(LUMA, np.float32))[..., None]
    return grey


def raw_mode_of(image: ImageFile.ImageFile) -> str:
    """How the samples lie in the file, in Pillow's words: "RGB;16B", "L;4". Once loaded, a picture knows no more."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def tiff_tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _grey(image: ImageFile.ImageFile, raw_mode: str, policy: IntakePolicy) -> Deep:
    """Pillow's modes I;16, I and F: white is that of the format, 65535 for 16 bits, 4095 for 12."""
    values: NDArray[np.generic] = np.asarray(image)
    white: float | None = 4095 if raw_mode == "I;12" else 65535
    if image.mode == "F":
        white = 1
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        white = None
        if "32" in raw_mode and tiff_tag(image, SAMPLE_FORMAT) in ((UNSIGNED,), UNSIGNED, None):
            values = values.view(np.uint32)
    levels, clipped = to_levels(values, policy, white)
    if tiff_tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:
        np.subtract(255, levels, out=levels)
    hidden = image.info.get("transparency")
    alpha = _opaque_but((values == hidden)[..., None]) if isinstance(hidden, int) else None
    return Deep(levels[..., None], alpha, clipped)


def _opaque_but(hidden: NDArray[np.bool_]) -> Floats:
    """(H, W, samples) -> alpha: 0 where every sample of a pixel is the hidden one."""
    return np.where(hidden.all(axis=2), np.float32(0), np.float32(255))


def _samples_of_16_bits(raw_mode: str, reopen: Callable[[], ImageFile.ImageFile]) -> NDArray[np.uint16] | None:
    """(H, W, samples); None for layouts that cannot be read twice."""
    name, _, order = raw_mode.partition(";")
    order = {"16N": LITTLE if sys.byteorder == "little" else BIG}.get(order, order)
    if name not in SEVERAL_SAMPLES or order not in (LITTLE, BIG):
        return None
    if name == "LA":  # four bytes a pixel, as many as RGBA with 8 bits has
        both = _unpacked(reopen(), "RGBA")
        first, second = both[..., 0::2], both[..., 1::2]
        return _sample(first, second) if order == BIG else _sample(second, first)
    other = LITTLE if order == BIG else BIG
    return _sample(_unpacked(reopen(), f"{name};{order}"), _unpacked(reopen(), f"{name};{other}"))


def _sample(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.left_shift(high, 8, dtype=np.uint16) | low


def _unpacked(image: ImageFile.ImageFile, raw_mode: str) -> NDArray[np.uint8]:
    """(H, W, bands): the file's bytes as if they lay as `raw_mode` says."""
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    image.load()
    return np.asarray(image)
