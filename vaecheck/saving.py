"""Writes every reconstruction as a picture, under its original's relative path.

Why some are .npy: Pillow writes PNGs of 16 bits in grey alone, and a reconstruction that was rounded to 8 bits would
not be the one that was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vaecheck.cells import Cell
from vaecheck.errors import InputError
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pixels import to_8_bits

PNG_CHANNELS = (1, 2, 3, 4)


class SaveReconstructions:
    """`a/b.jpg` becomes FOLDER/a/b.png; where several would have that name (b.jpg and b.webp), FOLDER/a/b.jpg.png.

    8-bit grey, grey and alpha, RGB and RGBA: a PNG. Grey of more bits: a PNG of 16, black 0 and white 65535 whatever
    the value range was. What PNG does not hold: a .npy of (H, W, C), uint16 from 0 to 65535, or uint8.
    """

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self, folder: Path, originals: Iterable[Path] = (), ids: Iterable[str] = ()) -> None:
        """originals: the files and folders that pictures are read from. A folder that holds one of them, or lies in
        one, is refused: reconstructions would replace originals, or be taken for them. ids: of all pictures, where
        they are known, so that names do not depend on which comes first."""
        own = folder.resolve()
        for original in originals:
            place = original.expanduser().resolve()
            if place.is_relative_to(own) or own.is_relative_to(place):
                raise InputError(
                    f"--save-reconstructions {folder} is among the originals ({original})",
                    hint="Give a folder apart from them: reconstructions there would replace them.",
                )
        self.folder = folder
        self._taken: set[str] = set()
        plain = Counter(str(PurePosixPath(image_id).with_suffix("")) for image_id in ids)
        self._shared = {name for name, count in plain.items() if count > 1}

    def cells(self) -> Mapping[str, Cell]:
        """None: what it has done is on disk."""
        return {}

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        batch.bring(partial(self._write, batch.ids), batch.reconstruction)

    def _write(self, ids: Sequence[str], images: Tensor) -> None:
        for image_id, image in zip(ids, images, strict=True):
            values = _values(image)
            is_png = values.ndim == 2 or (values.dtype == np.uint8 and len(image) in PNG_CHANNELS)
            path = self.folder / self._name(image_id, ".png" if is_png else ".npy")
            part = path.with_name(f".{path.name}.part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("wb") as file:
                    if is_png:
                        Image.fromarray(values).save(file, format="PNG")
                    else:
                        np.save(file, values, allow_pickle=False)
                part.replace(path)
            except OSError as error:
                raise InputError(
                    f"the reconstruction of {image_id} cannot be written to {path}: {error}",
                    hint="Give --save-reconstructions a folder with room that can be written to.",
                ) from error

    def _name(self, image_id: str, suffix: str) -> str:
        """A relative path that stays inside the folder, whatever the id says."""
        relative = PurePosixPath(*(part for part in PurePosixPath(image_id).parts if part not in ("/", "..")))
        plain = str(relative.with_suffix(suffix))
        is_free = plain not in self._taken and str(PurePosixPath(image_id).with_suffix("")) not in self._shared
        name = plain if is_free else f"{relative}{suffix}"
        self._taken.add(name)
        return name


def _values(image: Tensor) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(C, H, W), uint8 or float [0, 255] -> (H, W, C), or (H, W) of one channel; RGB always in 8 bits."""
    values = image.permute(1, 2, 0).squeeze(2) if len(image) == 1 else image.permute(1, 2, 0)
    if not image.is_floating_point() or len(image) == 3:
        return to_8_bits(values).contiguous().numpy()
    scaled: NDArray[np.float64] = values.double().clamp(0, 255).numpy() * (65535 / 255)
    return np.rint(scaled).astype(np.uint16)
