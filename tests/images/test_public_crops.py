from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor

from tests.images.nasty import noise, smooth
from vaecheck.images.policy import BadPicture
from vaecheck.images.preprocess import check_size, fit_picture
from vaecheck.images.public_crops import PUBLIC_FITS, public_crop

INTERPOLATION = {"pil_bilinear": InterpolationMode.BILINEAR, "pil_lanczos": InterpolationMode.LANCZOS}


def the_scripts_line(image: Image.Image, size: int, fit: str) -> NDArray[np.floating]:
    """The transform as the public scripts write it, (size, size, 3) in [0, 255]."""
    if fit == "tensor_bilinear":
        transform = Compose([ToTensor(), Resize(size), CenterCrop(size)])
    else:
        transform = Compose([Resize(size, interpolation=INTERPOLATION[fit]), CenterCrop(size), ToTensor()])
    return transform(image).mul(255).permute(1, 2, 0).numpy()


sides = st.integers(2, 90)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(width=sides, height=sides, size=st.sampled_from([8, 16, 32]))
@example(width=33, height=32, size=32)  # a margin of 1 goes to the left edge
@example(width=35, height=32, size=32)  # a margin of 3 rounds to 2, not to 1
@example(width=32, height=32, size=32)
def test_the_crops_are_torchvisions(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    for fit in PUBLIC_FITS:
        array = public_crop(image, size, fit)
        assert array.shape == (size, size, 3)
        assert array.flags.c_contiguous
        assert np.allclose(array, the_scripts_line(image, size, fit), atol=1e-4), fit


@pytest.mark.parametrize(("width", "height"), [(100, 67), (67, 100), (20, 31), (64, 64)])
def test_tensor_bilinear_is_the_triangle_filter_on_floats(width: int, height: int) -> None:
    """From its definition: each output pixel is the mean of a triangle of the scale's width, never narrower than 1."""
    image, size = noise(width, height), 32
    shorter = min(width, height)
    rows, columns = (
        triangle(side, size if side == shorter else int(size * side / shorter)) for side in (height, width)
    )
    resized = np.einsum("ih,jw,hwc->ijc", rows, columns, np.asarray(image, dtype=np.float64))
    top, left = (round((len(weights) - size) / 2) for weights in (rows, columns))
    expected = resized[top : top + size, left : left + size]
    assert np.abs(public_crop(image, size, "tensor_bilinear") - expected).max() < 1e-3


def triangle(side: int, resized: int) -> NDArray[np.float64]:
    """(resized, side): row i weighs the pixels under a triangle centred on output pixel i, clipped to the picture."""
    scale = side / resized
    support = max(scale, 1.0)
    weights = np.zeros((resized, side))
    for i in range(resized):
        centre = (i + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), side)
        pixels = np.arange(first, last)
        weights[i, first:last] = np.clip(1 - np.abs(pixels + 0.5 - centre) / support, 0, None)
    return weights / weights.sum(1, keepdims=True)


def test_tensor_bilinear_keeps_the_fraction() -> None:
    fitted = fit_picture(smooth(90, 61), size=32, fit="tensor_bilinear", multiple=8)
    assert fitted.array.dtype == np.float32
    assert np.abs(fitted.array - fitted.array.round()).max() > 0.1
    assert 0 <= fitted.array.min() <= fitted.array.max() <= 255


@pytest.mark.parametrize("fit", PUBLIC_FITS)
def test_they_are_fits_like_the_others(fit: str) -> None:
    fitted = fit_picture(noise(30, 20), size=32, fit=fit, multiple=8)
    assert fitted.enlarged
    assert fitted.valid == (32, 32)
    with pytest.raises(Exception, match="no multiple of 8"):
        check_size(30, fit, 8)
    with pytest.raises(BadPicture, match=r"is 1x9000000; 8x72000000 is too large"):
        public_crop(Image.new("L", (1, 9_000_000)), 8, fit)


def test_a_picture_of_the_right_size_is_untouched() -> None:
    image = noise(32, 32)
    for fit in PUBLIC_FITS:
        assert np.array_equal(public_crop(image, 32, fit), np.asarray(image))


def test_filters_and_antialias_alone_move_a_picture() -> None:
    """Pillow rounds after each axis; other filters differ by levels, and torchvision without antialias by tens."""
    image, size = noise(128, 128), 32
    crops = {fit: public_crop(image, size, fit).astype(float) for fit in PUBLIC_FITS}
    crops["adm"] = fit_picture(image, size=size, fit="adm", multiple=8).array.astype(float)
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()
    jagged = Resize(size, antialias=False)(tensor).permute(1, 2, 0).numpy()
    smoothest = crops["tensor_bilinear"]
    assert np.abs(smoothest - crops["pil_bilinear"]).max() < 1
    assert np.abs(smoothest - crops["pil_lanczos"]).mean() > 3
    assert np.abs(smoothest - crops["adm"]).mean() > 3
    assert np.abs(smoothest - jagged).mean() > 15
