"""PSNR, SSIM, LPIPS and FID of public evaluations, each against the library of its script or its formula in NumPy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.stand_in_weights import BACKBONES, INCEPTION
from vaecheck.metrics.perceptual import LPIPSDistance, PyTorchFIDInception
from vaecheck.metrics.pixel import ssim
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.public import VIEWS
from vaecheck.metrics.public_psnr import public_psnr_db
from vaecheck.metrics.public_ssim import public_ssim
from vaecheck.pixels import to_pixels, to_uint8, truncated
from vaecheck.protocols import PROTOCOLS, PSNR, SSIM


@pytest.fixture(scope="module")
def floats() -> tuple[Tensor, Tensor]:
    """Pixels (6, 3, 40, 56) in [-1, 1], and the same decoded badly: noise, and values past both ends."""
    generator = torch.Generator().manual_seed(5)
    fields = F.interpolate(torch.rand(6, 3, 6, 7, generator=generator) * 2.2 - 1.1, size=(40, 56), mode="bicubic")
    original = to_pixels(to_uint8(fields))
    return original, 1.08 * original + 0.1 * torch.randn(original.shape, generator=generator)


def images(floats: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return to_uint8(floats[0]), to_uint8(floats[1])


def by_skimage(x: Tensor, y: Tensor, **settings: object) -> list[float]:
    pairs = zip(x.permute(0, 2, 3, 1).numpy(), y.permute(0, 2, 3, 1).numpy(), strict=True)
    return [structural_similarity(a, b, channel_axis=-1, **settings) for a, b in pairs]


def close(found: Tensor, expected: object, tolerance: float = 1e-5) -> None:
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(torch.as_tensor(expected).tolist(), abs=tolerance)


def test_llamagen_is_skimage_with_a_range_of_2_on_0_to_1(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    expected = by_skimage(x / 255, y / 255, data_range=2.0)
    close(public_ssim(x, y, PROTOCOLS["llamagen"].ssim), expected)
    honest = public_ssim(x, y, PROTOCOLS["tokenbench"].ssim).mean()
    assert np.mean(expected) > honest + 0.005


def test_tokenbench_and_seed_voken_are_skimages_default(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    close(public_ssim(x, y, PROTOCOLS["tokenbench"].ssim), by_skimage(x.float(), y.float(), data_range=255))
    close(public_ssim(x, y, PROTOCOLS["seed-voken"].ssim), by_skimage(x / 255, y / 255, data_range=1.0))


def test_dc_ae_is_torchmetrics_on_8_bits(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    expected = structural_similarity_index_measure(x, y, data_range=(0.0, 255.0), reduction="none")
    close(public_ssim(x, y, PROTOCOLS["dc-ae"].ssim), expected)


def test_rae_is_torchmetrics_on_0_to_1(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    expected = structural_similarity_index_measure(y / 255, x / 255, data_range=1.0, reduction="none")
    close(public_ssim(x, y, PROTOCOLS["rae"].ssim), expected)


def test_lightningdit_is_torchmetrics_on_clamped_signed_floats(floats: tuple[Tensor, Tensor]) -> None:
    expected = structural_similarity_index_measure(floats[1], floats[0], data_range=(-1.0, 1.0), reduction="none")
    protocol = PROTOCOLS["lightningdit"]
    close(public_ssim(*VIEWS[protocol.ssim.levels](batch_of(floats)), protocol.ssim), expected)


def test_eq_vae_is_torchmetrics_with_each_pairs_own_range(floats: tuple[Tensor, Tensor]) -> None:
    expected = [structural_similarity_index_measure(y[None], x[None]) for x, y in zip(*floats, strict=True)]
    protocol = PROTOCOLS["eq-vae"]
    close(public_ssim(*VIEWS[protocol.ssim.levels](batch_of(floats)), protocol.ssim), expected)


def test_bsq_vit_is_the_gaussian_formula_on_unclamped_floats(floats: tuple[Tensor, Tensor]) -> None:
    protocol = PROTOCOLS["bsq-vit"]
    x, y = VIEWS[protocol.ssim.levels](batch_of(floats))
    assert y.max() > 256
    assert y.min() < -1
    expected = [gaussian_ssim(a, b, 255.0) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    close(public_ssim(x, y, protocol.ssim), expected)


def test_omnidoc_is_the_gaussian_formula_on_0_to_1(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    pairs = zip(x.numpy() / 255, y.numpy() / 255, strict=True)
    close(public_ssim(x, y, PROTOCOLS["omnidoc"].ssim), [gaussian_ssim(a, b, 1.0) for a, b in pairs])


def gaussian_ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Equation 13 as pytorch-msssim and piq (without downsampling) have it: 11 taps, windows inside the picture."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(values.astype(np.float64), taps, axis=1), taps, axis=2)[:, 5:-5, 5:-5]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    covariance = mean(x * y) - mean(x) * mean(y)
    luminance = (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def test_a_stated_protocol_without_variants_is_our_own_ssim(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    close(public_ssim(x, y, SSIM()), ssim(x, y))


def test_a_picture_under_the_window_has_no_ssim() -> None:
    tiny = torch.zeros(2, 3, 8, 40, dtype=torch.uint8)
    assert public_ssim(tiny, tiny, SSIM()).isnan().all()
    assert public_ssim(tiny, tiny, SSIM(window="uniform")).tolist() == [1.0, 1.0]
    assert public_ssim(tiny[..., :6, :], tiny[..., :6, :], SSIM(window="uniform")).isnan().all()


def test_psnr_without_epsilon_is_skimages_on_floats_too(floats: tuple[Tensor, Tensor]) -> None:
    x, y = VIEWS["none"](batch_of(floats))
    pairs = zip(x.double().numpy(), y.double().numpy(), strict=True)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
    close(public_psnr_db(x, y, PROTOCOLS["bsq-vit"].psnr), expected, 1e-6)


def test_psnr_floors_and_epsilons_are_the_scripts(floats: tuple[Tensor, Tensor]) -> None:
    x, y = images(floats)
    mse = ((x.double() - y.double()) ** 2).mean((1, 2, 3)).numpy()
    close(public_psnr_db(x, y, PROTOCOLS["omnidoc"].psnr), -10 * np.log10(mse / 255**2 + 1e-8), 1e-9)
    root = np.sqrt(mse) + np.finfo(np.float32).eps
    close(public_psnr_db(x, y, PROTOCOLS["tokenbench"].psnr), 20 * np.log10(255.0 / root), 1e-9)
    floored = np.maximum(mse / 255**2, 1e-10)
    close(public_psnr_db(x, y, PROTOCOLS["rae"].psnr), 20 * np.log10(1 / np.sqrt(floored)), 1e-9)


@pytest.mark.parametrize(
    ("name", "decibel"), [("dc-ae", math.inf), ("tokenbench", 186.6), ("omnidoc", 80.0), ("rae", 100.0)]
)
def test_an_identical_pair(name: str, decibel: float) -> None:
    x = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert public_psnr_db(x, x, PROTOCOLS[name].psnr).item() == pytest.approx(decibel, abs=0.05)


def test_a_small_error_shows_piqs_epsilon() -> None:
    """One level in every 192nd value: 70.96 dB without the epsilon, 70.48 dB with it."""
    x = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    y = x.clone()
    y[:, :, ::8, ::8] = 1
    own = public_psnr_db(x, y, PSNR()).item()
    assert own == pytest.approx(10 * math.log10(255**2 * 64), abs=1e-9)
    assert public_psnr_db(x, y, PROTOCOLS["omnidoc"].psnr).item() == pytest.approx(
        -10 * math.log10(1 / (64 * 255**2) + 1e-8), abs=1e-9
    )


def test_the_levels_of_every_view(floats: tuple[Tensor, Tensor]) -> None:
    batch = batch_of(floats)
    original, reconstruction = floats
    exact = (reconstruction.double() + 1) * 127.5
    assert same_levels(VIEWS["round"](batch)[1], exact.clamp(0, 255) + 0.5)
    for name in ("truncate", "truncate_reconstruction"):
        assert same_levels(VIEWS[name](batch)[1], exact.clamp(0, 255))
    assert torch.allclose(VIEWS["clamp"](batch)[1].double(), exact.clamp(0, 255), atol=1e-4)
    assert torch.allclose(VIEWS["none"](batch)[1].double(), exact, atol=1e-4)
    for name in ("round", "truncate_reconstruction"):
        assert VIEWS[name](batch)[0] is batch.original
    for name in ("clamp", "none"):
        assert torch.allclose(VIEWS[name](batch)[0], (original + 1) * 127.5, atol=1e-4)


def same_levels(found: Tensor, exact: Tensor) -> bool:
    """Whether `found` is the floor of `exact`, but for values so near to the step that float32 may miss it."""
    apart = (exact - exact.round()).abs() > 1e-4
    return bool((found == exact.floor().clamp(0, 255))[apart | (exact == exact.round())].all()) and bool(apart.any())


def test_truncation_is_seed_vokens_and_lowers_95_levels() -> None:
    levels = np.arange(256, dtype=np.uint8)
    normalised = torch.from_numpy((levels / 127.5 - 1.0).astype(np.float32))
    cut = (((normalised + 1) / 2) * 255.0).to(torch.uint8)
    assert torch.equal(truncated(torch.from_numpy(levels)), cut)
    assert (cut.int() - torch.from_numpy(levels).int()).unique(return_counts=True)[1].tolist() == [95, 161]


@pytest.mark.parametrize(("name", "net"), [("bsq-vit", "alex"), ("lightningdit", "vgg"), ("eq-vae", "vgg")])
def test_lpips_on_unclamped_floats_is_the_packages(
    name: str,
    net: str,
    floats: tuple[Tensor, Tensor],
    torch_home: Path,
    checkpoints: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lpips

    monkeypatch.setattr(torch.hub, "_hub_dir", str(torch_home / "hub"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = lpips.LPIPS(net=net, verbose=False)
    with torch.no_grad():
        expected = library(*floats).flatten()
        clamped = library(floats[0], floats[1].clamp(-1, 1)).flatten()
    protocol = PROTOCOLS[name]
    assert protocol.lpips_names == (f"lpips_{net}",)
    ours = LPIPSDistance(net, checkpoints / BACKBONES[net], "00", published=False)
    close(ours.distance(*VIEWS[protocol.levels(f"lpips_{net}")](batch_of(floats))).double(), expected.double())
    assert (expected - clamped).abs().max() > 1e-4


def test_pytorch_fids_features(floats: tuple[Tensor, Tensor], checkpoints: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    library = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(checkpoints / INCEPTION)
    )
    unit = (floats[1][:2] + 1) / 2  # pytorch-fid's input: floats of [0, 1], here past both ends
    x = 2 * F.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False) - 1
    with torch.no_grad():
        for layer in list(library.children())[:-1]:
            x = layer(x)
    ours = PyTorchFIDInception(checkpoints / INCEPTION, "00", published=False)
    found = ours.features(VIEWS["none"](batch_of(floats))[1][:2])
    assert found.std() > 0.1
    torch.testing.assert_close(found, x.flatten(1), rtol=0, atol=1e-4)


def batch_of(floats: tuple[Tensor, Tensor]) -> Batch:
    pixels, decoded = floats
    ids = tuple(map(str, range(len(pixels))))
    original, reconstruction = images(floats)
    return Batch(ids, original, pixels=pixels, reconstruction=reconstruction, reconstruction_pixels=decoded)
