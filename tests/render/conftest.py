"""A result as `reconstruct` gives it, with every kind of figure in it, and pictures with their blurred copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from skimage import data, transform
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio

from tests.render import diagnoses
from vaecheck.results.types import (
    DataCard,
    Environment,
    LatentScaling,
    Measure,
    Panel,
    PerImage,
    Result,
    Scaling,
    Shown,
    SkippedImage,
    UNetCost,
    VAECard,
    Yardstick,
)

NASTY_IDS = (
    "broken [/red].png",
    '<script>alert("x")</script>.png',
    "tables|and`code`.png",
    "line\nbreak\x1b[31m.png",
    "日本/写真 — 1.png",
    "not-utf8-\udcff.png",
    "a/very/long/folder/name/that/goes/on/and/on/until/nobody/reads/it/anymore/holiday-picture-0001-final-final.png",
    "**bold** _and_ [link](https://example.invalid).png",
)


def measure(name: str, value: Any, unit: str = "", better: Any = None, **more: Any) -> Measure:
    return Measure(name, value, unit, better, more.pop("n", 100), f"definition of {name}", **more)


def yardstick(name: str, psnr_db: float, ssim: float, fd: float, own: tuple[float, float, float]) -> Yardstick:
    def figures(values: tuple[float, float, float]) -> dict[str, Measure]:
        return {
            "psnr_db": measure("psnr_db", values[0], "dB", "higher"),
            "ssim": measure("ssim", values[1], "", "higher"),
            "fd_efficientnet_lite0": measure("fd_efficientnet_lite0", values[2], "", "lower", status="unreliable"),
        }

    return Yardstick(name, f"a {name} codec", 100, figures((psnr_db, ssim, fd)), figures(own))


OWN = (24.3127, 0.71234, 18.4567)
RFID_REASON = (
    "computed from 100 images; below 2,048 the covariance has no full rank and the distance is biased upward, so it "
    "cannot be set beside a published figure. Measure at least 2,048 pictures."
)
LPIPS_REASON = (
    "the weights alexnet-owt-7be5be79.pth are not on this machine and --offline forbids a download. "
    "Run: vaecheck weights fetch lpips_alex"
)


@pytest.fixture
def result() -> Result:
    measures = (
        measure("rfid", 41.87654, "", "lower", ci95=(39.1, 44.7), status="unreliable", reason=RFID_REASON),
        measure("lpips_alex", None, "", "lower", n=0, status="unavailable", reason=LPIPS_REASON),
        measure("psnr_db", OWN[0], "dB", "higher", sd=3.1, ci95=(23.7944, 24.8391), n=99, counts={"identical": 1}),
        measure("ssim", OWN[1], "", "higher", sd=0.12, ci95=(0.68812, 0.73544)),
        measure("kl_nats_per_image", 12345.678, "nats", sd=3000.0, ci95=(11731.2, 12971.9)),
        measure("kl_nats_per_element", 3.0140816, "nats", ci95=(2.864, 3.1669)),
        measure("kl_bits_per_pixel", 0.271772, "bits", ci95=(0.2582, 0.2856)),
        measure("latent_mean", -0.0312345, "", ci95=(-0.0721, 0.0094)),
        measure("latent_std", 0.9281234, "", ci95=(0.9012, 0.9551)),
        measure("posterior_std", 0.00312345),
        measure("compression_ratio", 48.0, ""),
        measure("latent_shape", (4, 32, 32), ""),
        measure("encode_images_per_second", 41.23456, "images/s", "higher"),
        measure("decode_images_per_second", 18.98765, "images/s", "higher"),
        measure("peak_memory_bytes", 1_331_439_861.0, "bytes", "lower"),
        measure(
            "fd_efficientnet_lite0", OWN[2], "", "lower", ci95=(17.2, 19.8), status="unreliable", reason=RFID_REASON
        ),
    )
    ids = tuple(sorted(NASTY_IDS))
    return Result(
        kind="reconstruct",
        vae=VAECard("kl-f8-tiny", "KLAutoencoder", "ab" * 32, 8, 4, 2_345_678, "float32", LatentScaling(1.0774)),
        data=DataCard(
            "../photos/val [/red]", 100, (SkippedImage(NASTY_IDS[1], "is truncated after 1,024 bytes"),), "cd" * 32,
            256, "crop", {"exif_rotated": 3, "grey": 1, "enlarged": 0},
        ),
        settings={"seed": 0, "metrics": ["psnr_db", "ssim"], "offline": True, "limit": None},
        environment=Environment(
            {"vaecheck": "0.1.0", "torch": "2.14.1"}, "Linux-6.1", "Some CPU @ 2.0GHz", 2, "cpu", None,
            "2026-01-01T00:00:00+00:00", {"vae": 12.345},
        ),
        measures={m.name: m for m in measures},
        warnings=("1 picture was skipped: and why", "beware of [/red] <b>bold</b>"),
        artifacts={},
        yardsticks=(
            yardstick("bicubic", 20.91, 0.52, 88.1, OWN),
            yardstick("linear", 22.2145, 0.61, 51.3, OWN),
        ),
        unet_cost=(
            UNetCost(4, (4, 64, 64), 4096, 1.352e12, False),
            UNetCost(8, (4, 32, 32), 1024, 2.04e11, True),
            UNetCost(16, (4, 16, 16), 256, 4.1e10, False),
        ),
        per_image=PerImage(ids, {"psnr_db": tuple(17.0 + i for i in range(len(ids)))}),
    )  # fmt: skip


@pytest.fixture
def diagnosed(result: Result) -> Result:
    return diagnoses.diagnosed(result)


@pytest.fixture
def of_latents(result: Result) -> Callable[[int], Result]:
    """What `latents` gives for a VAE with so many latent channels."""
    return lambda channels: diagnoses.of_latents(result, channels)


@pytest.fixture(scope="session")
def panels() -> tuple[Panel, ...]:
    return diagnoses.panels()


@pytest.fixture
def nasty_ids() -> tuple[str, ...]:
    return NASTY_IDS


@pytest.fixture
def with_own() -> Callable[[Result, float, float], Result]:
    return vae_with


def vae_with(result: Result, psnr_db: float, ssim: float) -> Result:
    """The same run of a VAE with these means."""
    own = {"psnr_db": psnr_db, "ssim": ssim}
    measures = {
        name: replace(m, value=own.get(name, m.value), ci95=None if name in own else m.ci95)
        for name, m in result.measures.items()
    }
    yardsticks = tuple(
        replace(y, vae={name: replace(m, value=own.get(name, m.value)) for name, m in y.vae.items()})
        for y in result.yardsticks
    )
    return replace(result, measures=measures, yardsticks=yardsticks)


@pytest.fixture
def scaled(result: Result) -> Callable[[int], Result]:
    """What `scale-factor` gives for a VAE with so many latent channels."""
    return lambda channels: scale_factor_result(result, channels)


def scale_factor_result(result: Result, channels: int) -> Result:
    means = ", ".join(f"{-0.1 + 0.01 * i:.6f}" for i in range(channels))
    scaling = Scaling(
        mean=-0.0312,
        std=0.92812,
        std_of_means=0.92811,
        scaling_factor=1.07745,
        scaling_factor_ci95=(1.0471, 1.1096),
        first_batch={"images": 8, "std": 0.871, "scaling_factor": 1.1481},
        shift_factor=-0.0312,
        per_channel=tuple({"mean": -0.1 + 0.01 * i, "std": 0.9 + 0.011 * i} for i in range(channels)),
        shipped={"scaling_factor": 0.18215, "shift_factor": None, "std_after": 0.16906},
        verdict="wrong",
        reason="the shipped 0.18215 gives these latents a std of 0.169, outside 0.8 to 1.25; use 1.0775",
        snippets={
            "LDM config (yaml)": "model:\n  params:\n    scale_factor: 1.07745",
            "per channel": f"mean = torch.tensor([{means}]).view(1, -1, 1, 1)",
        },
    )
    kept = {name: m for name, m in result.measures.items() if name.startswith(("latent", "posterior", "encode"))}
    return replace(result, kind="scale-factor", measures=kept, yardsticks=(), unet_cost=(), scaling=scaling)


@pytest.fixture(scope="session")
def shown() -> tuple[Shown, ...]:
    roles = ("worst", "worst", "worst", "median", "median", "best", "best", "best")
    sources = (data.astronaut, data.coffee, data.chelsea, data.rocket, data.camera, data.moon, data.coins, data.page)
    return tuple(
        _blurred(picture(), image_id, role, sigma=2.5 - 0.3 * i)
        for i, (picture, image_id, role) in enumerate(zip(sources, NASTY_IDS, roles, strict=True))
    )


def _blurred(picture: np.ndarray, image_id: str, role: str, sigma: float) -> Shown:
    colour = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)
    original = (transform.resize(colour, (256, 256), anti_aliasing=True) * 255).round().astype(np.uint8)
    reconstruction = (gaussian(original, sigma, channel_axis=2) * 255).round().astype(np.uint8)
    return Shown(image_id, role, float(peak_signal_noise_ratio(original, reconstruction)), original, reconstruction)
