"""Writes every reconstruction as a PNG, under its original's relative path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from PIL import Image

from vaecheck.errors import InputError
from vaecheck.metrics.protocol import Batch, Need


class SaveReconstructions:
    """`a/b.jpg` becomes FOLDER/a/b.png; where that name is taken (b.jpg beside b.webp), FOLDER/a/b.webp.png."""

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self, folder: Path, *, apart_from: str = "") -> None:
        """apart_from: IMAGES; a folder inside them is refused, for it would replace originals or be read as such."""
        originals = Path(apart_from).expanduser()
        if apart_from and originals.is_dir() and folder.resolve().is_relative_to(originals.resolve()):
            raise InputError(
                f"--save-reconstructions {folder} lies in {originals}, the folder of the originals",
                hint="Give a folder outside it: reconstructions there would be taken for originals.",
            )
        self.folder = folder
        self._taken: set[str] = set()

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        for image_id, image in zip(batch.ids, batch.reconstruction.cpu(), strict=True):
            path = self.folder / self._name(image_id)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(path)
            except OSError as error:
                raise InputError(
                    f"the reconstruction of {image_id} cannot be written to {path}: {error}",
                    hint="Give --save-reconstructions a folder with room that can be written to.",
                ) from error

    def _name(self, image_id: str) -> str:
        """A relative path that stays inside the folder, whatever the id says."""
        relative = PurePosixPath(*(part for part in PurePosixPath(image_id).parts if part not in ("/", "..")))
        plain = str(relative.with_suffix(".png"))
        name = plain if plain not in self._taken else f"{relative}.png"
        self._taken.add(name)
        return name
