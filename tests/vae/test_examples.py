"""The examples' factories, on photographs where the shared data is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.vae.conftest import REPOSITORY
from vaecheck.errors import InputError
from vaecheck.pixels import to_pixels, to_uint8
from vaecheck.vae.load import load_vae

OWN = f"{REPOSITORY / 'examples' / 'own_vae.py'}:dct_vae"
TAEF2 = f"{REPOSITORY / 'examples' / 'taef2.py'}:taef2"


def photographs(shared: Path, count: int, side: int = 256) -> Tensor:
    """uint8 (count, 3, side, side): the contract's crop."""
    crops = []
    for path in sorted((shared / "data" / "photos" / "val").iterdir())[:count]:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        scale = side / min(picture.size)
        width, height = (max(side, round(length * scale)) for length in picture.size)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        crops.append(np.asarray(picture.crop((left, top, left + side, top + side))).copy())
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def mean_psnr_db(original: Tensor, reconstruction: Tensor) -> float:
    mse = (original.double() - reconstruction.double()).square().mean((1, 2, 3))
    return float((10 * torch.log10(255**2 / mse)).mean())


def test_taef2_on_photographs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its README: 29.05 dB, latent std 0.84, on 24 photographs."""
    monkeypatch.setenv("TAEF2_WEIGHTS", str(shared / "models" / "taef2"))
    vae = load_vae(TAEF2)
    assert (vae.card.f, vae.card.latent_channels, vae.card.deterministic) == (8, 32, True)
    assert vae.card.scaling_factor is None
    images = photographs(shared, 8)
    latents = vae.encode(to_pixels(images)).mean
    assert mean_psnr_db(images, to_uint8(vae.decode(latents))) == pytest.approx(29, abs=1.5)
    assert latents.std().item() == pytest.approx(0.84, abs=0.1)


def test_taef2_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAEF2_WEIGHTS", raising=False)
    with pytest.raises(InputError, match=r"set TAEF2_WEIGHTS .*taef2.py:\d+"):
        load_vae(TAEF2)


def test_own_vae_on_photographs(shared: Path) -> None:
    vae, images = load_vae(OWN), photographs(shared, 8)
    latents = vae.encode(to_pixels(images)).mean
    assert mean_psnr_db(images, to_uint8(vae.decode(latents))) > 24
    assert vae.card.scaling_factor is not None
    assert latents.std().item() * vae.card.scaling_factor == pytest.approx(1, abs=0.25)


def test_own_vae_keeps_what_its_latents_can_say() -> None:
    vae = load_vae(OWN)
    latents = torch.randn(2, 12, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(vae.encode(vae.decode(latents)).mean, latents, rtol=0, atol=1e-5)
    grey = torch.full((1, 3, 16, 16), 0.25)
    torch.testing.assert_close(vae.decode(vae.encode(grey).mean), grey)
