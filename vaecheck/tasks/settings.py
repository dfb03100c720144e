"""The options that every command over pictures shares, and what they open: pictures, VAE, device."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vaecheck.errors import InputError, SetupError
from vaecheck.images.intake import MAX_PIXELS
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.preprocess import OWN_SIZE, check_size
from vaecheck.images.sources import ImageSet, open_images
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.results.types import DataCard
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.load import load_vae

AUTO_BATCH = {"cpu": 8, "cuda": 32, "mps": 8}
AUTO_BATCH_PIXELS = 256 * 256
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """What the user asked for, by the names of the command line.

    value_range: (black, white) of .npy and 16-bit pictures. protocol: a public evaluation's settings, by name.
    tiling: side of the tiles in pixels, None for whole pictures. slicing: one picture at a time through the VAE.
    """

    size: int = 256
    fit: str = "crop"
    limit: int | None = None
    sample: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    posterior: str = "mode"
    seed: int = 0
    metrics: tuple[str, ...] | None = None
    lpips_net: str = "alex"
    bad_images: str = "skip"
    icc: str = "ignore"
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    value_range: tuple[float, float] | None = None
    protocol: str | None = None
    tiling: int | None = None
    slicing: bool = False
    channels_last: bool = False
    compile: bool = False
    workers: int | None = None
    offline: bool = False
    inception_weights: Path | None = None
    lpips_weights: Path | None = None
    scaling_factor: float | None = None
    shift_factor: float | None = None
    yardstick: str = "sample"
    save_reconstructions: Path | None = None
    out: Path | None = None

    def document(self) -> dict[str, Any]:
        """The settings that decide the figures, for the result document."""
        names = ["size", "fit", "limit", "sample", "posterior", "seed", "bad_images", "icc", "background", "lpips_net"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Listener:
    """How a task tells the person at the terminal what it is doing; every call is optional."""

    start: Callable[[str, int | None], None] = lambda title, total: None
    advance: Callable[[int], None] = lambda images: None
    warn: Callable[[str], None] = lambda text: None
    download: Callable[[str, int, int | None], None] | None = None


@dataclass(frozen=True)
class Bench:
    """All that a run needs, opened: the pictures, the VAE on its device, and the metrics' catalogue."""

    settings: Settings
    images: ImageSet
    vae: LoadedVAE
    device: torch.device
    dtype: str
    batch_size: int
    catalogue: Catalogue
    listener: Listener = field(default_factory=Listener)

    def loader(self, images: ImageSet | None = None) -> Loader:
        settings = self.settings
        return Loader(
            images or self.images,
            Intake(
                size=settings.size,
                fit=settings.fit,
                multiple=self.vae.card.f,
                channels=self.vae.card.image_channels,
                value_range=settings.value_range,
                icc=settings.icc,
                background=settings.background,
                bad_images=settings.bad_images,
                max_pixels=settings.max_pixels,
            ),
            batch_size=self.batch_size,
            workers=settings.workers if settings.workers is not None else default_workers(),
        )

    def data_card(self, loader: Loader) -> DataCard:
        return DataCard(
            source=self.images.source,
            count=loader.count,
            skipped=loader.skipped,
            fingerprint=loader.fingerprint,
            size=None if self.settings.fit in OWN_SIZE else self.settings.size,
            fit=self.settings.fit,
            notes=dict(loader.notes),
        )


def open_bench(source: str, ref: str, settings: Settings, listener: Listener) -> Bench:
    """Open the pictures first (a typing error costs nothing), then the VAE."""
    images = open_images(source, limit=settings.limit, sample=settings.sample, seed=settings.seed)
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    vae = load_vae(
        ref,
        offline=settings.offline,
        dtype=DTYPES[dtype],
        device=device,
        scaling_factor=settings.scaling_factor,
        shift_factor=settings.shift_factor,
    )
    check_size(settings.size, settings.fit, vae.card.f)
    options = WeightOptions(settings.inception_weights, settings.lpips_weights, settings.offline, listener.download)
    return Bench(
        settings=settings,
        images=images,
        vae=vae,
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size or auto_batch_size(device, settings),
        catalogue=Catalogue(device, options, settings.seed),
        listener=listener,
    )


def choose_device(name: str) -> torch.device:
    """auto: CUDA, then MPS, then the CPU. Raises SetupError for a device that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name} is not a device", hint="Use auto, cpu, cuda, cuda:N or mps.") from error
    if not there.get(device.type, False):
        raise SetupError(f"there is no {device.type} device here", hint="Use --device auto or --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SetupError(
            f"--device {name}: there are {torch.cuda.device_count()} CUDA devices",
            hint="Devices are numbered from cuda:0.",
        )
    return device


def choose_dtype(name: str, device: torch.device) -> str:
    """auto: float32 on every device, because half precision changes what is measured; else as asked."""
    if name == "auto":
        return "float32"
    if name not in DTYPES:
        raise InputError(f"--dtype {name} is not a type", hint=f"Use auto, {', '.join(DTYPES)}.")
    return name


def auto_batch_size(device: torch.device, settings: Settings) -> int:
    """As many pictures as AUTO_BATCH names at 256 x 256, fewer of larger ones, one where sizes are not known."""
    if settings.fit in OWN_SIZE:
        return 1
    scale = AUTO_BATCH_PIXELS / max(settings.size**2, AUTO_BATCH_PIXELS)
    return max(1, int(AUTO_BATCH.get(device.type, 8) * scale))


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
