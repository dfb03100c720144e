from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest

from tests.vae.conftest import REPOSITORY, small_model
from tests.vae.contract import LAWS, Load, float32_comes_out_of_every_dtype
from tests.vae.small_diffusers import CONFIGS, saved_diffusers
from vaecheck.vae.load import load_vae

PLAIN_OBJECT = """
    import torch
    from torch import nn

    class Codec:
        def __init__(self):
            torch.manual_seed(0)
            self.down = nn.Conv2d(3, 5, 4, stride=4)
            self.up = nn.ConvTranspose2d(5, 3, 4, stride=4)

        def encode(self, pixels):
            return self.down(pixels)

        def decode(self, latents):
            return self.up(latents)
"""
DIFFUSERS_LIKE = """
    from types import SimpleNamespace
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.down = nn.Conv2d(3, 8, 16, stride=16)
            self.up = nn.ConvTranspose2d(4, 3, 16, stride=16)
            self.dropout = nn.Dropout(0.5)

        def encode(self, pixels):
            mean, logvar = self.dropout(self.down(pixels)).chunk(2, 1)
            return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, logvar=logvar))

        def decode(self, latents):
            return SimpleNamespace(sample=self.up(latents))
"""

NO_BFLOAT16 = {
    "AutoencoderKLCosmos": "torch has no pooling of bfloat16 videos on the CPU",
    "AutoencoderKLMochi": "its Fourier features, of up to 128 periods a unit, turn a pixel's rounding into noise",
}


LARGER = ("AutoencoderKLMochi", "AutoencoderKLKVAEVideo", "Kandinsky6SRVAE", "AutoencoderKLHunyuanImageRefiner")
"""Whose normalisation in 32 groups makes even a small one slow; test_families.py runs them every time."""


@pytest.fixture(scope="session")
def diffusers_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of one of CONFIGS, written once."""
    return cache(lambda name: saved_diffusers(name, tmp_path_factory.mktemp("diffusers")))


@pytest.fixture(
    params=[
        "bundled",
        "folder",
        "pipeline",
        "modules",
        "dist",
        "package",
        "dct",
        *(pytest.param(name, marks=pytest.mark.slow) if name in LARGER else name for name in CONFIGS),
    ]
)
def load(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    write_factory: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Load:
    kind = request.param
    if kind == "bundled":
        request.getfixturevalue("bundled")
        ref = "kl-f8-tiny"
    elif kind == "folder":
        ref = str(request.getfixturevalue("kl_folder"))
    elif kind == "pipeline":
        small_model().save(tmp_path / "pipe" / "vae")
        (tmp_path / "pipe" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        ref = str(tmp_path / "pipe")
    elif kind in CONFIGS:
        ref = request.getfixturevalue("diffusers_folder")(kind)
    elif kind == "modules":
        ref = f"{write_factory(PLAIN_OBJECT)}:Codec"
    elif kind == "dist":
        ref = f"{write_factory(DIFFUSERS_LIKE)}:Model"
    elif kind == "package":
        write_factory("", "own_package/__init__.py")
        write_factory(PLAIN_OBJECT, "own_package/codec.py")
        monkeypatch.chdir(tmp_path)
        ref = "own_package.codec:Codec"
    else:
        ref = f"{REPOSITORY / 'examples' / 'own_vae.py'}:dct_vae"
    return partial(load_vae, ref)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[Load], None], load: Load, request: pytest.FixtureRequest) -> None:
    for kind, reason in NO_BFLOAT16.items():
        if law is float32_comes_out_of_every_dtype and kind in request.node.name:
            pytest.skip(reason)
    law(load)
