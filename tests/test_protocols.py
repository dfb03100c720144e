"""Every protocol, end to end, against a plain loop that follows its public script's order of operations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchvision import transforms as T

import vaecheck
from tests import stand_in_weights
from tests.images.test_preprocess import adm_oracle, crop_oracle
from tests.metrics.test_public_ssim import gaussian_ssim
from vaecheck.errors import InputError
from vaecheck.metrics.public import described
from vaecheck.pixels import Levels
from vaecheck.protocols import LEVELS, PROTOCOLS, Protocol, find
from vaecheck.results.types import Measure
from vaecheck.tasks.settings import Settings, ignored_options, under_protocol
from vaecheck.vae.load import load_vae
from vaecheck.vae.protocol import noise_for

Scores = tuple[float, float]
Pair = tuple[Tensor, Tensor]

BILINEAR, LANCZOS = T.InterpolationMode.BILINEAR, T.InterpolationMode.LANCZOS
NAMES = {
    "crops": ("cat.jpg", "rocket.jpg"),  # 451x300 and 640x427: an odd and an even margin
    "own": ("astronaut_face.jpg", "coffee_saucer.jpg"),
}


# --- the scripts' transforms: PIL -> float [-1, 1] ----------------------------------------------------------


def from_array(array: NDArray[np.uint8]) -> Tensor:
    return T.Normalize([0.5] * 3, [0.5] * 3)(T.ToTensor()(array.copy()))


def adm(image: Image.Image) -> Tensor:
    return from_array(adm_oracle(image, 256))


def pil(image: Image.Image, interpolation: T.InterpolationMode = BILINEAR) -> Tensor:
    return from_array(np.array(T.CenterCrop(256)(T.Resize(256, interpolation=interpolation)(image))))


def on_tensor(image: Image.Image) -> Tensor:
    steps = [T.ToTensor(), T.Resize(256), T.CenterCrop(256), T.Normalize([0.5] * 3, [0.5] * 3)]
    return T.Compose(steps)(image)


def as_it_is(image: Image.Image) -> Tensor:
    return from_array(np.array(image))


def ours(image: Image.Image) -> Tensor:
    return from_array(crop_oracle(image, 256))


# --- the scripts' metrics on one picture x and its reconstruction y, (3, H, W) in [-1, 1], y not clamped --------


def hwc(image: Tensor) -> NDArray[np.generic]:
    return image.permute(1, 2, 0).numpy()


def png(x: Tensor) -> Tensor:
    return torch.clamp(127.5 * x + 128.0, 0, 255).to(torch.uint8)


def plain_psnr(x: Tensor, y: Tensor) -> float:
    return (20 * torch.log10(255.0 / torch.sqrt(torch.mean((x.float() - y.float()) ** 2)))).item()


def dc_ae(x: Tensor, y: Tensor) -> Scores:
    a, b = ((255 * ((side + 1) / 2) + 0.5).clamp(0, 255).to(torch.uint8) for side in (x, y))
    metric = StructuralSimilarityIndexMeasure(data_range=(0.0, 255.0))
    metric.update(a[None], b[None])
    return (10 * torch.log10(255.0**2 / (a.float() - b.float()).square().mean())).item(), metric.compute().item()


def lightningdit(x: Tensor, y: Tensor) -> Scores:
    return plain_psnr(png(x), png(y)), StructuralSimilarityIndexMeasure(data_range=(-1.0, 1.0))(y[None], x[None]).item()


def eq_vae(x: Tensor, y: Tensor) -> Scores:
    return plain_psnr(png(x), png(y)), StructuralSimilarityIndexMeasure()(y[None], x[None]).item()


def bsq_vit(x: Tensor, y: Tensor) -> Scores:
    a, b = (x + 1) * 127.5, (y + 1) * 127.5
    return plain_psnr(a, b), gaussian_ssim(a.numpy(), b.numpy(), 255.0)


def llamagen(x: Tensor, y: Tensor) -> Scores:
    truth, restored = (hwc(x) + 1.0) / 2.0, hwc(png(y)).astype(np.float32) / 255.0
    similarity = structural_similarity(restored, truth, data_range=2.0, channel_axis=-1)
    return peak_signal_noise_ratio(restored, truth), similarity


def omnidoc(x: Tensor, y: Tensor) -> Scores:
    saved = ((y.clamp(-1, 1) + 1) / 2 * 255).round().to(torch.uint8)
    a, b = ((x + 1) / 2).double().numpy(), T.ToTensor()(hwc(saved)).double().numpy()
    return float(-10 * np.log10(((a - b) ** 2).mean() + 1e-8)), gaussian_ssim(a, b, 1.0)


def model_card(x: Tensor, y: Tensor) -> Scores:
    a, b = hwc(png(x)), hwc(png(y))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return peak_signal_noise_ratio(a, b), structural_similarity(a, b, channel_axis=-1, data_range=255, **settings)


def rae(x: Tensor, y: Tensor) -> Scores:
    truth = T.ToTensor()(hwc(png(x)))
    restored = ((y + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8).float() / 255
    mse = torch.mean((truth - restored) ** 2).clamp_min(1e-10)
    similarity = StructuralSimilarityIndexMeasure(data_range=1.0)(restored[None], truth[None])
    return (20.0 * torch.log10(1.0 / torch.sqrt(mse))).item(), similarity.item()


def seed_voken(x: Tensor, y: Tensor) -> Scores:
    image = (hwc(png(x)) / 127.5 - 1.0).astype(np.float32)
    truth = ((torch.from_numpy(image) + 1) / 2 * 255.0).to(torch.uint8).numpy().astype(np.float32) / 255.0
    restored = hwc(((y.clamp(-1, 1) + 1) / 2 * 255.0).to(torch.uint8)).astype(np.float32) / 255.0
    similarity = structural_similarity(restored, truth, data_range=1.0, channel_axis=-1)
    return peak_signal_noise_ratio(truth, restored), similarity


def tokenbench(x: Tensor, y: Tensor) -> Scores:
    a, b = (hwc(png(side)).astype(np.float32) for side in (x, y))
    root = np.sqrt(((a - b) ** 2).mean()) + np.finfo(np.float32).eps
    return float(20 * np.log10(255.0 / root)), structural_similarity(a, b, data_range=255.0, channel_axis=-1)


SCRIPTS: dict[str, tuple[Callable[[Image.Image], Tensor], bool, Callable[[Tensor, Tensor], Scores]]] = {
    "dc-ae": (adm, True, dc_ae),
    "dc-gen": (adm, True, dc_ae),
    "lightningdit": (on_tensor, True, lightningdit),
    "eq-vae": (on_tensor, True, eq_vae),
    "bsq-vit": (pil, False, bsq_vit),
    "bsq-vit-lanczos": (lambda image: pil(image, LANCZOS), False, bsq_vit),
    "llamagen": (adm, True, llamagen),
    "omnidoc": (as_it_is, False, omnidoc),
    "sd-model-card": (ours, False, model_card),
    "rae": (adm, False, rae),
    "seed-voken": (pil, False, seed_voken),
    "tokenbench": (as_it_is, False, tokenbench),
}
"""By name: the transform, whether the posterior is sampled, the metrics."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("samples")
    for kind, names in NAMES.items():
        (root / kind).mkdir()
        for name in names:
            shutil.copy(str(files("vaecheck") / "assets" / "samples" / name), root / kind / name)
    return {kind: root / kind for kind in NAMES}


def pairs(name: str, folder: Path) -> Iterator[Pair]:
    """What the script compares of each picture: one at a time through the model, as it decodes them."""
    transform, sampled, _ = SCRIPTS[name]
    vae = load_vae("kl-f8-tiny")
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            x = transform(image.convert("RGB"))[None]
        posterior = vae.encode(x)
        latents = posterior.sample(noise_for([path.name], posterior.mean, 0)) if sampled else posterior.mode()
        yield x[0], vae.decode(latents)[0]


def chosen(name: str, **others: object) -> Settings:
    """256 pixels for all that have a size, so that none takes long."""
    free = {"size": 256, "given": frozenset({"size"})} if PROTOCOLS[name].any_size else {}
    return Settings(protocol=name, device="cpu", yardstick="none", offline=True, **{**free, **others})


def test_every_protocol_has_a_script_here() -> None:
    assert list(SCRIPTS) == list(PROTOCOLS)


@pytest.mark.parametrize("name", SCRIPTS)
@torch.inference_mode()
def test_the_figures_are_the_scripts(name: str, folders: dict[str, Path]) -> None:
    folder = folders["own" if PROTOCOLS[name].fit == "none" else "crops"]
    expected = np.mean([SCRIPTS[name][2](x, y) for x, y in pairs(name, folder)], axis=0)
    result, shown = vaecheck.reconstruct(str(folder), "kl-f8-tiny", chosen(name, metrics=("psnr_db", "ssim")))
    found = [result.measures["psnr_db"].value, result.measures["ssim"].value]
    assert result.data.count == 2
    assert found[0] == pytest.approx(expected[0], abs=5e-4)
    assert found[1] == pytest.approx(expected[1], abs=1e-5)
    assert result.settings["protocol"] == name
    assert result.settings["posterior"] == ("sample" if SCRIPTS[name][1] else "mode")
    assert result.data.fit == PROTOCOLS[name].fit
    for measure in ("psnr_db", "ssim"):
        assert result.measures[measure].definition == f"{PROTOCOLS[name].definition(measure)} (protocol {name})"
    assert [text for text in result.warnings if text.startswith(f"protocol {name}, not reproduced: ")] == [
        f"protocol {name}, not reproduced: {what}" for what in PROTOCOLS[name].not_reproduced
    ]
    assert all(picture.original.dtype == np.uint8 for picture in shown)


def test_without_a_protocol_nothing_changes(folders: dict[str, Path]) -> None:
    settings = Settings(device="cpu", yardstick="none", metrics=("psnr_db", "ssim"))
    result, _ = vaecheck.reconstruct(str(folders["crops"]), "kl-f8-tiny", settings)
    expected = np.mean([model_card(x, y) for x, y in pairs("sd-model-card", folders["crops"])], axis=0)
    assert result.measures["psnr_db"].value == pytest.approx(expected[0], abs=5e-4)
    assert result.measures["ssim"].value == pytest.approx(expected[1], abs=1e-5)
    assert result.settings["protocol"] is None
    assert not [text for text in result.warnings if "protocol" in text]
    assert "protocol" not in result.measures["ssim"].definition


@pytest.mark.slow
@torch.inference_mode()
def test_the_networks_measures(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bsq-vit with stand-in weights: its LPIPS on unclamped floats, and pytorch-fid's distance of those."""
    import lpips
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    home = tmp_path_factory.mktemp("torch_home")
    checkpoints = stand_in_weights.write(home, (stand_in_weights.ALEX, stand_in_weights.INCEPTION))
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(checkpoints))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(home / "hub"))
    result, _ = vaecheck.reconstruct(str(folders["crops"]), "kl-f8-tiny", chosen("bsq-vit"))
    assert {"fd_pytorch_fid", "lpips_alex", "psnr_db", "ssim"} <= set(result.measures)
    assert not {"rfid", "fd_efficientnet_lite0"} & set(result.measures)

    x, y = (torch.stack(side) for side in zip(*pairs("bsq-vit", folders["crops"]), strict=True))
    distance = lpips.LPIPS(net="alex", verbose=False)(x, y).mean().item()
    assert result.measures["lpips_alex"].value == pytest.approx(distance, abs=1e-5)
    trunk = list(
        FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048"],
            feature_extractor_weights_path=str(checkpoints / stand_in_weights.INCEPTION),
        ).children()
    )[:-1]
    expected = frechet(*(features(trunk, side) for side in (x, y)))
    measure = result.measures["fd_pytorch_fid"]
    assert measure.value == pytest.approx(expected, rel=2e-3)
    assert "pytorch-fid" in measure.definition
    assert measure.definition.endswith(f"; {LEVELS['none']} (protocol bsq-vit)")


def features(trunk: list[torch.nn.Module], pixels: Tensor) -> NDArray[np.float64]:
    values = torch.nn.functional.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)
    for layer in trunk:
        values = layer(values)
    return values.flatten(1).double().numpy()


def frechet(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """pytorch-fid's formula; only in the directions in which these few pictures differ."""
    basis = np.linalg.svd(np.concatenate([x - x.mean(0), y - y.mean(0)]), full_matrices=False)[2]
    a, b = np.cov(x @ basis.T, rowvar=False), np.cov(y @ basis.T, rowvar=False)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(sqrtm(a @ b)).real)


def test_missing_weights_still_say_the_variant(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folders["own"]))
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)
    result, _ = vaecheck.reconstruct(str(folders["crops"]), "kl-f8-tiny", chosen("seed-voken", limit=1))
    for name in ("lpips_alex", "lpips_vgg", "fd_pytorch_fid"):
        assert result.measures[name].status == "unavailable"
        assert result.measures[name].definition.endswith(f"{LEVELS['clamp']} (protocol seed-voken)")


def test_score_compares_files_as_they_are(folders: dict[str, Path], tmp_path: Path) -> None:
    """The fractions of a file are gone: RAE's and SEED-Voken's cut is not made a second time."""
    other = tmp_path / "other"
    other.mkdir()
    for path in folders["own"].iterdir():
        with Image.open(path) as image:
            Image.fromarray(np.clip(np.asarray(image).astype(int) + 3, 0, 255).astype(np.uint8)).save(
                other / f"{path.stem}.png"
            )
    for name, expected in (("tokenbench", tokenbench), ("rae", None), ("omnidoc", omnidoc)):
        settings = chosen(name, metrics=("psnr_db", "ssim"))
        result, _ = vaecheck.score(str(folders["own"]), str(other), settings)
        assert result.settings["protocol"] == name
        if expected:
            both = zip(sorted(folders["own"].iterdir()), sorted(other.iterdir()), strict=True)
            scores = [expected(*(as_it_is(Image.open(path)) for path in pair)) for pair in both]
            assert result.measures["psnr_db"].value == pytest.approx(np.mean([a for a, _ in scores]), abs=1e-4)
            assert result.measures["ssim"].value == pytest.approx(np.mean([b for _, b in scores]), abs=1e-5)
        else:
            assert LEVELS["round"] in result.measures["psnr_db"].definition
            assert result.measures["psnr_db"].value == pytest.approx(10 * np.log10(255**2 / 9), abs=0.1)


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(protocol="omnidoc", posterior="sample"), "--posterior sample contradicts --protocol omnidoc"),
        (Settings(protocol="lightningdit", fit="pad"), "--fit pad contradicts --protocol lightningdit"),
        (
            Settings(protocol="lightningdit", fit="crop", given=frozenset({"fit"})),
            "which has bilinear with antialias on",
        ),
        (Settings(protocol="lightningdit", icc="srgb"), "--icc srgb contradicts --protocol lightningdit"),
        (Settings(protocol="bsq-vit", lpips_net="vgg"), "--lpips-net vgg contradicts --protocol bsq-vit"),
        (Settings(protocol="bsq-vit", size=512), "--size 512 contradicts --protocol bsq-vit, which has 256"),
        (Settings(protocol="llamagen", size=384), "--size 384 contradicts --protocol llamagen, which has 256 or 512"),
        (Settings(protocol="omnidoc", size=128), "--size 128 contradicts --protocol omnidoc, which has each picture's"),
        (
            Settings(protocol="dc-ae", given=frozenset({"posterior"})),
            "--posterior mode contradicts --protocol dc-ae, which has sample",
        ),
    ],
)
def test_an_option_that_contradicts_is_refused(settings: Settings, message: str) -> None:
    with pytest.raises(InputError) as caught:
        under_protocol(settings)
    assert message in caught.value.message
    assert "--protocol" in caught.value.hint


def test_a_measure_that_the_source_does_not_have_says_so() -> None:
    protocol = find("lightningdit")
    own = Measure("lpips_alex", 0.1, "", "lower", 1, "LPIPS with alex")
    assert described(own, protocol).definition == "LPIPS with alex (vaecheck's own: not in protocol lightningdit)"
    assert "(protocol lightningdit)" in described(replace(own, name="lpips_vgg"), protocol).definition
    assert described(replace(own, name="latent_std"), protocol, compares_pictures=False).definition == own.definition


@pytest.mark.parametrize("fit", ["pad", "none"])
def test_a_size_without_effect_is_warned_of(fit: str) -> None:
    (warning,) = ignored_options(Settings(fit=fit, size=512))
    assert warning.startswith("--size 512 was not used")
    assert len(ignored_options(Settings(fit=fit, given=frozenset({"size"})))) == 1
    assert ignored_options(Settings(fit=fit)) == ()
    assert ignored_options(Settings(size=512)) == ()


def test_a_size_that_the_source_allows_is_kept() -> None:
    assert under_protocol(Settings(protocol="dc-ae"))[0].size == 512
    assert under_protocol(Settings(protocol="dc-ae", size=1024))[0].size == 1024
    assert under_protocol(Settings(protocol="dc-ae", given=frozenset({"size"})))[0].size == 256
    assert under_protocol(Settings(protocol="llamagen", size=512))[0].size == 512
    assert under_protocol(Settings(protocol="seed-voken", lpips_net="vgg"))[0].lpips_net == "vgg"


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        find("dcae")
    assert caught.value.hint == "Did you mean dc-ae or dc-gen or rae?"
    with pytest.raises(InputError, match="no protocol named"):
        vaecheck.reconstruct("samples", "kl-f8-tiny", Settings(protocol="nothing-like-it"))


# --- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_the_table_says_it_in_words(protocol: Protocol) -> None:
    settings = protocol.settings
    assert {"size", "fit", "posterior", "psnr_db", "ssim"} <= set(settings)
    assert all(isinstance(words, str) and words for words in settings.values())
    assert protocol.about
    assert "/" in protocol.source
    assert protocol.not_reproduced
    assert set(LEVELS) - {level.value for level in Levels} == {"truncate_reconstruction"}


def test_the_table_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, vaecheck.protocols; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_taming_transformers_lpips_is_the_packages() -> None:
    """LightningDiT, EQ-VAE and RAE load taming's vgg.pth: by its md5 the file that the lpips package ships."""
    import hashlib

    weights = files("lpips") / "weights" / "v0.1" / "vgg.pth"
    assert hashlib.md5(weights.read_bytes()).hexdigest() == "d507d7349b931f0638a25a48a722f98a"
