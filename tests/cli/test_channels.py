"""VAEs of 1, 2 and 4 channels on pictures that match, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.cli.conftest import Run
from tests.images.test_mutated_pictures import MAX_PIXELS, mutants, originals, outcome
from vaecheck.images.prepare import Intake

MODELS = """
import torch, torch.nn.functional as F
from torch import nn


class Pool:
    '''f = 2: the mean of 2 x 2 pixels and back. It takes any number of channels, so it says how many.'''

    def __init__(self, channels=None):
        if channels:
            self.image_channels = channels

    def encode(self, x):
        return F.avg_pool2d(x, 2)

    def decode(self, z):
        return F.interpolate(z, scale_factor=2)


class Small(nn.Module):
    '''f = 8, four latent channels, random; nothing says what it takes.'''

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(channels, 4, 8, 8), nn.ConvTranspose2d(4, channels, 8, 8)

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(z)


class Named(Pool):
    def __init__(self, channels):
        self.in_channels = channels


silent, misnamed = lambda: Pool(), lambda: Named(128)
pool1, pool2, pool4, named1 = lambda: Pool(1), lambda: Pool(2), lambda: Pool(4), lambda: Named(1)
small1, small2, small3, small4 = (lambda c=c: Small(c) for c in (1, 2, 3, 4))
"""
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
FEW = ("--metrics", "psnr_db,ssim", "--yardstick", "none", "--offline")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "models.py"
    path.write_text(MODELS)
    return path


def smooth(channels: int, seed: int = 0, side: int = 64) -> np.ndarray:
    """uint16 (side, side, channels), with detail that pooling loses."""
    draw = np.random.default_rng(seed)
    coarse = [Image.fromarray(draw.uniform(0, 1, (9, 9)).astype(np.float32)) for _ in range(channels)]
    planes = [np.asarray(plane.resize((side, side), Image.Resampling.BICUBIC)) for plane in coarse]
    values = np.stack(planes, axis=2) * 60_000 + draw.normal(0, 300, (side, side, channels)) + 2000
    return np.clip(values, 0, 65535).round().astype(np.uint16)


def pooled(values: np.ndarray) -> np.ndarray:
    """What Pool makes of them, in float64 and in the units of `values`."""
    height, width, channels = values.shape
    means = values.astype(np.float64).reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
    return means.repeat(2, axis=0).repeat(2, axis=1)


def write(folder: Path, form: str, pictures: list[np.ndarray]) -> Path:
    folder.mkdir()
    for i, values in enumerate(pictures):
        if form == "npy":
            np.save(folder / f"{i}.npy", values.transpose(2, 0, 1) if values.ndim == 3 else values)
        else:
            Image.fromarray(values.squeeze()).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(("form", "channels"), [("png", 1), ("npy", 1), ("npy", 2), ("npy", 4)])
def test_16_bit_figures_are_scikit_images_on_the_16_bit_values(
    run: Run, models: Path, tmp_path: Path, form: str, channels: int
) -> None:
    pictures = [smooth(channels, seed) for seed in range(3)]
    folder = write(tmp_path / "scans", form, pictures)
    out = tmp_path / "out"
    vae = f"{models}:pool{channels}"
    done = run("reconstruct", folder, "--vae", vae, "--fit", "none", *FEW, "--out", out, "--json")
    assert done.code == 0, done.err
    measures = done.document["measures"]
    psnr = [peak_signal_noise_ratio(x, pooled(x), data_range=65535) for x in map(np.float64, pictures)]
    ssim = [
        structural_similarity(x, pooled(x), channel_axis=2, data_range=65535, **WANG) for x in map(np.float64, pictures)
    ]
    assert measures["psnr_db"]["value"] == pytest.approx(np.mean(psnr), abs=1e-4)
    assert measures["ssim"]["value"] == pytest.approx(np.mean(ssim), abs=1e-5)
    assert "data range 65535, not rounded" in measures["psnr_db"]["definition"]
    data = done.document["data"]
    assert (data["image_channels"], data["data_range"]) == (channels, 65535)
    assert data["notes"] == {"kept_as_float": 3}
    assert done.document["vae"]["image_channels"] == channels
    assert Image.open(out / "grid.png").mode == "RGB"


def test_8_bit_grey_is_compared_as_8_bits(run: Run, models: Path, tmp_path: Path) -> None:
    pictures = [(smooth(1, seed) >> 8).astype(np.uint8) for seed in range(2)]
    folder = write(tmp_path / "grey", "png", pictures)
    done = run("reconstruct", folder, "--vae", f"{models}:pool1", "--fit", "none", *FEW, "--json")
    expected = [peak_signal_noise_ratio(x, np.rint(pooled(x)).astype(np.uint8), data_range=255) for x in pictures]
    assert done.document["measures"]["psnr_db"]["value"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert done.document["data"]["data_range"] == 255


def test_every_default_metric_on_grey(run: Run, models: Path, tmp_path: Path, checkpoints: Path) -> None:
    folder = write(tmp_path / "scans", "png", [smooth(1, seed) for seed in range(4)])
    arguments = ("--vae", f"{models}:pool1", "--size", 64, "--offline", "--json", "--metrics")
    names = "rfid,lpips_squeeze,psnr_db,compression_ratio,latent_shape"
    done = run("reconstruct", folder, *arguments, names, VAECHECK_WEIGHTS=str(checkpoints))
    assert done.code == 0, done.err
    measures = done.document["measures"]
    for name in ("rfid", "lpips_squeeze"):
        assert measures[name]["value"] > 0
        assert measures[name]["definition"].endswith("; grey replicated to RGB, rounded to 8 bits")
    assert (measures["compression_ratio"]["value"], measures["latent_shape"]["value"]) == (4, [1, 32, 32])
    bicubic, linear = done.document["yardsticks"]
    assert "one value for each" in bicubic["description"]
    for codec in (bicubic, linear):
        assert codec["measures"]["psnr_db"]["value"] > 20
        assert codec["measures"]["lpips_squeeze"]["value"] > 0


def test_metrics_of_rgb_are_unavailable_for_rgba_with_the_reason(run: Run, models: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "rgba", "png", [(smooth(4, seed) >> 8).astype(np.uint8) for seed in range(2)])
    vae = ("--vae", f"{models}:pool4", "--size", 64, "--offline")
    document = run("reconstruct", folder, *vae, "--json").document
    for name in ("rfid", "lpips_alex"):
        assert document["measures"][name]["status"] == "unavailable"
        assert "knows only RGB, and the pictures of this VAE have 4 channels" in document["measures"][name]["reason"]
    assert document["measures"]["psnr_db"]["status"] == "ok"
    assert document["data"]["notes"] == {}
    done = run("reconstruct", folder, *vae, "--metrics", "psnr_db,lpips_alex")
    assert done.code == 3
    assert "knows only RGB" in done.err


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_number_of_channels_is_found_by_probing(run: Run, models: Path, tmp_path: Path, channels: int) -> None:
    folder = write(tmp_path / "npy", "npy", [(smooth(channels) >> 8).astype(np.uint8)])
    done = run("reconstruct", folder, "--vae", f"{models}:small{channels}", "--fit", "none", *FEW, "--json")
    assert done.code == 0, done.err
    assert done.document["vae"]["image_channels"] == channels
    assert done.document["vae"]["latent_channels"] == 4


def test_a_model_that_takes_anything_says_what_it_takes(run: Run, models: Path, tmp_path: Path) -> None:
    """Without a word, and with a word that no picture can mean, it is taken for one of RGB."""
    folder = write(tmp_path / "grey", "png", [(smooth(1) >> 8).astype(np.uint8)])
    for name, channels in (("silent", 3), ("misnamed", 3), ("named1", 1), ("pool1", 1), ("pool2", 2)):
        done = run("reconstruct", folder, "--vae", f"{models}:{name}", "--fit", "none", *FEW, "--json")
        assert done.document["vae"]["image_channels"] == channels


def test_scans_with_a_value_range(run: Run, models: Path, tmp_path: Path) -> None:
    scans = [(smooth(1, seed)[..., 0] / 65535 * 4000 - 1500).round().astype(np.int16) for seed in range(2)]
    folder = write(tmp_path / "scans", "npy", scans)
    arguments = ("reconstruct", folder, "--vae", f"{models}:pool1", "--fit", "none", *FEW)
    done = run(*arguments)
    assert done.code == 2
    assert "no agreed white; give --value-range" in done.err
    done = run(*arguments, "--value-range=-1000,2500", "--json")
    notes = done.document["data"]["notes"]
    assert notes["kept_as_float"] == 2
    assert notes["clipped"] > 0
    assert any("--value-range were cut off" in warning for warning in done.document["warnings"])
    clipped = [np.clip(scan, -1000, 2500)[..., None].astype(np.float64) for scan in scans]
    expected = [peak_signal_noise_ratio(x, pooled(x), data_range=3500) for x in clipped]
    assert done.document["measures"]["psnr_db"]["value"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_reconstructions_of_scans_are_16_bit_pngs(run: Run, models: Path, tmp_path: Path) -> None:
    values = smooth(1)
    folder = write(tmp_path / "scans", "png", [values])
    saved = tmp_path / "saved"
    vae = ("--vae", f"{models}:pool1", "--fit", "none", *FEW)
    assert run("reconstruct", folder, *vae, "--save-reconstructions", saved).code == 0
    found = np.asarray(Image.open(saved / "0.png"))
    assert found.dtype == np.uint16
    assert np.abs(found - pooled(values)[..., 0]).max() <= 0.51


def test_bench_gives_noise_of_the_models_channels(run: Run, models: Path) -> None:
    done = run("bench", "--vae", f"{models}:small1", "--size", 64, "--batch-size", 1, "--json")
    assert done.code == 0, done.err
    measures = done.document["measures"]
    assert measures["encode_flops_per_image"]["value"] == 2 * 64 * 64 * 4  # one multiply-add a pixel and channel
    assert done.document["data"]["image_channels"] == 1


def test_the_latents_of_grey_scans_have_statistics(run: Run, models: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "scans", "png", [smooth(1, seed) for seed in range(3)])
    done = run("scale-factor", folder, "--vae", f"{models}:pool1", "--fit", "none", "--json")
    latents = np.stack([pooled(smooth(1, seed))[::2, ::2, 0] for seed in range(3)]) / 65535 * 2 - 1
    assert done.document["scaling"]["std"] == pytest.approx(latents.std(), rel=1e-5)
    assert json.dumps(done.document["data"]["notes"]) == '{"kept_as_float": 3}'


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Mutated pictures that cannot be used, and the same beside two good ones."""
    broken, mixed = tmp_path / "broken", tmp_path / "mixed"
    for folder in (broken, mixed):
        folder.mkdir()
    intake = Intake(channels=1, max_pixels=MAX_PIXELS, size=32)
    for i, (name, data, _) in enumerate(mutants()):
        if i % 8 == 0 and outcome(name, data, intake).startswith("skipped"):
            for folder in (broken, mixed):
                (folder / f"{i:03d}{'.npy' if 'npy' in name else '.png'}").write_bytes(data)
    (mixed / "good.npy").write_bytes(originals()["npy_16"])
    (mixed / "good.png").write_bytes(originals()["png_16_grey"])
    return broken, mixed


@pytest.mark.filterwarnings("ignore")
def test_a_run_over_mutated_pictures_counts_what_it_skips(run: Run, models: Path, folders: tuple[Path, Path]) -> None:
    broken, mixed = folders
    options = ("--vae", f"{models}:pool1", "--size", 32, "--max-pixels", MAX_PIXELS, *FEW)
    bad = len(list(broken.iterdir()))
    assert bad > 20
    done = run("reconstruct", mixed, *options, "--json")
    assert done.code == 0, done.err
    data = done.document["data"]
    assert (data["count"], len(data["skipped"])) == (2, bad)
    assert all(picture["reason"] for picture in data["skipped"])
    done = run("reconstruct", broken, *options)
    assert done.code == 2
    assert f"none of the {bad} pictures" in done.err
