"""A protocol's measures, in the parts that PerImage and FeatureDistances are made of: what is compared, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from vaecheck.metrics.protocol import Batch, View, compared
from vaecheck.metrics.public_psnr import public_psnr_db
from vaecheck.metrics.public_ssim import public_ssim
from vaecheck.pixels import Levels, to_image, truncated
from vaecheck.protocols import LEVELS, Level, Protocol
from vaecheck.results.types import Measure


def function(name: str, protocol: Protocol) -> Callable[[Tensor, Tensor], Tensor] | None:
    """(original, reconstruction) -> values of psnr_db or ssim; None for a measure that has a network."""
    if name == "psnr_db":
        return partial(public_psnr_db, variant=protocol.psnr)
    return partial(public_ssim, variant=protocol.ssim) if name == "ssim" else None


def view(name: str, protocol: Protocol) -> View:
    """What of a batch the measure compares; the run itself is at 8 bits, rounded."""
    return VIEWS[protocol.levels(name)]


def described(measure: Measure, protocol: Protocol, compares_pictures: bool = True) -> Measure:
    """The measure with a definition that says the protocol's variant, or that it is not the protocol's.

    compares_pictures: whether it could be; of others nothing is said.
    """
    words = protocol.definition(measure.name)
    if words is None and compares_pictures:
        return replace(measure, definition=f"{measure.definition} (vaecheck's own: not in protocol {protocol.name})")
    if words is None:
        return measure
    if protocol.fid and measure.name == protocol.fid.metric:
        words = f"{measure.definition}; {LEVELS[protocol.fid.levels]}"
    return replace(measure, definition=f"{words} (protocol {protocol.name})")


def _floats(batch: Batch, levels: Levels) -> tuple[Tensor, Tensor]:
    assert batch.pixels is not None
    return to_image(batch.pixels, levels), _reconstruction(batch, levels)


def _truncated(batch: Batch) -> tuple[Tensor, Tensor]:
    return truncated(batch.original), _reconstruction(batch, Levels.TRUNCATE)


def _truncated_reconstruction(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.original, _reconstruction(batch, Levels.TRUNCATE)


def _reconstruction(batch: Batch, levels: Levels) -> Tensor:
    assert batch.reconstruction_pixels is not None
    return to_image(batch.reconstruction_pixels.nan_to_num(), levels)


VIEWS: Mapping[Level, View] = {
    "round": compared,
    "truncate": _truncated,
    "truncate_reconstruction": _truncated_reconstruction,
    "clamp": partial(_floats, levels=Levels.CLAMP),
    "none": partial(_floats, levels=Levels.NONE),
}
