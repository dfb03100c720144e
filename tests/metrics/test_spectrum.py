"""SEC and spectral slopes against scipy.fft on whole arrays, and on fields of known spectrum."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from tests.metrics.laws import check_laws
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.spectrum import Spectrum
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior

F = 4  # pixels a latent cell


def fed(z: torch.Tensor, pictures: torch.Tensor | None = None, *, step: int = 3) -> Spectrum:
    if pictures is None:
        generator = torch.Generator().manual_seed(9)
        sides = (len(z), 3, F * z.shape[2], F * z.shape[3])
        pictures = torch.randint(0, 256, sides, dtype=torch.uint8, generator=generator)
    metric = Spectrum(z.shape[1])
    ids = tuple(f"{i:04}.png" for i in range(len(z)))
    for start in range(0, len(z), step):
        part = slice(start, start + step)
        metric.update(Batch(ids[part], pictures[part], Posterior(z[part]), z[part]))
    return metric


def measures(metric: Spectrum) -> dict[str, Measure]:
    return {measure.name: measure for measure in metric.compute()}


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def power_law(exponent: float, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    """Fields of power 1 / f^exponent, cut out of periodic ones four times as large."""
    rng = np.random.default_rng(seed)
    side = 4 * shape[-1]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(rng.normal(size=(*shape[:2], side, side)))
    fields = np.fft.ifft2(noise / frequency ** (exponent / 2)).real
    return np.asarray(fields[..., : shape[-2], : shape[-1]] / fields.std())


def sec(z: torch.Tensor, rho: float) -> float:
    """Equations 7 to 9 on all latents at once."""
    values = z.double().numpy()
    standardised = (values - values.mean((0, 2, 3), keepdims=True)) / values.std((0, 2, 3), keepdims=True)
    energy = (dctn(standardised, axes=(2, 3), norm="ortho") ** 2).mean((0, 1))
    u, v = np.indices(energy.shape)
    return float(energy[u + v > rho * (energy.shape[0] + energy.shape[1] - 2)].sum() / energy.sum())


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("step", [1, 4, 10])
def test_sec_agrees_with_scipy(offset: float, step: int) -> None:
    z = white(10, 4, 12, 10) * torch.tensor([0.1, 1.0, 5.0, 20.0]).view(1, 4, 1, 1) + white(10, 4, 1, 1) + offset
    z = torch.nn.functional.avg_pool2d(z, 3, stride=1)
    metric = fed(z, step=step)
    found = measures(metric)
    assert found["sec_25"].value == pytest.approx(sec(z, 0.25), rel=1e-9)
    assert found["sec_50"].value == pytest.approx(sec(z, 0.5), rel=1e-9)
    for channel, figures in enumerate(metric.channels()):
        assert figures["sec_25"] == pytest.approx(sec(z[:, channel : channel + 1], 0.25), rel=1e-9)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (32, 32)])
def test_white_noise_has_the_share_of_the_coefficients_and_no_slope(height: int, width: int) -> None:
    found = measures(fed(white(96, 8, height, width), step=16))
    u, v = np.indices((height, width))
    for name, rho in (("sec_25", 0.25), ("sec_50", 0.5)):
        share = (u + v > rho * (height + width - 2)).mean()
        assert found[name].value == pytest.approx(share, rel=0.015)
    assert found["spectral_slope"].value == pytest.approx(0.0, abs=0.08)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_the_slope_of_a_power_law_is_recovered(exponent: float) -> None:
    z = torch.from_numpy(power_law(exponent, (16, 4, 64, 64))).float()
    slope = measures(fed(z, step=8))["spectral_slope"]
    assert slope.value == pytest.approx(-exponent, abs=0.08)
    assert slope.ci95 is not None
    assert isinstance(slope.value, float)
    assert slope.ci95[0] <= slope.value <= slope.ci95[1]


def test_latents_that_are_the_pictures_have_no_gap() -> None:
    pictures = torch.from_numpy(power_law(2.0, (16, 3, 64, 64)))
    pictures = (127 + 25 * pictures).clamp(0, 255).round().to(torch.uint8)
    z = torch.nn.functional.avg_pool2d(pictures.float(), 4)
    found = measures(fed(z, pictures))
    assert found["spectral_slope_gap"].value == pytest.approx(0.0, abs=0.03)
    rougher = measures(fed(z + 10 * white(*z.shape), pictures))
    assert rougher["rgb_spectral_slope"].value == found["rgb_spectral_slope"].value
    assert isinstance(rougher["spectral_slope_gap"].value, float)
    assert rougher["spectral_slope_gap"].value > 0.3


@pytest.mark.parametrize("offset", [-40.0, 1000.0])
def test_scale_and_offset_of_a_channel_change_nothing(offset: float) -> None:
    z = white(8, 3, 16, 16)
    z = torch.nn.functional.avg_pool2d(z, 3, stride=1, padding=1).double()
    scale = torch.tensor([0.01, 1.0, 30.0]).view(1, 3, 1, 1)
    plain, moved = measures(fed(z)), measures(fed(scale * z + offset))
    for name in plain:
        assert moved[name].value == pytest.approx(plain[name].value, rel=1e-6), name


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_any_channels(channels: int) -> None:
    pictures = torch.randint(0, 256, (4, channels, 64, 64), dtype=torch.uint8)
    assert measures(fed(white(4, 4, 16, 16), pictures))["rgb_spectral_slope"].status == "ok"


def test_constant_channels_are_left_out() -> None:
    z = white(8, 3, 16, 16)
    z[:, 1] = 0.1
    found, rest = measures(fed(z)), measures(fed(z[:, [0, 2]]))
    for name in found:
        assert found[name].value == pytest.approx(rest[name].value, rel=1e-12), name
    assert fed(z).channels()[1] == {"sec_25": None, "sec_50": None}
    assert_json(fed(z))


def test_constant_latents_and_flat_pictures_have_no_spectrum_and_say_so() -> None:
    flat = torch.full((4, 3, 64, 64), 77, dtype=torch.uint8)
    metric = fed(torch.full((4, 2, 16, 16), 0.3), flat)
    for measure in metric.compute():
        assert (measure.status, measure.value) == ("unavailable", None)
        assert "constant" in measure.reason or "no detail" in measure.reason
    assert_json(metric)
    latents_only = measures(fed(white(4, 2, 16, 16), flat))
    assert latents_only["spectral_slope"].status == "ok"
    assert latents_only["spectral_slope_gap"].reason == "the pictures have no detail on the latent grid"


def test_flat_latents_that_differ_between_pictures_have_no_detail() -> None:
    metric = fed(white(6, 2, 1, 1).expand(-1, -1, 16, 16).contiguous())
    found = measures(metric)
    assert (found["sec_25"].value, found["sec_50"].value) == (0.0, 0.0)
    assert found["spectral_slope"].reason == "the latents have no detail"
    assert_json(metric)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 4)])
def test_small_latents_have_no_slope(height: int, width: int) -> None:
    metric = fed(white(6, 2, height, width))
    found = measures(metric)
    assert found["spectral_slope"].status == "unavailable"
    assert f"{height} x {width}" in found["spectral_slope"].reason
    assert found["sec_25"].status == "ok"
    assert_json(metric)


def test_of_several_shapes_the_commonest_is_taken() -> None:
    z = white(7, 2, 16, 16)
    metric, odd = fed(z), white(2, 2, 8, 24)
    metric.update(Batch(("x", "y"), torch.zeros(2, 3, 32, 96, dtype=torch.uint8), Posterior(odd), odd))
    alone = measures(fed(z))
    for name, measure in measures(metric).items():
        assert measure.value == pytest.approx(alone[name].value, rel=1e-12)
        assert (measure.n, measure.counts) == (7, {"other_shape": 2})


def test_pictures_with_nan_are_left_out_and_counted() -> None:
    z = white(8, 2, 16, 16)
    z[3, 1, 0, 0] = math.nan
    metric = fed(z)
    found = measures(metric)
    rest = torch.cat([z[:3], z[4:]])
    assert found["sec_25"].value == pytest.approx(sec(rest, 0.25), rel=1e-9)
    assert (found["sec_25"].status, found["sec_25"].n, found["sec_25"].counts) == ("unreliable", 7, {"non_finite": 1})
    assert_json(metric)
    with pytest.raises(NotEnoughImages, match="NaN"):
        fed(torch.full((3, 2, 4, 4), math.inf)).compute()


def test_the_plot_is_flat_for_white_noise() -> None:
    plot = fed(white(64, 4, 32, 32), step=16).plots()[0]
    latents = next(line for line in plot.lines if line.label == "latents")
    assert list(latents.x) == sorted(latents.x)
    assert latents.x[-1] <= 0.5
    assert np.array(latents.y) == pytest.approx(1.0, abs=0.15)


def test_every_measure_says_what_it_is() -> None:
    for measure in fed(white(4, 2, 16, 16)).compute():
        assert measure.role in ("predicts", "describes")
        assert measure.definition
        assert measure.evidence
        assert measure.better == ("lower" if measure.name.startswith("sec") else None)


def assert_json(metric: Spectrum) -> None:
    json.dumps([asdict(m) for m in metric.compute()], allow_nan=False)
    json.dumps([asdict(plot) for plot in metric.plots()], allow_nan=False)
    json.dumps(metric.channels(), allow_nan=False)


def test_laws() -> None:
    z = white(10, 4, 12, 10)
    z[5, 0, 0, 0] = math.nan
    generator = torch.Generator().manual_seed(5)
    batches = []
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        part = z[start:stop] if start else z[start:stop, :, :8]
        original = torch.randint(0, 256, (stop - start, 3, 48, 40), dtype=torch.uint8, generator=generator)
        batches.append(Batch(tuple(f"{i}.png" for i in range(start, stop)), original, Posterior(part), part))
    check_laws(lambda: Spectrum(4), batches)
