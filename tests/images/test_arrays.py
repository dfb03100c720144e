""".npy files: types, shapes, and headers that lie."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from vaecheck.images.intake import read_picture
from vaecheck.images.policy import BadPicture, IntakePolicy


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def read(array: np.ndarray | bytes, channels: int, **options: object) -> tuple[np.ndarray, set[str]]:
    data = array if isinstance(array, bytes) else npy(array)
    picture = read_picture(data, IntakePolicy(channels=channels, **options))
    planes = [np.atleast_3d(np.asarray(image)) for image in picture.images]
    return np.concatenate(planes, axis=2), set(picture.notes)


def reason(array: np.ndarray | bytes, channels: int = 1, **options: object) -> str:
    with pytest.raises(BadPicture) as caught:
        read(array, channels, **options)
    assert len(caught.value.message) < 250
    return caught.value.message


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_channels_stand_first_or_last(channels: int) -> None:
    array = values(11, 13, channels)
    for form in (array, array.transpose(2, 0, 1), np.asfortranarray(array)):
        found, notes = read(form, channels)
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)
        assert notes == set()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (1, 5, 7)])
def test_one_plane_is_grey_and_is_replicated_for_rgb(shape: tuple[int, ...]) -> None:
    array = values(*shape)
    assert np.array_equal(read(array, 1)[0][..., 0], array.reshape(5, 7))
    found, notes = read(array, 3)
    assert np.array_equal(found, np.repeat(array.reshape(5, 7, 1), 3, axis=2))
    assert notes == {"grey"}


@pytest.mark.parametrize(
    ("dtype", "white"), [("u2", 65535), (">u2", 65535), ("f2", 1), ("f4", 1), (">f4", 1), ("f8", 1)]
)
def test_deep_types_are_kept_as_floats_and_rounded_for_rgb(dtype: str, white: int) -> None:
    array = (np.linspace(0, 1, 35).reshape(5, 7) * white).astype(dtype)
    found, notes = read(array, 1)
    assert found.dtype == np.float32
    assert found[..., 0] == pytest.approx(array.astype(np.float64) / white * 255, abs=1e-4)
    assert notes == {"kept_as_float"}
    rounded, notes = read(array, 3)
    assert rounded.dtype == np.uint8
    assert np.array_equal(rounded[..., 1], np.rint(found[..., 0]))
    assert notes == {"grey", "sixteen_bit_scaled"}


def test_bool_is_black_and_white() -> None:
    assert read(np.array([[True, False]]), 1)[0].ravel().tolist() == [255, 0]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u4", "u8"])
def test_integers_without_an_agreed_white_need_a_range(dtype: str) -> None:
    array = np.array([[3, 53, 103]], dtype)
    assert "from 3 to 103, which have no agreed white; give --value-range" in reason(array)
    found, notes = read(array, 1, value_range=(3, 103))
    assert found.ravel().tolist() == pytest.approx([0, 127.5, 255])
    assert notes == {"kept_as_float"}


def test_hounsfield_units() -> None:
    found, notes = read(np.array([[-1000, -300, 400, 3000]], np.int16), 1, value_range=(-1000, 400))
    assert found.ravel().tolist() == pytest.approx([0, 127.5, 255, 255])
    assert notes == {"kept_as_float", "clipped"}


def test_a_range_counts_for_8_bits_too() -> None:
    found, notes = read(np.array([[0, 1, 4]], np.uint8), 1, value_range=(0, 4))
    assert found.ravel().tolist() == [0, 63.75, 255]
    assert notes == {"kept_as_float"}


@pytest.mark.parametrize("array", [[[-1.0, 1.0]], [[0.0, 255.0]], [[0.0, 1.0001]]])
def test_floats_outside_zero_to_one_name_their_range_and_the_option(array: list[list[float]]) -> None:
    words = reason(np.array(array))
    assert f"from {array[0][0]:g} to {array[0][1]:g}, outside [0, 1]" in words
    assert "--value-range" in words
    found, notes = read(np.array(array), 1, value_range=(array[0][0], array[0][1]))
    assert found.ravel().tolist() == [0, 255]
    assert "clipped" not in notes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("value_range", [None, (0, 2)])
def test_nan_and_infinity_are_refused(value: float, value_range: tuple[float, float] | None) -> None:
    assert reason(np.array([[0.5, value]]), value_range=value_range) == "holds NaN or infinity"


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((5, 7), 2), ((5, 7), 4), ((5, 7, 3), 1), ((5, 7, 4), 3), ((5, 7, 3), 4), ((2, 5, 7), 4), ((5, 7, 9), 3)],
)
def test_other_shapes_name_what_is_there_and_what_is_taken(shape: tuple[int, ...], channels: int) -> None:
    words = reason(values(*shape), channels)
    assert f"has the shape {shape}" in words
    assert f"(H, W, {channels}) or ({channels}, H, W)" in words
    assert ("one plane (H, W)" in words) == (channels in (1, 3))


@pytest.mark.parametrize(("shape", "channels"), [((3, 9, 3), 3), ((1, 9, 1), 1), ((1, 9, 3), 3), ((3, 9, 1), 3)])
def test_a_shape_with_two_readings_is_refused(shape: tuple[int, ...], channels: int) -> None:
    assert "can be read as (C, H, W) and as (H, W, C)" in reason(values(*shape), channels)


@pytest.mark.parametrize("shape", [(), (5,), (1, 3, 5, 7), (0, 5), (5, 0, 3)])
def test_what_is_no_picture(shape: tuple[int, ...]) -> None:
    assert f"has the shape {shape}; a picture is" in reason(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", ["c8", "S3", "U2", "M8[s]", "i4,f4", "g"])
def test_other_types_are_refused(dtype: str) -> None:
    assert "holds values of type" in reason(np.zeros((4, 4), dtype))


def test_pickles_are_never_opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    trap = tmp_path_factory.mktemp("trap") / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, (str(trap), "w"))

    file = io.BytesIO()
    np.save(file, np.array([[Trap()]], object), allow_pickle=True)
    assert "holds values of type object" in reason(file.getvalue())
    assert "not a picture" in reason(pickle.dumps(Trap()))
    assert not trap.exists()


def test_archives_are_refused_with_the_way_out() -> None:
    file = io.BytesIO()
    np.savez(file, a=values(4, 4))
    assert zipfile.is_zipfile(file)
    assert "save each array as its own .npy" in reason(file.getvalue())


def header(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    raw = text.encode("latin1")
    return b"\x93NUMPY" + version + len(raw).to_bytes(2 if version == b"\x01\x00" else 4, "little") + raw + body


def test_the_limit_of_pixels_holds_before_anything_is_made() -> None:
    lie = header("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 100000, 100000), }")
    tracemalloc.start()
    assert "10000000000 pixels" in reason(lie, 3)
    assert "more than the limit of 12" in reason(values(4, 4), max_pixels=12)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert read(values(4, 4), 1, max_pixels=16)[0].shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(values(4, 4))[:-1], "holds 15 bytes of values; its shape (4, 4) of uint8 needs 16"),
        (npy(values(4, 4)) + b"x", "holds 17 bytes of values"),
        (npy(values(4, 4)) + npy(values(4, 4)), "needs 16"),
        (npy(values(4, 4))[:40], "cannot be decoded"),
        (npy(values(4, 4), (3, 0)), "version 3.0"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -4), }", bytes(16)), "has the shape (-4, -4)"),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 'x'), }", bytes(16)), "cannot be decoded"),
        (header("__import__('os').abort()", bytes(16)), "cannot be decoded"),
        (header("(" * 5000, bytes(16)), "cannot be decoded"),
        (header("[" * 60_000, bytes(16)), "cannot be decoded"),
    ],
)
def test_headers_that_lie(data: bytes, words: str) -> None:
    assert words in reason(data)


def test_version_2_is_read() -> None:
    array = values(4, 4)
    assert np.array_equal(read(npy(array, (2, 0)), 1)[0][..., 0], array)


def test_rgb_is_one_picture() -> None:
    picture = read_picture(npy(values(6, 5, 3)), IntakePolicy())
    assert picture.image.mode == "RGB"
    assert picture.image == Image.fromarray(values(6, 5, 3))
