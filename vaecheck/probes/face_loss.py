"""Faces that melt: the error in faces against the error that the same model makes at like contrast elsewhere.

Why against elsewhere: a model of few latents loses detail in faces because it loses detail, which `detail_loss` and
`blur` say. A model that spoils faces makes more error there than in grass or cloth of the same contrast. Both sides are
lightness without what is larger than a face's features (a Gaussian of FEATURES px taken off), so that colour,
brightness and a contrast that is lost everywhere do not count. Blocks outside faces are sorted by their fine contrast,
octave by octave, over all pictures searched; of each face, 10 log10(error / error expected), and of all faces the mean
of the worse half: the cascade takes some textures for faces, which do not melt and would hide those that do.

Why these limits: at 3 dB a face has twice the squared error of its surroundings, at 2 dB 1.6 times. Of 36 boxes in 700
photographs and the samples, single ones of healthy models read -2.0 to 1.3 dB (kl-f8-tiny, mean -0.2) and -4.9 to 1.8
dB (taef2, mean -1.3). Errors of less than a grey level are seen by nobody and are not told apart.

With the extra `faces`, a face network tells whether it is still the same face: figures beside this one, as OCR's beside
`text_loss`, which never change the severity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vaecheck.errors import SetupError, VaecheckError
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes import face_likeness, faces
from vaecheck.probes.face_likeness import Likeness
from vaecheck.probes.faces import Box
from vaecheck.probes.protocol import Examined, Limit, Subject, finite, unavailable
from vaecheck.probes.shown import Shown, rgb
from vaecheck.results.types import Line, Panel, Plot

BLOCK = 8
FEATURES = 4.0
FINE = 1.5
"""Sigmas of the Gaussians that are taken off, in pixels: for errors, and for contrast."""
FLOOR = (2 / 255) ** 2
"""The squared error of one grey level, as pixels."""
LEAST_BLOCKS = 30
"""Blocks elsewhere that an octave of contrast must have."""
SEARCHED = 100 * 256 * 256
"""Pixels that are searched for faces, at some 0.1 s for 256 x 256."""
MOST_FACES = 100
SHOWN = 6
CROP = 96
BINS = {256: (0.1, 0.2), 512: (0.05, 0.2), 1024: (0.05, 0.1)}
"""TokBench's limits between small, middle and large faces, as shares of the picture's side, by that side (2025)."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Face:
    """One face and what came back of it.

    share: its side / the picture's shorter side; size: small, middle or large. octaves, errors: of its blocks, the
    contrast as log2 and the mean squared error. found_again: whether the cascade finds it in the reconstruction.
    likeness: by a face network; None where there is none.
    """

    id: str
    share: float
    size: str
    octaves: Values
    errors: Values
    psnr_db: float
    found_again: bool
    original: Shown
    returned: Shown
    likeness: Likeness | None = None


class FaceLoss:
    """The error in the worse half of faces over that at like contrast elsewhere, in dB; 0 where they fare alike."""

    id = "face_loss"
    title = "faces melt"
    remedy = "Train or fine-tune on pictures with faces, or use larger pictures, in which faces have more latents."
    limit = Limit(
        (None, 2.0),
        (None, 3.0),
        "dB",
        "3 dB is twice the squared error that the same model makes elsewhere at like contrast; single faces of healthy "
        "models read -5 to 1.8 dB",
    )
    needs = frozenset({Need.RECONSTRUCTION})

    def __init__(self) -> None:
        self.pictures = self.pixels = 0
        self.faces: list[Face] = []
        self.elsewhere: dict[int, tuple[int, float]] = {}
        self.missing: SetupError | None = None

    def update(self, batch: Batch) -> None:
        assert batch.pixels is not None
        assert batch.reconstruction_pixels is not None
        assert batch.finite is not None
        for index, image_id in enumerate(batch.ids):
            if self.pixels >= SEARCHED or self.missing or len(self.faces) >= MOST_FACES:
                return
            if bool(batch.finite[index]):
                self._search(
                    image_id,
                    batch.pixels[index].cpu().float(),
                    batch.reconstruction_pixels[index].cpu().float().clamp(-1, 1),
                )

    def examine(self, subject: Subject) -> Examined:
        if self.missing:
            return Examined(unavailable(self, f"{self.missing.message}.", self.missing.hint))
        if not self.faces:
            return Examined(unavailable(self, f"No face was found in the {self.pictures} pictures searched."))
        expected = self._expected()
        if expected is None:
            why = f"The {self.pictures} pictures searched show too little beside faces to compare them with."
            return Examined(unavailable(self, why))
        excess = [_excess_db(face, *expected) for face in self.faces]
        worse = sorted(excess, reverse=True)[: (len(excess) + 1) // 2]
        value = float(np.mean(worse))
        figures = self._figures(subject) | {"worst_db": max(excess)}
        finding = self.limit.finding(self, value, self._evidence(value, max(excess), len(worse)), figures=figures)
        return Examined(finding, (self._plot(*expected),), (_panel(self.faces, excess),))

    def _search(self, image_id: str, original: Tensor, returned: Tensor) -> None:
        """Find the picture's faces, and put its blocks with them or with what is elsewhere."""
        before, after = (rgb(pixels[None])[0] for pixels in (original, returned))
        try:
            boxes = faces.find(before)
        except SetupError as error:
            self.missing = error
            return
        self.pictures += 1
        self.pixels += min(before.shape[0] * before.shape[1], faces.LONGEST**2)
        if min(before.shape[:2]) < 2 * BLOCK:
            return
        octaves, errors = blocks(original, returned)
        outside = np.ones(octaves.shape, bool)
        again = faces.candidates(after) if boxes else []
        for box in boxes:
            inside = _covered(box, octaves.shape)
            outside &= ~inside
            cut = slice(box.top, box.top + box.side), slice(box.left, box.left + box.side)
            shorter = min(before.shape[:2])
            self.faces.append(
                Face(
                    id=image_id,
                    share=box.side / shorter,
                    size=_size(box.side / shorter, shorter),
                    octaves=octaves[inside],
                    errors=errors[inside],
                    psnr_db=_psnr_db(before[cut], after[cut]),
                    found_again=any(box.overlap(other) > faces.SAME for other in again),
                    original=_crop(before[cut]),
                    returned=_crop(after[cut]),
                    likeness=_likeness(before, after, box),
                )
            )
        for octave in np.unique(np.round(octaves[outside])).astype(int):
            chosen = outside & (np.round(octaves) == octave)
            count, total = self.elsewhere.get(int(octave), (0, 0.0))
            self.elsewhere[int(octave)] = count + int(chosen.sum()), total + float(errors[chosen].sum())

    def _expected(self) -> tuple[Values, Values] | None:
        """The octaves of contrast that are seen often enough elsewhere, and their mean squared error."""
        seen = {octave: total / count for octave, (count, total) in self.elsewhere.items() if count >= LEAST_BLOCKS}
        if not seen:
            return None
        octaves = sorted(seen)
        return np.array(octaves, float), np.array([seen[octave] for octave in octaves])

    def _evidence(self, value: float, worst: float, worse: int) -> str:
        again = sum(face.found_again for face in self.faces)
        count = len(self.faces)
        found = "face was" if count == 1 else "faces were"
        whose = "there" if worse == count else f"in the worse {worse} of them"
        told = [face.likeness for face in self.faces if face.likeness]
        same = sum(one.is_same for one in told)
        known = f" To a face network {same} of {len(told)} are still the same face." if told else ""
        return (
            f"{count} {found} found in {self.pictures} pictures: the squared error {whose} is {10 ** (value / 10):.2g} "
            f"times what this model makes elsewhere at like contrast ({value:+.1f} dB; the worst {worst:+.1f} dB), and "
            f"{again} of {count} are still found after the round trip.{known}"
        )

    def _figures(self, subject: Subject) -> dict[str, float | None]:
        found: dict[str, float | None] = {
            "faces": float(len(self.faces)),
            "pictures_searched": float(self.pictures),
            "found_again": sum(face.found_again for face in self.faces) / len(self.faces),
        }
        lpips = _lpips(subject, self.faces)
        for size in ("small", "middle", "large"):
            chosen = [index for index, face in enumerate(self.faces) if face.size == size]
            if chosen:
                found[f"faces_{size}"] = float(len(chosen))
                found[f"psnr_db_{size}"] = finite(float(np.mean([self.faces[index].psnr_db for index in chosen])))
                if lpips is not None:
                    found[f"lpips_alex_{size}"] = finite(float(np.mean([lpips[index] for index in chosen])))
                likeness = [self.faces[index].likeness for index in chosen]
                if told := [one for one in likeness if one]:
                    found[f"f_sim_dlib_{size}"] = finite(float(np.mean([one.cosine for one in told])))
                    found[f"same_face_dlib_{size}"] = sum(one.is_same for one in told) / len(told)
        return found

    def _plot(self, octaves: Values, expected: Values) -> Plot:
        own = np.concatenate([face.octaves for face in self.faces])
        errors = np.concatenate([face.errors for face in self.faces])
        sharing = [octave for octave in octaves if (np.round(own) == octave).any()]
        in_faces = [errors[np.round(own) == octave].mean() for octave in sharing]
        return Plot(
            name="face_loss",
            about="face_loss",
            kind="lines",
            title="Error in faces and elsewhere",
            x_label="fine contrast of the original (grey levels)",
            y_label="error (grey levels)",
            lines=(
                Line("elsewhere", _levels(2.0**octaves), _levels(expected)),
                Line("faces", _levels(2.0 ** np.array(sharing)), _levels(np.array(in_faces))),
            ),
            log_x=True,
            note="Where the line of faces lies above the other, faces are spoilt more than the rest of the pictures.",
        )


def blocks(original: Tensor, returned: Tensor) -> tuple[Values, Values]:
    """Fine contrast and error of each BLOCK x BLOCK of a picture, in rows.

    Two (channels, H, W) pixels -> log2 of the mean square of the original's lightness less a Gaussian of FINE, and the
    mean square of the difference of both sides' lightness less a Gaussian of FEATURES.
    """
    light, back = (pixels[None, :3].mean(1, keepdim=True) for pixels in (original, returned))
    error = light - back
    energy, missed = (
        F.avg_pool2d((plane - smooth(plane, sigma)) ** 2, BLOCK)[0, 0].double().numpy()
        for plane, sigma in ((light, FINE), (error, FEATURES))
    )
    return np.log2(np.maximum(energy, FLOOR / 64)), missed


def smooth(planes: Tensor, sigma: float) -> Tensor:
    """(n, 1, H, W) through a Gaussian cut off at 3 sigma; beyond the border the nearest value stands."""
    reach = math.ceil(3 * sigma)
    line = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    line = line / line.sum()
    padded = F.pad(planes, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line[None, None, None]), line[None, None, :, None])


def _excess_db(face: Face, octaves: Values, expected: Values) -> float:
    there = np.interp(face.octaves, octaves, expected).mean()
    return float(10 * np.log10((face.errors.mean() + FLOOR) / (there + FLOOR)))


def _covered(box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The blocks that a box touches."""
    inside = np.zeros(shape, bool)
    rows, columns = (slice(start // BLOCK, -(-(start + box.side) // BLOCK)) for start in (box.top, box.left))
    inside[rows, columns] = True
    return inside


def _size(share: float, side: int) -> str:
    """By the bins of the nearest side that TokBench has."""
    small, large = BINS[min(BINS, key=lambda known: abs(math.log(known / side)))]
    return "small" if share < small else "middle" if share < large else "large"


def _psnr_db(before: Shown, after: Shown) -> float:
    mse = float(((before.astype(float) - after.astype(float)) ** 2).mean())
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def _crop(image: Shown) -> Shown:
    return np.asarray(Image.fromarray(image).resize((CROP, CROP), Image.Resampling.BICUBIC))


def _likeness(before: Shown, after: Shown, box: Box) -> Likeness | None:
    try:
        return face_likeness.network().likeness(before, after, box)
    except SetupError:
        return None


def _lpips(subject: Subject, found: Sequence[Face]) -> list[float] | None:
    """LPIPS of the faces at CROP x CROP, one by one; None where the published weights are not here: a figure beside
    the finding is not worth a download."""
    options = replace(subject.catalogue.options, offline=True)
    try:
        network = replace(subject.catalogue, options=options).lpips("alex")
    except VaecheckError:
        return None
    if not network.published:
        return None
    original, returned = (
        torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        for crops in ([face.original for face in found], [face.returned for face in found])
    )
    return [float(one) for one in network.distance(original, returned)]


def _levels(squares: Values) -> tuple[float, ...]:
    """Mean squares of pixels as root mean squares in grey levels."""
    return tuple(float(one) for one in np.sqrt(squares / FLOOR))


def _panel(found: Sequence[Face], excess: Sequence[float]) -> Panel:
    worst = sorted(range(len(found)), key=lambda index: -excess[index])[:SHOWN]
    rows = [
        (label, np.concatenate([getattr(found[index], side) for index in worst], 1))
        for label, side in (("original", "original"), ("reconstruction", "returned"))
    ]
    told = ", ".join(f"{excess[index]:+.1f} dB" for index in worst)
    return Panel(
        name="face_loss",
        about="face_loss",
        title="Faces, worst first",
        images=tuple(rows),
        note=f"From left to right, their error over that of like contrast elsewhere: {told}.",
    )
