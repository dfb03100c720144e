"""The bundled model: small enough to ship, scaled as it says, and better than the linear codec of its shape."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from benchmarks.linear_baseline import measure as baseline
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.scale_factor import scale_factor
from vaecheck.tasks.settings import Settings
from vaecheck.vae.load import BUNDLED_FOLDER

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("VAECHECK_SHARED", ROOT.parent / "shared"))
PHOTOS = SHARED / "data" / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"there are no photographs at {PHOTOS}")
TEN_MEGABYTES = 10_000_000


def test_it_is_small_and_whole() -> None:
    files = {path.name: path.stat().st_size for path in BUNDLED_FOLDER.iterdir()}
    assert {"config.json", "diffusion_pytorch_model.safetensors"} <= set(files)
    assert sum(files.values()) <= TEN_MEGABYTES


def test_beats_the_linear_codec_on_the_bundled_pictures() -> None:
    result, _ = reconstruct("samples", "kl-f8-tiny", Settings(metrics=("psnr_db", "ssim"), limit=8))
    assert (result.vae.f, result.vae.latent_channels) == (8, 4)
    linear = next(yardstick for yardstick in result.yardsticks if yardstick.name == "linear")
    for name in ("psnr_db", "ssim"):
        ours, theirs = result.measures[name].value, linear.measures[name].value
        assert isinstance(ours, float)
        assert isinstance(theirs, float)
        assert ours > theirs


@pytest.mark.slow
@needs_photos
def test_is_1_2_db_above_pca_fitted_on_the_training_photographs() -> None:
    result, _ = reconstruct(
        str(PHOTOS / "val"), "kl-f8-tiny", Settings(metrics=("psnr_db",), yardstick="none", offline=True)
    )
    ours = result.measures["psnr_db"].value
    assert isinstance(ours, float)
    linear, _, _ = baseline(PHOTOS / "train", PHOTOS / "val", size=256, f=8, channels=4)
    assert ours >= linear + 1.2


@pytest.mark.slow
@needs_photos
def test_ships_the_factor_that_scale_factor_measures() -> None:
    shipped = json.loads((BUNDLED_FOLDER / "config.json").read_text())["scaling_factor"]
    scaling = scale_factor(str(PHOTOS / "train"), "kl-f8-tiny", Settings()).scaling
    assert scaling is not None
    assert scaling.verdict == "ok"
    assert shipped == pytest.approx(scaling.scaling_factor, rel=1e-4)


def test_weights_are_stored_in_half_precision() -> None:
    from safetensors.torch import load_file

    tensors = load_file(BUNDLED_FOLDER / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
