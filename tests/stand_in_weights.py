"""Seeded random weights in the file formats that torch-fidelity and torchvision publish.

They run the real libraries' code where nothing can be downloaded; what is computed with them says nothing
about a picture. Convolutions keep the variance of their signal (He et al. 2015) and BatchNorms have statistics
that differ from the identity, so that a wrongly folded BatchNorm shows. The classifiers, which no metric
reads, are stored as one zero seen at full shape: VGG16's file is 59 MB instead of 528.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
ALEX = "alexnet-owt-7be5be79.pth"
VGG = "vgg16-397923af.pth"
SQUEEZE = "squeezenet1_1-b8a52dc0.pth"
BACKBONES = {"alex": ALEX, "vgg": VGG, "squeeze": SQUEEZE}


def write(folder: Path, names: tuple[str, ...] = (INCEPTION, ALEX, VGG, SQUEEZE)) -> Path:
    """Write the named files into `folder`/hub/checkpoints, those that are not there yet, and return that folder.

    TORCH_HOME=`folder` makes torch-fidelity and lpips find them.
    """
    checkpoints = folder / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (checkpoints / name).exists():
            partial = checkpoints / f"{name}.{os.getpid()}.partial"
            torch.save(_state(name), partial)
            partial.replace(checkpoints / name)
    return checkpoints


def _state(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = _architectures()[name]()
    generator = torch.Generator().manual_seed(0)
    batch_norms = {prefix for prefix, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {key: _tensor(key, like, batch_norms, generator) for key, like in model.state_dict().items()}


def _architectures() -> dict[str, Callable[[], nn.Module]]:
    from torchvision import models

    return {
        INCEPTION: _bare_inception,
        ALEX: lambda: models.alexnet(weights=None),
        VGG: lambda: models.vgg16(weights=None),
        SQUEEZE: lambda: models.squeezenet1_1(weights=None),
    }


def _bare_inception() -> nn.Module:
    """torch-fidelity's network without weights: its constructor is handed an empty file, which it may ignore."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict: Any, *_: Any, **__: Any) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    return Bare("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)


def _tensor(key: str, like: Tensor, batch_norms: set[str], generator: torch.Generator) -> Tensor:
    prefix, _, field = key.rpartition(".")
    if prefix in batch_norms:
        return _batch_norm_tensor(field, like, generator)
    if prefix.startswith("classifier"):
        return torch.zeros(1).expand(like.shape)
    if field == "bias":
        return 0.1 * torch.randn(like.shape, generator=generator)
    fan_in = math.prod(like.shape[1:])
    return math.sqrt(2 / fan_in) * torch.randn(like.shape, generator=generator)


def _batch_norm_tensor(field: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if field == "num_batches_tracked":
        return torch.zeros((), dtype=torch.long)
    if field in ("weight", "running_var"):
        return 0.7 + 0.6 * torch.rand(like.shape, generator=generator)
    return 0.2 * torch.randn(like.shape, generator=generator)
