from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.vae.conftest import REPOSITORY, small_model
from tests.vae.contract import LAWS, Load
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


def save_diffusers(name: str, folder: Path) -> str:
    import diffusers

    torch.manual_seed(0)
    if name == "AutoencoderTiny":
        widths = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
        blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
        diffusers.AutoencoderTiny(**widths, **blocks, latent_channels=4).save_pretrained(folder)
    elif name == "VQModel":
        kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
        diffusers.VQModel(
            **kinds, block_out_channels=(8, 8), norm_num_groups=4, latent_channels=3, num_vq_embeddings=16
        ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(
    params=["bundled", "AutoencoderKL", "pipeline", "AutoencoderTiny", "VQModel", "modules", "dist", "package", "dct"]
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
    elif kind == "AutoencoderKL":
        ref = str(request.getfixturevalue("kl_folder"))
    elif kind == "pipeline":
        small_model().save(tmp_path / "pipe" / "vae")
        (tmp_path / "pipe" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        ref = str(tmp_path / "pipe")
    elif kind in ("AutoencoderTiny", "VQModel"):
        ref = save_diffusers(kind, tmp_path / kind)
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
def test_law(law: Callable[[Load], None], load: Load) -> None:
    law(load)
