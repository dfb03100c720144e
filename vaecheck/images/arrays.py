""".npy files -> planes.

Why the header is read by itself: it is checked against the limit of pixels and the length of the file before any
array is made, and what a pickle in such a file could do never comes up.

Why floats are in [0, 1]: that, [-1, 1] and the units of a scanner are all in use, so anything else has to be said by
--value-range. A picture that is stretched to its own darkest and brightest value would not be comparable with the
next one.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vaecheck.images.planes import to_levels
from vaecheck.images.policy import BadPicture, IntakePolicy

MAGIC = npy.MAGIC_PREFIX
NPZ_MAGIC = b"PK\x03\x04"
TYPES = "bool, integers and floats of 16, 32 or 64 bits"
WHITE = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}

Planes = tuple[NDArray[np.uint8] | NDArray[np.float32], ...]


def read_array(data: bytes, policy: IntakePolicy) -> tuple[Planes, frozenset[str]]:
    """The bytes of a .npy file -> planes (H, W), as many as the VAE has channels, and notes.

    Planes are uint8 from uint8 and bool, else float32 in [0, 255]; for a VAE of RGB they are rounded to uint8.
    Shapes: (H, W, C) or (C, H, W) with the VAE's C; (H, W) and C = 1 also for RGB, replicated.
    notes: grey, kept_as_float, sixteen_bit_scaled, clipped. Raises BadPicture.
    """
    values = _planes_first(_values(data, policy), policy.channels)
    notes = set()
    if policy.value_range is None and values.dtype.kind in "bu" and values.dtype.itemsize == 1:
        levels = np.multiply(values, 255, dtype=np.uint8) if values.dtype.kind == "b" else values
    else:
        levels, clipped = to_levels(values, policy, WHITE.get(values.dtype.name))
        notes |= {"clipped"} if clipped else set()
        notes.add("sixteen_bit_scaled" if policy.channels == 3 else "kept_as_float")
        if policy.channels == 3:
            levels = np.rint(levels).astype(np.uint8)
    if len(levels) < policy.channels:
        notes.add("grey")
        levels = np.repeat(levels, policy.channels, axis=0)
    return tuple(np.ascontiguousarray(plane) for plane in levels), frozenset(notes)


def _values(data: bytes, policy: IntakePolicy) -> NDArray[np.generic]:
    """The array in the machine's byte order, without a copy where it is so already."""
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise BadPicture(f"is a .npy file of version {version[0]}.{version[1]}, which pictures do not need")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise BadPicture(f"holds values of type {dtype}; {TYPES} are read")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise BadPicture(f"has the shape {shape}; a picture is (H, W), (H, W, C) or (C, H, W)")
    height, width = sorted(shape)[-2:]
    if height * width > policy.max_pixels:
        raise BadPicture(f"has {height * width} pixels {shape}, more than the limit of {policy.max_pixels}")
    needed, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if needed != there:
        raise BadPicture(f"holds {there} bytes of values; its shape {shape} of {dtype} needs {needed}")
    flat = np.frombuffer(data, dtype, offset=file.tell())
    values = flat.reshape(shape, order="F" if fortran_order else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def _planes_first(values: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    """(H, W), (H, W, C) or (C, H, W) -> (C, H, W)."""
    shape = values.shape
    wanted = (channels, 1) if channels == 3 else (channels,)
    if values.ndim == 2 and 1 in wanted:
        return values[None]
    first, last = values.ndim == 3 and shape[0] in wanted, values.ndim == 3 and shape[2] in wanted
    if first and last:
        raise BadPicture(f"has the shape {shape}, which can be read as (C, H, W) and as (H, W, C)")
    if not first and not last:
        one = ", or one plane (H, W)" if 1 in wanted else ""
        raise BadPicture(f"has the shape {shape}; this VAE takes (H, W, {channels}) or ({channels}, H, W){one}")
    return values if first else values.transpose(2, 0, 1)
