"""The built-in KL autoencoder against diffusers' AutoencoderKL, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.vae.contract import pictures
from vaecheck.errors import InputError
from vaecheck.vae.kl_f8 import LOG_VAR_RANGE, KLAutoencoder, KLConfig

CONFIGS = {
    "f4": KLConfig((8, 8, 16), 1, 3, 4),
    "f8": KLConfig((8, 16, 16, 16), 2, 4, 8),
    "f16": KLConfig((8, 8, 8, 8, 16), 1, 16, 4, scaling_factor=0.3, shift_factor=-0.1),
    "f32": KLConfig((8, 8, 8, 8, 8, 8), 1, 8, 2),
    "no attention": KLConfig((8, 8, 16, 16), 1, 4, 4, mid_block_add_attention=False),
    "no quant convolutions": KLConfig((8, 8, 16), 1, 16, 4, use_quant_conv=False, use_post_quant_conv=False),
}


def lively(model: torch.nn.Module) -> None:
    """Random values everywhere, biases and norms too, so that no term is untested for being zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def assert_same(ours: KLAutoencoder, theirs: Any, pixels: Tensor) -> None:
    with torch.no_grad():
        a, b = ours.encode(pixels), theirs.encode(pixels).latent_dist
        torch.testing.assert_close(a.mean, b.mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(a.log_var, b.logvar, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.decode(a.mean), theirs.decode(a.mean).sample, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_we_save_diffusers_reads(config: KLConfig, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    ours = KLAutoencoder(config).eval()
    lively(ours)
    ours.save(tmp_path)
    theirs, info = AutoencoderKL.from_pretrained(tmp_path, output_loading_info=True, low_cpu_mem_usage=False)
    assert not any(info.values())
    assert theirs.config.scaling_factor == config.scaling_factor
    assert theirs.config.shift_factor == config.shift_factor
    assert_same(ours, theirs.eval(), pictures(2, 2 * config.f, 3 * config.f))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_diffusers_saves_we_read(config: KLConfig, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    arguments = {key: value for key, value in config.to_diffusers().items() if not key.startswith("_")}
    torch.manual_seed(0)
    theirs = AutoencoderKL(**arguments).eval()
    lively(theirs)
    theirs.save_pretrained(tmp_path)
    ours = KLAutoencoder.load(tmp_path)
    assert ours.config == config
    assert_same(ours, theirs, pictures(1, 2 * config.f, 2 * config.f))


def test_log_variance_is_clamped_as_diffusers_does(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    ours = KLAutoencoder(CONFIGS["f4"]).eval()
    with torch.no_grad():
        ours.quant_conv.weight.mul_(1e4)
    ours.save(tmp_path)
    pixels = pictures(1, 32, 32)
    log_var = ours.encode(pixels).log_var
    assert log_var is not None
    assert (log_var.min(), log_var.max()) == LOG_VAR_RANGE
    theirs = AutoencoderKL.from_pretrained(tmp_path, low_cpu_mem_usage=False).encode(pixels).latent_dist.logvar
    assert torch.equal(log_var == LOG_VAR_RANGE[1], theirs == LOG_VAR_RANGE[1])


def test_save_in_float16_rounds_and_nothing_else(tmp_path: Path) -> None:
    ours = KLAutoencoder(CONFIGS["f4"])
    ours.save(tmp_path, dtype=torch.float16)
    read = KLAutoencoder.load(tmp_path)
    assert {value.dtype for value in read.state_dict().values()} == {torch.float32}
    for key, value in ours.state_dict().items():
        assert torch.equal(read.state_dict()[key], value.half().float())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]


def test_a_scaling_factor_is_stored(tmp_path: Path) -> None:
    KLAutoencoder(CONFIGS["f4"]).with_scaling_factor(0.5).save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["scaling_factor"] == 0.5
    assert KLAutoencoder.load(tmp_path).config.scaling_factor == 0.5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"block_out_channels": (8, 8)}, "f = 2"),
        ({"block_out_channels": (8,) * 7}, "f = 64"),
        ({"block_out_channels": (8, 12, 16), "norm_num_groups": 8}, r"does not divide the widths \[12\]"),
    ],
)
def test_impossible_shapes(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        KLConfig(**arguments)


def test_a_foreign_block_is_refused() -> None:
    config = CONFIGS["f4"].to_diffusers() | {"down_block_types": ["AttnDownEncoderBlock2D"] * 3}
    with pytest.raises(InputError, match="AttnDownEncoderBlock2D"):
        KLConfig.from_diffusers(config)
