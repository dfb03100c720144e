"""`latents` end to end on models of every shape: what is measured, on how many pictures, and what cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaecheck.errors import InputError, SetupError
from vaecheck.metrics import latent_catalogue
from vaecheck.metrics.latent_catalogue import NAMES, TEMPLATES, check_names, default_names
from vaecheck.results.files import from_document, to_document
from vaecheck.results.types import Measure, Result
from vaecheck.tasks.latents import latents, missing
from vaecheck.tasks.settings import Settings

FACTORY = '''
import torch
import torch.nn.functional as F
from types import SimpleNamespace


class Average:
    """The mean of f x f pixels; decoding repeats it. Commutes with turns, and noise passes with weight 1."""

    f, channels, stochastic, side = {f}, {channels}, {stochastic}, {side}

    def encode(self, pixels):
        if pixels.shape[1] != self.channels:
            raise ValueError("channels")
        if self.side and tuple(pixels.shape[-2:]) != (self.side, self.side):
            raise ValueError("one size alone")
        mean = F.avg_pool2d(pixels, self.f) + {extra}
        return SimpleNamespace(mean=mean, log_var=torch.full_like(mean, -6.0)) if self.stochastic else mean

    def decode(self, latents):
        return F.interpolate(latents, scale_factor=float(self.f), mode="nearest")


def make():
    return Average()
'''
SETTINGS = Settings(size=32, workers=0, offline=True, batch_size=4)


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this machine may have are not found."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)


def vae(
    tmp_path: Path, f: int = 4, channels: int = 3, stochastic: bool = True, side: int = 0, extra: str = "0.0"
) -> str:
    path = tmp_path / "average.py"
    path.write_text(FACTORY.format(f=f, channels=channels, stochastic=stochastic, side=side, extra=extra))
    return f"{path}:make"


def pictures(tmp_path: Path, count: int = 12, *, classes: bool = False, size: int = 32) -> str:
    draw = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for i in range(count):
        place = folder / f"class{i % 2}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        level = 90 + 80 * (i % 2) if classes else 128
        coarse = draw.normal(level, 30, (6, 6, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((size + i % 3, size), Image.Resampling.BICUBIC).save(place / f"{i:02d}.png")
    return str(folder)


def run(source: str, ref: str, **changes: object) -> Result:
    settings = Settings(**{**vars(SETTINGS), **changes})
    result, _ = latents(source, ref, settings)
    for measure in result.measures.values():
        check(measure)
    assert from_document(to_document(result)).measures.keys() == result.measures.keys()  # no NaN, no infinity
    return result


def check(measure: Measure) -> None:
    assert measure.definition
    assert measure.role in ("predicts", "describes")
    assert measure.evidence
    if measure.status == "ok":
        assert measure.reason == ""
        assert measure.n > 0
    else:
        assert measure.reason
    assert (measure.value is None) == (measure.status == "unavailable")


def test_everything_that_can_be_had(tmp_path: Path) -> None:
    result = run(pictures(tmp_path, classes=True), vae(tmp_path))
    assert result.kind == "latents"
    assert tuple(result.measures) == default_names()
    found = {name: measure.value for name, measure in result.measures.items()}
    assert found["latent_shape"] == (3, 8, 8)
    assert found["equivariance_rotation"] == pytest.approx(0, abs=1e-9)
    assert found["lnc"] == 1
    lost = {name for name, value in found.items() if value is None}
    assert {"ifid", "noise_lpips_doubling"} <= lost
    assert not lost & {"viv", "lnc", "equivariance_scale", "intrinsic_dimension", "noise_psnr_db_10"}
    assert "vaecheck weights fetch inception" in result.measures["ifid"].reason
    assert "vaecheck weights fetch alexnet" in result.measures["noise_lpips_doubling"].reason
    assert len(result.channels) == 3
    assert all(len(channel) > 3 for channel in result.channels)
    assert {"equivariance_rotation", "equivariance_scale", "noise_psnr"} <= {plot.name for plot in result.plots}
    assert len({plot.name for plot in result.plots}) == len(result.plots)
    assert len(result.per_image.ids) == 12
    assert "kl_nats_per_image" in result.per_image.columns


def test_sensitivity_is_the_mean_variance_of_the_channels(tmp_path: Path) -> None:
    """Decoding repeats each latent f^2 times: tr(J J^T) / values = mean over channels of std_c^2."""
    result = run(pictures(tmp_path), vae(tmp_path), metrics=("decoder_sensitivity",))
    stds = run(pictures(tmp_path), vae(tmp_path), metrics=("latent_skew",)).channels
    assert list(result.measures) == ["decoder_sensitivity"]
    variances = [channel["std"] for channel in stds]
    assert all(isinstance(std, float) for std in variances)
    expected = float(np.mean(np.array(variances, dtype=float) ** 2))
    assert result.measures["decoder_sensitivity"].value == pytest.approx(expected, rel=0.1)


def test_a_closer_look_takes_no_more_pictures_than_it_says(tmp_path: Path) -> None:
    result = run(pictures(tmp_path, 40), vae(tmp_path))
    assert result.measures["equivariance_scale"].n == 32
    assert result.measures["noise_psnr_db_10"].n == 16
    assert result.measures["latent_std"].n == 40


def test_the_same_again_and_at_any_batch_size(tmp_path: Path) -> None:
    source, ref = pictures(tmp_path, 20), vae(tmp_path)
    names = ("equivariance_scale", "intrinsic_dimension", "noise_psnr_db_20", "decoder_sensitivity", "latent_std")
    first, second = (run(source, ref, metrics=names, batch_size=size).measures for size in (1, 7))
    for name in names:
        assert first[name].value == pytest.approx(second[name].value, rel=1e-6), name


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("stochastic", [True, False])
def test_any_image_channels(tmp_path: Path, channels: int, stochastic: bool) -> None:
    result = run(pictures(tmp_path), vae(tmp_path, channels=channels, stochastic=stochastic))
    assert result.measures["equivariance_rotation"].value == pytest.approx(0, abs=1e-9)
    assert result.measures["noise_psnr_db_10"].value is not None
    assert (result.measures["kl_bits_per_pixel"].value is None) == (not stochastic)


@pytest.mark.parametrize("f", [1, 16, 32])
def test_any_downsampling(tmp_path: Path, f: int) -> None:
    result = run(pictures(tmp_path, size=64), vae(tmp_path, f=f), size=64)
    assert result.measures["latent_shape"].value == (3, 64 // f, 64 // f)
    assert result.measures["decoder_sensitivity"].value is not None


def test_a_model_of_one_size_cannot_be_scaled(tmp_path: Path) -> None:
    result = run(pictures(tmp_path, size=64), vae(tmp_path, side=64), size=64)
    assert result.measures["equivariance_rotation"].value == pytest.approx(0, abs=1e-9)
    assert "one fixed size" in result.measures["equivariance_scale"].reason


def test_pictures_of_their_own_sizes(tmp_path: Path) -> None:
    result = run(pictures(tmp_path), vae(tmp_path), fit="pad")
    assert "Use --fit crop" in result.measures["intrinsic_dimension"].reason
    assert "Use --fit crop" in result.measures["ifid"].reason
    assert result.measures["equivariance_rotation"].value is not None
    assert result.measures["noise_psnr_db_10"].value is not None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures(tmp_path: Path, count: int) -> None:
    result = run(pictures(tmp_path, count), vae(tmp_path))
    assert result.measures["intrinsic_dimension"].value is None
    assert result.measures["equivariance_rotation"].n == count


def test_a_model_that_gives_nan_has_no_figures_and_no_crash(tmp_path: Path) -> None:
    result = run(pictures(tmp_path), vae(tmp_path, extra="float('nan')"))
    assert {measure.value for name, measure in result.measures.items() if name != "rgb_spectral_slope"} == {None}


def test_flat_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (32, 32), (200, 200, 200)).save(folder / f"{i}.png")
    result = run(str(folder), vae(tmp_path))
    assert "12 of 12 pictures have the latents of another one" in result.measures["intrinsic_dimension"].reason
    assert result.measures["equivariance_rotation"].value == pytest.approx(0, abs=1e-9)
    assert result.measures["decoder_sensitivity"].value == 0


def test_what_was_asked_for_by_name_and_cannot_be_had(tmp_path: Path) -> None:
    result = run(pictures(tmp_path), vae(tmp_path), metrics=("viv", "latent_std", "noise_mse_doubling"))
    error = missing(result, ("viv", "latent_std", "noise_mse_doubling"))
    assert isinstance(error, SetupError)
    assert "viv: needs classes" in error.message
    assert "noise" not in error.message
    assert missing(result, None) is None
    assert missing(result, ("latent_std",)) is None


def test_a_doubling_beyond_the_curve_is_not_missing(tmp_path: Path) -> None:
    result = run(pictures(tmp_path), vae(tmp_path, f=16), metrics=("noise_mse_doubling",), size=32)
    measure = result.measures["noise_mse_doubling"]
    if measure.value is None:
        assert measure.reason.startswith("more than 0.5")
    assert missing(result, ("noise_mse_doubling",)) is None


def test_an_unknown_name_costs_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no latent measure named 'intrinsic_dimensions'") as caught:
        latents("nowhere", "nothing", Settings(metrics=("intrinsic_dimensions",)))
    assert "intrinsic_dimension" in caught.value.hint


def test_names_and_templates() -> None:
    assert check_names(["viv", "latent_std", "viv"]) == ("latent_std", "viv")
    for name, blank in TEMPLATES.items():
        assert blank.name == name
        assert blank.value is None
        assert blank.role in ("predicts", "describes")
        assert blank.evidence
    closer = {name for group in latent_catalogue.CLOSER for name in group}
    assert closer | set(latent_catalogue.READINGS) < set(NAMES)


def test_noise_at_ten_per_cent_against_theory(tmp_path: Path) -> None:
    """The decoder is linear, so the error is that without noise plus s^2 tr(J J^T); rounding adds a little."""
    names = ("noise_psnr_db_10", "noise_psnr_db_20", "decoder_sensitivity")
    result = run(pictures(tmp_path), vae(tmp_path, f=1), metrics=names)
    trace = result.measures["decoder_sensitivity"].value
    assert isinstance(trace, float)
    for name, level in (("noise_psnr_db_10", 0.1), ("noise_psnr_db_20", 0.2)):
        value = result.measures[name].value
        assert value == pytest.approx(10 * math.log10(4 / (level**2 * trace)), abs=0.5)
