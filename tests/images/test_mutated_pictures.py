"""500 broken pictures for VAEs of 1 to 4 channels: each ends as a picture or as a reason, and nothing else."""

from __future__ import annotations

import io
import random
import resource
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from tests.images.nasty import chunk, encode, exif, noise, png, smooth
from vaecheck.images.entries import Entry
from vaecheck.images.prepare import Intake, Ready, prepare

COUNT = 500
MAX_PIXELS = 1_000_000
MOST_SECONDS = 10.0  # of processor time, for one picture
MOST_MEGABYTES = 400  # that all of them together may add


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def originals() -> dict[str, bytes]:
    colour, draw = smooth(48, 40), np.random.default_rng(0)
    deep = draw.integers(0, 65536, (40, 48, 4), dtype=np.uint16)
    grey16 = Image.fromarray(deep[..., 0])
    rgba = colour.copy()
    rgba.putalpha(Image.linear_gradient("L").resize((48, 40)))
    rows = [row.astype(">u2").tobytes() for row in deep]
    animated = {"save_all": True, "append_images": [noise(48, 40)]}
    return {
        "png": encode(colour, "PNG", exif=exif(6)),
        "png_rgba": encode(rgba, "PNG"),
        "png_la": encode(rgba.convert("LA"), "PNG"),
        "png_palette": encode(colour.convert("P"), "PNG", transparency=3),
        "png_16_grey": encode(grey16, "PNG"),
        "png_16_rgba": png(48, 40, 16, 6, rows),
        "jpeg": encode(colour, "JPEG", exif=exif(8)),
        "jpeg_grey": encode(colour.convert("L"), "JPEG", progressive=True),
        "gif": encode(colour, "GIF", **animated),
        "webp": encode(rgba, "WEBP"),
        "tiff_16": encode(grey16, "TIFF", compression="tiff_lzw"),
        "tiff_rgba": encode(rgba, "TIFF"),
        "tiff_float": encode(Image.fromarray(deep[..., 0].astype(np.float32) / 65535), "TIFF"),
        "ppm": encode(colour, "PPM"),
        "pgm_16": b"P5 48 40 65535\n" + deep[..., 0].astype(">u2").tobytes(),
        "bmp": encode(colour, "BMP"),
        "jpeg2000": encode(colour, "JPEG2000"),
        "avif": encode(colour, "AVIF", speed=10),
        "npy_8": npy(np.asarray(colour)),
        "npy_16": npy(deep[..., 0]),
        "npy_float": npy(deep[..., :2].transpose(2, 0, 1).astype(np.float32) / 65535),
        "npy_rgba": npy(np.asfortranarray(np.asarray(rgba))),
    }


def truncated(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    span = len(data) if draw.random() < 0.5 else min(len(data), 160)
    for _ in range(draw.randint(1, 12)):
        changed[draw.randrange(span)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def wrong_type(data: bytes, draw: random.Random) -> bytes:
    """Something else behind a real beginning, or nothing of a picture at all."""
    others = [b"<!DOCTYPE html>", b"\x80\x04\x95", b"%!PS-Adobe-3.0", b"PK\x03\x04", b"\0" * 400, draw.randbytes(400)]
    tail = draw.choice(others)
    return data[: draw.choice([0, 4, 8, 16, 40, 130])] + tail + data[draw.randrange(len(data)) :]


def lying(data: bytes, draw: random.Random) -> bytes:
    """A header that promises more, fewer or other pixels than there are."""
    width, height = draw.choice([(1, 1), (0, 7), (48, 4000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (900, 1000)])
    if data.startswith(b"\x89PNG"):
        depth = draw.choice([data[24], 1, 8, 16])
        head = struct.pack(">II", width, height) + bytes([depth, draw.choice([data[25], 0, 2, 4, 6])]) + data[26:29]
        return data[:8] + chunk(b"IHDR", head) + data[33:]
    if data.startswith(b"\x93NUMPY"):
        length = int.from_bytes(data[8:10], "little")
        descr = draw.choice(["|u1", "<u2", "<f8", "|O", "<c16", "|V3", "<f4"])
        shape = draw.choice([(height, width), (height, width, 3), (1, height, width), (-height, 48, 4), (2**62, 2**62)])
        lie = repr({"descr": descr, "fortran_order": draw.random() < 0.5, "shape": shape}).encode()
        return data[:8] + len(lie).to_bytes(2, "little") + lie + data[10 + length :]
    if data.startswith(b"P"):
        return data[:2] + f" {width} {height} {draw.choice([0, 1, 255, 65535, 70000])}\n".encode() + data[15:]
    sides = {(48, 40, form): struct.pack(form, 48, 40) for form in (">HH", ">II", "<HH", "<II")}
    sides |= {(40, 48, form): struct.pack(form, 40, 48) for form in (">HH", "<HH")}  # JPEG has the height first
    for (_, _, form), packed in sides.items():
        if (place := data.find(packed)) >= 0:
            most = 0xFFFF if "H" in form else 2**31 - 1
            return data[:place] + struct.pack(form, min(width, most), min(height, most)) + data[place + len(packed) :]
    place = draw.randrange(4, min(len(data) - 4, 120))
    return data[:place] + draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"]) + data[place + 4 :]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (truncated, flipped, wrong_type, lying)


def mutants() -> Iterator[tuple[str, bytes, Intake]]:
    """Every original with every mutation for every number of channels in turn, until there are COUNT."""
    draw, whole = random.Random(0), originals()
    names = sorted(whole)
    for i in range(COUNT):
        name, mutate = names[i % len(names)], MUTATIONS[i // len(names) % len(MUTATIONS)]
        intake = Intake(
            size=32,
            fit=("crop", "adm", "resize")[i % 3],
            channels=i // 7 % 4 + 1,
            value_range=(0, 4095) if i % 5 == 0 else None,
            max_pixels=MAX_PIXELS,
        )
        yield f"{i:03d} {mutate.__name__} {name}", mutate(whole[name], draw), intake


def outcome(name: str, data: bytes, intake: Intake) -> str:
    """The digest of the pixels, or the reason; whatever is raised is an error of this test."""
    result = prepare(Entry(name, "", data=data), intake)
    if isinstance(result, Ready):
        assert result.array.shape == (intake.channels, 32, 32)
        assert result.array.dtype in (np.uint8, np.float32)
        assert np.isfinite(result.array).all()
        assert result.array.min() >= 0
        assert result.array.max() <= 255
        return result.digest.hex()
    assert result.reason
    assert result.reason.isprintable()
    assert len(result.reason) < 300
    return f"skipped: {result.reason}"


def peak_megabytes() -> float:
    """Of this process, whose unit is bytes on macOS and kilobytes elsewhere."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize("name", originals())
def test_before_they_are_mutated_all_can_be_read(name: str) -> None:
    channels = {"npy_8": 3, "npy_16": 1, "npy_float": 2, "npy_rgba": 4}.get(name, 1)
    outcomes = {outcome(name, originals()[name], Intake(size=32, channels=channels)) for _ in range(2)}
    assert len(outcomes) == 1
    assert not outcomes.pop().startswith("skipped")


def test_500_mutated_pictures() -> None:
    found: Counter[str] = Counter()
    before = peak_megabytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, (name, data, intake) in enumerate(mutants()):
            start = time.process_time()
            result = outcome(name, data, intake)
            assert time.process_time() - start < MOST_SECONDS, name
            if i % 4 == 0:
                assert outcome(name, data, intake) == result, f"{name} differs when it is read again"
            found["skipped" if result.startswith("skipped") else "read"] += 1
    assert peak_megabytes() - before < MOST_MEGABYTES
    assert found.total() == COUNT
    assert found["skipped"] > COUNT / 2
    assert found["read"] > COUNT / 20
