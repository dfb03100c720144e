"""Writes every reconstruction as a PNG, under its original's relative path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from vaecheck.errors import InputError
from vaecheck.metrics.protocol import Batch, Need


class SaveReconstructions:
    """`a/b.jpg` becomes FOLDER/a/b.png; where that name is taken (b.jpg beside b.webp), FOLDER/a/b.webp.png."""

    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self, folder: Path, originals: Iterable[Path] = ()) -> None:
        """originals: the files and folders that pictures are read from. A folder that holds one of them, or lies in
        one, is refused: reconstructions would replace originals, or be taken for them."""
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

    def update(self, batch: Batch) -> None:
        assert batch.reconstruction is not None
        for image_id, image in zip(batch.ids, batch.reconstruction.cpu(), strict=True):
            path = self.folder / self._name(image_id)
            part = path.with_name(f".{path.name}.part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(part, format="PNG")
                part.replace(path)
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
