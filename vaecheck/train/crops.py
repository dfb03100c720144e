"""Pictures in memory, or read when they are wanted -> batches of random crops, by (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.pixels import to_pixels
from vaecheck.train.loop import generator


class Pictures(Protocol):
    """uint8 (3, H, W), by number; the same number is the same picture."""

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Stage:
    """`steps` optimiser steps on `batch_size` random crops of `crop` x `crop` pixels, over all processes."""

    crop: int
    batch_size: int
    steps: int


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def crops(pictures: Pictures, stage: Stage, seed: int, step: int, share: slice) -> Tensor:
    """This process's share of random pictures, windows and mirror images -> pixels (b, 3, crop, crop).

    Raises InputError for a picture that is smaller than the crop.
    """
    draws = torch.rand(stage.batch_size, 4, generator=generator(seed, step, stream=0), dtype=torch.float64)
    found = []
    for which, down, right, mirror in draws[share].tolist():
        picture = pictures[int(which * len(pictures))]
        height, width = picture.shape[1:]
        if min(height, width) < stage.crop:
            raise InputError(f"a picture of {width}x{height} is smaller than the crop of {stage.crop}", hint=LARGER)
        top, left = int(down * (height - stage.crop + 1)), int(right * (width - stage.crop + 1))
        crop = picture[:, top : top + stage.crop, left : left + stage.crop]
        found.append(crop.flip(2) if mirror < 0.5 else crop)
    return to_pixels(torch.stack(found)).contiguous(memory_format=torch.channels_last)


LARGER = "Give a larger picture_side, or smaller crops."
