from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vae.conftest import edit_config
from tests.vae.contract import pictures
from tests.vae.small_diffusers import saved_diffusers
from vaecheck.errors import InputError
from vaecheck.vae.from_diffusers import choose_weights
from vaecheck.vae.load import load_vae

SAFE = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("names", "chosen", "variant", "pickled"),
    [
        ([SAFE, "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"], SAFE, None, False),
        (["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"], None, None, True),
        (["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.fp16.bin"], None, "fp16", False),
        (["diffusion_pytorch_model.fp16.bin"], None, "fp16", True),
    ],
)
def test_full_precision_before_half_and_safetensors_before_pickles(
    names: list[str], chosen: str | None, variant: str | None, pickled: bool
) -> None:
    files = choose_weights(["config.json", "README.md", *reversed(names)])
    assert files is not None
    assert (files.names, files.variant, files.pickled) == ((chosen or names[0],), variant, pickled)


def test_no_weights_among_other_files() -> None:
    assert choose_weights(["config.json", "model.safetensors", "diffusion_pytorch_model.onnx"]) is None


def test_sha256_is_that_of_the_file(kl_folder: Path) -> None:
    vae = load_vae(str(kl_folder))
    assert vae.card.sha256 == hashlib.sha256((kl_folder / SAFE).read_bytes()).hexdigest()


def test_shards(kl_folder: Path, tmp_path: Path) -> None:
    before = load_vae(str(kl_folder))
    tensors = load_file(kl_folder / SAFE)
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number, keys in enumerate((sorted(tensors)[:20], sorted(tensors)[20:]), start=1):
        name = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        save_file({key: tensors[key] for key in keys}, kl_folder / name, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(keys, name)
    (kl_folder / f"{SAFE}.index.json").write_text(json.dumps(index))
    (kl_folder / SAFE).unlink()
    after, pixels = load_vae(str(kl_folder)), pictures(1, 64, 64)
    assert torch.equal(before.encode(pixels).mean, after.encode(pixels).mean)
    assert after.card.sha256 not in (None, before.card.sha256)


def test_half_precision_alone_is_read_and_said(kl_folder: Path) -> None:
    half = {key: value.half() for key, value in load_file(kl_folder / SAFE).items()}
    (kl_folder / SAFE).unlink()
    save_file(half, kl_folder / "diffusion_pytorch_model.fp16.safetensors", metadata={"format": "pt"})
    vae = load_vae(str(kl_folder))
    assert vae.card.dtype == "float32"
    assert any("fp16" in warning for warning in vae.warnings)


def test_a_pickle_of_tensors_is_read(kl_folder: Path) -> None:
    before = load_vae(str(kl_folder))
    torch.save(load_file(kl_folder / SAFE), kl_folder / "diffusion_pytorch_model.bin")
    (kl_folder / SAFE).unlink()
    pixels = pictures(1, 64, 64)
    assert torch.equal(load_vae(str(kl_folder)).encode(pixels).mean, before.encode(pixels).mean)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_does_not_run(kl_folder: Path, tmp_path: Path) -> None:
    (kl_folder / SAFE).unlink()
    (kl_folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(InputError, match="mkdir"):
        load_vae(str(kl_folder))
    assert not (tmp_path / "ran").exists()


def damage(folder: Path, how: str) -> None:
    weights = folder / SAFE
    if how == "no weights":
        weights.unlink()
    elif how == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "tensors missing":
        tensors = load_file(weights)
        save_file({k: v for k, v in tensors.items() if "mid_block" not in k}, weights, metadata={"format": "pt"})
    elif how == "other shape":
        edit_config(folder, latent_channels=8)
    elif how == "no JSON":
        (folder / "config.json").write_text("{")
    elif how == "no class":
        edit_config(folder, _class_name=None)
    elif how == "unknown class":
        edit_config(folder, _class_name="AutoencoderOfTomorrow")
    elif how == "no autoencoder":
        edit_config(folder, _class_name="EulerDiscreteScheduler")
    elif how == "five channels":
        tensors = load_file(weights)
        tensors["encoder.conv_in.weight"] = torch.zeros(8, 5, 3, 3)
        save_file(tensors, weights, metadata={"format": "pt"})
        edit_config(folder, in_channels=5)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("no weights", "no weights"),
        ("cut short", "cannot be loaded as AutoencoderKL"),
        ("tensors missing", "lacks .* tensors of AutoencoderKL"),
        ("other shape", "cannot be loaded as AutoencoderKL"),
        ("no JSON", "config.json cannot be read"),
        ("no class", "does not name a diffusers class"),
        ("unknown class", "AutoencoderOfTomorrow, which is no autoencoder of diffusers"),
        ("no autoencoder", "EulerDiscreteScheduler, which is no autoencoder"),
        ("five channels", "pictures of 5 channels"),
    ],
)
def test_damaged_folders(kl_folder: Path, how: str, text: str) -> None:
    damage(kl_folder, how)
    with pytest.raises(InputError, match=text) as caught:
        load_vae(str(kl_folder))
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_pictures_of_one_channel(kl_folder: Path) -> None:
    tensors = load_file(kl_folder / SAFE)
    for key in ("encoder.conv_in.weight", "decoder.conv_out.weight", "decoder.conv_out.bias"):
        tensors[key] = tensors[key][:, :1] if "conv_in" in key else tensors[key][:1]
    save_file({key: value.contiguous() for key, value in tensors.items()}, kl_folder / SAFE, metadata={"format": "pt"})
    edit_config(kl_folder, in_channels=1, out_channels=1)
    vae = load_vae(str(kl_folder))
    assert vae.card.image_channels == 1
    assert vae.decode(vae.encode(pictures(1, 64, 64, channels=1)).mean).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loading_prints_nothing(
    kl_folder: Path, tmp_path: Path, dtype: torch.dtype, capfd: pytest.CaptureFixture[str]
) -> None:
    load_vae(str(kl_folder), dtype=dtype)
    load_vae(saved_diffusers("AutoencoderKLWan", tmp_path / "wan"), dtype=dtype)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
