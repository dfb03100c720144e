"""Words read by OCR, before and after a round trip, where the extra `text` is installed; nothing is ever downloaded.

Why the models are given by path: RapidOCR fetches a model that it does not find. Its wheel carries one detector and one
recogniser, and those are named here, so that it has nothing to fetch.

Why only words that OCR reads in the original count: what it misreads there says nothing of the VAE. They are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.images.text_cards import TextCard
from vaecheck.probes.protocol import Picture
from vaecheck.probes.shown import Shown, rgb

INSTALL = "Run: pip install 'vaecheck[text]'"
SURE = 0.9
"""Confidence with which a word of a picture must be read in the original."""
WORDS = 4
"""Words of each size that are read of a card: each takes some 0.03 s, twice."""
PADDING = 3
"""Pixels around a word, of the paper that it stands on."""


@dataclass(frozen=True)
class Word:
    """One word: what it is, and what is read of it after the round trip. px: its size on a card, 0 in a picture."""

    text: str
    read: str
    px: int = 0

    @property
    def whole(self) -> bool:
        return self.text == self.read

    @property
    def ned(self) -> float:
        return normalised_edit_similarity(self.text, self.read)


class Reader:
    """RapidOCR's detector and recogniser, with the models of its wheel."""

    def __init__(self, engine: Callable[..., Any]) -> None:
        self._engine = engine

    def read(self, crop: Shown) -> tuple[str, float]:
        """The text of a crop of one word or line, and the confidence; "" where nothing is read."""
        out = self._engine(_bgr(crop), use_det=False, use_cls=False, use_rec=True)
        return (str(out.txts[0]), float(out.scores[0])) if out.txts else ("", 0.0)

    def find(self, image: Shown) -> list[tuple[int, int, int, int]]:
        """Where words or lines stand in a picture: (left, top, right, bottom), as found."""
        out = self._engine(_bgr(image), use_det=True, use_cls=False, use_rec=False)
        boxes = [] if out.boxes is None else [np.asarray(box) for box in out.boxes]
        height, width = image.shape[:2]
        found = []
        for box in boxes:
            (left, top), (right, bottom) = np.floor(box.min(0)).astype(int), np.ceil(box.max(0)).astype(int)
            found.append((max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)))
        return [(left, top, right, bottom) for left, top, right, bottom in found if right > left and bottom > top]


@cache
def reader() -> Reader:
    """Raises SetupError where the package or its models are absent."""
    if util.find_spec("rapidocr") is None or util.find_spec("onnxruntime") is None:
        raise SetupError("rapidocr is not installed", hint=INSTALL)
    import rapidocr

    folder = Path(str(rapidocr.__file__)).parent / "models"
    models = {part: sorted(folder.glob(f"*_{part}_*.onnx")) for part in ("det", "rec")}
    if not all(models.values()):
        raise SetupError(f"rapidocr's wheel has no models in {folder}", hint="Install another version of rapidocr.")
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "Det.model_path": str(models["det"][0]),
            "Rec.model_path": str(models["rec"][0]),
            **threads,
        }
    )
    return Reader(engine)


def on_card(read_by: Reader, card: TextCard, back: Tensor) -> tuple[tuple[Word, ...], int]:
    """Some words of each size as they came back, and how many more OCR misread in the card itself.

    back: (n, image channels, H, W), what came back of the card's pixels.
    """
    original, returned = rgb(card.card.pixels), rgb(back)
    words: list[Word] = []
    misread = 0
    for px, face in card.typefaces.items():
        places = [(line, start, word) for line in card.lines if line.px == px for start, word in line.words()]
        for line, start, word in places[:: -(-len(places) // WORDS)]:
            left, right = (line.left + index * face.width for index in (start, start + len(word)))
            box = (
                max(left - PADDING, 0),
                max(line.top - PADDING, 0),
                right + PADDING,
                line.top + face.height + PADDING,
            )
            if read_by.read(_cut(original[line.picture], box))[0] != word:
                misread += 1
            else:
                words.append(Word(word, read_by.read(_cut(returned[line.picture], box))[0], px))
    return tuple(words), misread


def in_pictures(
    read_by: Reader, pictures: Sequence[Picture], round_trip: Callable[[Tensor], Tensor]
) -> tuple[Word, ...]:
    """The words and lines that OCR is sure of in the originals; a picture without one is not sent through the VAE."""
    words: list[Word] = []
    for picture in pictures:
        original = rgb(picture.pixels[None])[0]
        sure = [
            (box, text)
            for box in read_by.find(original)
            for text, confidence in [read_by.read(_cut(original, box))]
            if text and confidence >= SURE
        ]
        if sure:
            returned = rgb(round_trip(picture.pixels[None]))[0]
            words += [Word(text, read_by.read(_cut(returned, box))[0]) for box, text in sure]
    return tuple(words)


def accuracy(words: Sequence[Word]) -> float:
    """T-ACC: the share of words that are read whole, upper and lower case told apart (TokBench, 2025)."""
    return sum(word.whole for word in words) / len(words)


def ned(words: Sequence[Word]) -> float:
    """T-NED: the mean of 1 - edit distance / length of the longer (TokBench, 2025); 1 is best."""
    return sum(word.ned for word in words) / len(words)


def normalised_edit_similarity(text: str, read: str) -> float:
    """1 - Levenshtein distance / max(len); 1 for two empty texts."""
    longest = max(len(text), len(read))
    return 1 - edit_distance(text, read) / longest if longest else 1.0


def edit_distance(a: str, b: str) -> int:
    """Levenshtein 1966: the least number of letters put in, taken out or replaced that turn one into the other."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (letter != other))
    return row[-1]


def _cut(image: Shown, box: tuple[int, int, int, int]) -> Shown:
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def _bgr(image: Shown) -> Shown:
    return np.ascontiguousarray(image[..., ::-1])
