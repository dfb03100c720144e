"""One file's bytes -> an 8-bit RGB picture. One policy each for what a picture file can hold, each counted.

Why the formats are tried here and not by Image.open: its bomb limit is a global of Pillow, warned of through
Python's global warning filters, and threads share both; and it would hand a file named .png that holds
PostScript to Ghostscript. The plugins of the formats below are asked one by one instead, and the limit is ours.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,  # noqa: F401  importing a plugin registers its format
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    ImageColor,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from vaecheck.errors import InputError
from vaecheck.images.sources import printable

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 178_956_970  # twice Pillow's own MAX_IMAGE_PIXELS, where Pillow refuses too
REASON_CHARACTERS = 160

ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258
PHOTOMETRIC = 262
WHITE_IS_ZERO = 0
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
JPEG2000_SIZE_MARKER = b"\xff\x4f\xff\x51"
JPEG2000_BITS_OFFSET = 42  # of the first component's depth, from the marker on


class BadPicture(InputError):
    """A picture that cannot be used; the message is worded to follow its id ("is empty")."""


@dataclass(frozen=True)
class IntakePolicy:
    """What to do where there is a choice.

    background: any Pillow colour, behind transparency. icc: "ignore", as training loaders do, or "srgb".
    max_pixels: larger pictures are refused before they are decoded.
    """

    background: str = "white"
    icc: str = "ignore"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.icc not in ("ignore", "srgb"):
            raise InputError(f"--icc {self.icc} is not known", hint="Use --icc ignore or --icc srgb.")
        try:
            ImageColor.getcolor(self.background, "RGB")
        except ValueError as error:
            hint = "Give a name (white), or hexadecimal (#808080)."
            raise InputError(f"--background {self.background!r} is not a colour", hint=hint) from error


@dataclass(frozen=True)
class Picture:
    """image: mode RGB, upright, first frame. notes: the policies that changed it."""

    image: Image.Image
    notes: frozenset[str]


def read_picture(data: bytes, policy: IntakePolicy) -> Picture:
    """Decode one file to 8-bit RGB (H, W in its own size). Raises BadPicture, and nothing else.

    notes: exif_rotated, alpha_flattened, cmyk_converted, sixteen_bit_scaled, grey, animated_first_frame,
    icc_profile, icc_converted, icc_broken.
    """
    if not data:
        raise BadPicture("is empty")
    try:
        image = _open(data)
        width, height = image.size
        if width * height > policy.max_pixels:
            raise BadPicture(
                f"has {width * height} pixels ({width}x{height}), more than the limit of {policy.max_pixels}"
            )
        return _convert(image, data, policy)
    except BadPicture:
        raise
    except MemoryError as error:
        raise BadPicture("does not fit into memory") from error
    except Exception as error:
        # Broad on purpose: on broken files Pillow's decoders raise whatever their code runs into (OSError,
        # ValueError, SyntaxError, struct.error, zlib.error, OverflowError, KeyError...), and none may end a run.
        raise BadPicture(f"cannot be decoded: {_words(error)}") from error


def _open(data: bytes) -> ImageFile.ImageFile:
    broken = ""
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        try:
            if accept is not None and accept(data[:16]) is not True:
                continue
            return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            broken = f"has a broken {name} header: {_words(error)}"
    raise BadPicture(broken or f"is not a picture in a format known here: it begins with {data[:12]!r}")


def _words(error: Exception) -> str:
    """The decoder's own words on one line, with the kind of error where they say nothing alone ("255")."""
    words = printable(" ".join(str(error).split()))
    return (words if " " in words else f"{type(error).__name__} {words}").strip()[:REASON_CHARACTERS]


def _convert(image: ImageFile.ImageFile, data: bytes, policy: IntakePolicy) -> Picture:
    notes: set[str] = set()
    if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO's others are previews and depth
        notes.add("animated_first_frame")
    deep = _is_deep(image, data)
    photometric = _tiff_tag(image, PHOTOMETRIC)
    raw_mode = _raw_mode(image)
    turned = _orientation(image)
    image.load()

    if image.mode.startswith(("I", "F")):
        colour, alpha = _scale_to_8_bits(image, raw_mode, inverted=photometric == WHITE_IS_ZERO)
        deep = True
    else:
        colour, alpha = _split_alpha(image, raw_mode)
    if deep:
        notes.add("sixteen_bit_scaled")
    if colour.mode in ("1", "L"):
        notes.add("grey")
    if colour.mode == "CMYK":
        notes.add("cmyk_converted")

    rgb = _to_rgb(colour, image.info.get("icc_profile"), policy, notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        flat = Image.new("RGB", rgb.size, ImageColor.getcolor(policy.background, "RGB"))
        flat.paste(rgb, mask=alpha)
        rgb = flat
        notes.add("alpha_flattened")

    # Pillow turns a TIFF while loading it and then drops the tag: only what is left is ours to turn.
    if turned:
        notes.add("exif_rotated")
        left = _orientation(image)
        rgb = rgb.transpose(UPRIGHT[left]) if left else rgb
    return Picture(rgb, frozenset(notes))


def _orientation(image: Image.Image) -> int | None:
    """2 to 8 where the picture has to be turned. A damaged tag is as good as none."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # EXIF is foreign binary data, parsed by Pillow in Python; see read_picture
        return None
    return value if isinstance(value, int) and value in UPRIGHT else None


def _scale_to_8_bits(image: Image.Image, raw_mode: str, *, inverted: bool) -> tuple[Image.Image, Image.Image | None]:
    """I;16, I and F -> L by the value range of the format, never clamped: 16 bits as round(v / 257)."""
    values = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise BadPicture("holds floating-point values outside [0, 1], which have no agreed white")
        white = 1
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise BadPicture("holds signed or 32-bit integers, which have no agreed white; save it with 8 or 16 bits")
    else:
        white = 4095 if raw_mode == "I;12" else 65535
    scaled: NDArray[np.float32] = values.astype(np.float32)
    scaled *= np.float32(255 / white)
    if inverted:
        np.subtract(255, scaled, out=scaled)
    grey = Image.fromarray(np.rint(scaled, out=scaled).astype(np.uint8))
    hidden = image.info.get("transparency")
    if not isinstance(hidden, int):
        return grey, None
    return grey, Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))


def _split_alpha(image: Image.Image, raw_mode: str) -> tuple[Image.Image, Image.Image | None]:
    """Colour (1, L, CMYK or RGB) and its alpha (L), if any.

    Why not convert("RGB"): it drops alpha and tRNS, and so shows what the file hides.
    """
    if not image.has_transparency_data:
        return (image if image.mode in ("1", "L", "RGB", "CMYK") else image.convert("RGB")), None
    hidden = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(hidden, int):
        # tRNS counts in the file's own depth, and Pillow has stretched 2 and 4 bits to 8.
        depth = re.fullmatch(r"L;([24])", raw_mode)
        image.info["transparency"] = hidden * 255 // (2 ** int(depth[1]) - 1) if depth else hidden
    elif raw_mode == "RGB;16B" and isinstance(hidden, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in hidden)  # Pillow kept the high bytes
    rgba = image.convert("RGBA")
    is_grey = image.mode in ("1", "L", "LA", "La") or raw_mode.startswith("LA;16")
    return (rgba.getchannel("R") if is_grey else rgba.convert("RGB")), rgba.getchannel("A")


def _to_rgb(colour: Image.Image, profile: object, policy: IntakePolicy, notes: set[str]) -> Image.Image:
    if isinstance(profile, bytes) and profile:
        notes.add("icc_profile")
        if policy.icc == "srgb":
            try:
                converted = _to_srgb(colour, profile)
            except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
                notes.add("icc_broken")
            else:
                notes.add("icc_converted")
                return converted
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def _to_srgb(colour: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    image = colour.convert("L") if colour.mode == "1" else colour
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ValueError("no conversion")
    return converted


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the samples lie in the file, in Pillow's words: "RGB;16B", "L;4"."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _is_deep(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether colours of more than 8 bits are reduced by Pillow itself, which leaves no trace in the mode."""
    if image.format == "TIFF":
        bits = _tiff_tag(image, BITS_PER_SAMPLE)
        return max(bits) > 8 if isinstance(bits, tuple) else False
    if image.format == "PPM":
        arguments = image.tile[0].args if image.tile else ()
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
    if image.format == "JPEG2000":
        marker = data.find(JPEG2000_SIZE_MARKER)
        depth = data[marker + JPEG2000_BITS_OFFSET : marker + JPEG2000_BITS_OFFSET + 1]
        return marker >= 0 and bool(depth) and (depth[0] & 0x7F) + 1 > 8
    return ";16" in _raw_mode(image)


def _tiff_tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
