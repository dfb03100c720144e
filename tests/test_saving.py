"""--save-reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaecheck.errors import InputError
from vaecheck.images.entries import Entry
from vaecheck.images.prepare import Intake, Ready, prepare
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


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_what_was_written_reads_back_as_it_was_measured(tmp_path: Path, channels: int, deep: bool) -> None:
    """uint8 exactly; floats to half a 16-bit level, RGB to half an 8-bit one."""
    generator = torch.Generator().manual_seed(1)
    image = 255 * torch.rand(1, channels, 8, 6, generator=generator)
    image = image if deep else image.round().to(torch.uint8)
    SaveReconstructions(tmp_path).update(Batch(("a/b.tif",), image, reconstruction=image))
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.relative_to(tmp_path).as_posix() == ("a/b.npy" if deep and channels in (2, 4) else "a/b.png")
    read = prepare(Entry("b", str(path)), Intake(size=None, fit="none", multiple=1, channels=channels))
    assert isinstance(read, Ready), read
    level = 0 if not deep else 255 if channels == 3 else 65535
    assert np.abs(read.array - image[0].numpy()).max() <= (255 / level * 0.501 if level else 0)
    assert read.array.dtype == (np.float32 if deep and channels != 3 else np.uint8)


def test_values_beyond_black_and_white_are_cut_off(tmp_path: Path) -> None:
    image = torch.tensor([[[[-5.0, 260.0]]]])
    SaveReconstructions(tmp_path).update(Batch(("a.png",), image, reconstruction=image))
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 65535]]
