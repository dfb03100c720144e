"""Random crops: which pictures, where, mirrored or not; in shares that make up one batch."""

from __future__ import annotations

import pytest
import torch

from tests.train.small import Smooth, pictures
from vaecheck.errors import InputError
from vaecheck.train.crops import Stage, crops, stage_at

ALL = slice(0, None)


def positions(count: int, height: int, width: int) -> Smooth:
    """Red is the row, green the column, blue the picture."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return Smooth(torch.stack([rows, columns, torch.full_like(rows, i)]).to(torch.uint8) for i in range(count))


def levels(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels + 1) * 127.5).round().int()


def test_every_picture_window_and_mirror_image_comes_up_alike() -> None:
    found = torch.cat([levels(crops(positions(5, 20, 24), Stage(16, 8, 1), 0, step, ALL)) for step in range(400)])
    which, top = found[:, 2, 0, 0], found[:, 0, 0, 0]
    mirrored = found[:, 1, 0, 0] > found[:, 1, 0, 1]
    left = found[:, 1].amin((1, 2))
    for values, count in ((which, 5), (top, 5), (left, 9), (mirrored.int(), 2)):
        share = torch.bincount(values, minlength=count) / len(values)
        assert len(share) == count
        assert (share - 1 / count).abs().max() < 0.04


def test_a_crop_is_a_window_of_its_picture() -> None:
    for crop in levels(crops(positions(3, 20, 24), Stage(8, 16, 1), 0, 0, ALL)):
        assert (crop[2] == crop[2, 0, 0]).all()
        assert (crop[0].diff(dim=0) == 1).all()
        assert (crop[1].diff(dim=1).abs() == 1).all()
        assert (crop[1].diff(dim=1) == crop[1].diff(dim=1)[0, 0]).all()


def test_pixels_are_from_minus_1_to_1() -> None:
    black_and_white = Smooth([torch.tensor([0, 255], dtype=torch.uint8).expand(3, 8, 2).repeat(1, 1, 4)])
    pixels = crops(black_and_white, Stage(8, 2, 1), 0, 0, ALL)
    assert pixels.dtype == torch.float32
    assert sorted(set(pixels.flatten().tolist())) == [-1.0, 1.0]


def test_shares_make_up_the_whole_batch() -> None:
    stage = Stage(16, 4, 1)
    whole = crops(pictures(), stage, 0, 3, ALL)
    parts = [crops(pictures(), stage, 0, 3, part) for part in (slice(0, 2), slice(2, 4))]
    assert torch.equal(whole, torch.cat(parts))


def test_crops_are_decided_by_seed_and_step() -> None:
    stage = Stage(16, 4, 1)
    first = crops(pictures(), stage, 0, 0, ALL)
    assert torch.equal(first, crops(pictures(), stage, 0, 0, ALL))
    assert not torch.equal(first, crops(pictures(), stage, 0, 1, ALL))
    assert not torch.equal(first, crops(pictures(), stage, 1, 0, ALL))


def test_a_picture_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(InputError, match="a picture of 64x31 is smaller than the crop of 32"):
        crops(positions(1, 31, 64), Stage(32, 1, 1), 0, 0, ALL)
    assert crops(positions(1, 32, 32), Stage(32, 1, 1), 0, 0, ALL).shape == (1, 3, 32, 32)


def test_stages_follow_one_another() -> None:
    stages = (Stage(16, 4, 2), Stage(32, 2, 3))
    assert [stage_at(stages, step).crop for step in range(6)] == [16, 16, 32, 32, 32, 32]
