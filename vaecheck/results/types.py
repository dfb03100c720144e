"""The result of a run: frozen records, without torch, that every command fills and every renderer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "unreliable", "unavailable"]
Better = Literal["higher", "lower"] | None
Severity = Literal["fault", "warning", "info", "healthy", "unavailable"]

SCHEMA = 1
GIVEN = "given"


@dataclass(frozen=True)
class Measure:
    """One figure, with what is needed to judge it.

    value: a finite number, a short list (latent_shape), or None where it cannot be had.
    better: which direction is an improvement; None where neither is.
    n: images behind the value. sd: standard deviation over images. ci95: 95 % interval of the value.
    reason: why the status is not "ok", with the remedy; empty when it is.
    counts: images treated apart, by name ("identical", "non_finite").
    role: of a latent measure, whether it "predicts" generation quality, as far as is published, or only "describes".
    evidence: of the role, in one sentence with its source; empty where there is no role.
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
    role: Literal["", "predicts", "describes"] = ""
    evidence: str = ""


@dataclass(frozen=True)
class LatentScaling:
    """How a VAE's publisher turns raw latents z into what a U-Net sees; what is None is not carried or not used.

    With one pair of numbers: (z - shift_factor) * scaling_factor. With channel_means and channel_stds, one for each
    channel: (z - mean) / std * scaling_factor, a scaling_factor of None counting as 1.
    patch: side of the squares of positions that are folded into channels first (pixel_unshuffle's order), so that
    there are C * patch^2 means and stds: 2 for Flux.2, else 1.
    source: where the figures come from, in words ("config.json", "given"); empty when nothing is known.
    unusable: what is shipped and is not used, field by field, in words; empty where there is none.
    """

    scaling_factor: float | None = None
    shift_factor: float | None = None
    channel_means: tuple[float, ...] | None = None
    channel_stds: tuple[float, ...] | None = None
    patch: int = 1
    source: str = ""
    unusable: str = ""

    @property
    def known(self) -> bool:
        return self.scaling_factor is not None or self.channel_stds is not None

    def of_channels(self, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Shift and gain of each of so many folded channels: what a U-Net sees is (z - shift) * gain."""
        factor = 1.0 if self.scaling_factor is None else self.scaling_factor
        if self.channel_means is None or self.channel_stds is None:
            return (self.shift_factor or 0.0,) * count, (factor,) * count
        return self.channel_means, tuple(factor / std for std in self.channel_stds)

    @property
    def given(self) -> bool:
        """Whether the figures are the user's, not the VAE's."""
        return self.source == GIVEN


@dataclass(frozen=True)
class VAECard:
    """Who this VAE is. f and the channel counts are as probed; the scaling as shipped.

    image_channels: of the pictures it takes, 3 for RGB. codebook_size: entries of a quantised model's codebook.
    deterministic: its encoder gives one latent, no distribution, so that it has no KL.
    recognised: one line on what a file was recognised as, and what had to be guessed; empty where its config says it.
    """

    ref: str
    class_name: str
    sha256: str | None
    f: int
    latent_channels: int
    parameters: int | None
    dtype: str
    scaling: LatentScaling = LatentScaling()
    deterministic: bool = False
    image_channels: int = 3
    codebook_size: int | None = None
    recognised: str = ""

    @property
    def scaling_factor(self) -> float | None:
        return self.scaling.scaling_factor

    @property
    def shift_factor(self) -> float | None:
        return self.scaling.shift_factor


@dataclass(frozen=True)
class SkippedImage:
    id: str
    reason: str


@dataclass(frozen=True)
class DataCard:
    """The pictures behind a result.

    count: pictures measured. fingerprint: sha256 over the pixels that were encoded, whatever their names and order.
    image_channels: 3 for RGB. data_range: of the values compared, 255 for 8 bits; where pictures of more were kept as
    they are, 65535, or what --value-range spans.
    notes: how many pictures each intake policy touched ("exif_rotated": 3).
    """

    source: str
    count: int
    skipped: tuple[SkippedImage, ...]
    fingerprint: str
    size: int | None
    fit: str
    notes: Mapping[str, int] = field(default_factory=dict)
    image_channels: int = 3
    data_range: float = 255


@dataclass(frozen=True)
class Environment:
    """Versions, hardware and timings: what may differ between two runs that measure the same.

    resumed_from: pictures that an earlier run had done, of a run that went on with it; else None.
    """

    versions: Mapping[str, str]
    platform: str
    cpu: str
    threads: int
    device: str
    accelerator: str | None
    started: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    resumed_from: int | None = None


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
    """What `scale-factor` found; every figure is of raw latents, but for those after the shipped scaling.

    shipped: scaling_factor, shift_factor, and what the whole scaling (VAECard.scaling) makes of the posterior samples:
    std_after, mean_after, worst_channel, worst_channel_std_after; None where unknown. worst_channel counts the
    channels that the scaling has figures for: the folded ones of Flux.2, channel * 4 + row * 2 + column.
    """

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
class Published:
    """One published row of figures of a VAE, and how far its protocol is that of the run it stands beside.

    metrics: by vaecheck's names; "lpips" is of the net `lpips_net`; "psim" is a perceptual distance of another scale,
    never LPIPS. tier: 1 repository or model card, 2 a paper's table, 3 quoted by others, 4 a community's measurement.
    Of the protocol, what is None is not stated. protocol: the name of the evaluation, which --protocol may know.
    differs: how its protocol differs from the run's. unknown: what could not be compared; both empty without a run.
    """

    model: str
    source: str
    tier: int
    metrics: Mapping[str, float]
    dataset: str | None = None
    split: str | None = None
    n_images: int | None = None
    resolution: int | None = None
    preprocessing: str | None = None
    posterior: str | None = None
    lpips_net: str | None = None
    ssim: str | None = None
    software: str | None = None
    protocol: str | None = None
    remark: str = ""
    differs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What one probe found: a known fault of VAEs, there or not, with the figure that says so.

    severity: "fault": a broken or misused model. "warning": a limit of its capacity, with its size, or a risk.
    "info": past its limit only because of the fault that `follows_from` names, or worth a note. "unavailable": not
    to be measured here, and `evidence` says why.
    value, limit, unit: the figure and the limit that it is judged by, the crossed one, or the nearest where none is
    crossed. past_limit: how far past, as value / limit - 1 (limit / value - 1 where small is bad): findings of one
    severity are ordered by it. limit_source: where the limit comes from.
    evidence: one or two sentences with the figures. remedy: one sentence; empty where there is nothing to do.
    figures: further figures by name, for programs.
    """

    id: str
    severity: Severity
    value: float | None
    limit: float | None
    unit: str
    evidence: str
    remedy: str = ""
    limit_source: str = ""
    past_limit: float = 0.0
    follows_from: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One curve, or the heights of one group of bars; x and y are of one length.

    low, high: the edges of a band about a curve, of that length too; empty without one.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plot:
    """What a plot shows, as numbers, so that a saved result can be drawn again.

    name: its file's, without ending. about: the finding or the measure that it belongs to.
    kind: "lines" and "bars" draw `lines`; "matrix" draws `matrix`, rows from the top, dark where high;
    where values cross 0, dark where far from 0 and hatched where negative.
    note: one sentence on how to read it. marks: vertical lines by label ("a limit": 0.5).
    """

    name: str
    about: str
    kind: Literal["lines", "bars", "matrix"]
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    log_x: bool = False
    log_y: bool = False
    note: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Pictures side by side that show a finding or a measure; kept as a PNG file, not in the document.

    name: its file's, without ending. about: the finding or the measure that it belongs to.
    images: label and 8-bit RGB (H, W, 3) array, from left to right. note: one sentence on what to see.
    """

    name: str
    about: str
    title: str
    images: tuple[tuple[str, Any], ...]
    note: str = ""


@dataclass(frozen=True)
class PerImage:
    """Per-image values by column, in the order of `ids`; None where a picture has no value."""

    ids: tuple[str, ...] = ()
    columns: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One run of one command. `per_image` goes to a CSV file, all else to the JSON document.

    channels: of `latents`, one mapping of figures for each latent channel.
    """

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
    published: tuple[Published, ...] = ()
    findings: tuple[Finding, ...] = ()
    channels: tuple[Mapping[str, float | None], ...] = ()
    plots: tuple[Plot, ...] = ()
    per_image: PerImage = PerImage()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Shown:
    """One picture kept for the grids: 8-bit RGB (H, W, 3) arrays and why it was chosen.

    role: "worst", "median" or "best" by PSNR, else "other". psnr_db: None for an identical or a non-finite pair.
    planes: what lies side by side in the arrays, in equal widths ("RGB", "alpha"); empty where that is RGB or grey.
    values: its figure by each other metric that judges single pictures. worst_by: those by which it is among the worst.
    """

    id: str
    role: str
    psnr_db: float | None
    original: Any
    reconstruction: Any
    planes: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    worst_by: tuple[str, ...] = ()
