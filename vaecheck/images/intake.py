"""One file's bytes -> a picture of the channels that the VAE takes. One policy each for what a picture file can hold,
each counted.

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
from PIL import (
    AvifImagePlugin,  # noqa: F401  importing a plugin registers its format
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from vaecheck.images import arrays
from vaecheck.images.entries import printable
from vaecheck.images.planes import Deep, deep_planes, raw_mode_of, read_deep, tiff_tag
from vaecheck.images.policy import BadPicture, IntakePolicy

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
REASON_CHARACTERS = 160
MOST_CHANNELS = 4

ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258
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


@dataclass(frozen=True)
class Picture:
    """images: one of mode RGB, or one for each channel of the VAE, of mode L, or F (float, [0, 255]) where the file
    has more than 8 bits; upright, first frame. notes: the policies that changed it."""

    images: tuple[Image.Image, ...]
    notes: frozenset[str]

    @property
    def image(self) -> Image.Image:
        """The first of `images`, which is all there is of RGB and of grey."""
        return self.images[0]


def read_picture(data: bytes, policy: IntakePolicy) -> Picture:
    """Decode one file, in its own size, to the channels of the policy. Raises BadPicture, and nothing else.

    3 channels: 8-bit RGB, deeper pictures rounded. 1: grey, colours by Pillow's weights of L, alpha flattened.
    2 and 4: grey and RGB with their alpha as it is, opaque where there is none.
    notes: exif_rotated, alpha_flattened, alpha_added, cmyk_converted, sixteen_bit_scaled, kept_as_float, clipped,
    grey, colour_to_grey, animated_first_frame, icc_profile, icc_converted, icc_broken, icc_not_applied.
    """
    if not data:
        raise BadPicture("is empty")
    try:
        if data.startswith(arrays.MAGIC):
            planes, of_array = arrays.read_array(data, policy)
            return Picture(_images(planes, policy.channels), of_array)
        image = _open(data)
        width, height = image.size
        if width * height > policy.max_pixels:
            raise BadPicture(
                f"has {width * height} pixels ({width}x{height}), more than the limit of {policy.max_pixels}"
            )
        if policy.channels > MOST_CHANNELS:
            raise BadPicture(f"is a {image.format} picture; the {policy.channels} channels of this VAE need .npy files")
        return _convert(image, data, policy)
    except BadPicture:
        raise
    except MemoryError as error:
        raise BadPicture("does not fit into memory") from error
    except Exception as error:
        # Broad on purpose: on broken files Pillow's decoders raise whatever their code runs into (OSError,
        # ValueError, SyntaxError, struct.error, zlib.error, OverflowError, KeyError...), and none may end a run.
        raise BadPicture(f"cannot be decoded: {_words(error)}") from error


def _images(planes: arrays.Planes, channels: int) -> tuple[Image.Image, ...]:
    if channels == 3:
        return (Image.fromarray(np.stack(planes, axis=2)),)
    return tuple(Image.fromarray(plane) for plane in planes)


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
    if data.startswith(arrays.NPZ_MAGIC):
        raise BadPicture("is a zip archive; of an .npz file, save each array as its own .npy")
    raise BadPicture(broken or f"is not a picture in a format known here: it begins with {data[:12]!r}")


def _words(error: Exception) -> str:
    """The decoder's own words on one line, with the kind of error where they say nothing alone ("255")."""
    words = printable(" ".join(str(error).split()))
    return (words if " " in words else f"{type(error).__name__} {words}").strip()[:REASON_CHARACTERS]


def _convert(image: ImageFile.ImageFile, data: bytes, policy: IntakePolicy) -> Picture:
    notes: set[str] = set()
    if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO's others are previews and depth
        notes.add("animated_first_frame")
    has_more_bits = _is_deep(image, data)
    raw_mode = raw_mode_of(image)
    turned = _orientation(image)
    deep = None
    if image.mode.startswith(("I", "F")) or (has_more_bits and (policy.channels != 3 or policy.value_range)):
        deep = read_deep(image, raw_mode, lambda: _open(data), policy)
    if deep is None and has_more_bits and policy.value_range:
        raise BadPicture("holds 16-bit colours in a layout that only 8 bits are read of: save it as PNG or .npy")
    image.load()
    if deep is None:
        if has_more_bits:
            notes.add("sixteen_bit_scaled")
        images = _of_8_bits(*_split_alpha(image, raw_mode), image.info.get("icc_profile"), policy, notes)
    else:
        images = _of_more_bits(deep, image.info.get("icc_profile"), policy, notes)

    # Pillow turns a TIFF while loading it and then drops the tag: only what is left is ours to turn.
    if turned:
        notes.add("exif_rotated")
        if left := _orientation(image):
            images = tuple(plane.transpose(UPRIGHT[left]) for plane in images)
    return Picture(images, frozenset(notes))


def _of_8_bits(
    colour: Image.Image, alpha: Image.Image | None, profile: object, policy: IntakePolicy, notes: set[str]
) -> tuple[Image.Image, ...]:
    is_grey = colour.mode in ("1", "L")
    if is_grey and policy.channels > 2:
        notes.add("grey")
    if colour.mode == "CMYK":
        notes.add("cmyk_converted")
    rgb = _to_rgb(colour, profile, policy, notes)
    if policy.channels in (1, 3) and alpha is not None and alpha.getextrema() != (255, 255):
        flat = Image.new("RGB", rgb.size, policy.background_rgb)
        flat.paste(rgb, mask=alpha)
        rgb = flat
        notes.add("alpha_flattened")
    if policy.channels == 3:
        return (rgb,)
    if policy.channels <= 2 and not is_grey:
        notes.add("colour_to_grey")
    planes = rgb.split() if policy.channels == 4 else (rgb.convert("L"),)
    if policy.channels == 1:
        return planes
    if alpha is None:
        notes.add("alpha_added")
    return (*planes, Image.new("L", rgb.size, 255) if alpha is None else alpha)


def _of_more_bits(deep: Deep, profile: object, policy: IntakePolicy, notes: set[str]) -> tuple[Image.Image, ...]:
    """Planes of mode F; 8-bit RGB for a VAE of RGB, which goes the way of 8-bit pictures from there on."""
    if policy.channels == 3:
        notes |= {"sixteen_bit_scaled", *(["clipped"] if deep.clipped else [])}
        colour = np.rint(deep.colour).astype(np.uint8)
        alpha = None if deep.alpha is None else Image.fromarray(np.rint(deep.alpha).astype(np.uint8))
        return _of_8_bits(
            Image.fromarray(colour.squeeze(2) if colour.shape[2] == 1 else colour), alpha, profile, policy, notes
        )
    notes.add("kept_as_float")
    if isinstance(profile, bytes) and profile:
        notes |= {"icc_profile", *(["icc_not_applied"] if policy.icc == "srgb" else [])}
    return _images(deep_planes(deep, policy, notes), policy.channels)


def _orientation(image: Image.Image) -> int | None:
    """2 to 8 where the picture has to be turned. A damaged tag is as good as none."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # EXIF is foreign binary data, parsed by Pillow in Python; see read_picture
        return None
    return value if isinstance(value, int) and value in UPRIGHT else None


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


def _is_deep(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether colours of more than 8 bits are reduced by Pillow itself, which leaves no trace in the mode."""
    if image.format == "TIFF":
        bits = tiff_tag(image, BITS_PER_SAMPLE)
        return max(bits) > 8 if isinstance(bits, tuple) else False
    if image.format == "PPM":
        arguments = image.tile[0].args if image.tile else ()
        return isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
    if image.format == "JPEG2000":
        marker = data.find(JPEG2000_SIZE_MARKER)
        depth = data[marker + JPEG2000_BITS_OFFSET : marker + JPEG2000_BITS_OFFSET + 1]
        return marker >= 0 and bool(depth) and (depth[0] & 0x7F) + 1 > 8
    return ";16" in raw_mode_of(image)
