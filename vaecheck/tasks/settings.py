"""The options that every command over pictures shares, by the names of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaecheck import protocols
from vaecheck.errors import InputError
from vaecheck.images.policy import MAX_PIXELS
from vaecheck.images.preprocess import OWN_SIZE
from vaecheck.protocols import Protocol

DECIDE = (
    *("size", "fit", "limit", "sample", "posterior", "seed", "bad_images", "icc", "background", "value_range"),
    *("lpips_net", "protocol"),
)
"""The settings that decide the figures."""

KEPT_RUN = "resume"
"""The folder in --out in which a run is kept until it has its result; one in it for each command."""


@dataclass(frozen=True)
class Settings:
    """What the user asked for, by the names of the command line.

    value_range: (black, white) of .npy and 16-bit pictures. protocol: a public evaluation's settings, by name.
    tiling: side of the tiles in pixels, None for whole pictures. slicing: one picture at a time through the VAE.
    channels_last: None where it is known to be faster.
    out: the folder of the result, in which a run is kept on its way, every `save_every` seconds; resume: go on with it.
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
    channels_last: bool | None = None
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
    resume: bool = False
    save_every: float = 60.0
    given: frozenset[str] | None = None

    def gives(self, name: str) -> bool:
        """Whether an option was asked for, as far as that can be known."""
        default = type(self).__dataclass_fields__[name].default
        return name in self.given if self.given is not None else getattr(self, name) != default

    def document(self) -> dict[str, Any]:
        """The settings that decide the figures, for the result document."""
        return {name: getattr(self, name) for name in DECIDE}


@dataclass(frozen=True)
class Listener:
    """How a task tells the person at the terminal what it is doing; every call is optional.

    figures: of a training, at a step of so many.
    """

    start: Callable[[str, int | None], None] = lambda title, total: None
    advance: Callable[[int], None] = lambda images: None
    warn: Callable[[str], None] = lambda text: None
    tell: Callable[[str], None] = lambda text: None
    figures: Callable[[int, int, Mapping[str, float]], None] = lambda step, steps, means: None
    download: Callable[[str, int, int | None], None] | None = None


def under_protocol(settings: Settings) -> tuple[Settings, Protocol | None]:
    """The settings with what their protocol fixes, and the protocol. Raises InputError for one that says otherwise."""
    if settings.protocol is None:
        return settings, None
    protocol = protocols.find(settings.protocol)
    sizes: tuple[int, ...] = (settings.size,) if protocol.any_size else protocol.sizes
    nets: tuple[str, ...] = protocol.lpips.nets if protocol.lpips else (settings.lpips_net,)
    fixed = {
        "size": sizes,
        "fit": (protocol.fit,),
        "posterior": (protocol.posterior,),
        "lpips_net": nets,
        "icc": ("ignore",),
    }
    for name, values in fixed.items():
        if settings.gives(name) and getattr(settings, name) not in values:
            theirs = " or ".join(map(str, values)) or "each picture's own"
            theirs = protocols.FITS[protocol.fit] if name == "fit" else theirs
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option} {getattr(settings, name)} contradicts --protocol {protocol.name}, which has {theirs}",
                hint=f"Leave out {option}, or --protocol.",
            )
    size = settings.size if settings.gives("size") or not protocol.sizes else protocol.sizes[0]
    net = settings.lpips_net if settings.lpips_net in nets else nets[0]
    return replace(settings, size=size, fit=protocol.fit, posterior=protocol.posterior, lpips_net=net), protocol


def ignored_options(settings: Settings) -> tuple[str, ...]:
    """A warning for what was given and has no effect beside the other settings."""
    if settings.fit in OWN_SIZE and settings.gives("size"):
        return (f"--size {settings.size} was not used: --fit {settings.fit} leaves each picture its own size",)
    return ()


def protocol_warnings(protocol: Protocol | None) -> tuple[str, ...]:
    """What a run under the protocol does otherwise than its source."""
    if protocol is None:
        return ()
    return tuple(f"protocol {protocol.name}, not reproduced: {what}" for what in protocol.not_reproduced)
