"""Runs the command line, and makes the pictures and the VAE that it is run on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaecheck.cli.app import main
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
        return found


Run = Callable[..., Done]


@pytest.fixture
def run(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `vaecheck ARGUMENTS` in this process, with no weights, no cache and no network to find them with."""
    nowhere = str(tmp_path_factory.mktemp("nowhere"))
    defaults = {"TORCH_HOME": nowhere, "HF_HOME": nowhere, "VAECHECK_CACHE": nowhere, "COLUMNS": "100"}

    def call(*arguments: object, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("VAECHECK", "HF_"))]:
                patch.delenv(name)
            for name, value in (defaults | environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["vaecheck", *map(str, arguments)])
            capsys.readouterr()
            code = 0
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            done = Done(code, *capsys.readouterr())
        assert "Traceback" not in done.err, done.err
        return done

    return call


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random KL-VAE, f = 8, in diffusers' format."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae") / "small"
    config = KLConfig((8, 8, 16, 16), 1, 4, 4, mid_block_add_attention=False, scaling_factor=0.18215)
    KLAutoencoder(config).save(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten smooth pictures of several sizes, two of them in a folder."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(10):
        coarse = Image.fromarray(draw.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        place = folder / "inner" if i > 7 else folder
        coarse.resize((80 + 9 * i, 72), Image.Resampling.BICUBIC).save(place / f"{i:02d}.png")
    return folder
