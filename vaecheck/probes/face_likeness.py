"""Is it still the same face? Embeddings of a face network before and after, where the extra `faces` is installed.

Why by dlib's network: its weights come in a package. TokBench's F-Sim (2025) is the cosine of embeddings of
insightface's antelopev2, whose weights do not; this is the same figure of another network, so it has a name of its own
and is set beside no published one. Its cosines lie close together (different faces, and noise, have 0.82 to 0.87), so
dlib's own rule is told too: embeddings nearer than 0.6 are of one person.

Why both sides are aligned by the original's landmarks: a face that melted may have none, and TokBench does so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaecheck.errors import SetupError
from vaecheck.probes.faces import Box
from vaecheck.probes.shown import Shown

INSTALL = "Run: pip install 'vaecheck[faces]'"
LANDMARKS, NETWORK = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
SAME_PERSON = 0.6
"""Euclidean distance of two embeddings below which dlib takes them for one person (dlib, face_recognition_ex)."""

Embedding = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """Of one face before and after. cosine: of both embeddings. distance: Euclidean, between them."""

    cosine: float
    distance: float

    @property
    def is_same(self) -> bool:
        return self.distance < SAME_PERSON


class FaceNetwork:
    """dlib's ResNet of 29 layers on faces aligned by 5 landmarks: 128 numbers a face."""

    def __init__(self, landmarks: Any, network: Any, rectangle: Any) -> None:
        self._landmarks, self._network, self._rectangle = landmarks, network, rectangle

    def likeness(self, original: Shown, returned: Shown, box: Box) -> Likeness:
        """8-bit RGB (H, W, 3) twice, and where the original's face is."""
        place = self._rectangle(box.left, box.top, box.left + box.side, box.top + box.side)
        landmarks = self._landmarks(np.ascontiguousarray(original), place)
        before, after = (
            np.array(self._network.compute_face_descriptor(np.ascontiguousarray(image), landmarks))
            for image in (original, returned)
        )
        return Likeness(cosine(before, after), float(np.linalg.norm(before - after)))


def cosine(a: Embedding, b: Embedding) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@cache
def network() -> FaceNetwork:
    """Raises SetupError where a package or a file of it is absent. Nothing is downloaded."""
    models = util.find_spec("face_recognition_models")  # it is not imported: it wants setuptools, and holds files alone
    if util.find_spec("dlib") is None or models is None or not models.submodule_search_locations:
        raise SetupError("dlib and face_recognition_models are not installed", hint=INSTALL)
    folder = Path(models.submodule_search_locations[0]) / "models"
    if absent := [name for name in (LANDMARKS, NETWORK) if not (folder / name).is_file()]:
        raise SetupError(f"face_recognition_models has no {' and no '.join(absent)}", hint=INSTALL)
    import dlib

    return FaceNetwork(
        dlib.shape_predictor(str(folder / LANDMARKS)),
        dlib.face_recognition_model_v1(str(folder / NETWORK)),
        dlib.rectangle,
    )
