"""The terms of a KL-VAE's loss: perceptual distance, adversarial losses, and the weight that balances them.

All are means over the batch. Reconstruction and KL are sums over one picture, as latent diffusion has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaecheck.errors import SetupError, WeightsError
from vaecheck.metrics.perceptual import (
    LPIPS_WEIGHTS,
    LPIPSNet,
    efficientnet_lite0,
    efficientnet_lite0_path,
    lpips_network,
)
from vaecheck.pixels import Levels, to_image
from vaecheck.weights import find

ADAPTIVE_EPSILON, ADAPTIVE_LIMIT = 1e-4, 1e4
FEATURE_BLOCKS = (0, 2, 4, 10)
"""Of EfficientNet-Lite0: the last blocks at a half, a quarter, an eighth and a sixteenth of the side."""


class PerceptualDistance(Protocol):
    """Two batches of pixels (B, 3, H, W) in [-1, 1], float32 -> (B,), with gradients by the second."""

    name: str
    definition: str

    def __call__(self, original: Tensor, reconstruction: Tensor) -> Tensor: ...


class LPIPSLoss:
    """LPIPS v0.1 as a loss: float pixels in [-1, 1], not rounded to 8 bits as the metric has them.

    Source: Zhang et al. 2018, equation 1. Checked against lpips.LPIPS(net), 1e-5.
    """

    def __init__(self, network: nn.Module, net: LPIPSNet) -> None:
        self.name = f"lpips_{net}"
        self.definition = f"LPIPS v0.1 on {net}"
        self._network = network

    def __call__(self, original: Tensor, reconstruction: Tensor) -> Tensor:
        distance: Tensor = self._network(original, reconstruction)
        return distance.flatten()


class EfficientNetLoss:
    """A distance in the features of EfficientNet-Lite0, for where LPIPS has no weights. It is not LPIPS.

    Formula: mean over the blocks 0, 2, 4 and 10 and over their positions of |a - b|^2 / 2 = 1 - cos(a, b), a and b
    being the blocks' outputs, normalised over their channels, at the pictures' own size. LPIPS's form without its
    learned channel weights, on another network; 0 for equal pictures, at most 2.
    Source: of the form Zhang et al. 2018, equation 1 with w = 1; of the network Tan and Le 2019.
    """

    name = "efficientnet_lite0_distance"
    definition = "a distance of EfficientNet-Lite0's features, which is not LPIPS"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._network: Any = efficientnet_lite0(efficientnet_lite0_path()).to(device)

    def __call__(self, original: Tensor, reconstruction: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self._features(original)
        pairs = zip(theirs, self._features(reconstruction), strict=True)
        return torch.stack([(a - b).square().sum(1).mean((1, 2)) / 2 for a, b in pairs]).mean(0)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        network = self._network
        x = network._swish(network._bn0(network._conv_stem((to_image(pixels, Levels.NONE) - 127) / 128)))
        found = []
        for index, block in enumerate(network._blocks[: FEATURE_BLOCKS[-1] + 1]):
            x = block(x)
            if index in FEATURE_BLOCKS:
                found.append(F.normalize(x, dim=1))
        return found


def perceptual_distance(
    device: torch.device, *, net: LPIPSNet = "vgg", offline: bool = True
) -> tuple[PerceptualDistance | None, str]:
    """LPIPS where the weights of its backbone are here, else EfficientNet-Lite0's, else none; and why, in words."""
    try:
        file = find(LPIPS_WEIGHTS[net], offline=offline)
    except WeightsError as error:
        why = error.message
    else:
        caveat = "" if file.published else f"its backbone's weights are not the published ones (sha256 {file.sha256})"
        return LPIPSLoss(lpips_network(net, file.path).to(device), net), caveat
    try:
        return EfficientNetLoss(device), f"LPIPS has no weights here ({why}): {EfficientNetLoss.definition}, instead"
    except SetupError as error:
        return None, f"no perceptual term: {why}; {error.message}"


def hinge_of_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2. Source: Lim and Ye 2017, with latent diffusion's half."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def vanilla_of_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy, half of it for each side. Source: Goodfellow et al. 2014, equation 1."""
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


DISCRIMINATOR_LOSSES = {"hinge": hinge_of_discriminator, "vanilla": vanilla_of_discriminator}


def of_generator(fake: Tensor) -> Tensor:
    """-mean fake, with either loss of the discriminator. Source: Lim and Ye 2017; latent diffusion has it for both."""
    return -fake.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, clamp: float = ADAPTIVE_LIMIT) -> Tensor:
    """lambda = |grad of the reconstruction loss| / (|grad of the adversarial loss| + 1e-4), at most `clamp`.

    Both gradients by the weight of the decoder's last layer. Source: Esser et al. 2021, equation 7, whose constant is
    1e-6; 1e-4 and the limit are those of their code, taming-transformers.
    """
    ratio: Tensor = reconstruction.norm() / (adversarial.norm() + ADAPTIVE_EPSILON)
    return ratio.clamp(0.0, clamp).detach()


def gradients_by(layer: Tensor, losses: Sequence[Tensor]) -> list[Tensor]:
    """Of each loss by the weight `layer`; the graph is kept."""
    return [torch.autograd.grad(loss, layer, retain_graph=True)[0] for loss in losses]
