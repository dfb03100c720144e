"""Pictures that look a little like pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def pictures() -> tuple[Tensor, Tensor]:
    """Originals and reconstructions, uint8 (20, 3, 64, 64): smooth colour fields, and the same with noise."""
    generator = torch.Generator().manual_seed(3)
    fields = torch.nn.functional.interpolate(torch.rand(20, 3, 9, 9, generator=generator), size=64, mode="bicubic")
    noise = 0.1 * torch.randn(fields.shape, generator=generator)
    original, reconstruction = ((255 * f).clamp(0, 255).round().to(torch.uint8) for f in (fields, fields + noise))
    return original, reconstruction
