"""The yardsticks: the linear codec against scikit-style PCA by SVD, the bicubic against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vaecheck.pixels import to_pixels, to_uint8
from vaecheck.vae.yardsticks import Bicubic, Linear


def pictures(count: int = 5, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=generator)
    return (torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


@pytest.mark.parametrize(("f", "channels"), [(4, 3), (8, 4), (8, 16)])
def test_linear_codec_is_the_best_of_its_rank(f: int, channels: int) -> None:
    """Its squared error is the sum of the squared singular values left out (Eckart and Young 1936)."""
    images = pictures()
    codec = Linear.fit(images.split(2), f, channels)
    pixels = to_pixels(images)
    latents = codec.encode(pixels).mean
    assert latents.shape == (5, channels, 32 // f, 32 // f)
    error = (codec.decode(latents) - pixels).square().sum().item()
    patches = torch.nn.functional.pixel_unshuffle(pixels, f).flatten(2).transpose(1, 2).reshape(-1, 3 * f * f).double()
    left_out = torch.linalg.svdvals(patches - patches.mean(0))[channels:].square().sum().item()
    assert error == pytest.approx(left_out, rel=1e-4)


@pytest.mark.parametrize("image_channels", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_any_channels_and_floats(image_channels: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = (255 * torch.rand(3, image_channels, 16, 16, generator=generator)).to(dtype)
    linear = Linear.fit(images.split(1), 4, 5)
    pixels = to_pixels(images)
    patches = torch.nn.functional.pixel_unshuffle(pixels, 4).flatten(2).transpose(1, 2).flatten(0, 1).double()
    left_out = torch.linalg.svdvals(patches - patches.mean(0))[5:].square().sum().item()
    error = (linear.decode(linear.encode(pixels).mean) - pixels).square().sum().item()
    assert error == pytest.approx(left_out, rel=1e-4)
    bicubic = Bicubic(4, image_channels)
    assert bicubic.decode(bicubic.encode(pixels).mean).shape == pixels.shape
    assert (linear.card.image_channels, bicubic.card.image_channels) == (image_channels, image_channels)
    assert bicubic.card.latent_channels == image_channels


def test_fit_does_not_depend_on_batches() -> None:
    images = pictures()
    whole, split = Linear.fit([images], 8, 4), Linear.fit(images.split(1), 8, 4)
    pixels = to_pixels(images)
    assert torch.allclose(whole.decode(whole.encode(pixels).mean), split.decode(split.encode(pixels).mean), atol=1e-4)


def test_more_channels_than_patch_values_is_lossless() -> None:
    images = pictures()
    codec = Linear.fit([images], 4, 64)
    assert torch.equal(to_uint8(codec.decode(codec.encode(to_pixels(images)).mean)), images)


def test_bicubic_is_near_pillows() -> None:
    images = pictures(2, 64)
    codec = Bicubic(8)
    ours = to_uint8(codec.decode(codec.encode(to_pixels(images)).mean)).float()
    for image, reconstruction in zip(images, ours, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        theirs = picture.resize((8, 8), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC)
        difference = reconstruction.permute(1, 2, 0).numpy() - np.asarray(theirs, dtype=np.float32)
        assert np.abs(difference).mean() < 2.0
