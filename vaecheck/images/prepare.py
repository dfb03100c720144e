"""One picture on its way to a batch: read, decoded, fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaecheck.errors import InputError
from vaecheck.images.entries import Entry
from vaecheck.images.intake import read_picture
from vaecheck.images.policy import MAX_PIXELS, IntakePolicy
from vaecheck.images.preprocess import check_size, fit_picture
from vaecheck.results.types import SkippedImage


@dataclass(frozen=True)
class Intake:
    """How pictures are read: the options of the command line.

    multiple, channels: what the VAE needs of a side (f) and takes (3: RGB, 1: grey, 2: grey and alpha, 4: RGBA).
    value_range: (black, white) of pictures whose format does not say it; None: by the type of their values.
    fit_is_fixed: by a protocol, so that no other can be advised.
    """

    size: int | None = 256
    fit: str = "crop"
    multiple: int = 8
    channels: int = 3
    icc: str = "ignore"
    background: str = "white"
    bad_images: str = "skip"
    max_pixels: int = MAX_PIXELS
    value_range: tuple[float, float] | None = None
    fit_is_fixed: bool = False

    def __post_init__(self) -> None:
        check_size(self.size, self.fit, self.multiple)
        if self.bad_images not in ("skip", "fail"):
            raise InputError(f"--bad-images {self.bad_images} is not known", hint="Use skip or fail.")
        _ = self.policy  # refuses what it does not know

    @property
    def size_remedy(self) -> str:
        """What to do about pictures whose own size this VAE does not take."""
        if self.fit_is_fixed:
            return f"This protocol leaves each picture its own size: its sides must be multiples of {self.multiple}."
        size = 256 // self.multiple * self.multiple or self.multiple
        return f"--fit pad keeps the sizes, --fit crop --size {size} brings all to one."

    @property
    def policy(self) -> IntakePolicy:
        return IntakePolicy(self.background, self.icc, self.max_pixels, self.channels, self.value_range)


@dataclass(frozen=True)
class Ready:
    """One picture, decoded and fitted.

    array: (channels, H, W), uint8, or float32 in [0, 255] where it has more than 8 bits (with 3 channels never, but
    for a public fit of floats). digest: sha256 of the array, and of where its
    padding begins.
    """

    id: str
    array: NDArray[np.uint8] | NDArray[np.float32]
    valid: tuple[int, int]
    notes: frozenset[str]
    digest: bytes

    @property
    def kind(self) -> tuple[object, ...]:
        """What pictures of one batch have in common."""
        return self.array.dtype, self.array.shape, self.valid


def prepare(entry: Entry, intake: Intake) -> Ready | SkippedImage:
    """Read, decode and fit one picture; a picture that cannot be used comes back as its reason."""
    try:
        picture = read_picture(entry.read(), intake.policy)
        planes = [
            fit_picture(image, size=intake.size, fit=intake.fit, multiple=intake.multiple) for image in picture.images
        ]
    except InputError as error:
        return SkippedImage(entry.id, error.message)
    except MemoryError:
        return SkippedImage(entry.id, "does not fit into memory")
    fitted = planes[0]
    notes = picture.notes | ({"enlarged"} if fitted.enlarged else frozenset())
    array = np.ascontiguousarray(np.concatenate([plane.array.transpose(2, 0, 1) for plane in planes]))
    return Ready(entry.id, array, fitted.valid, notes, _digest(array, fitted.valid))


def _digest(array: NDArray[np.generic], valid: tuple[int, int]) -> bytes:
    padded = f" {valid}" if valid != array.shape[1:] else ""
    return hashlib.sha256(f"{array.dtype} {array.shape}{padded}\n".encode() + array.tobytes()).digest()
