"""Every metric that is not tested by its network's own file keeps the laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.metrics.laws import check_laws
from vaecheck.metrics.codebook import Codebook
from vaecheck.metrics.kl import KL
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.per_image import PerImage
from vaecheck.metrics.pixel import psnr_db, ssim
from vaecheck.metrics.protocol import Batch, Metric
from vaecheck.vae.protocol import Posterior


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    found = []
    for start, count in ((0, 3), (3, 1), (4, 4)):
        original = torch.randint(0, 256, (count, 3, 24, 24), dtype=torch.uint8, generator=generator)
        mean = torch.randn(count, 4, 3, 3, generator=generator)
        found.append(
            Batch(
                ids=tuple(f"{i}.png" for i in range(start, start + count)),
                original=original,
                posterior=Posterior(mean, mean - 1, torch.randint(0, 16, (count, 3, 3), generator=generator)),
                latents=mean,
                reconstruction=original // 2,
                finite=torch.arange(start, start + count) != 5,
            )
        )
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda: PerImage("psnr_db", psnr_db, unit="dB", better="higher", definition=""),
        lambda: PerImage("ssim", ssim, unit="", better="higher", definition=""),
        KL,
        LatentMoments,
        lambda: LatentMoments(patch=2),
        lambda: Codebook(16),
    ],
    ids=["psnr_db", "ssim", "kl", "latent", "latent_of_patches", "codebook"],
)
def test_laws(make: Callable[[], Metric]) -> None:
    check_laws(make, batches())
