from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.nasty import noise, smooth
from vaecheck.errors import InputError
from vaecheck.images.policy import BadPicture
from vaecheck.images.preprocess import check_size, fit_picture


def crop_oracle(image: Image.Image, n: int) -> np.ndarray:
    """The sentence of the contract, in NumPy indices."""
    w, h = image.size
    new_w, new_h = max(n, round(w * n / min(w, h))), max(n, round(h * n / min(w, h)))
    array = np.asarray(image.resize((new_w, new_h), Image.BICUBIC))
    x, y = (new_w - n) // 2, (new_h - n) // 2
    return array[y : y + n, x : x + n]


def adm_oracle(image: Image.Image, n: int) -> np.ndarray:
    """Guided diffusion's centre crop, from its description: BOX halving, BICUBIC, centre."""
    while min(*image.size) >= 2 * n:
        image = image.resize((image.size[0] // 2, image.size[1] // 2), resample=Image.BOX)
    factor = n / min(*image.size)
    array = np.array(image.resize((round(image.size[0] * factor), round(image.size[1] * factor)), Image.BICUBIC))
    y, x = (array.shape[0] - n) // 2, (array.shape[1] - n) // 2
    return array[y : y + n, x : x + n]


sides = st.integers(1, 120)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(width=sides, height=sides, size=st.sampled_from([8, 16, 32, 56]))
@example(width=5, height=2, size=8)  # 5 * 8 / 2 = 20 exactly
@example(width=16, height=25, size=8)  # 12.5 rounds to even
@example(width=16, height=27, size=8)  # 13.5 rounds to even
@example(width=1, height=1, size=8)
@example(width=33, height=32, size=32)  # an odd margin
def test_crop_and_adm_are_exact(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    for fit, oracle in (("crop", crop_oracle), ("adm", adm_oracle)):
        fitted = fit_picture(image, size=size, fit=fit, multiple=8)
        assert np.array_equal(fitted.array, oracle(image, size))
        assert fitted.array.shape == (size, size, 3)
        assert fitted.array.flags.c_contiguous
        assert fitted.array.dtype == np.uint8
        assert fitted.valid == (size, size)
        assert fitted.enlarged == (min(width, height) < size)


def test_crop_takes_the_centre() -> None:
    image = Image.new("RGB", (24, 8))
    image.paste((255, 0, 0), (8, 0, 16, 8))
    assert (fit_picture(image, size=8, fit="crop", multiple=8).array == [255, 0, 0]).all()


def test_a_picture_of_the_right_size_is_untouched() -> None:
    image = noise(32, 32)
    for fit in ("crop", "resize", "adm", "none", "pad"):
        assert np.array_equal(fit_picture(image, size=32, fit=fit, multiple=8).array, np.asarray(image))


def test_resize_goes_straight_to_the_square() -> None:
    image = noise(40, 20)
    fitted = fit_picture(image, size=24, fit="resize", multiple=8)
    assert np.array_equal(fitted.array, np.asarray(image.resize((24, 24), Image.BICUBIC)))
    assert fitted.enlarged


def test_none_names_both_sizes_and_the_way_out() -> None:
    with pytest.raises(BadPicture) as caught:
        fit_picture(noise(250, 251), size=None, fit="none", multiple=8)
    assert caught.value.message == "is 250x251; this VAE needs multiples of 8"
    assert fit_picture(noise(24, 16), size=256, fit="none", multiple=8).array.shape == (16, 24, 3)


@pytest.mark.parametrize(("width", "height"), [(13, 21), (16, 9), (8, 8), (1, 1), (3, 30), (250, 251)])
def test_pad_mirrors_at_right_and_bottom(width: int, height: int) -> None:
    image = noise(width, height)
    fitted = fit_picture(image, size=None, fit="pad", multiple=8)
    rows, columns = fitted.array.shape[:2]
    assert (rows % 8, columns % 8) == (0, 0)
    assert rows - height < 8
    assert columns - width < 8
    assert fitted.valid == (height, width)
    assert fitted.array.flags.c_contiguous

    def source(i: int, side: int, padded: int) -> int:
        if i < side:
            return i
        return 2 * (side - 1) - i if padded - side < side else side - 1

    y = [source(i, height, rows) for i in range(rows)]
    x = [source(i, width, columns) for i in range(columns)]
    assert np.array_equal(fitted.array, np.asarray(image)[np.ix_(y, x)])


@pytest.mark.parametrize("fit", ["crop", "adm"])
@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (3, 60000)])
def test_absurd_aspect_ratios_cost_no_memory(shape: tuple[int, int], fit: str) -> None:
    """256 x 5,120,000 pixels would be four gigabytes."""
    middle = (shape[0] // 2, shape[1] // 2)
    image = Image.new("RGB", shape)
    image.paste((200, 100, 50), (middle[0] - 40, middle[1] - 40, middle[0] + 40, middle[1] + 40))
    tracemalloc.start()
    fitted = fit_picture(image, size=256, fit=fit, multiple=8)
    assert fitted.array.shape == (256, 256, 3)
    assert fitted.enlarged
    assert (fitted.array == [200, 100, 50]).all()
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_the_window_alone_is_what_cropping_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(300, 90)
    whole = fit_picture(image, size=64, fit="crop", multiple=8).array.astype(int)
    monkeypatch.setattr("vaecheck.images.preprocess.MAX_RESIZED_PIXELS", 1)
    window = fit_picture(image, size=64, fit="crop", multiple=8).array.astype(int)
    assert np.abs(whole - window).max() <= 1


@pytest.mark.parametrize("fit", ["crop", "resize", "adm"])
def test_sizes_that_do_not_suit_are_refused_with_those_that_do(fit: str) -> None:
    check_size(256, fit, 16)
    with pytest.raises(InputError) as caught:
        check_size(250, fit, 16)
    assert "250 is no multiple of 16" in caught.value.message
    assert caught.value.hint == "Try --size 240 or --size 256."
    with pytest.raises(InputError) as caught:
        check_size(5, fit, 8)
    assert caught.value.hint == "Try --size 8."
    for size in (None, 0, -8, 1 << 20):
        with pytest.raises(InputError, match="needs a size"):
            check_size(size, fit, 8)


def test_sizes_do_not_matter_where_the_picture_keeps_its_own() -> None:
    check_size(None, "none", 8)
    check_size(250, "pad", 8)


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(InputError, match="--fit stretch"):
        fit_picture(noise(8, 8), size=8, fit="stretch", multiple=8)
