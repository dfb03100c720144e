"""What a probe is: it watches the walk of the pictures, then gives one Finding with a figure and a limit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from vaecheck.errors import VaecheckError
from vaecheck.images.synthetic import Card
from vaecheck.metrics.catalogue import Catalogue
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.results.types import Finding, Panel, Plot, Severity
from vaecheck.vae.adapter import LoadedVAE, one_line
from vaecheck.vae.protocol import Posterior, joined
from vaecheck.vae.room import Room, is_out_of_memory

KEPT = 8
"""Pictures that are kept for passes of their own."""
CARD_SIDE = 128
CARD_LATENTS = 8
"""A card's side: at least CARD_SIDE pixels and CARD_LATENTS latents."""

Output = TypeVar("Output")


class ModelRefused(VaecheckError):
    """The model under diagnosis raised an error on what a probe gave it; the probe's finding is `unavailable`."""


@dataclass(frozen=True)
class Limit:
    """Where a figure stops to be healthy.

    warning, fault: (low, high); a side that cannot be crossed is None, and so is a limit that there is not.
    unit: of the figure. source: where the limits come from, in one or two sentences.
    """

    warning: tuple[float | None, float | None] | None
    fault: tuple[float | None, float | None] | None
    unit: str
    source: str

    def severity(self, value: float) -> Severity:
        for severity, band in (("fault", self.fault), ("warning", self.warning)):
            if band is not None and _past(value, band)[0] > 0:
                return severity  # type: ignore[return-value]
        return "healthy"

    def finding(
        self,
        probe: Probe,
        value: float,
        evidence: str,
        *,
        remedy: str | None = None,
        most: Severity = "fault",
        figures: Mapping[str, float | None] | None = None,
    ) -> Finding:
        """The figure judged; unavailable for NaN. remedy: where it is not the probe's own. most: the gravest."""
        if math.isnan(value):
            return unavailable(probe, f"The figure is no number. {evidence}")
        severity = self.severity(value)
        if severity == "fault" and most == "warning":
            severity = "warning"
        band = self.fault if severity == "fault" else self.warning or self.fault
        past, limit = _past(value, band) if band else (0.0, None)
        return Finding(
            id=probe.id,
            severity=severity,
            value=float(value),
            limit=limit,
            unit=self.unit,
            evidence=evidence,
            remedy="" if severity == "healthy" else probe.remedy if remedy is None else remedy,
            limit_source=self.source,
            past_limit=past,
            figures=figures or {},
        )


def unavailable(probe: Probe, why: str, remedy: str = "") -> Finding:
    """The finding of a probe that cannot measure here. why: a sentence."""
    return Finding(probe.id, "unavailable", None, None, probe.limit.unit, why, remedy, probe.limit.source)


FARTHEST = 1e6


def _past(value: float, band: tuple[float | None, float | None]) -> tuple[float, float]:
    """How far a figure is past the side of the band that it is nearest to or has crossed, and that side."""
    sides = [
        (_beyond(value, limit, upward), limit)
        for limit, upward in zip(band, (False, True), strict=True)
        if limit is not None
    ]
    return max(sides)


def _beyond(value: float, limit: float, upward: bool) -> float:
    """value / limit - 1 going up and limit / value - 1 going down; against a limit that is not positive, the distance.

    Why zero is farthest below a positive limit: a figure that falls towards it grows past the limit without end.
    """
    if limit > 0 and (value > 0 or upward):
        past = value / limit - 1 if upward else limit / value - 1
    elif limit > 0:
        past = FARTHEST
    else:
        past = (value - limit if upward else limit - value) / (abs(limit) or 1.0)
    return min(max(past, -FARTHEST), FARTHEST)


@dataclass(frozen=True)
class Examined:
    """What a probe gives: its finding, and what shows it."""

    finding: Finding
    plots: tuple[Plot, ...] = ()
    panels: tuple[Panel, ...] = ()


class Probe(Protocol):
    """A measurement made for one fault.

    id: the contract's. title: the fault in a few words. limit: its limits. remedy: one sentence.
    needs: the fields of Batch that `update` reads. `update` is called with every batch of the user's pictures, once;
    `examine` after the last, once. A probe of cards alone needs nothing and ignores the batches.
    """

    id: str
    title: str
    limit: Limit
    remedy: str
    needs: frozenset[Need]

    def update(self, batch: Batch) -> None: ...

    def examine(self, subject: Subject) -> Examined: ...


@dataclass(frozen=True)
class Picture:
    """One kept picture. pixels: (image channels, H, W) float32 in [-1, 1], on the CPU."""

    id: str
    pixels: Tensor


class Keeper:
    """Keeps KEPT pictures of all that walk by: those whose ids have the smallest hashes, whatever their order."""

    needs: frozenset[Need] = frozenset()

    def __init__(self, seed: int, count: int = KEPT) -> None:
        self.seed = seed
        self.count = count
        self._kept: dict[str, tuple[bytes, Tensor]] = {}

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        for image_id, pixels in zip(batch.ids, batch.pixels, strict=True):
            digest = hashlib.sha256(f"{self.seed}\0{image_id}".encode("utf-8", "surrogateescape")).digest()
            last = max((kept for kept, _ in self._kept.values()), default=b"")
            if len(self._kept) < self.count or digest < last:
                self._kept[image_id] = digest, pixels.cpu().clone()
            if len(self._kept) > self.count:
                del self._kept[max(self._kept, key=lambda each: self._kept[each][0])]

    def pictures(self) -> tuple[Picture, ...]:
        """By id."""
        return tuple(Picture(image_id, pixels) for image_id, (_, pixels) in sorted(self._kept.items()))


@dataclass
class Subject:
    """The VAE under diagnosis, whole and in the run's dtype, and a few of the user's pictures.

    pictures: at most KEPT, of any sizes that the VAE takes or that padding makes it take.
    catalogue: of the metrics, for LPIPS (its weights may be missing: SetupError). count: pictures that walked by.
    reload: the same VAE loaded afresh in another dtype, for what casting would spoil.
    """

    vae: LoadedVAE
    device: torch.device
    pictures: tuple[Picture, ...]
    catalogue: Catalogue
    reload: Callable[[torch.dtype], LoadedVAE]
    count: int
    posterior: str = "mode"
    seed: int = 0
    room: Room = field(default_factory=Room)
    _seen: dict[str, Tensor] = field(default_factory=dict)

    @property
    def card_side(self) -> int:
        """Of synthetic cards, in pixels."""
        f = self.vae.card.f
        return self.vae.fixed_size or -(-max(CARD_SIDE, CARD_LATENTS * f) // f) * f

    @property
    def image_channels(self) -> int:
        return self.vae.card.image_channels

    def stacked(self) -> Tensor:
        """The kept pictures of the commonest size, cropped to multiples of f: (n, channels, H, W), on the device."""
        f = self.vae.card.f
        cropped = [
            one.pixels[..., : one.pixels.shape[-2] // f * f, : one.pixels.shape[-1] // f * f] for one in self.pictures
        ]
        shapes = [tuple(one.shape) for one in cropped if one.numel()]
        if not shapes:
            raise ModelRefused(f"no picture has sides of at least {f} pixels", hint="Give larger pictures.")
        commonest = max(sorted(set(shapes)), key=shapes.count)
        return torch.stack([one for one in cropped if tuple(one.shape) == commonest]).to(self.device)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Posterior:
        """In batches that fit. Raises ModelRefused where the model raises."""
        parts = self.guarded(lambda: self.room.through("encode", self.vae, self.vae.encode, pixels.to(self.device)))
        return Posterior.joined(parts)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """In batches that fit. Raises ModelRefused where the model raises."""
        return joined(
            self.guarded(lambda: self.room.through("decode", self.vae, self.vae.decode, latents.to(self.device)))
        )

    def decode_gradients(self, latents: Tensor, directions: Sequence[Tensor]) -> list[Tensor] | None:
        """LoadedVAE.decode_gradients; None where the decoder cannot be differentiated, or does not fit into memory."""
        try:
            found = self.vae.decode_gradients(latents.to(self.device), directions)
        except Exception:  # whatever the model raises: a probe then works without gradients
            return None
        return found if all(bool(one.isfinite().all()) for one in found) else None

    def round_trip(self, pixels: Tensor) -> Tensor:
        """What comes back by way of the posterior means, float32, not clamped, on the device."""
        return self.decode(self.encode(pixels).mode())

    def back(self, card: Card) -> Tensor:
        """What comes back of a card, on the CPU; every probe that shows the same card shares the pass."""
        key = f"{card.name} {tuple(card.pixels.shape)}"
        if key not in self._seen:
            self._seen[key] = self.round_trip(card.pixels).cpu()
        return self._seen[key]

    def guarded(self, run: Callable[[], Output]) -> Output:
        try:
            return run()
        except VaecheckError as error:
            raise ModelRefused(error.message, hint=error.hint) from error
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelRefused(f"the model raised {type(error).__name__}: {one_line(error)}") from error


def info(finding: Finding, cause: str) -> Finding:
    """The finding as what follows from another fault."""
    return replace(finding, severity="info", follows_from=cause)


def unmeasured(finding: Finding, cause: str) -> Finding:
    """A healthy finding where a fault leaves nothing to measure."""
    return replace(
        finding,
        severity="unavailable",
        value=None,
        limit=None,
        past_limit=0.0,
        evidence=f"There is nothing to measure it on: see {cause}.",
        follows_from=cause,
    )


def finite(value: float) -> float | None:
    """For `figures`: None in place of NaN and infinity."""
    return float(value) if math.isfinite(value) else None
