"""Pictures for VAEs of 1, 2, 3 and 4 channels: what is kept, to the bit, and what is counted."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.images.nasty import encode, exif, noise, png, smooth, words
from vaecheck.errors import InputError
from vaecheck.images.entries import Entry
from vaecheck.images.prepare import Intake, Ready, prepare

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of a PNG, by samples
LUMA = np.array([19595, 38470, 7471]) / 65536


def read(data: bytes, channels: int, **options: object) -> tuple[np.ndarray, set[str]]:
    """The array of a picture that keeps its own size, and its notes without those that do not concern it."""
    intake = Intake(**{"size": None, "fit": "none", "multiple": 1, "channels": channels} | options)
    ready = prepare(Entry("picture", "", data=data), intake)
    assert isinstance(ready, Ready), ready
    assert ready.array.shape[0] == channels
    assert ready.array.flags.c_contiguous
    return ready.array, set(ready.notes)


def reason(data: bytes, channels: int, **options: object) -> str:
    intake = Intake(**{"size": None, "fit": "none", "multiple": 1, "channels": channels} | options)
    skipped = prepare(Entry("picture", "", data=data), intake)
    assert not isinstance(skipped, Ready)
    return skipped.reason


def sixteen(samples: int, height: int = 6, width: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (height, width, samples), dtype=np.uint16)


def png16(values: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    height, width, samples = values.shape
    rows = [row.astype(">u2").tobytes() for row in values]
    return png(width, height, 16, COLOUR_TYPES[samples], rows, *extra)


def as_16_bits(array: np.ndarray) -> np.ndarray:
    """(C, H, W) float in [0, 255] -> (H, W, C), the integers that they stand for; must be near to them."""
    assert array.dtype == np.float32
    exact = array.transpose(1, 2, 0).astype(np.float64) * (65535 / 255)
    assert np.abs(exact - np.rint(exact)).max() < 0.01
    return np.rint(exact).astype(np.uint16)


class TestEightBits:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "JPEG2000", "AVIF"])
    def test_colour_becomes_grey_by_pillows_weights(self, form: str) -> None:
        data = encode(smooth(24, 16), form)
        array, notes = read(data, 1)
        expected = Image.open(io.BytesIO(data)).convert("RGB").convert("L")
        assert array.dtype == np.uint8
        assert np.array_equal(array[0], np.asarray(expected))
        assert notes == {"colour_to_grey"}

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "PPM"])
    def test_grey_stays_as_it_is_and_is_no_news(self, form: str) -> None:
        data = encode(Image.linear_gradient("L").resize((16, 16)), form)
        array, notes = read(data, 1)
        assert np.array_equal(array[0], np.asarray(Image.open(io.BytesIO(data))))
        assert notes == set()

    def test_alpha_is_flattened_for_grey_and_for_rgb(self) -> None:
        image = Image.new("LA", (2, 1), (10, 255))
        image.putpixel((1, 0), (10, 0))
        array, notes = read(encode(image, "PNG"), 1, background="#404040")
        assert array.tolist() == [[[10, 0x40]]]
        assert notes == {"alpha_flattened"}

    def test_rgba_and_la_keep_what_lies_under_transparency(self) -> None:
        rgba = np.dstack([np.asarray(noise(7, 5)), np.asarray(noise(7, 5, seed=1))[..., 0]])
        rgba[0, 0, 3] = 0
        array, notes = read(encode(Image.fromarray(rgba), "PNG"), 4)
        assert np.array_equal(array.transpose(1, 2, 0), rgba)
        assert notes == set()
        array, notes = read(encode(Image.fromarray(rgba[..., 2:]), "PNG"), 2)
        assert np.array_equal(array.transpose(1, 2, 0), rgba[..., 2:])
        assert notes == set()

    def test_what_has_no_alpha_is_opaque_and_counted(self) -> None:
        image = noise(5, 4)
        array, notes = read(encode(image, "PNG"), 4)
        assert np.array_equal(array[:3].transpose(1, 2, 0), np.asarray(image))
        assert (array[3] == 255).all()
        assert notes == {"alpha_added"}
        array, notes = read(encode(image, "PNG"), 2)
        assert np.array_equal(array[0], np.asarray(image.convert("L")))
        assert notes == {"alpha_added", "colour_to_grey"}

    def test_palette_transparency_is_an_alpha_channel(self) -> None:
        palette = (b"PLTE", bytes([0, 255, 0, 0, 0, 255]))
        array, notes = read(png(2, 1, 8, 3, [bytes([0, 1])], palette, (b"tRNS", b"\0\x80")), 4)
        assert array[:, 0].T.tolist() == [[0, 255, 0, 0], [0, 0, 255, 128]]
        assert notes == set()

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_every_plane_is_turned_upright(self, channels: int) -> None:
        image = noise(6, 4).convert("RGBA")
        upright = read(encode(image, "PNG"), channels)[0]
        turned, notes = read(encode(image, "PNG", exif=exif(6)), channels)
        assert np.array_equal(turned, np.rot90(upright, -1, axes=(1, 2)))
        assert "exif_rotated" in notes


class TestSixteenBits:
    @pytest.mark.parametrize("samples", [1, 2, 4])
    def test_png_keeps_every_bit_for_as_many_channels(self, samples: int) -> None:
        values = sixteen(samples)
        values[0, 0], values[0, 1] = 0, 65535
        array, notes = read(png16(values), samples)
        assert np.array_equal(as_16_bits(array), values)
        assert array[0, 0, 1] == 255
        assert notes == {"kept_as_float"}

    def test_colour_gets_an_opaque_alpha_or_becomes_grey(self) -> None:
        values = sixteen(3)
        array, notes = read(png16(values), 4)
        assert np.array_equal(as_16_bits(array)[..., :3], values)
        assert (array[3] == 255).all()
        assert notes == {"kept_as_float", "alpha_added"}
        array, notes = read(png16(values), 1)
        assert array[0] == pytest.approx(values @ LUMA * (255 / 65535), abs=1e-4)
        assert notes == {"kept_as_float", "colour_to_grey"}

    def test_alpha_is_flattened_without_rounding(self) -> None:
        values = sixteen(2)
        array, notes = read(png16(values), 1, background="#404040")
        opacity = values[..., 1] / 65535
        expected = values[..., 0] * (255 / 65535) * opacity + 0x40 * (1 - opacity)
        assert array[0] == pytest.approx(expected, abs=1e-4)
        assert notes == {"kept_as_float", "alpha_flattened"}

    def test_a_hidden_colour_is_transparent(self) -> None:
        values = sixteen(3)
        values[0, 0] = (1, 2, 3)
        values[0, 1] = (1, 2, 4)
        array, notes = read(png16(values, (b"tRNS", words(1, 2, 3))), 4)
        assert array[3, 0, :2].tolist() == [0, 255]
        assert np.array_equal(as_16_bits(array)[..., :3], values)
        assert notes == {"kept_as_float"}

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("samples", [1, 3, 4])
    def test_tiff(self, byteorder: str, compression: str | None, samples: int) -> None:
        tifffile = pytest.importorskip("tifffile")
        values, file = sixteen(samples), io.BytesIO()
        kind = {1: "minisblack", 3: "rgb", 4: "rgb"}[samples]
        extra = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
        tifffile.imwrite(
            file, values.squeeze(), byteorder=byteorder, photometric=kind, compression=compression, **extra
        )
        array, notes = read(file.getvalue(), max(samples, 4) if samples > 1 else 1)
        assert np.array_equal(as_16_bits(array)[..., :samples], values)
        assert notes == {"kept_as_float"} | ({"alpha_added"} if samples == 3 else set())

    def test_pgm_and_its_own_white(self) -> None:
        array, notes = read(b"P5 3 1 65535 " + words(0, 12345, 65535), 1)
        assert as_16_bits(array)[0, :, 0].tolist() == [0, 12345, 65535]
        assert notes == {"kept_as_float"}
        assert read(b"P5 2 1 1023 " + words(1023, 0), 1)[0][0].tolist() == [[255, 0]]

    def test_jpeg2000_grey_is_kept(self) -> None:
        values = np.arange(32 * 32, dtype="<u2").reshape(32, 32) * 60
        image = Image.frombytes("I;16", (32, 32), values.tobytes())
        array, notes = read(encode(image, "JPEG2000", irreversible=False), 1)
        assert np.array_equal(as_16_bits(array)[..., 0], values)
        assert notes == {"kept_as_float"}

    def test_layouts_that_pillow_reduces_are_counted_as_such(self) -> None:
        array, notes = read(b"P6 1 1 65535 " + words(0xFFFF, 0x1234, 0), 4)
        assert array.dtype == np.uint8
        assert notes == {"sixteen_bit_scaled", "alpha_added"}
        assert "16-bit colours" in reason(b"P6 1 1 65535 " + words(1, 2, 3), 4, value_range=(0, 4095))

    @pytest.mark.parametrize("samples", [1, 2, 3, 4])
    def test_rgb_has_8_bits_whatever_the_file_has(self, samples: int) -> None:
        array, notes = read(png16(sixteen(samples)), 3)
        assert array.dtype == np.uint8
        assert "sixteen_bit_scaled" in notes
        assert "kept_as_float" not in notes

    def test_white_as_zero(self) -> None:
        image = Image.frombytes("I;16", (2, 1), np.array([[0, 65535]], "<u2").tobytes())
        assert read(encode(image, "TIFF", tiffinfo={262: 0}), 1)[0][0].tolist() == [[255, 0]]


class TestValueRange:
    def test_a_12_bit_scan_in_a_16_bit_file(self) -> None:
        values = np.array([[[0], [2048], [4095]]], np.uint16)
        array, notes = read(png16(values), 1, value_range=(0, 4095))
        assert array[0, 0].tolist() == pytest.approx([0, 2048 / 4095 * 255, 255], abs=1e-4)
        assert notes == {"kept_as_float"}

    def test_what_lies_outside_is_cut_off_and_counted(self) -> None:
        array, notes = read(png16(np.array([[[100], [5000]]], np.uint16)), 1, value_range=(200, 4095))
        assert array[0, 0].tolist() == [0, 255]
        assert notes == {"kept_as_float", "clipped"}

    def test_black_above_white_inverts(self) -> None:
        array, notes = read(png16(np.array([[[0], [1000]]], np.uint16)), 1, value_range=(1000, 0))
        assert array[0, 0].tolist() == [255, 0]
        assert notes == {"kept_as_float"}

    def test_rgb_of_16_bits_is_scaled_before_it_is_rounded(self) -> None:
        values = np.array([[[4095, 2048, 0]]], np.uint16)
        array, notes = read(png16(values), 3, value_range=(0, 4095))
        assert array[:, 0, 0].tolist() == [255, 128, 0]
        assert notes == {"sixteen_bit_scaled"}

    def test_alpha_is_not_in_the_value_range(self) -> None:
        array, _ = read(png16(np.array([[[4095, 65535]]], np.uint16)), 2, value_range=(0, 4095))
        assert array[:, 0, 0].tolist() == [255, 255]

    @pytest.mark.parametrize(
        ("dtype", "values"), [(np.int32, [-1000, 400]), (np.int16, [-1000, 400]), (np.uint32, [0, 4_000_000_000])]
    )
    def test_integers_without_an_agreed_white(self, dtype: type, values: list[int]) -> None:
        tifffile = pytest.importorskip("tifffile")
        file = io.BytesIO()
        tifffile.imwrite(file, np.array([values], dtype))
        assert "no agreed white; give --value-range" in reason(file.getvalue(), 1)
        array, _ = read(file.getvalue(), 1, value_range=(values[0], values[1]))
        assert array[0, 0].tolist() == [0, 255]

    def test_floating_point_tiff(self) -> None:
        data = encode(Image.fromarray(np.array([[0.0, 0.25, 1.0]], np.float32)), "TIFF")
        array, notes = read(data, 1)
        assert array[0, 0].tolist() == [0, 63.75, 255]
        assert notes == {"kept_as_float"}
        data = encode(Image.fromarray(np.array([[-1.0, 0.0, 3.0]], np.float32)), "TIFF")
        assert "from -1 to 3, outside [0, 1]" in reason(data, 1)
        assert read(data, 1, value_range=(-1, 3))[0][0, 0].tolist() == [0, 63.75, 255]

    def test_12_bits_reach_white(self) -> None:
        """A TIFF by hand: two samples of 12 bits in three bytes."""
        tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
        entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
        data = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf4\x00\0"  # 4095 and 1024
        data += struct.pack("<H", len(tags)) + entries + bytes(4)
        array, notes = read(data, 1)
        assert array[0, 0].tolist() == pytest.approx([255, 1024 / 4095 * 255], abs=1e-4)
        assert notes == {"kept_as_float"}

    @pytest.mark.parametrize("value_range", [(1.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))])
    def test_a_range_that_is_none_is_refused(self, value_range: tuple[float, float]) -> None:
        with pytest.raises(InputError, match="value range"):
            Intake(value_range=value_range)


class TestSizes:
    @pytest.mark.parametrize("fit", ["crop", "resize", "adm", "none", "pad"])
    def test_floats_are_fitted_as_8_bits_are(self, fit: str) -> None:
        """The same grey values, with 8 and with 16 bits: half a level apart for each time that 8 bits are rounded."""
        side = {"none": (40, 56), "pad": (41, 50)}.get(fit, (70, 51))
        grey = np.asarray(noise(side[1], side[0]))[..., :1]
        options = {"size": 16, "fit": fit, "multiple": 8}
        shallow, _ = read(encode(Image.fromarray(grey[..., 0]), "PNG"), 1, **options)
        deep, _ = read(png16(grey.astype(np.uint16) * 257), 1, **options)
        assert deep.dtype == np.float32
        assert deep.shape == shallow.shape
        passes = {"none": 0, "pad": 0, "adm": 3}.get(fit, 2)  # across and down; adm halves once before
        assert np.abs(deep - shallow).max() <= 0.6 * passes + 1e-4

    def test_floats_are_resized_by_pillows_mode_f_and_cut_at_black_and_white(self) -> None:
        values = np.zeros((40, 40, 1), np.uint16)
        values[:, 20:] = 65535
        array, notes = read(png16(values), 1, size=64, fit="resize")
        floats = Image.fromarray((values[..., 0] * np.float32(255 / 65535)).astype(np.float32))
        resized = np.asarray(floats.resize((64, 64), Image.BICUBIC))
        assert resized.min() < -5  # the overshoot
        assert array[0] == pytest.approx(np.clip(resized, 0, 255), abs=1e-4)
        assert notes == {"kept_as_float", "enlarged"}

    @pytest.mark.parametrize("channels", [2, 4])
    def test_planes_are_resized_alone_and_not_multiplied_by_alpha(self, channels: int) -> None:
        image = smooth(48, 32).convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize((48, 32)).point(lambda v: 0 if v < 128 else 255))
        image = image if channels == 4 else image.convert("LA")
        array, _ = read(encode(image, "PNG"), channels, size=16, fit="crop")
        expected = [np.asarray(band.resize((24, 16), Image.BICUBIC))[:, 4:20] for band in image.split()]
        assert np.array_equal(array, expected)
        premultiplied = np.asarray(image.resize((24, 16), Image.BICUBIC))[:, 4:20].transpose(2, 0, 1)
        assert np.abs(array.astype(int) - premultiplied).max() > 100


def test_a_picture_has_no_more_than_four_channels() -> None:
    assert "need .npy" in reason(encode(noise(8, 8), "PNG"), 6)


def test_the_digest_tells_depths_apart() -> None:
    grey = np.full((8, 8, 1), 128, np.uint16)
    entries = [encode(Image.fromarray(grey[..., 0].astype(np.uint8)), "PNG"), png16(grey * 257)]
    intake = Intake(size=None, fit="none", channels=1)
    found = [prepare(Entry("x", "", data=data), intake) for data in entries]
    assert all(isinstance(ready, Ready) for ready in found)
    assert found[0].digest != found[1].digest
    assert found[0].kind != found[1].kind
