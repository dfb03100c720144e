"""Small models with random weights in every form that --vae takes."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = KLConfig(
    block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, sample_size=64, scaling_factor=0.7
)


def small_model(config: KLConfig = SMALL) -> KLAutoencoder:
    torch.manual_seed(0)
    return KLAutoencoder(config).eval()


def edit_config(folder: Path, **changes: Any) -> None:
    """Change entries of a folder's config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.fixture
def kl_folder(tmp_path: Path) -> Path:
    """A folder in diffusers' AutoencoderKL format, f8, 4 channels, factor 0.7."""
    small_model().save(tmp_path / "kl")
    return tmp_path / "kl"


@pytest.fixture
def bundled(kl_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the shipped weights."""
    from vaecheck.vae import load

    monkeypatch.setattr(load, "BUNDLED_FOLDER", kl_folder)
    return kl_folder


@pytest.fixture
def write_factory(tmp_path: Path) -> Callable[..., Path]:
    """Write a Python file with that text and return its path."""

    def write(text: str, name: str = "own.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def shared() -> Path:
    """The folder of shared data, where there is one."""
    folder = Path(os.environ.get("VAECHECK_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set VAECHECK_SHARED")
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Models this small wait for their threads longer than they compute."""
    torch.set_num_threads(1)
