"""The options that commands share, each written once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaecheck.errors import InputError

if TYPE_CHECKING:
    from vaecheck.tasks.settings import Settings

DEFAULT_MAX_PIXELS = 178_956_970
PICTURES, MODEL, METRICS, OUTPUT, MACHINE = "Pictures", "Model", "Metrics", "Output", "Machine"
WATCHING = "Watching"


class Fit(StrEnum):
    crop = "crop"
    pad = "pad"
    resize = "resize"
    none = "none"
    adm = "adm"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class PosteriorUse(StrEnum):
    mode = "mode"
    sample = "sample"


class LpipsNet(StrEnum):
    alex = "alex"
    vgg = "vgg"
    squeeze = "squeeze"


class BadImages(StrEnum):
    skip = "skip"
    fail = "fail"


class Icc(StrEnum):
    ignore = "ignore"
    srgb = "srgb"


class FailOn(StrEnum):
    fault = "fault"
    warning = "warning"


class YardstickOn(StrEnum):
    sample = "sample"
    all = "all"
    none = "none"


def value_range(text: str | None) -> tuple[float, float] | None:
    """ "-1000,400" -> (-1000.0, 400.0)."""
    if text is None:
        return None
    try:
        black, white = (float(part) for part in text.split(","))
    except ValueError:
        black = white = math.nan
    if not (math.isfinite(black) and math.isfinite(white) and black != white):
        raise InputError(
            f"--value-range {text} is not two different numbers",
            hint="Try --value-range 0,4095 or --value-range=-1000,400.",
        )
    return black, white


def batch_size(text: str) -> int | None:
    """'auto' -> None; else a whole number from 1."""
    if text == "auto":
        return None
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise InputError(f"--batch-size {text} is neither auto nor a number from 1", hint="Try --batch-size 8.")


def names(text: str | None, option: str = "--metrics", example: str = "psnr_db,ssim") -> tuple[str, ...] | None:
    """'a,b, c' -> ('a', 'b', 'c')."""
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise InputError(f"{option} names nothing", hint=f"Try {option} {example}.")
    return found


Images = Annotated[
    str | None,
    typer.Argument(
        metavar="IMAGES",
        help="A folder, a file, a glob, a .txt list, tar shards 'data-{000..009}.tar', .parquet files, "
        "hf://datasets/OWNER/NAME[:SPLIT], or 'samples'.",
    ),
]
Vae = Annotated[
    str,
    typer.Option(
        "--vae",
        metavar="REF",
        help="An alias (sd-vae-ft-mse), a hub id owner/name[:subfolder][@revision], a diffusers folder, "
        "a weight file, or file.py:factory. `vaecheck vaes` lists the aliases.",
        rich_help_panel=MODEL,
    ),
]
Size = Annotated[int, typer.Option(min=1, help="Side of the pictures, in pixels.", rich_help_panel=PICTURES)]
FitOption = Annotated[
    Fit, typer.Option("--fit", help="How a picture is brought to the size.", rich_help_panel=PICTURES)
]
Limit = Annotated[int | None, typer.Option(min=1, help="The first N pictures in order.", rich_help_panel=PICTURES)]
Sample = Annotated[int | None, typer.Option(min=1, help="N pictures drawn with the seed.", rich_help_panel=PICTURES)]
BadImagesOption = Annotated[
    BadImages,
    typer.Option("--bad-images", help="Count and list unreadable pictures, or end.", rich_help_panel=PICTURES),
]
IccOption = Annotated[
    Icc,
    typer.Option(
        "--icc", help="Colour profiles: ignored, as training loaders do, or applied.", rich_help_panel=PICTURES
    ),
]
Background = Annotated[str, typer.Option(help="Colour behind transparent pixels.", rich_help_panel=PICTURES)]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, help="Larger pictures are skipped unread.", rich_help_panel=PICTURES)
]
ValueRange = Annotated[
    str | None,
    typer.Option(
        "--value-range",
        metavar="BLACK,WHITE",
        help="Values of .npy and 16-bit pictures that are black and white; by their type unless given.",
        rich_help_panel=PICTURES,
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The settings of a public evaluation; `vaecheck vaes --protocols` lists them.",
        rich_help_panel=METRICS,
    ),
]
Tiling = Annotated[
    int | None,
    typer.Option(
        "--tiling", metavar="SIDE", min=1, help="Encode and decode in tiles of this side.", rich_help_panel=MACHINE
    ),
]
Slicing = Annotated[
    bool, typer.Option("--slicing", help="One picture at a time through the VAE.", rich_help_panel=MACHINE)
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--no-channels-last",
        help="Channels-last memory layout; by default where it is known to be faster.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="torch.compile the VAE.", rich_help_panel=MACHINE)]
Posterior = Annotated[
    PosteriorUse,
    typer.Option("--posterior", help="Decode the posterior's mean (mode) or a sample.", rich_help_panel=MODEL),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Type of the VAE's weights.", rich_help_panel=MODEL)]
ScalingFactor = Annotated[
    float | None,
    typer.Option("--scaling-factor", help="Factor to judge instead of the shipped one.", rich_help_panel=MODEL),
]
ShiftFactor = Annotated[
    float | None,
    typer.Option("--shift-factor", help="Shift to judge instead of the shipped one.", rich_help_panel=MODEL),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C", help="Only these metrics; one that cannot be had ends with 3.", rich_help_panel=METRICS
    ),
]
Probes = Annotated[
    str | None,
    typer.Option("--probes", metavar="A,B,C", help="Only these findings, by id.", rich_help_panel=METRICS),
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="End with 1 where there is a fault, or a warning too.", rich_help_panel=OUTPUT),
]
LpipsNetOption = Annotated[LpipsNet, typer.Option("--lpips-net", help="Backbone of LPIPS.", rich_help_panel=METRICS)]
InceptionWeights = Annotated[
    Path | None,
    typer.Option("--inception-weights", help="File or folder of Inception's weights.", rich_help_panel=METRICS),
]
LpipsWeights = Annotated[
    Path | None, typer.Option("--lpips-weights", help="File or folder of LPIPS's backbone.", rich_help_panel=METRICS)
]
Yardstick = Annotated[
    YardstickOn,
    typer.Option(
        "--yardstick",
        help="Measure simple codecs beside the VAE: on 24 pictures, all, or not.",
        rich_help_panel=METRICS,
    ),
]
BatchSize = Annotated[str, typer.Option(metavar="auto|N", help="Pictures in a batch.", rich_help_panel=MACHINE)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=MACHINE)]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Threads that read pictures ahead; up to 4 by default.", rich_help_panel=MACHINE),
]
Seed = Annotated[int, typer.Option(help="Of every random draw.", rich_help_panel=MACHINE)]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.", rich_help_panel=MACHINE)]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for result.json, the report and the pictures.", rich_help_panel=OUTPUT),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the run that was stopped in --out.", rich_help_panel=OUTPUT),
]
SaveEvery = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="Between savings of the run in --out.", rich_help_panel=OUTPUT),
]
SaveReconstructions = Annotated[
    Path | None,
    typer.Option("--save-reconstructions", metavar="DIR", help="Write each one as a PNG.", rich_help_panel=OUTPUT),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else.", rich_help_panel=OUTPUT)]

WatchedImages = Annotated[
    str | None,
    typer.Option("--images", metavar="IMAGES", help="The pictures, the same for all.", rich_help_panel=PICTURES),
]
Every = Annotated[
    float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Between two looks.", rich_help_panel=WATCHING)
]
Settle = Annotated[
    float,
    typer.Option(
        "--settle", min=0, metavar="SECONDS", help="That a file must stay as it is.", rich_help_panel=WATCHING
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Evaluate what is there and end.", rich_help_panel=WATCHING)]
StopOn = Annotated[
    str | None,
    typer.Option("--stop-on", metavar="A,B", help="The metrics that decide: LPIPS and rFID.", rich_help_panel=WATCHING),
]
Patience = Annotated[
    int, typer.Option(min=0, help="Evaluations without a gain that stop it; 0 never.", rich_help_panel=WATCHING)
]
MinDelta = Annotated[
    float | None,
    typer.Option(
        "--min-delta",
        min=0,
        help="Share of the best figure that is a gain; else what the pictures can tell from chance.",
        rich_help_panel=WATCHING,
    ),
]
MaxEvaluations = Annotated[
    int | None, typer.Option("--max-evaluations", min=1, help="End after so many.", rich_help_panel=WATCHING)
]
Timeout = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="End after so long.", rich_help_panel=WATCHING)
]


def images_or_samples(images: str | None) -> str:
    """A command that needs pictures and gets none takes the bundled ones, and says so."""
    if images is None:
        from vaecheck.cli.screen import errors

        errors().print("no IMAGES given: using the bundled samples", highlight=False)
        return "samples"
    return images


def settings(given: Mapping[str, Any]) -> Settings:
    """The Settings of a command, from its own parameters by name; its `context` says which of them were given."""
    from vaecheck.tasks.settings import Settings

    known = {name: value for name, value in given.items() if name in Settings.__dataclass_fields__}
    if "resume" not in known:  # no run to keep in --out: the command is of several, or of none
        known.pop("out", None)
    known = {name: str(value) if isinstance(value, StrEnum) else value for name, value in known.items()}
    if "batch_size" in known:
        known["batch_size"] = batch_size(known["batch_size"])
    if "metrics" in known:
        known["metrics"] = names(known["metrics"])
    if "value_range" in known:
        known["value_range"] = value_range(known["value_range"])
    if "context" in given:
        sources = {name: given["context"].get_parameter_source(name) for name in known}
        known["given"] = frozenset(name for name, source in sources.items() if source and source.name == "COMMANDLINE")
    return Settings(**known)
