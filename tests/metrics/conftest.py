"""Stand-in weights, built once a session, and pictures that look a little like pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import stand_in_weights


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME whose hub/checkpoints holds a stand-in for every weight file."""
    folder = tmp_path_factory.mktemp("torch_home")
    stand_in_weights.write(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(torch_home: Path) -> Path:
    return torch_home / "hub" / "checkpoints"


@pytest.fixture(scope="session")
def pictures() -> tuple[Tensor, Tensor]:
    """Originals and reconstructions, uint8 (20, 3, 64, 64): smooth colour fields, and the same with noise."""
    generator = torch.Generator().manual_seed(3)
    fields = torch.nn.functional.interpolate(torch.rand(20, 3, 9, 9, generator=generator), size=64, mode="bicubic")
    noise = 0.1 * torch.randn(fields.shape, generator=generator)
    original, reconstruction = ((255 * f).clamp(0, 255).round().to(torch.uint8) for f in (fields, fields + noise))
    return original, reconstruction
