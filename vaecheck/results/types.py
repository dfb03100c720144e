"""The result of a run: frozen records, without torch, that every command fills and every renderer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "unreliable", "unavailable"]
Better = Literal["higher", "lower"] | None

SCHEMA = 1


@dataclass(frozen=True)
class Measure:
    """One figure, with what is needed to judge it.

    value: a finite number, a short list (latent_shape), or None where it cannot be had.
    better: which direction is an improvement; None where neither is.
    n: images behind the value. sd: standard deviation over images. ci95: 95 % interval of the value.
    reason: why the status is not "ok", with the remedy; empty when it is.
    counts: images treated apart, by name ("identical", "non_finite").
    """

    name: str
    value: float | tuple[int, ...] | None
    unit: str
    better: Better
    n: int
    definition: str
    sd: float | None = None
    ci95: tuple[float, float] | None = None
    status: Status = "ok"
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class VAECard:
    """Who this VAE is. f and the channel count are as probed; the factors as shipped, None if unknown."""

    ref: str
    class_name: str
    sha256: str | None
    f: int
    latent_channels: int
    scaling_factor: float | None
    shift_factor: float | None
    parameters: int | None
    dtype: str
    deterministic: bool = False


@dataclass(frozen=True)
class SkippedImage:
    id: str
    reason: str


@dataclass(frozen=True)
class DataCard:
    """The pictures behind a result.

    count: pictures measured. fingerprint: sha256 over the ids and contents of those pictures.
    notes: how many pictures each intake policy touched ("exif_rotated": 3).
    """

    source: str
    count: int
    skipped: tuple[SkippedImage, ...]
    fingerprint: str
    size: int | None
    fit: str
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """Versions, hardware and timings: what may differ between two runs that measure the same."""

    versions: Mapping[str, str]
    platform: str
    cpu: str
    threads: int
    device: str
    accelerator: str | None
    started: str
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Yardstick:
    """What a simple codec of the same latent size scores on the same pictures.

    name: "bicubic" or "linear". measures: its figures by metric. vae: the VAE's own on those pictures.
    """

    name: str
    description: str
    n: int
    measures: Mapping[str, Measure]
    vae: Mapping[str, Measure]


@dataclass(frozen=True)
class UNetCost:
    """One denoising step of the reference U-Net on the latents of one picture at downsampling f."""

    f: int
    latent_shape: tuple[int, int, int]
    tokens: int
    flops: float
    is_this_vae: bool


@dataclass(frozen=True)
class Scaling:
    """What `scale-factor` found; every figure is of raw latents. See contract: `scaling`."""

    mean: float
    std: float
    std_of_means: float
    scaling_factor: float
    scaling_factor_ci95: tuple[float, float] | None
    first_batch: Mapping[str, float | None]
    shift_factor: float
    per_channel: tuple[Mapping[str, float], ...]
    shipped: Mapping[str, float | None]
    verdict: Literal["ok", "wrong", "unknown"]
    reason: str
    snippets: Mapping[str, str]


@dataclass(frozen=True)
class PerImage:
    """Per-image values by column, in the order of `ids`; None where a picture has no value."""

    ids: tuple[str, ...] = ()
    columns: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One run of one command. `per_image` goes to a CSV file, all else to the JSON document."""

    kind: str
    vae: VAECard | None
    data: DataCard
    settings: Mapping[str, Any]
    environment: Environment
    measures: Mapping[str, Measure]
    warnings: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    yardsticks: tuple[Yardstick, ...] = ()
    unet_cost: tuple[UNetCost, ...] = ()
    scaling: Scaling | None = None
    per_image: PerImage = PerImage()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Shown:
    """One picture kept for the grids: 8-bit RGB (H, W, 3) arrays and why it was chosen.

    role: "worst", "median" or "best". psnr_db: None for an identical or a non-finite pair.
    """

    id: str
    role: str
    psnr_db: float | None
    original: Any
    reconstruction: Any
