"""Large pictures through any VAE in overlapping tiles, so that memory is bounded by the tile.

Why this scheme and no better one: it is that of diffusers' `enable_tiling` (tiles from the top left corner at steps
of three quarters, a linear ramp over the overlap, first down, then across), so that what is measured is what people
run. Its flaws are kept: where four tiles meet the ramp is not symmetric, and a last tile may be as narrow as one
latent. Checked against AutoencoderKL.enable_tiling() with tiles of a multiple of 4 latents, 1e-5; with other tiles
diffusers cuts pieces off the picture, and this does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.protocol import Posterior

OVERLAP = 4
"""One part in four of a tile's side is shared with the next tile."""
LEAST_LATENTS = 4
"""A tile of fewer latents a side would have no overlap."""

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Grid:
    """How a plane is cut: tiles of `side`, one every `step`, `overlap` = side - step of it shared."""

    side: int
    overlap: int

    @property
    def step(self) -> int:
        return self.side - self.overlap

    def cuts(self, height: int, width: int) -> bool:
        """Whether a plane of this size is tiled at all: one that fits into a tile goes whole."""
        return height > self.side or width > self.side

    def scaled(self, factor: int) -> Grid:
        return Grid(self.side * factor, self.overlap * factor)

    def bands(self, length: int) -> tuple[tuple[int, int], ...]:
        """[start, end) of every stretch of a side where one tile fades into the next."""
        return tuple((start, min(start + self.overlap, length)) for start in range(self.step, length, self.step))


@dataclass(frozen=True)
class Seams:
    """Rows and columns of pixels, as [start, end), where tiles were blended."""

    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]

    def mask(self, height: int, width: int) -> Tensor:
        """bool (H, W): True where at least two tiles made the pixel."""
        mask = torch.zeros(height, width, dtype=torch.bool)
        for start, end in self.rows:
            mask[start:end] = True
        for start, end in self.columns:
            mask[:, start:end] = True
        return mask


class Tiled:
    """A VAE of the protocol around another: pictures that are larger than a tile in tiles, others whole.

    encode blends posterior means and log-variances over latents, decode pixels, both in float32. Codes of a
    quantised model are not blended: each is that of the nearer tile, while `mean` is blended and so may decode from
    another entry at a seam.
    """

    def __init__(self, vae: LoadedVAE, side: int) -> None:
        """side: of a tile, in pixels.

        Raises InputError where it is no multiple of f, or of fewer than 4 latents, or where the VAE takes one size only
        (the last tiles of a picture are narrower than the others).
        """
        f, fixed = vae.card.f, vae.fixed_size
        if fixed is not None:
            raise InputError(
                f"{vae.card.ref} takes pictures of {fixed}x{fixed} pixels alone: they cannot be cut into tiles",
                hint=f"Leave --tiling out, and use --size {fixed}.",
            )
        if side % f or side < LEAST_LATENTS * f:
            raise InputError(
                f"--tiling {side} does not suit {vae.card.ref}: a tile has multiples of {f} pixels a side, "
                f"{LEAST_LATENTS * f} at least",
                hint=f"Try {' or '.join(f'--tiling {near}' for near in _nearest(side, f))}.",
            )
        self.whole = vae
        self.card = vae.card
        self.side = side
        self.latents = Grid(side // f, side // f // OVERLAP)
        self.pixels = self.latents.scaled(f)

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.whole.warnings

    def seams(self, height: int, width: int) -> Seams | None:
        """Where the tiles of a picture of this size are blended; None where it goes whole."""
        if not self.pixels.cuts(height, width):
            return None
        return Seams(self.pixels.bands(height), self.pixels.bands(width))

    def encode(self, pixels: Tensor) -> Posterior:
        """(B, image_channels, H, W) in [-1, 1] -> posterior over raw latents (B, C, H/f, W/f), float32."""
        if not self.pixels.cuts(*pixels.shape[-2:]):
            return self.whole.encode(pixels)

        def encode(tile: Tensor) -> Tensors:
            found = self.whole.encode(tile)
            return tuple(part for part in (found.mean, found.log_var, found.codes) if part is not None)

        height, width = (side // self.card.f for side in pixels.shape[-2:])
        parts = iter(_blended(pixels, encode, self.pixels, self.latents, height, width))
        mean = next(parts)
        rest = list(parts)
        log_var = next((part for part in rest if part.is_floating_point()), None)
        codes = next((part for part in rest if not part.is_floating_point()), None)
        return Posterior(mean, log_var, codes)

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) -> pixels (B, image_channels, h*f, w*f), float32, not clamped."""
        if not self.latents.cuts(*latents.shape[-2:]):
            return self.whole.decode(latents)
        height, width = (side * self.card.f for side in latents.shape[-2:])
        return _blended(latents, lambda tile: (self.whole.decode(tile),), self.latents, self.pixels, height, width)[0]


def _blended(
    source: Tensor, model: Callable[[Tensor], Tensors], cut: Grid, into: Grid, height: int, width: int
) -> Tensors:
    """model(tile) for every tile of `source` as `cut` has it, each output blended to (..., height, width) as `into`.

    Held at a time: one tile's outputs, the overlaps of the row of tiles above, and what is returned.
    """
    whole: Tensors = ()
    above: dict[int, Tensors] = {}
    for row, top in enumerate(range(0, source.shape[-2], cut.step)):
        left: Tensors = ()
        for column, start in enumerate(range(0, source.shape[-1], cut.step)):
            parts = model(source[..., top : top + cut.side, start : start + cut.side])
            if not whole:
                whole = tuple(part.new_empty((*part.shape[:-2], height, width)) for part in parts)
            parts = tuple(part.clone() for part in parts)  # they may be the model's own
            for part, before in zip(parts, above.get(column, ()), strict=False):
                _fade(before, part, -2)
            for part, before in zip(parts, left, strict=False):
                _fade(before, part, -1)
            above[column] = tuple(part[..., -into.overlap :, :].clone() for part in parts)
            left = tuple(part[..., -into.overlap :].clone() for part in parts)
            for plane, part in zip(whole, parts, strict=True):
                y, x = row * into.step, column * into.step
                kept = part[..., : into.step, : into.step]
                plane[..., y : y + kept.shape[-2], x : x + kept.shape[-1]] = kept
    return whole


def _fade(before: Tensor, after: Tensor, dim: int) -> None:
    """Fade from the end of `before` into the beginning of `after`, in place: weights 0, 1/n ... (n - 1)/n.

    Whole numbers are not mixed: the first half is that of `before`.
    """
    n = min(before.shape[dim], after.shape[dim])
    old, new = before.narrow(dim, before.shape[dim] - n, n), after.narrow(dim, 0, n)
    shape = [1] * after.dim()
    shape[dim] = n
    weight = (torch.arange(n, device=after.device) / n).view(shape)
    if after.is_floating_point():
        new.copy_(old * (1 - weight) + new * weight)
    else:
        new.copy_(torch.where(weight < 0.5, old, new))


def _nearest(side: int, f: int) -> Iterator[int]:
    """The multiples of f below and above, as far as a tile may be that small."""
    least = LEAST_LATENTS * f
    below = side // f * f
    if below >= least and below != side:
        yield below
    yield max(least, below + f)
