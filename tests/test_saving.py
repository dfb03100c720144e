"""--save-reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaecheck.errors import InputError
from vaecheck.metrics.protocol import Batch
from vaecheck.saving import SaveReconstructions


def save(folder: Path, *ids: str) -> torch.Tensor:
    images = torch.randint(0, 256, (len(ids), 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    SaveReconstructions(folder).update(Batch(ids, images, reconstruction=images))
    return images


def test_pngs_hold_the_very_pixels_under_the_relative_paths(tmp_path: Path) -> None:
    images = save(tmp_path, "a/b.jpg", "c.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a/b.png")), images[0].permute(1, 2, 0).numpy())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "c.png")), images[1].permute(1, 2, 0).numpy())


def test_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    save(tmp_path, "b.jpg", "b.webp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "b.webp.png"]


def test_no_id_leads_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    save(inside, "../../evil.png", "/root.png")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "in/evil.png",
        "in/root.png",
    ]


def test_a_folder_among_the_originals_is_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for folder in (photos, photos / "inside", tmp_path):
        with pytest.raises(InputError, match="originals"):
            SaveReconstructions(folder, [photos])
    SaveReconstructions(tmp_path / "beside", [photos, photos / "a.png"])
