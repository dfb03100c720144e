"""float16 and bfloat16: what they cost this VAE, where they overflow, and which type to use.

Why grey levels between two reconstructions and not the dB lost: the same picture comes back twice from the same
weights, so every difference is the type's. The dB lost hides it behind the VAE's own error (rounding that moves pixels
by 4 grey levels costs a VAE of 26 dB only 0.4 dB) and exaggerates it where there is hardly any (flat pictures of 50 dB
lose 2 dB by what nobody sees); it is told beside it. A picture that comes back with NaN or infinity counts as 255.

Why these limits. 2 grey levels RMS is a PSNR of 42 dB between the two: about where noise on flat ground begins to be
seen. 5 levels are 34 dB: more than a good VAE of 16 channels loses altogether. On photographs, drawings, grey and flat
pictures kl-f8-tiny measures at most 0.04 in float16 and 0.4 in bfloat16, and taef2 0.13 and 1.1.
A quarter of 65504: other pictures than these few go higher. Over 112 photographs kl-f8-tiny's largest activation is
anywhere from 5,900 to 13,700, and taef2's at most 35.

Why the middle of pictures, card_side wide, one at a time: rounding does not know a picture's size, and time does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import Levels, to_image
from vaecheck.probes.emulation import Operation, Pass, dtype_name, run, weights_in
from vaecheck.probes.protocol import Examined, Limit, ModelRefused, Subject, finite, unavailable
from vaecheck.results.types import Finding, Line, Plot
from vaecheck.vae.adapter import Adapted

PICTURES = 4
STAGES = ("encode", "decode")
ALL_WRONG = 255.0
"""Grey levels RMS of a picture with NaN or infinity."""
LEAST_MSE = 1 / 12
"""Of a PSNR: what rounding to 8 bits leaves."""
FLOAT16_MAX = 65504.0
HEADROOM = Limit(
    (None, FLOAT16_MAX / 4),
    None,
    "largest activation",
    "a quarter of 65504, the largest number of float16: other pictures than these few can go several times higher",
)
_GRAVITY = ("healthy", "warning", "fault")


@dataclass(frozen=True)
class Trip:
    """One picture or card, its passes in float32, and each stage in the other type with the other stage in float32.

    pixels: (1, C, H, W) float32. card: whether it is one. back: by stage, the reconstruction (1, C, H, W) float32.
    """

    pixels: Tensor
    card: bool
    plain: dict[str, Pass]
    low: dict[str, Pass]
    back: dict[str, Tensor]


class _Precision:
    """How far the pictures change, in grey levels RMS, when a stage runs in `dtype` instead of float32; the worse one.

    sqrt(mean((a - b)^2)) over the reconstructions a and b of all pictures, clamped to [0, 255], not rounded; of a white
    and a black card where that is more.
    """

    id: str
    dtype: torch.dtype
    title: str
    limit = Limit(
        (None, 2.0),
        (None, 5.0),
        "grey levels RMS",
        "between the reconstructions of the same picture in both types 2 levels (42 dB) begin to be seen on flat "
        "ground, and 5 (34 dB) are more than a good VAE loses altogether",
    )
    remedy: str
    needs: frozenset[Need] = frozenset()

    def update(self, batch: Batch) -> None:
        """Nothing: a few pictures are enough."""

    def examine(self, subject: Subject) -> Examined:
        vae = subject.vae if subject.vae.card.dtype == "float32" else subject.reload(torch.float32)
        adapted, emulated = vae._adapted, subject.device.type == "cpu"
        shown = list(_shown(subject))
        try:
            trips = _trips(adapted, shown, self.dtype, emulate=emulated)
        except ModelRefused:
            if emulated:
                raise
            emulated = True
            trips = _trips(adapted, shown, self.dtype, emulate=True)
        if not trips:
            why = "Already in float32 every picture comes back with NaN or infinity, so there is nothing to compare."
            return Examined(unavailable(self, why))
        if not any(one.narrow or one.same for trip in trips for one in trip.low.values()):
            why = f"No operation ran in {self.name}: this model casts by itself, or computes outside torch."
            return Examined(unavailable(self, why))
        return Examined(self._finding(trips, adapted, emulated), (self._plot(trips),))

    @property
    def name(self) -> str:
        return dtype_name(self.dtype)

    def _finding(self, trips: Sequence[Trip], adapted: Adapted, emulated: bool) -> Finding:
        levels = {stage: _levels(trips, stage) for stage in STAGES}
        lost = {stage: _db_lost(trips, stage) for stage in STAGES}
        peaks = {stage: _largest(trips, stage) for stage in STAGES}
        worst = max(levels.values())
        bad = [stage for stage in STAGES if self._is_bad(levels[stage], peaks[stage].peak)]
        figures: dict[str, float | None] = {"emulated": float(emulated)}
        for stage in STAGES:
            figures |= {
                f"{stage}_levels_rms": levels[stage],
                f"{stage}_psnr_db_between": 20 * math.log10(255 / levels[stage]) if levels[stage] else None,
                f"{stage}_db_lost": lost[stage],
                f"{stage}_largest_activation": finite(peaks[stage].peak),
            }
        told = (
            f"{self.name} changes these pictures by {worst:.2f} grey levels RMS (encode {levels['encode']:.2f}, "
            f"decode {levels['decode']:.2f}; {max(lost.values()):.2f} dB lost against the originals)."
        )
        evidence = " ".join(
            part for part in (told, self._where(trips, peaks, bad), _how(trips, adapted, self.name, emulated)) if part
        )
        found = self.limit.finding(self, worst, evidence, remedy=self._advice(bad), figures=figures)
        if self.dtype == torch.float16:
            top = max(one.peak for one in peaks.values())
            room = HEADROOM.finding(self, top, evidence, remedy=self._advice(bad), figures=figures)
            if room.severity != "healthy":
                found = max(found, room, key=lambda one: (_GRAVITY.index(one.severity), one.past_limit))
        return found if found.severity != "healthy" else replace(found, evidence=f"{evidence} {self.name} will do.")

    def _is_bad(self, levels: float, peak: float) -> bool:
        narrow = self.dtype == torch.float16 and HEADROOM.severity(peak) != "healthy"
        return narrow or self.limit.severity(levels) != "healthy"

    def _where(self, trips: Sequence[Trip], peaks: dict[str, Operation], bad: Sequence[str]) -> str:
        """Where it overflows first; else the largest activation, or what is rounded most."""
        for stage in STAGES:
            for trip in trips:
                if first := _first_overflow(trip.plain[stage], trip.low[stage]):
                    return (
                        f"{stage} overflows first in {first.block}, where float32 reaches {first.peak:.3g} and "
                        f"{self.name} ends at {torch.finfo(self.dtype).max:.5g}."
                    )
        if self.dtype == torch.float16 and (top := max(peaks.values(), key=lambda one: one.peak)).peak > 0:
            return f"The largest activation is {top.peak:.4g}, in {top.block}; float16 ends at 65504."
        coarse = [_most_rounded(trips, stage) for stage in bad]
        if coarse and (worst := max(coarse, key=lambda one: one.offset)).offset > 0:
            share = _step(self.dtype) * worst.offset
            return f"Most is lost in {worst.block}, where rounding is {share:.0%} of what varies in the values."
        return ""

    def _advice(self, bad: Sequence[str]) -> str:
        safe = [stage for stage in STAGES if stage not in bad]
        only = f"; {safe[0]} alone may stay in {self.name}" if len(safe) == 1 else ""
        return f"{self.remedy}{only}."

    def _plot(self, trips: Sequence[Trip]) -> Plot:
        float16 = self.dtype == torch.float16
        lines = []
        for stage in STAGES:
            by_block = _by_block(trips, stage)
            heights = [
                one.peak if float16 else _step(self.dtype) * one.offset for one in by_block if math.isfinite(one.peak)
            ]
            drawn = [(float(place), height) for place, height in enumerate(heights, 1) if height > 0]
            lines.append(Line(stage, tuple(x for x, _ in drawn), tuple(y for _, y in drawn)))
        longest = max([2.0, *chain.from_iterable(line.x for line in lines)])
        limit = (FLOAT16_MAX, "65504, where float16 ends") if float16 else (1.0, "all of what varies")
        lines.append(Line(limit[1], (1.0, longest), (limit[0], limit[0])))
        return Plot(
            name=self.id,
            about=self.id,
            kind="lines",
            title="Largest activation of each block" if float16 else f"Rounding to {self.name} in each block",
            x_label="block, in the order in which they run",
            y_label="largest |value| in float32" if float16 else "rounding / what varies in a channel",
            lines=tuple(line for line in lines if line.x),
            log_y=True,
            note=self._note(trips),
        )

    def _note(self, trips: Sequence[Trip]) -> str:
        float16 = self.dtype == torch.float16
        top = _largest if float16 else _most_rounded
        named = " and ".join(f"of {stage} {block}" for stage in STAGES if (block := top(trips, stage).block))
        loss = "overflows to infinity, and the picture turns black" if float16 else "loses what it should carry"
        return f"Highest is {named}; a block {'above' if float16 else 'near'} the line {loss}."


class PrecisionFloat16(_Precision):
    """precision_float16: 11 bits of mantissa, and no number above 65504."""

    id = "precision_float16"
    title = "float16"
    dtype = torch.float16
    remedy = "Run the VAE in bfloat16 or float32"


class PrecisionBFloat16(_Precision):
    """precision_bfloat16: the range of float32, and 8 bits of mantissa."""

    id = "precision_bfloat16"
    title = "bfloat16"
    dtype = torch.bfloat16
    remedy = "Run the VAE in float32, or in float16 where precision_float16 is healthy"


def _shown(subject: Subject) -> Iterable[tuple[Tensor, bool]]:
    """The middles of a few pictures, then a white and a black card: (1, C, H, W), and whether it is a card."""
    side = subject.card_side
    pictures = subject.stacked()[:PICTURES]
    height, width = pictures.shape[-2:]
    rows, columns = min(height, side), min(width, side)
    top, left = (height - rows) // 2, (width - columns) // 2
    for picture in pictures[..., top : top + rows, left : left + columns]:
        yield picture[None].contiguous(), False
    for level in (1.0, -1.0):
        yield torch.full((1, subject.image_channels, side, side), level, device=subject.device), True


def _trips(adapted: Adapted, shown: Sequence[tuple[Tensor, bool]], low: torch.dtype, *, emulate: bool) -> list[Trip]:
    """Why what float32 cannot do either is left out: it is another probe's."""
    plain = []
    for pixels, card in shown:
        encoded = run(adapted, "encode", pixels, torch.float32, emulate=False)
        decoded = run(adapted, "decode", encoded.output, torch.float32, emulate=False)
        if encoded.output.isfinite().all() and decoded.output.isfinite().all():
            plain.append((pixels, card, {"encode": encoded, "decode": decoded}))
    with weights_in(adapted.module, low):
        lows = [
            {
                "encode": run(adapted, "encode", pixels, low, emulate=emulate),
                "decode": run(adapted, "decode", passes["encode"].output, low, emulate=emulate),
            }
            for pixels, _, passes in plain
        ]
    trips = []
    for (pixels, card, passes), lower in zip(plain, lows, strict=True):
        back = {"encode": _decoded(adapted, lower["encode"].output, pixels), "decode": lower["decode"].output}
        trips.append(Trip(pixels, card, passes, lower, back))
    return trips


def _decoded(adapted: Adapted, latents: Tensor, like: Tensor) -> Tensor:
    if not latents.isfinite().all():
        return torch.full_like(like, math.nan)
    return run(adapted, "decode", latents, torch.float32, emulate=False).output


def _levels(trips: Sequence[Trip], stage: str) -> float:
    """RMS over all pictures, or of the worst card where that is more."""
    squares = [(_mse(trip.back[stage], trip.plain["decode"].output), trip.card) for trip in trips]
    pictures = [square for square, card in squares if not card]
    return math.sqrt(max(sum(pictures) / max(len(pictures), 1), *(square for square, card in squares if card), 0.0))


def _mse(a: Tensor, b: Tensor) -> float:
    """Of values in [0, 255], clamped."""
    if not (a.isfinite().all() and b.isfinite().all()):
        return ALL_WRONG**2
    return float((to_image(a, Levels.CLAMP) - to_image(b, Levels.CLAMP)).double().square().mean())


def _psnr(mse: float) -> float:
    return 10 * math.log10(255**2 / max(mse, LEAST_MSE))


def _db_lost(trips: Sequence[Trip], stage: str) -> float:
    """Mean over the pictures, of the cards where there is no picture."""
    counted = [trip for trip in trips if not trip.card] or trips
    lost = [
        _psnr(_mse(trip.pixels, trip.plain["decode"].output)) - _psnr(_mse(trip.pixels, trip.back[stage]))
        for trip in counted
    ]
    return sum(lost) / len(lost)


def _largest(trips: Sequence[Trip], stage: str) -> Operation:
    return max(_by_block(trips, stage), key=lambda one: one.peak, default=Operation("", 0.0, 0.0))


def _most_rounded(trips: Sequence[Trip], stage: str) -> Operation:
    return max(_by_block(trips, stage), key=lambda one: one.offset, default=Operation("", 0.0, 0.0))


def _by_block(trips: Sequence[Trip], stage: str) -> list[Operation]:
    """Each block's largest finite peak over all that was shown, and its largest offset in the least flat picture.

    Infinity in float32 is meant (a mask), and left out.
    """
    blocks: dict[str, Operation] = {}
    for trip in trips:
        offsets: dict[str, float] = {}
        for one in trip.plain[stage].operations:
            offsets[one.block] = max(offsets.get(one.block, 0.0), one.offset)
            before = blocks.get(one.block, Operation(one.block, 0.0, math.inf))
            peak = max(before.peak, one.peak) if math.isfinite(one.peak) else before.peak
            blocks[one.block] = replace(before, peak=peak)
        for block, offset in offsets.items():
            blocks[block] = replace(blocks[block], offset=min(blocks[block].offset, offset or math.inf))
    return [replace(one, offset=one.offset if math.isfinite(one.offset) else 0.0) for one in blocks.values()]


def _first_overflow(plain: Pass, low: Pass) -> Operation | None:
    """The first operation that is finite in float32 and not in the other type, as it is in float32."""
    alike = len(plain.operations) == len(low.operations)
    for place, one in enumerate(low.operations):
        if math.isinf(one.peak):
            wide = (
                plain.operations[place] if alike else next((o for o in plain.operations if o.block == one.block), one)
            )
            if math.isfinite(wide.peak):
                return wide
    return None


def _step(dtype: torch.dtype) -> float:
    """RMS of rounding, relative to the value, at most: a step of eps, uniform."""
    return float(torch.finfo(dtype).eps) / math.sqrt(12)


def _how(trips: Sequence[Trip], adapted: Adapted, name: str, emulated: bool) -> str:
    told = [f"Emulated: {name} weights and activations, sums in float32." if emulated else "Run on the device itself."]
    if adapted.module is None:
        told.append("It holds no torch module, so --dtype does not apply to it: its operations were rounded.")
    elif any(one.mixed for trip in trips for one in trip.low.values()):
        told.append(f"It mixes float32 into its operations; as it is, torch will refuse to run it in {name}.")
    return " ".join(told)
