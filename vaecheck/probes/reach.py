"""How far one latent cell reaches: from the decoder's far pixels back to every cell, and from far pixels to every cell.

Far is a quarter of the picture's side or more. Regions of pixels (a quarter at each edge, and the middle) are such that
every cell is far from at least one.

Why gradients backward: for random signs s on a region's pixels, E[(dz (s . D(z)))^2] is the sum of the squared
derivatives of those pixels (Hutchinson 1990), for all cells at once, so that no cell is left out; the worst are then
changed for good. Why a group test too: a leak through a threshold has no derivative. All cells of one half of the
picture are turned by 180 degrees there, which leaves their statistics, and so the decoder's normalisation, as they
were; what the opposite quarter then does is traced to its cell by halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vaecheck.pixels import Levels, to_image
from vaecheck.probes.protocol import Subject

FEWEST = 8
"""Latents a side of which a quarter is still more than a convolution's reach."""
TRACED = 3.0
"""Grey levels by which a group must move the far quarter to be traced to one cell; healthy ones move it by 0.1 to 2."""

NOISE_MARGIN = 1.1
STEP = 2.0
"""Standard deviations by which one cell is changed."""

Cell = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """A rectangle of latent cells, [top, bottom) x [left, right), and the pixels under it."""

    top: int
    bottom: int
    left: int
    right: int

    def pixels(self, like: Tensor, f: int) -> Tensor:
        """1 at its pixels, 0 elsewhere, of the shape of `like`: (B, channels, H, W)."""
        mask = torch.zeros_like(like)
        mask[..., self.top * f : self.bottom * f, self.left * f : self.right * f] = 1.0
        return mask

    def distances(self, height: int, width: int) -> Tensor:
        """Of every cell from it, in cells, the larger of both directions; 0 inside: (h, w)."""
        rows, columns = torch.arange(height), torch.arange(width)
        down = torch.maximum(self.top - rows, rows - self.bottom + 1).clamp(min=0)
        across = torch.maximum(self.left - columns, columns - self.right + 1).clamp(min=0)
        return torch.maximum(down[:, None], across[None])


def edges(height: int, width: int) -> tuple[Region, ...]:
    """A quarter of the cells at the top and at the bottom."""
    quarter = height // 4
    return Region(0, quarter, 0, width), Region(height - quarter, height, 0, width)


def regions(height: int, width: int) -> tuple[Region, ...]:
    """A quarter at each of the four edges, and the middle half of both sides."""
    row, column = height // 4, width // 4
    return (
        *edges(height, width),
        Region(0, height, 0, column),
        Region(0, height, width - column, width),
        Region(row, height - row, column, width - column),
    )


def far_from(distances: Tensor) -> Tensor:
    """bool (h, w): the cells that are a quarter of the shorter side away or more."""
    return distances >= max(min(distances.shape) // 4, 2)


def backward_reach(subject: Subject, latents: Tensor, shown: Tensor, stds: Tensor) -> Tensor | None:
    """Change of a far pixel, root mean square in grey levels, for one std of a cell's channels: (h, w) float64.

    latents: (1, C, h, w). shown: what they decode to. stds: (C,) of the channels. To first order; None where the
    decoder cannot be differentiated.
    """
    height, width = latents.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    signs = (torch.randint(0, 2, shown.shape, generator=generator) * 2.0 - 1.0).to(shown)
    parts = regions(height, width)
    masks = [part.pixels(shown, subject.vae.card.f) for part in parts]
    gradients = subject.decode_gradients(latents, [signs * mask for mask in masks])
    if gradients is None:
        return None
    energy, pixels = torch.zeros(2, height, width, dtype=torch.float64)
    for part, mask, gradient in zip(parts, masks, gradients, strict=True):
        far = far_from(part.distances(height, width))
        squares = (gradient[0].double().cpu() * stds[:, None, None]).square().sum(0)
        energy += torch.where(far, squares, 0.0)
        pixels += far * float(mask.sum())
    root: Tensor = (energy / pixels.clamp(min=1.0)).sqrt()
    return root * float(_grey_levels(torch.ones(1)) - _grey_levels(torch.zeros(1)))


def forward_reach(subject: Subject, latents: Tensor, cells: list[Cell], stds: Tensor) -> list[float]:
    """Change of the far pixels, root mean square in grey levels, when each cell alone is changed.

    A cell goes two stds towards and past the picture's mean, in each channel: to values that are common, and by as
    much in a cell whose own value is not. What a decoder that draws noise makes of the same latents twice, in the same
    batch, is taken off.
    """
    (height, width), f = latents.shape[-2:], subject.vae.card.f
    mean = latents.mean((2, 3))[0]
    changed = latents.expand(len(cells), -1, -1, -1).clone()
    for one, (row, column) in zip(changed, cells, strict=True):
        one[:, row, column] -= STEP * torch.where(one[:, row, column] > mean, 1.0, -1.0) * stds.to(mean)
    unchanged, again, *moved = _grey_levels(subject.decode(torch.cat([latents, latents, changed])))
    found = []
    for decoded, (row, column) in zip(moved, cells, strict=True):
        far = far_from(Region(row, row + 1, column, column + 1).distances(height, width))
        by_itself = _root_mean_square(again - unchanged, far, f)
        found.append(_above(_root_mean_square(decoded - unchanged, far, f), by_itself))
    return found


def grouped_reach(subject: Subject, latents: Tensor, shown: Tensor) -> Cell | None:
    """The cell to which a change of the far quarter was traced, where all cells of the opposite half were changed."""
    found = max(_groups(subject, latents, shown), key=lambda group: group.moves(group.cells))
    return _traced(found) if found.moves(found.cells) > TRACED else None


@dataclass(frozen=True)
class _Group:
    """The cells of one half, bool (h, w), and what the far quarter does when some of them are changed."""

    cells: Tensor
    moves: Callable[[Tensor], float]


def _groups(subject: Subject, latents: Tensor, shown: Tensor) -> list[_Group]:
    height, width = latents.shape[-2:]
    top, bottom = (edge.distances(height, width) == 0 for edge in edges(height, width))
    upper = torch.arange(height) < height // 2
    lower = torch.arange(height) >= height - height // 2
    by_itself = (_grey_levels(subject.decode(latents)) - _grey_levels(shown))[0]
    groups = []
    for rows, quarter in ((upper, bottom), (lower, top)):
        for turn in ((2, 3), (3,)):
            other = latents.clone()
            other[:, :, rows] = latents[:, :, rows].flip(turn)

            @cache
            def moves(cells: Tensor, other: Tensor = other, quarter: Tensor = quarter) -> float:
                mixed = torch.where(cells.to(latents.device), other, latents)
                difference = _grey_levels(subject.decode(mixed)) - _grey_levels(shown)
                f = subject.vae.card.f
                return _above(_root_mean_square(difference[0], quarter, f), _root_mean_square(by_itself, quarter, f))

            groups.append(_Group(rows[:, None].expand(height, width), moves))
    return groups


def encoder_reach(subject: Subject, pixels: Tensor, mean: Tensor, stds: Tensor) -> Tensor:
    """The largest change of any channel of a cell, in its stds, when only far pixels change: (h, w) float64.

    pixels: (1, channels, H, W), whose posterior mean is `mean`. A quarter of the picture is made black, or white, at
    the top or at the bottom; of the cells that are far from it, the largest difference between any two of the three.
    """
    height, width = mean.shape[-2:]
    parts = edges(height, width)
    blank = torch.cat(
        [
            torch.where(part.pixels(pixels, subject.vae.card.f) > 0, torch.full_like(pixels, level), pixels)
            for part in parts
            for level in (-1.0, 1.0)
        ]
    )
    means = subject.encode(blank).mean.double().cpu()
    whole = mean.double().cpu()
    reach = torch.zeros(height, width, dtype=torch.float64)
    for place, part in enumerate(parts):
        three = torch.cat([means[2 * place : 2 * place + 2], whole])
        change = (three.amax(0) - three.amin(0)) / stds[:, None, None]
        reach = torch.maximum(reach, torch.where(far_from(part.distances(height, width)), change.amax(0), 0.0))
    return reach


def _traced(group: _Group) -> Cell:
    """The one cell that moves most when the group is halved and halved again."""
    left = group.cells.nonzero()
    while len(left) > 1:
        parts = left[: len(left) // 2], left[len(left) // 2 :]
        masks = [torch.zeros_like(group.cells, dtype=torch.bool) for _ in parts]
        for mask, part in zip(masks, parts, strict=True):
            mask[part[:, 0], part[:, 1]] = True
        left = parts[0] if group.moves(masks[0]) >= group.moves(masks[1]) else parts[1]
    return int(left[0, 0]), int(left[0, 1])


def _grey_levels(pixels: Tensor) -> Tensor:
    return to_image(pixels, Levels.CLAMP).double().cpu()


def _above(moved: float, by_itself: float) -> float:
    """What is left of a change beside what comes by itself, which is independent; the margin is for its estimate."""
    return math.sqrt(max(moved**2 - NOISE_MARGIN * by_itself**2, 0.0))


def _root_mean_square(difference: Tensor, cells: Tensor, f: int) -> float:
    """Of the pixels (channels, H, W) under the cells, bool (h, w)."""
    under = cells.repeat_interleave(f, 0).repeat_interleave(f, 1)
    return float(difference[:, under].square().mean().sqrt())
