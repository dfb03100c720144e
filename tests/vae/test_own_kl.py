"""An AutoencoderKL read without diffusers is the one that diffusers reads; everything unusual is left to diffusers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vae.conftest import edit_config
from tests.vae.contract import pictures
from vaecheck.vae import from_diffusers as module
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.families import OwnKL
from vaecheck.vae.load import load_vae

LEVELS = 3
CONFIG: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * LEVELS,
    "up_block_types": ("UpDecoderBlock2D",) * LEVELS,
    "block_out_channels": (8, 8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 2,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def saved(folder: Path, **changes: Any) -> Path:
    import diffusers

    torch.manual_seed(0)
    diffusers.AutoencoderKL(**CONFIG | changes).save_pretrained(folder)
    return folder


def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LoadedVAE, LoadedVAE]:
    """Read by our own class, and by diffusers."""
    ours = load_vae(str(folder))
    assert type(ours._adapted.module).__name__ == "KLAutoencoder"
    with monkeypatch.context() as patch:
        patch.setattr(OwnKL, "covers", staticmethod(lambda config: False))
        theirs = load_vae(str(folder))
    assert type(theirs._adapted.module).__name__ == "AutoencoderKL"
    return ours, theirs


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mid_block_add_attention": False, "use_quant_conv": False, "use_post_quant_conv": False},
        {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159},
        {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 4.0], "scaling_factor": 0.5},
        {"in_channels": 1, "out_channels": 1, "layers_per_block": 1},
    ],
)
def test_the_same_model_and_the_same_words(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both(saved(tmp_path, **changes), monkeypatch)
    assert ours.card == theirs.card
    assert (ours.warnings, ours.usage, ours.fixed_size) == (theirs.warnings, theirs.usage, theirs.fixed_size)
    pixels = pictures(2, 64, 64)[:, : ours.card.image_channels]
    found, expected = ours.encode(pixels), theirs.encode(pixels)
    assert found.log_var is not None
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.log_var, expected.log_var, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(found.mean), theirs.decode(found.mean), rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in ours._adapted.module.parameters())


def test_an_old_config_without_a_factor_is_judged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable Diffusion's first VAEs name none; diffusers fills in 0.18215, which they do not ship."""
    folder = saved(tmp_path)
    edit_config(folder, scaling_factor=None, shift_factor=None)
    ours, theirs = both(folder, monkeypatch)
    assert (ours.card, ours.usage) == (theirs.card, theirs.usage)


@pytest.mark.parametrize(
    "changes",
    [
        {"down_block_types": ("AttnDownEncoderBlock2D", *CONFIG["down_block_types"][1:])},
        {"act_fn": "relu"},
        {"in_channels": 4},
        {
            "block_out_channels": (8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
        },
    ],
)
def test_what_our_class_has_not_is_left_to_diffusers(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(tmp_path, **changes)
    weights = module.choose_weights(path.name for path in folder.iterdir())
    assert weights is not None
    assert module._own_class(folder, module._config(folder), weights) is None


def test_an_entry_that_nobody_knows_is_left_to_diffusers(tmp_path: Path) -> None:
    edit_config(saved(tmp_path), use_wavelets=True)
    assert not OwnKL.covers(module._config(tmp_path))


def test_old_names_of_tensors_are_left_to_diffusers(tmp_path: Path) -> None:
    """The first VAEs call attention's projections query, key, value and proj_attn."""
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(saved(tmp_path) / WEIGHTS)
    for new, name in old.items():
        tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
    expected = load_vae(str(tmp_path))
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    found = load_vae(str(tmp_path))
    assert type(found._adapted.module).__name__ == "AutoencoderKL"
    pixels = pictures(1, 64, 64)
    torch.testing.assert_close(found.encode(pixels).mean, expected.encode(pixels).mean, rtol=1e-4, atol=1e-5)


def test_diffusers_is_not_imported_for_it(tmp_path: Path) -> None:
    code = (
        f"import sys; from vaecheck.vae.load import load_vae; load_vae({str(saved(tmp_path))!r})\n"
        "assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
