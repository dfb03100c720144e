"""Which pictures are shown, and that their components are the principal ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaecheck.metrics.latent_maps import LatentMaps, components
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.protocol import Posterior


def fed(z: torch.Tensor, pictures: torch.Tensor, order: list[int], step: int = 2) -> LatentMaps:
    maps = LatentMaps()
    for start in range(0, len(order), step):
        part = order[start : start + step]
        ids = tuple(f"{i}.png" for i in part)
        maps.update(Batch(ids, pictures[part], Posterior(z[part]), z[part]))
    return maps


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int, channels: int = 3, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def test_the_same_four_pictures_in_any_order_and_batch() -> None:
    z, shown = random(9, 4, 8, 8), pictures(9)
    first = fed(z, shown, list(range(9))).panels()
    second = fed(z, shown, list(range(8, -1, -1)), step=5).panels()
    assert len(first) == 4
    assert [panel.title for panel in first] == [panel.title for panel in second]
    for one, other in zip(first, second, strict=True):
        for (label, image), (same, again) in zip(one.images, other.images, strict=True):
            assert label == same
            assert np.array_equal(image, again)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("image_channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 3), (20, 10)])
def test_images_are_8_bit_rgb_and_large_enough_to_see(
    channels: int, image_channels: int, height: int, width: int
) -> None:
    z = random(2, channels, height, width)
    shown = pictures(2, image_channels, 64)
    for panel in fed(z, shown, [0, 1]).panels():
        assert len(panel.images) == 3
        for _, image in panel.images:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert min(image.shape[:2]) >= 128


def test_maps_are_enlarged_by_whole_factors_to_the_height_of_the_picture() -> None:
    panel = fed(random(1, 4, 32, 32), pictures(1, side=256), [0]).panels()[0]
    (_, picture), (_, colours), (label, strip) = panel.images
    assert picture.shape == colours.shape == (256, 256, 3)
    assert strip.shape == (258, 258, 3)
    assert label == "channels 0 to 3"
    assert np.array_equal(colours, colours[::8, ::8].repeat(8, axis=0).repeat(8, axis=1))


def test_a_large_picture_is_averaged_down_and_floats_are_rounded() -> None:
    shown = pictures(1, side=1200).float()
    panel = fed(random(1, 4, 32, 32), shown, [0]).panels()[0]
    assert panel.images[0][1].shape == (400, 400, 3)
    expected = shown[0, :, :3, :3].mean((1, 2)).round().numpy()
    assert np.abs(panel.images[0][1][0, 0].astype(float) - expected).max() <= 1


def test_components_are_the_principal_ones() -> None:
    """Three independent sources of falling strength, mixed by a rotation: each colour is one source, but for sign."""
    sources = torch.linalg.qr(random(3, 400).T)[0].T.reshape(3, 20, 20).double().numpy()
    sources = sources - sources.mean((1, 2), keepdims=True)
    rotation = np.linalg.qr(random(6, 6, seed=2).double().numpy())[0][:, :3]
    mixed = np.tensordot(rotation * [9.0, 3.0, 1.0], sources, 1) + 5
    found = components([mixed])[0]
    assert found.shape == (3, 20, 20)
    assert found.min() >= 0
    assert found.max() <= 1
    for one, source in zip(found, sources, strict=True):
        assert abs(np.corrcoef(one.ravel(), source.ravel())[0, 1]) > 0.98


def test_signs_are_fixed_by_the_largest_entry() -> None:
    ramp = np.linspace(0, 1, 16).reshape(1, 4, 4)
    for sign in (1.0, -1.0):
        mixed = np.concatenate([sign * 5 * ramp, ramp])
        first = components([mixed])[0][0]
        assert (first[-1, -1] > first[0, 0]) == (sign > 0)


def test_constant_latents_are_mid_grey() -> None:
    panel = fed(torch.full((2, 4, 8, 8), 3.0), pictures(2), [0, 1]).panels()[0]
    assert np.unique(panel.images[1][1]).tolist() == [128]


def test_pictures_with_nan_are_not_kept() -> None:
    z = random(3, 4, 8, 8)
    z[1, 0, 0, 0] = math.nan
    assert len(fed(z, pictures(3), [0, 1, 2]).panels()) == 2
    assert fed(torch.full((2, 4, 8, 8), math.inf), pictures(2), [0, 1]).panels() == ()
