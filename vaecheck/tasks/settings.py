"""The options that every command over pictures shares, and what they open: pictures, VAE, device."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vaecheck import protocols
from vaecheck.errors import InputError, SetupError
from vaecheck.images.intake import MAX_PIXELS
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.preprocess import OWN_SIZE, check_size
from vaecheck.images.sources import ImageSet, open_images
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.pipeline import Run
from vaecheck.pixels import Levels
from vaecheck.protocols import Protocol
from vaecheck.results.types import DataCard
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.load import load_vae
from vaecheck.vae.room import is_out_of_memory, weights_do_not_fit
from vaecheck.vae.tiling import Tiled

AUTO_BATCH = {"cpu": 8, "cuda": 32, "mps": 8}
AUTO_BATCH_PIXELS = 256 * 256
NATIVE = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""What a CPU may have that computes in a type itself, in torch's words."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """What the user asked for, by the names of the command line.

    value_range: (black, white) of .npy and 16-bit pictures. protocol: a public evaluation's settings, by name.
    tiling: side of the tiles in pixels, None for whole pictures. slicing: one picture at a time through the VAE.
    given: the options that were given, whatever their value; None: those that differ from their defaults.
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
    given: frozenset[str] | None = None

    def machine(self, vae: LoadedVAE | Tiled) -> dict[str, Any]:
        """The options for small machines, for the result document: as they were used."""
        names = ("tiling", "slicing", "channels_last")
        return {name: getattr(self, name) for name in names} | {"compile": whole(vae).compiled}

    def gives(self, name: str) -> bool:
        """Whether an option was asked for, as far as that can be known."""
        default = type(self).__dataclass_fields__[name].default
        return name in self.given if self.given is not None else getattr(self, name) != default

    def document(self) -> dict[str, Any]:
        """The settings that decide the figures, for the result document."""
        names = ["size", "fit", "limit", "sample", "posterior", "seed", "bad_images", "icc", "background", "lpips_net"]
        names += ["protocol"]
        names += ["value_range"]
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
    """All that a run needs, opened: the pictures, the VAE on its device, and the metrics' catalogue.

    batch_size: pictures in a batch, at most. batch_pixels: pixels in it, at most, where nothing was asked for.
    """

    settings: Settings
    images: ImageSet
    vae: LoadedVAE | Tiled
    device: torch.device
    dtype: str
    batch_size: int
    catalogue: Catalogue
    listener: Listener = field(default_factory=Listener)
    batch_pixels: int | None = None
    protocol: Protocol | None = None

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
            batch_pixels=self.batch_pixels,
            workers=settings.workers if settings.workers is not None else default_workers(),
        )

    def document(self, run: Run) -> dict[str, Any]:
        """The settings for the result document, with what was in fact used where something was left open or failed."""
        return self.settings.document() | {
            "dtype": self.dtype,
            "batch_size": run.room.batch_size(self.batch_size),
            **self.settings.machine(self.vae),
        }

    def warnings(self, run: Run) -> tuple[str, ...]:
        """What a reader should know of the VAE and of how it ran."""
        return (*self.vae.warnings, *run.room.warnings(), *slow_dtype(self.dtype, self.device))

    def data_card(self, loader: Loader) -> DataCard:
        return DataCard(
            source=self.images.source,
            count=loader.count,
            skipped=loader.skipped,
            fingerprint=loader.fingerprint,
            size=None if self.settings.fit in OWN_SIZE else self.settings.size,
            fit=self.settings.fit,
            notes=dict(loader.notes),
            image_channels=self.vae.card.image_channels,
            data_range=65535 if loader.notes.get("kept_as_float") else 255,
        )


def open_bench(source: str, ref: str, settings: Settings, listener: Listener) -> Bench:
    """Open the pictures first (a typing error costs nothing), then the VAE."""
    settings, protocol = under_protocol(settings)
    images = open_images(
        source, limit=settings.limit, sample=settings.sample, seed=settings.seed, offline=settings.offline
    )
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    for warning in slow_dtype(dtype, device):
        listener.warn(warning)
    vae = open_vae(ref, settings, device, dtype)
    check_size(settings.size, settings.fit, vae.card.f)
    if protocol and vae.card.image_channels != 3:
        raise InputError(
            f"--protocol {protocol.name} compares RGB, and this VAE's pictures have {vae.card.image_channels} channels",
            hint="Leave out --protocol.",
        )
    options = WeightOptions(settings.inception_weights, settings.lpips_weights, settings.offline, listener.download)
    return Bench(
        settings=settings,
        images=images,
        vae=vae,
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size or auto_batch_size(device, settings),
        catalogue=Catalogue(
            device,
            options,
            settings.seed,
            vae.card.image_channels,
            vae.card.codebook_size,
            protocol,
            vae.card.f,
        ),
        listener=listener,
        batch_pixels=None if settings.batch_size else auto_batch_pixels(device),
        protocol=protocol,
    )


def open_vae(ref: str, settings: Settings, device: torch.device, dtype: str) -> LoadedVAE | Tiled:
    """The VAE, on its device, as the options for the machine have it. Raises SetupError where it does not fit there."""
    try:
        vae = load_vae(
            ref,
            offline=settings.offline,
            dtype=DTYPES[dtype],
            device=device,
            scaling_factor=settings.scaling_factor,
            shift_factor=settings.shift_factor,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise weights_do_not_fit(ref, device, dtype) from error
        raise
    vae.configure(slicing=settings.slicing, channels_last=settings.channels_last, compile=settings.compile)
    return vae if settings.tiling is None else Tiled(vae, settings.tiling)


def whole(vae: LoadedVAE | Tiled) -> LoadedVAE:
    """The VAE without its tiles."""
    return vae.whole if isinstance(vae, Tiled) else vae


def under_protocol(settings: Settings) -> tuple[Settings, Protocol | None]:
    """The settings with what their protocol fixes, and the protocol. Raises InputError for one that says otherwise."""
    if settings.protocol is None:
        return settings, None
    protocol = protocols.find(settings.protocol)
    sizes: tuple[int, ...] = (settings.size,) if protocol.any_size else protocol.sizes
    nets: tuple[str, ...] = protocol.lpips.nets if protocol.lpips else (settings.lpips_net,)
    fixed = {"size": sizes, "fit": (protocol.fit,), "posterior": (protocol.posterior,), "lpips_net": nets}
    for name, values in fixed.items():
        if settings.gives(name) and getattr(settings, name) not in values:
            theirs = " or ".join(map(str, values)) or "each picture's own"
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option} {getattr(settings, name)} contradicts --protocol {protocol.name}, which has {theirs}",
                hint=f"Leave out {option}, or --protocol.",
            )
    size = settings.size if settings.gives("size") or not protocol.sizes else protocol.sizes[0]
    net = settings.lpips_net if settings.lpips_net in nets else nets[0]
    return replace(settings, size=size, fit=protocol.fit, posterior=protocol.posterior, lpips_net=net), protocol


def protocol_warnings(protocol: Protocol | None) -> tuple[str, ...]:
    """What a run under the protocol does otherwise than its source."""
    if protocol is None:
        return ()
    return tuple(f"protocol {protocol.name}, not reproduced: {what}" for what in protocol.not_reproduced)


def levels_of(protocol: Protocol | None) -> Levels | None:
    """What values a run compares: 8 bits under a protocol, whose measures take others from the batch themselves."""
    return Levels.ROUND if protocol else None


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
    """auto: float32 on every device, because half precision changes what is measured; else as asked.

    Why not by the memory there is: the figures of one VAE would then depend on the machine. Where float32 does not
    fit, the error names --dtype bfloat16.
    """
    if name == "auto":
        return "float32"
    if name not in DTYPES:
        raise InputError(f"--dtype {name} is not a type", hint=f"Use auto, {', '.join(DTYPES)}.")
    return name


def slow_dtype(dtype: str, device: torch.device) -> tuple[str, ...]:
    """A warning where the device does not compute in this type itself.

    Measured on one core, a 3 x 3 convolution of 128 channels: bfloat16 where it is native 2.6 times as fast as
    float32, float16 where it is not 350 times as slow.
    """
    if dtype == "float32" or _is_native(dtype, device):
        return ()
    where = "this CPU" if device.type == "cpu" else str(device)
    return (f"{where} does not compute in {dtype} itself: it is ten times slower than float32, or worse",)


def _is_native(dtype: str, device: torch.device) -> bool:
    if device.type == "cuda":
        return dtype != "bfloat16" or torch.cuda.is_bf16_supported(including_emulation=False)
    features = cpu_features()
    return device.type != "cpu" or not features or bool(features & set(NATIVE[dtype]))


def cpu_features() -> set[str]:
    """The instruction sets of this CPU, as torch >= 2.10 names them, else as Linux does; empty where nobody says."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return {"fp16_arith" if name == "asimdhp" else name for name in listed.split()}


def auto_batch_size(device: torch.device, settings: Settings) -> int:
    """As many pictures as AUTO_BATCH names at 256 x 256, and fewer of larger ones.

    At their own sizes as many at most; auto_batch_pixels then makes it fewer where they are larger.
    """
    most = AUTO_BATCH.get(device.type, 8)
    if settings.fit in OWN_SIZE:
        return most
    scale = AUTO_BATCH_PIXELS / max(settings.size**2, AUTO_BATCH_PIXELS)
    return max(1, int(most * scale))


def auto_batch_pixels(device: torch.device) -> int:
    """What AUTO_BATCH pictures of 256 x 256 have together."""
    return AUTO_BATCH.get(device.type, 8) * AUTO_BATCH_PIXELS


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
