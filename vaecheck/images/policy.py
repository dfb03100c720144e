"""What to do with a picture where there is a choice, and the error for one that cannot be used."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import ImageColor

from vaecheck.errors import InputError

MAX_PIXELS = 178_956_970  # twice Pillow's own MAX_IMAGE_PIXELS, where Pillow refuses too


class BadPicture(InputError):
    """A picture that cannot be used; the message is worded to follow its id ("is empty")."""


@dataclass(frozen=True)
class IntakePolicy:
    """What to do where there is a choice.

    background: any Pillow colour, behind transparency. icc: "ignore", as training loaders do, or "srgb".
    max_pixels: larger pictures are refused before they are decoded.
    channels: what the VAE takes. 3: RGB, always with 8 bits. 1: grey, 2: grey and alpha, 4: RGBA, each with the
    precision of the file; any other number only from .npy files.
    value_range: (black, white) of values of more than 8 bits and of .npy files; None: by the type of the values.
    """

    background: str = "white"
    icc: str = "ignore"
    max_pixels: int = MAX_PIXELS
    channels: int = 3
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.icc not in ("ignore", "srgb"):
            raise InputError(f"--icc {self.icc} is not known", hint="Use --icc ignore or --icc srgb.")
        black, white = self.value_range or (0.0, 1.0)
        if not (math.isfinite(black) and math.isfinite(white) and black != white):
            raise InputError(f"a value range of {black} to {white} is none", hint="Try --value-range 0,4095.")
        try:
            _ = self.background_rgb
        except ValueError as error:
            hint = "Give a name (white), or hexadecimal (#808080)."
            raise InputError(f"--background {self.background!r} is not a colour", hint=hint) from error

    @property
    def background_rgb(self) -> tuple[int, ...]:
        colour = ImageColor.getcolor(self.background, "RGB")
        assert isinstance(colour, tuple)
        return colour
