"""Tiling: how much the tone changes from tile to tile, against the same pictures whole.

Two figures, each RMS over squares of 16 pixels of what tiling changes there, in grey levels, each channel's mean over
the picture taken off (a change that is the same everywhere makes no seam):
- of each of the user's pictures, averaged over them. A model whose cells see the whole input (the statistics of
  GroupNorm, attention) gives each tile the tone of its own content.
- of grey cards, averaged over dark ones and over light ones before the squares, the larger: whatever the content was,
  this stays. A dark border, an embedding of positions, padding that reaches far.

Why squares: single pixels change wherever there is texture, and nobody sees that; steps of tone show.
Why tiles of 128 pixels (8 latents at least) in a window of one and a half: small on purpose. People take 512; what
tiling costs is largest in small tiles and cheapest to measure. The scheme is that of `--tiling`, and of diffusers.
Why these limits: steps between tiles are about twice the RMS. On pictures 4 and 6, for steps of 8 and 12 levels:
GroupNorm alone gives taef2 1.9 on photographs (2.5 at most over four) and kl-f8-tiny 1.2; on drawings 2.0 and 2.7, on
flat pictures 1.3 and 2.4. On cards 1.5 and 5, for steps of 3 on grey ground, where they are seen best: kl-f8-tiny
measures 0.9 and taef2 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.metrics.edges import seam_error_ratio
from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import Levels, to_image, to_pixels
from vaecheck.probes.protocol import Examined, Limit, Subject, unavailable
from vaecheck.probes.shown import rgb
from vaecheck.results.types import Panel
from vaecheck.vae.protocol import VAE, Posterior, joined
from vaecheck.vae.tiling import Tiled

PICTURES = 4
TILE, TILE_LATENTS = 128, 8
SQUARE = 16
DARK, LIGHT = (-0.6, -0.3), (0.3, 0.6)
"""Of grey cards, as pixels: far enough from black and white that nothing is clamped."""
AMPLIFIED = 8
ALL_WRONG = 255.0
"""Grey levels of a picture that is NaN in tiles alone."""
ON_CARDS = Limit(
    (None, 1.5),
    (None, 5.0),
    "grey levels RMS",
    "on grey cards, where content plays no part: steps between tiles are about twice as high, and 3 levels are seen "
    "on plain ground; healthy models measure 1.1 at most",
)
_GRAVITY = ("healthy", "warning", "fault")


@dataclass(frozen=True)
class Pair:
    """One picture or card, and its reconstructions whole and in tiles: (1, C, H, W) in [0, 255], not rounded."""

    original: Tensor
    whole: Tensor
    tiled: Tensor

    @property
    def change(self) -> Tensor:
        return self.tiled - self.whole


class TilingSeams:
    """How much tone changes from tile to tile, in grey levels RMS: on the user's pictures, and on grey cards."""

    id = "tiling_seams"
    title = "Seams of tiles"
    limit = Limit(
        (None, 4.0),
        (None, 6.0),
        "grey levels RMS",
        "in tiles of 128 pixels, small on purpose: steps between tiles are about twice as high, 8 and 12 levels; "
        "healthy models measure up to 2.7",
    )
    remedy = ""
    needs: frozenset[Need] = frozenset()

    def update(self, batch: Batch) -> None:
        """Nothing: a few pictures are enough."""

    def examine(self, subject: Subject) -> Examined:
        fixed, f = subject.vae.fixed_size, subject.vae.card.f
        if fixed is not None:
            why = f"This VAE takes pictures of {fixed}x{fixed} pixels alone, so it cannot be tiled."
            return Examined(unavailable(self, why))
        tiled = Tiled(subject.vae, tile_side(f))
        window = tiled.side * 3 // 2
        pictures = _pairs(subject, tiled, [middle(one[None], window) for one in subject.stacked()[:PICTURES]])
        cards = [_pairs(subject, tiled, _greys(levels, window, subject)) for levels in (DARK, LIGHT)]
        if not pictures or not all(cards):
            return Examined(unavailable(self, "Whole pictures come back with NaN or infinity already."))
        of_pictures = [tone_rms(pair.change) for pair in pictures]
        on_pictures = sum(of_pictures) / len(of_pictures)
        on_cards = max(tone_rms(torch.stack([pair.change for pair in group]).mean(0)) for group in cards)
        psnr, seams = _beside(pictures, tiled)
        evidence = (
            f"In tiles of {tiled.side} pixels the tone of these pictures changes by {on_pictures:.1f} grey levels RMS "
            f"against the whole, and that of grey cards by {on_cards:.1f}; tiled against whole is {_decibel(psnr)}."
        )
        found = max(
            (
                limit.finding(
                    self,
                    value,
                    evidence,
                    remedy=_remedy(tiled.side, where),
                    figures={
                        "on_pictures_levels_rms": on_pictures,
                        "on_cards_levels_rms": on_cards,
                        "tiled_against_whole_psnr_db": psnr,
                        "seam_error_ratio": seams,
                        "tile": float(tiled.side),
                    },
                )
                for limit, value, where in (
                    (self.limit, on_pictures, "content"),
                    (ON_CARDS, on_cards, "place"),
                )
            ),
            key=lambda one: (_GRAVITY.index(one.severity), one.past_limit),
        )
        at_fault = found.severity != "healthy" and found.limit_source == ON_CARDS.source
        worst = max([*cards[0], *cards[1]] if at_fault else pictures, key=lambda pair: tone_rms(pair.change))
        return Examined(found, panels=(_panel(worst, tiled.side),))


def tile_side(f: int) -> int:
    """The smallest multiple of 4 latents of at least TILE pixels and TILE_LATENTS latents."""
    return -(-max(TILE, TILE_LATENTS * f) // (4 * f)) * 4 * f


def middle(pixels: Tensor, side: int) -> Tensor:
    """(1, C, H, W) -> (1, C, side, side): the middle; what is smaller is mirrored, again and again."""
    for dim in (-2, -1):
        length = pixels.shape[dim]
        start = max(length - side, 0) // 2
        places = torch.arange(start, start + side, device=pixels.device) % (2 * length)
        pixels = pixels.index_select(dim, torch.minimum(places, 2 * length - 1 - places))
    return pixels.contiguous()


def _greys(levels: Sequence[float], side: int, subject: Subject) -> list[Tensor]:
    shape = (1, subject.image_channels, side, side)
    return [torch.full(shape, level, device=subject.device) for level in levels]


def _pairs(subject: Subject, tiled: Tiled, shown: Sequence[Tensor]) -> list[Pair]:
    """Why what is not finite whole is left out: it is another probe's."""
    pairs = []
    for pixels in shown:
        whole = subject.round_trip(pixels)
        if whole.isfinite().all():
            back = (_in_tiles(subject, tiled, pixels), whole)
            tiles, plain = (to_image(one, Levels.CLAMP) for one in back)
            pairs.append(Pair(to_image(pixels, Levels.CLAMP), plain, tiles))
    return pairs


@torch.inference_mode()
def _in_tiles(subject: Subject, tiled: VAE, pixels: Tensor) -> Tensor:
    def trip() -> Tensor:
        posterior = Posterior.joined(subject.room.through("encode", tiled, tiled.encode, pixels))
        return joined(subject.room.through("decode", tiled, tiled.decode, posterior.mode()))

    return subject.guarded(trip)


def tone_rms(change: Tensor) -> float:
    """RMS over squares of what changed, each channel's mean taken off; ALL_WRONG where it is not finite.

    (1, C, H, W) in grey levels. What white noise of the change's own strength would leave in the mean of a square
    (its variance within squares over their pixels) is taken off too: noise is another probe's.
    """
    if not change.isfinite().all():
        return ALL_WRONG
    squares = F.avg_pool2d(change.double(), SQUARE)
    tones = (squares - squares.mean((-2, -1), keepdim=True)).square().mean()
    within = F.avg_pool2d(change.double().square(), SQUARE).mean() - squares.square().mean()
    return math.sqrt(max(float(tones - within / SQUARE**2), 0.0))


def _beside(pairs: Sequence[Pair], tiled: Tiled) -> tuple[float | None, float | None]:
    """Mean PSNR between tiled and whole, and the mean seam_error_ratio; None where they are not finite."""
    height, width = pairs[0].whole.shape[-2:]
    seams = tiled.seams(height, width)
    assert seams is not None
    mask = seams.mask(height, width)
    psnr = [float(psnr_db(pair.whole, pair.tiled)) for pair in pairs]
    ratios = [float(seam_error_ratio(pair.original, pair.tiled, pair.whole, mask)) for pair in pairs]
    return _mean_of_finite(psnr), _mean_of_finite(ratios)


def _mean_of_finite(values: Sequence[float]) -> float | None:
    kept = [value for value in values if math.isfinite(value)]
    return sum(kept) / len(kept) if kept else None


def _decibel(psnr: float | None) -> str:
    return "the same to the last bit" if psnr is None else f"{psnr:.1f} dB"


def _remedy(side: int, where: str) -> str:
    why = {
        "content": "each tile takes its tone from its own content",
        "place": "the model depends on the place in its input",
    }[where]
    larger = max(512, 2 * side)
    return (
        f"Do not run this VAE in tiles of {side} pixels ({why}): run pictures whole, or look at larger tiles with "
        f"`reconstruct --tiling {larger} --size {2 * larger}`."
    )


def _panel(pair: Pair, side: int) -> Panel:
    images = {
        "tiled": to_pixels(pair.tiled),
        "whole": to_pixels(pair.whole),
        f"difference x {AMPLIFIED}": AMPLIFIED * (to_pixels(pair.tiled) - to_pixels(pair.whole)),
    }
    return Panel(
        name=TilingSeams.id,
        about=TilingSeams.id,
        title=f"In tiles of {side} pixels, and whole",
        images=tuple((label, rgb(pixels)[0]) for label, pixels in images.items()),
        note="Mid grey on the right is no change; areas of another tone are tiles that do not match.",
    )
