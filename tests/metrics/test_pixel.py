"""PSNR and SSIM against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.pixel import psnr_db, ssim
from vaecheck.metrics.protocol import Batch


def pair(seed: int, height: int, width: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(3, 3, height // 4 + 1, width // 4 + 1, generator=generator)
    original = torch.nn.functional.interpolate(smooth, size=(height, width), mode="bilinear") * 255
    changed = original + noise * torch.randn(original.shape, generator=generator)
    return original.round().to(torch.uint8), changed.round().clamp(0, 255).to(torch.uint8)


def as_arrays(images: torch.Tensor) -> list[np.ndarray]:
    return [image.permute(1, 2, 0).numpy() for image in images]


def scikit_image_ssim(x: np.ndarray, y: np.ndarray) -> float:
    settings_of_wang_2004 = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(x, y, channel_axis=2, data_range=255, **settings_of_wang_2004))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    height=st.integers(11, 70),
    width=st.integers(11, 70),
    noise=st.sampled_from([0.6, 5, 80]),
)
def test_agree_with_scikit_image(seed: int, height: int, width: int, noise: float) -> None:
    original, changed = pair(seed, height, width, noise)
    pairs = list(zip(as_arrays(original), as_arrays(changed), strict=True))
    expected_psnr = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs]
    expected_ssim = [scikit_image_ssim(x, y) for x, y in pairs]
    assert psnr_db(original, changed).tolist() == pytest.approx(expected_psnr, abs=1e-4)
    assert ssim(original, changed).tolist() == pytest.approx(expected_ssim, abs=1e-5)


@pytest.mark.parametrize("level", [0, 1, 127, 254])
def test_ssim_of_flat_pictures_where_variance_is_all_rounding(level: int) -> None:
    x = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
    y = x + 1
    expected = scikit_image_ssim(as_arrays(x)[0], as_arrays(y)[0])
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("period", [8, 32, 54, 64, 128])
def test_ssim_of_black_and_white_blocks_with_noise(period: int) -> None:
    """Half of a tile at each end of the range: the worst that float32 can meet."""
    place = torch.arange(260) // period % 2
    blocks = 235 * (place[:, None] ^ place[None, :]) + 10
    noise = 4 * torch.randn(3, 260, 260, generator=torch.Generator().manual_seed(0))
    x = blocks.expand(1, 3, 260, 260).to(torch.uint8)
    y = (x + noise).round().clamp(0, 255).to(torch.uint8)
    expected = scikit_image_ssim(as_arrays(x)[0], as_arrays(y)[0])
    assert ssim(x, y).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("period", [54, 69, 128, 138])
def test_ssim_where_the_levels_moved(period: int) -> None:
    """What a VAE of another brightness and contrast does: each picture has its own mean."""
    place = torch.arange(200) // period % 2
    blocks = (235 * (place[:, None] ^ place[None, :]) + 10).expand(1, 3, 200, 200)
    x, y = (blocks * 0.5 + 100).to(torch.uint8), (blocks * 0.3).to(torch.uint8)
    expected = scikit_image_ssim(as_arrays(x)[0], as_arrays(y)[0])
    assert ssim(x, y).item() == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(("level", "other"), [(255, 92), (255, 155), (0, 255), (230, 150)])
def test_ssim_of_two_flat_pictures(level: int, other: int) -> None:
    x, y = (torch.full((1, 3, 64, 64), each, dtype=torch.uint8) for each in (level, other))
    expected = (2 * level * other + 6.5025) / (level**2 + other**2 + 6.5025)  # equation 13 with variances of 0
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 11, 11), (5, 1, 11, 300), (2, 2, 139, 138), (1, 4, 137, 267)])
def test_ssim_of_any_shape_and_layout(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    y = (x.float() + 20 * torch.randn(shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    expected = [scikit_image_ssim(*pair) for pair in zip(as_arrays(x), as_arrays(y), strict=True)]
    kept = x.clone()
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-6)
    assert ssim(x.contiguous(memory_format=torch.channels_last), y).tolist() == pytest.approx(expected, abs=1e-6)
    assert ssim(x.float(), y.float()).tolist() == pytest.approx(expected, abs=1e-6)
    assert x.equal(kept)


def test_psnr_of_one_grey_level_everywhere_is_48_13() -> None:
    x = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    assert psnr_db(x, x + 1).item() == pytest.approx(20 * math.log10(255))


def test_large_differences_do_not_wrap_around() -> None:
    x = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    assert psnr_db(x, x + 255).item() == pytest.approx(0.0)
    assert psnr_db(x + 255, x).item() == pytest.approx(0.0)


def test_pictures_smaller_than_the_window_have_no_ssim() -> None:
    x = torch.zeros(2, 3, 10, 40, dtype=torch.uint8)
    assert ssim(x, x).isnan().all()


def sixteen_bit_pair(seed: int, channels: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Two uint16 arrays (H, W, C), the second being the first with noise of so many 16-bit levels."""
    draw = np.random.default_rng(seed)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(draw.uniform(0, 65535, (1, channels, 9, 11))), size=(70, 83), mode="bilinear"
    )
    original = smooth[0].permute(1, 2, 0).numpy()
    changed = original + noise * draw.standard_normal(original.shape)
    return original.round().astype(np.uint16), changed.round().clip(0, 65535).astype(np.uint16)


def as_levels(values: np.ndarray) -> torch.Tensor:
    """uint16 (H, W, C) -> float32 (1, C, H, W) in [0, 255], as intake makes it."""
    return torch.from_numpy(values.astype(np.float32) * np.float32(255 / 65535)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("noise", [2, 40, 3000])
def test_16_bit_pictures_agree_with_scikit_image_on_their_own_values(channels: int, noise: float) -> None:
    original, changed = sixteen_bit_pair(7, channels, noise)
    x, y = as_levels(original), as_levels(changed)
    expected = peak_signal_noise_ratio(original, changed, data_range=65535)
    assert psnr_db(x, y).item() == pytest.approx(expected, abs=1e-4)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(original, changed, channel_axis=2, data_range=65535, **wang)
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-5)


def test_floats_are_not_rounded() -> None:
    x = torch.full((1, 1, 16, 16), 100.0)
    assert psnr_db(x, x + 0.25).item() == pytest.approx(20 * math.log10(255 / 0.25), abs=1e-6)
    assert psnr_db(x, x).item() == math.inf


def test_8_bit_values_as_floats_have_the_figures_of_8_bits() -> None:
    original, changed = pair(5, 40, 50, 9)
    assert psnr_db(original.float(), changed.float()).tolist() == pytest.approx(psnr_db(original, changed).tolist())
    assert ssim(original.float(), changed.float()).tolist() == ssim(original, changed).tolist()


def batch(ids: str, original: torch.Tensor, changed: torch.Tensor, finite: list[bool]) -> Batch:
    return Batch(tuple(ids), original, reconstruction=changed, finite=torch.tensor(finite))


def metric() -> PerImage:
    return PerImage("psnr_db", psnr_db, unit="dB", better="higher", definition="")


def test_identical_pairs_are_left_out_and_counted() -> None:
    original, changed = pair(0, 16, 16, 5)
    changed[1] = original[1]
    subject = metric()
    subject.update(batch("abc", original, changed, [True] * 3))
    (measure,) = subject.compute()
    rest = psnr_db(original, changed)[[0, 2]]
    assert measure.value == pytest.approx(rest.mean().item())
    assert (measure.n, measure.counts, measure.status) == (2, {"identical": 1}, "ok")
    assert subject.columns()["psnr_db"][1] is None


def test_only_identical_pairs_make_it_unavailable_with_the_reason() -> None:
    original, _ = pair(0, 16, 16, 5)
    subject = metric()
    subject.update(batch("abc", original, original, [True] * 3))
    (measure,) = subject.compute()
    assert (measure.value, measure.status, measure.counts) == (None, "unavailable", {"identical": 3})
    assert "identical" in measure.reason


def test_a_reconstruction_with_nan_has_no_value_and_makes_the_measure_unreliable() -> None:
    original, changed = pair(0, 16, 16, 5)
    subject = metric()
    subject.update(batch("abc", original, changed, [True, False, True]))
    (measure,) = subject.compute()
    assert (measure.n, measure.status, measure.counts) == (2, "unreliable", {"non_finite": 1})
    assert "1 of 3" in measure.reason
    assert subject.columns()["psnr_db"][1] is None


def test_the_mean_is_over_images_not_over_batches() -> None:
    original, changed = pair(3, 16, 16, 20)
    changed[2] = original[2]
    changed[2, 0, 0, 0] ^= 1
    whole, split = metric(), metric()
    whole.update(batch("abc", original, changed, [True] * 3))
    split.update(batch("ab", original[:2], changed[:2], [True] * 2))
    split.update(batch("c", original[2:], changed[2:], [True]))
    assert whole.compute() == split.compute()
