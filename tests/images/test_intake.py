from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps

from tests.images.nasty import chunk, encode, exif, noise, png, smooth, words
from vaecheck.errors import InputError
from vaecheck.images.intake import Picture, read_picture
from vaecheck.images.policy import BadPicture, IntakePolicy

DEFAULT = IntakePolicy()
RED = IntakePolicy(background="red")


def pixels(picture: Picture) -> np.ndarray:
    assert picture.image.mode == "RGB"
    return np.asarray(picture.image)


def read(data: bytes, policy: IntakePolicy = DEFAULT) -> tuple[np.ndarray, set[str]]:
    picture = read_picture(data, policy)
    return pixels(picture), set(picture.notes)


def reason(data: bytes, policy: IntakePolicy = DEFAULT) -> str:
    with pytest.raises(BadPicture) as caught:
        read_picture(data, policy)
    return caught.value.message


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_plain_rgb_is_untouched(form: str) -> None:
    image = noise(13, 7)
    values, notes = read(encode(image, form))
    assert np.array_equal(values, np.asarray(image))
    assert notes == set()


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_are_as_pillow_decodes_them(form: str) -> None:
    data = encode(smooth(40, 24), form)
    values, notes = read(data)
    assert np.array_equal(values, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert notes == set()


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(2, 9))
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_applied_and_counted(self, form: str, orientation: int) -> None:
        options = {"lossless": True} if form == "WEBP" else {}
        data = encode(smooth(40, 24), form, exif=exif(orientation), **options)
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        values, notes = read(data)
        assert notes == {"exif_rotated"}
        assert values.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
        assert np.array_equal(values, np.asarray(expected))

    @pytest.mark.parametrize("orientation", [0, 1, 9, 65535])
    def test_upright_and_meaningless_values_change_nothing(self, orientation: int) -> None:
        image = noise(6, 4)
        values, notes = read(encode(image, "PNG", exif=exif(orientation)))
        assert np.array_equal(values, np.asarray(image))
        assert notes == set()

    def test_six_turns_clockwise(self) -> None:
        image = Image.new("RGB", (2, 1))
        image.putpixel((0, 0), (255, 0, 0))
        values, _ = read(encode(image, "PNG", exif=exif(6)))
        assert values[:, 0].tolist() == [[255, 0, 0], [0, 0, 0]]  # what was left is now on top

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize(
        "blob",
        [
            b"",
            b"Exif\0\0",
            b"Exif\0\0II*\0",
            b"Exif\0\0garbage garbage",
            b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x05\0\0\0\x00\x00\x00\x7f",
            b"Exif\0\0MM\0*\xff\xff\xff\xff",
        ],
    )
    def test_malformed_exif_is_no_exif(self, blob: bytes) -> None:
        values, notes = read(encode(smooth(16, 8), "JPEG", exif=blob or b"\0"))
        assert values.shape == (8, 16, 3)
        assert notes == set()


class TestTransparency:
    def test_rgba_is_flattened_over_the_background(self) -> None:
        image = Image.new("RGBA", (3, 1), (0, 0, 255, 255))
        image.putpixel((1, 0), (0, 0, 255, 0))
        image.putpixel((2, 0), (0, 0, 255, 128))
        values, notes = read(encode(image, "PNG"), RED)
        assert values[0].tolist() == [[0, 0, 255], [255, 0, 0], [127, 0, 128]]
        assert notes == {"alpha_flattened"}

    def test_the_default_background_is_white(self) -> None:
        values, _ = read(encode(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), "PNG"))
        assert values[0, 0].tolist() == [255, 255, 255]

    @pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
    def test_opaque_alpha_is_dropped_and_not_counted(self, form: str) -> None:
        options = {"lossless": True} if form == "WEBP" else {}
        image = noise(5, 3)
        values, notes = read(encode(image.convert("RGBA"), form, **options), RED)
        assert np.array_equal(values, np.asarray(image))
        assert notes == set()

    def test_grey_with_alpha(self) -> None:
        image = Image.new("LA", (2, 1), (10, 255))
        image.putpixel((1, 0), (10, 0))
        values, notes = read(encode(image, "PNG"), RED)
        assert values[0].tolist() == [[10, 10, 10], [255, 0, 0]]
        assert notes == {"alpha_flattened", "grey"}

    @pytest.mark.parametrize("transparency", [b"\0\xff", b"\0", b"\0\x80"])
    def test_palette_with_trns(self, transparency: bytes) -> None:
        palette = (b"PLTE", bytes([0, 255, 0, 0, 0, 255]))
        data = png(2, 1, 8, 3, [bytes([0, 1])], palette, (b"tRNS", transparency))
        values, notes = read(data, RED)
        assert values[0, 0].tolist() == [255, 0, 0]  # not the green that the palette hides
        assert values[0, 1].tolist() == ([127, 0, 128] if transparency[1:] == b"\x80" else [0, 0, 255])
        assert notes == {"alpha_flattened"}

    def test_palette_without_transparency(self) -> None:
        data = png(2, 1, 8, 3, [bytes([0, 1])], (b"PLTE", bytes([0, 255, 0, 0, 0, 255])))
        values, notes = read(data, RED)
        assert values[0].tolist() == [[0, 255, 0], [0, 0, 255]]
        assert notes == set()

    @pytest.mark.parametrize(("depth", "row"), [(1, b"\x40"), (2, b"\x30"), (4, b"\x0f"), (8, b"\x00\xff")])
    def test_grey_trns_at_every_depth(self, depth: int, row: bytes) -> None:
        """Black, then white; tRNS hides white, in samples of the file's own depth."""
        data = png(2, 1, depth, 0, [row], (b"tRNS", words(2**depth - 1)))
        values, notes = read(data, RED)
        assert values[0].tolist() == [[0, 0, 0], [255, 0, 0]]
        assert notes == {"alpha_flattened", "grey"}

    def test_trns_of_16_bit_grey_hides_one_value_only(self) -> None:
        data = png(3, 1, 16, 0, [words(0x1234, 0x1235, 0xFFFF)], (b"tRNS", words(0x1234)))
        values, notes = read(data, RED)
        assert values[0].tolist() == [[255, 0, 0], [18, 18, 18], [255, 255, 255]]
        assert notes == {"alpha_flattened", "sixteen_bit_scaled", "grey"}

    def test_trns_of_rgb(self) -> None:
        data = png(2, 1, 8, 2, [bytes([1, 2, 3, 1, 2, 4])], (b"tRNS", words(1, 2, 3)))
        values, notes = read(data, RED)
        assert values[0].tolist() == [[255, 0, 0], [1, 2, 4]]
        assert notes == {"alpha_flattened"}

    def test_trns_of_16_bit_rgb(self) -> None:
        hidden = (0x1234, 0x5678, 0x9ABC)
        data = png(2, 1, 16, 2, [words(*hidden, 0xFFFF, 0, 0)], (b"tRNS", words(*hidden)))
        values, notes = read(data, IntakePolicy(background="blue"))
        assert values[0].tolist() == [[0, 0, 255], [255, 0, 0]]
        assert notes == {"alpha_flattened", "sixteen_bit_scaled"}

    def test_gif(self) -> None:
        image = Image.new("P", (2, 1), 1)
        image.putpalette([0, 255, 0, 0, 0, 255])
        image.putpixel((0, 0), 0)
        values, notes = read(encode(image, "GIF", transparency=0), RED)
        assert values[0].tolist() == [[255, 0, 0], [0, 0, 255]]
        assert notes == {"alpha_flattened"}

    def test_palette_with_alpha_channel_of_its_own(self) -> None:
        rgba = Image.new("RGBA", (4, 4), (0, 255, 0, 0))
        values, notes = read(encode(rgba, "TIFF"), RED)
        assert values[0, 0].tolist() == [255, 0, 0]
        assert notes == {"alpha_flattened"}

    @pytest.mark.parametrize("background", ["", "no such colour", "#12", "rgb(1,2)"])
    def test_an_unknown_background_is_refused(self, background: str) -> None:
        with pytest.raises(InputError, match="background"):
            IntakePolicy(background=background)


class TestGreyAndDepth:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "PPM"])
    def test_grey_is_replicated(self, form: str) -> None:
        image = Image.linear_gradient("L").resize((16, 16))
        data = encode(image, form)
        values, notes = read(data)
        expected = np.asarray(Image.open(io.BytesIO(data)))
        assert all(np.array_equal(values[..., channel], expected) for channel in range(3))
        assert notes == {"grey"}

    def test_one_bit(self) -> None:
        values, notes = read(png(2, 1, 1, 0, [b"\x40"]))
        assert values[0].tolist() == [[0] * 3, [255] * 3]
        assert notes == {"grey"}

    def test_16_bit_grey_png_is_scaled_over_its_whole_range(self) -> None:
        every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        values, notes = read(png(256, 256, 16, 0, [row.astype(">u2").tobytes() for row in every]))
        expected = [round(v / 257) for v in range(65536)]
        assert values[..., 0].ravel().tolist() == expected
        assert notes == {"sixteen_bit_scaled", "grey"}

    @pytest.mark.parametrize("dtype", ["<u2", ">u2"])
    @pytest.mark.parametrize("compression", [None, "tiff_lzw"])
    def test_16_bit_grey_tiff(self, dtype: str, compression: str | None) -> None:
        mode = "I;16" if dtype == "<u2" else "I;16B"
        image = Image.frombytes(mode, (3, 1), np.array([[0, 257, 65535]], dtype).tobytes())
        values, notes = read(encode(image, "TIFF", compression=compression))
        assert values[0, :, 0].tolist() == [0, 1, 255]
        assert notes == {"sixteen_bit_scaled", "grey"}

    def test_16_bit_tiff_with_white_as_zero(self) -> None:
        image = Image.frombytes("I;16", (2, 1), np.array([[0, 65535]], "<u2").tobytes())
        data = encode(image, "TIFF", tiffinfo={262: 0})
        assert Image.open(io.BytesIO(data)).tag_v2[262] == 0
        values, _ = read(data)
        assert values[0, :, 0].tolist() == [255, 0]

    def test_pgm_of_10_bits_reaches_white(self) -> None:
        values, notes = read(b"P5 2 1 1023 " + words(1023, 0))
        assert values[0, :, 0].tolist() == [255, 0]
        assert notes == {"sixteen_bit_scaled", "grey"}

    def test_16_bit_rgb_png_and_ppm(self) -> None:
        samples = words(0xFFFF, 0x8000, 0)
        for data in (png(1, 1, 16, 2, [samples]), b"P6 1 1 65535 " + samples):
            values, notes = read(data)
            assert values[0, 0].tolist() == [255, 128, 0]
            assert notes == {"sixteen_bit_scaled"}

    def test_16_bit_grey_with_alpha(self) -> None:
        values, notes = read(png(2, 1, 16, 4, [words(0x8000, 0xFFFF, 0x8000, 0)]), RED)
        assert values[0].tolist() == [[128, 128, 128], [255, 0, 0]]
        assert notes == {"sixteen_bit_scaled", "alpha_flattened", "grey"}

    def test_16_bit_jpeg2000(self) -> None:
        image = Image.frombytes("I;16", (16, 16), np.full((16, 16), 65535, "<u2").tobytes())
        values, notes = read(encode(image, "JPEG2000"))
        assert (values == 255).all()
        assert notes == {"sixteen_bit_scaled", "grey"}

    def test_float_in_zero_to_one(self) -> None:
        image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
        values, notes = read(encode(image, "TIFF"))
        assert values[0, :, 0].tolist() == [0, 128, 255]
        assert notes == {"sixteen_bit_scaled", "grey"}

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (1.25, "from 0.5 to 1.25, outside [0, 1]"),
            (-0.25, "from -0.25 to 0.5, outside [0, 1]"),
            (np.nan, "NaN or infinity"),
            (np.inf, "NaN or infinity"),
        ],
    )
    def test_other_floats_are_refused(self, value: float, words: str) -> None:
        image = Image.fromarray(np.array([[0.5, value]], np.float32))
        assert words in reason(encode(image, "TIFF"))

    def test_32_bit_integers_are_refused(self) -> None:
        image = Image.fromarray(np.array([[0, 70000]], np.int32))
        assert "no agreed white" in reason(encode(image, "TIFF"))


class TestColour:
    @pytest.mark.parametrize("form", ["JPEG", "TIFF"])
    def test_cmyk(self, form: str) -> None:
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        data = encode(image, form)
        values, notes = read(data)
        assert np.abs(values.astype(int) - [255, 0, 0]).max() <= 4
        assert notes == {"cmyk_converted"}

    def test_adobe_ycck_is_inverted_as_it_should_be(self) -> None:
        """Pillow writes CMYK JPEGs as Adobe does: inverted, with the APP14 marker that says so."""
        data = encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
        assert b"Adobe" in data
        assert (read(data)[0] >= 254).all()

    def test_lab(self) -> None:
        values, _ = read(encode(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"))
        assert (values >= 250).all()

    def test_a_profile_is_counted_and_ignored(self) -> None:
        image = noise(8, 8)
        values, notes = read(encode(image, "PNG", icc_profile=swapped_profile()))
        assert np.array_equal(values, np.asarray(image))
        assert notes == {"icc_profile"}

    def test_a_profile_is_converted_on_demand(self) -> None:
        image = smooth(32, 32)
        profile = swapped_profile()
        values, notes = read(encode(image, "PNG", icc_profile=profile), IntakePolicy(icc="srgb"))
        expected = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert np.array_equal(values, np.asarray(expected))
        assert np.abs(values.astype(int) - np.asarray(image)).max() > 50
        assert notes == {"icc_profile", "icc_converted"}

    def test_a_profile_is_converted_below_alpha(self) -> None:
        image = smooth(8, 8).convert("RGBA")
        image.putpixel((0, 0), (9, 9, 9, 0))
        values, notes = read(encode(image, "PNG", icc_profile=swapped_profile()), IntakePolicy("red", "srgb"))
        assert values[0, 0].tolist() == [255, 0, 0]
        assert notes == {"icc_profile", "icc_converted", "alpha_flattened"}

    @pytest.mark.parametrize("form", ["PNG", "JPEG"])
    def test_a_broken_profile_is_ignored_and_counted(self, form: str) -> None:
        data = encode(smooth(8, 8), form, icc_profile=b"not a profile at all")
        values, notes = read(data, IntakePolicy(icc="srgb"))
        assert np.array_equal(values, read(data)[0])
        assert notes == {"icc_profile", "icc_broken"}

    def test_a_profile_of_another_colour_space_is_broken(self) -> None:
        data = encode(Image.new("L", (8, 8), 77), "PNG", icc_profile=swapped_profile())
        values, notes = read(data, IntakePolicy(icc="srgb"))
        assert (values == 77).all()
        assert notes == {"icc_profile", "icc_broken", "grey"}

    def test_an_unknown_icc_policy_is_refused(self) -> None:
        with pytest.raises(InputError, match="--icc adobe"):
            IntakePolicy(icc="adobe")


def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: a valid profile that visibly changes colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


class TestAnimation:
    @pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_the_first_frame_counts(self, form: str) -> None:
        options = {"lossless": True} if form == "WEBP" else {}
        first, second = Image.new("RGB", (6, 4), "lime"), Image.new("RGB", (6, 4), "blue")
        data = encode(first, form, save_all=True, append_images=[second], **options)
        values, notes = read(data)
        assert (values == [0, 255, 0]).all()
        assert notes == {"animated_first_frame"}

    def test_a_still_gif_is_no_animation(self) -> None:
        assert "animated_first_frame" not in read(encode(Image.new("P", (4, 4)), "GIF"))[1]

    def test_a_multi_picture_jpeg_of_a_phone_is_no_animation(self) -> None:
        data = encode(smooth(16, 16), "MPO", save_all=True, append_images=[smooth(8, 8)])
        values, notes = read(data)
        assert values.shape == (16, 16, 3)
        assert notes == set()


class TestBroken:
    def test_empty(self) -> None:
        assert reason(b"") == "is empty"

    def test_text(self) -> None:
        assert "not a picture" in reason(b"<!DOCTYPE html><p>404</p>")

    def test_postscript_is_not_handed_to_an_interpreter(self) -> None:
        assert "not a picture" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")

    def test_no_pixels(self) -> None:
        assert "broken PPM header" in reason(b"P6 0 5 255\n")

    def test_one_pixel(self) -> None:
        assert read(encode(Image.new("RGB", (1, 1), "red"), "PNG"))[0].tolist() == [[[255, 0, 0]]]

    def test_a_bomb_is_refused_before_it_is_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def decoded(self: ImageFile.ImageFile) -> None:
            raise AssertionError("decoded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
        assert reason(png(60000, 60000, 8, 2, [b"\0"])) == (
            "has 3600000000 pixels (60000x60000), more than the limit of 178956970"
        )

    def test_the_limit_is_exact_and_our_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pillow would warn above 50 pixels and refuse above 100 here."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
        data = encode(noise(20, 10), "PNG")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(data, IntakePolicy(max_pixels=200))[0].shape == (10, 20, 3)
        assert "200 pixels (20x10), more than the limit of 199" in reason(data, IntakePolicy(max_pixels=199))

    def test_a_compressed_text_bomb(self) -> None:
        text = b"Comment\0\0" + zlib.compress(b"a" * 80_000_000)
        assert "too large" in reason(png(1, 1, 8, 2, [b"\0\0\0"], (b"zTXt", text)))

    def test_out_of_memory_is_a_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(self: ImageFile.ImageFile) -> None:
            raise MemoryError

        data = encode(noise(4, 4), "PNG")
        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        assert reason(data) == "does not fit into memory"

    def test_reasons_are_short_printable_and_repeatable(self) -> None:
        data = encode(noise(64, 64), "PNG")[:900]
        assert reason(data) == reason(data)
        assert reason(data).isprintable()
        assert len(reason(data)) < 250
        assert "0x7f" not in reason(data)


def victims() -> dict[str, bytes]:
    image = smooth(48, 32)
    animated = {"save_all": True, "append_images": [noise(48, 32)]}
    sixteen = Image.frombytes("I;16", (48, 32), np.arange(48 * 32, dtype="<u2").tobytes())
    return {
        "jpeg": encode(image, "JPEG", exif=exif(6), icc_profile=swapped_profile()),
        "progressive": encode(image, "JPEG", progressive=True),
        "cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image.convert("RGBA"), "PNG", exif=exif(3)),
        "palette": encode(image.convert("P"), "PNG", transparency=3),
        "sixteen": encode(sixteen, "PNG"),
        "apng": encode(image, "PNG", **animated),
        "gif": encode(image, "GIF", **animated),
        "webp": encode(image, "WEBP", **animated),
        "tiff": encode(image, "TIFF", exif=exif(8)),
        "tiff_lzw": encode(image, "TIFF", compression="tiff_lzw"),
        "bmp": encode(image, "BMP"),
        "ppm": encode(image, "PPM"),
        "jpeg2000": encode(image, "JPEG2000"),
        "avif": encode(image, "AVIF"),
    }


VICTIMS = victims()
TOLERANT = IntakePolicy(icc="srgb", max_pixels=1_000_000)


def outcome(data: bytes) -> Picture | str:
    """The picture, or why it is bad; anything else is an error of this test."""
    try:
        return read_picture(data, TOLERANT)
    except BadPicture as error:
        return error.message


def survives(data: bytes) -> bool:
    result = outcome(data)
    if isinstance(result, str):
        assert result
        assert result.isprintable()
        return False
    assert result.image.mode == "RGB"
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", VICTIMS)
def test_truncation_anywhere(name: str) -> None:
    data = VICTIMS[name]
    assert survives(data)
    outcomes = [survives(data[:end]) for end in range(0, len(data), max(1, len(data) // 60))]
    assert not outcomes[0]
    assert not all(outcomes)


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "webp", "bmp", "tiff", "ppm"])
def test_half_a_file_is_refused(name: str) -> None:
    data = VICTIMS[name]
    assert not survives(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(VICTIMS)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
    head=st.booleans(),
)
def test_flipped_bytes(name: str, flips: list[tuple[float, int]], head: bool) -> None:
    data = bytearray(VICTIMS[name])
    span = min(len(data), 200) if head else len(data)
    for place, mask in flips:
        data[int(place * span)] ^= mask
    survives(bytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=100, deadline=None, derandomize=True)
@given(start=st.sampled_from(sorted(VICTIMS)), length=st.integers(0, 40), tail=st.binary(max_size=60))
def test_any_bytes_behind_a_real_beginning(start: str, length: int, tail: bytes) -> None:
    survives(VICTIMS[start][:length] + tail)


def test_a_chunk_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encode(noise(8, 8), "PNG"))
    place = data.index(b"IHDR") + 17
    data[place] ^= 1
    assert "broken PNG header" in reason(bytes(data))
    assert chunk(b"IEND", b"") in data


def test_the_ways_to_read_share_no_state() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    survives(VICTIMS["jpeg"])
    survives(VICTIMS["png"][:200])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before
