"""Text whose every letter is known: seeded random words at several sizes, dark on light and light on dark.

Why a monospaced face: each letter then has a cell of its own, of one width, so that what came back of a cell can be
compared with every letter of the alphabet, and no neighbour reaches into it. DejaVu Sans Mono is free and comes with
matplotlib, so that no font of the machine is asked for.

Why not every letter: what differs in little but its size, or in nothing (C and c, O and 0, I and l), is misread by
people and programs in the original too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vaecheck.images.synthetic import Card, as_channels

SIZES = (6, 8, 10, 12, 16, 20, 24, 32, 40)
"""Of letters, in pixels of their em square; a capital is 0.73 of it high."""
ALPHABET = "abcdefghijkmnpqrstuvwxyzABDEFGHJLMNQRTY23456789"
WORD_LENGTHS = (3, 8)
LETTERS = 25
"""Letters of each size and polarity that a card has at least."""
LEVEL = 0.8
"""Paper and ink are +-LEVEL, so that a model that raises the contrast a little does not clip them."""
MARGIN = 2


@dataclass(frozen=True)
class Typeface:
    """The letters at one size. glyphs: (letters of ALPHABET, height, width), the share of each pixel that is ink."""

    px: int
    glyphs: Tensor

    @property
    def height(self) -> int:
        return self.glyphs.shape[1]

    @property
    def width(self) -> int:
        return self.glyphs.shape[2]


@dataclass(frozen=True)
class TextLine:
    """One line of words. picture: its index in the card; left, top: of its first cell; dark: ink on light paper."""

    picture: int
    left: int
    top: int
    px: int
    text: str
    dark: bool

    def words(self) -> Iterator[tuple[int, str]]:
        """Each word with the index of its first cell."""
        start = 0
        for word in self.text.split(" "):
            yield start, word
            start += len(word) + 1


@dataclass(frozen=True)
class TextCard:
    """A card of text, and where each line of it stands. typefaces: by size."""

    card: Card
    lines: tuple[TextLine, ...]
    typefaces: Mapping[int, Typeface]


@cache
def typeface(px: int) -> Typeface:
    """DejaVu Sans Mono at one size, each letter in a cell of whole pixels."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    font = ImageFont.truetype(str(path), px)
    ascent, descent = font.getmetrics()
    size = round(font.getlength("m")), ascent + descent
    cells = [Image.new("L", size) for _ in ALPHABET]
    for cell, letter in zip(cells, ALPHABET, strict=True):
        ImageDraw.Draw(cell).text((0, ascent), letter, fill=255, font=font, anchor="ls")
    return Typeface(px, torch.from_numpy(np.stack([np.asarray(cell) for cell in cells]) / np.float32(255)))


def text(side: int, channels: int = 3, seed: int = 0) -> TextCard:
    """Pictures of side x side pixels, filled with lines of the sizes that fit; no picture where the smallest does not.

    At least LETTERS letters of each size and polarity; the same for the same arguments.
    """
    draw = random.Random(seed)
    lines: list[TextLine] = []
    pictures: list[Tensor] = []
    for dark in (True, False):
        free: dict[int, int] = {}
        rows = [row for size in reversed(SIZES) for row in _rows(typeface(size), side, draw)]
        for px, words in rows:
            face = typeface(px)
            gap = draw.randint(MARGIN, 2 * MARGIN)
            found = (picture for picture, top in free.items() if top + gap + face.height + MARGIN <= side)
            picture = next(found, len(pictures))
            if picture == len(pictures):
                pictures.append(torch.full((side, side), LEVEL if dark else -LEVEL))
                free[picture], gap = 0, MARGIN
            left = MARGIN + draw.randint(0, (side - 2 * MARGIN) % face.width)
            lines.append(TextLine(picture, left, free[picture] + gap, px, words, dark))
            _set(lines[-1], face, pictures[picture])
            free[picture] += gap + face.height
    shade = torch.stack(pictures) if pictures else torch.empty(0, side, side)
    pixels = as_channels(shade[:, None].expand(-1, 3, -1, -1), channels)
    labels = tuple(f"text {index + 1}" for index in range(len(pixels)))
    sizes = {line.px: typeface(line.px) for line in sorted(lines, key=lambda line: line.px)}
    return TextCard(Card(f"text {seed}", pixels, labels), tuple(lines), sizes)


def _rows(face: Typeface, side: int, draw: random.Random) -> Iterator[tuple[int, str]]:
    """Lines that fill the side, until there are LETTERS letters."""
    cells = (side - 2 * MARGIN) // face.width
    if cells < WORD_LENGTHS[0] or face.height + 2 * MARGIN > side:
        return
    letters = 0
    while letters < LETTERS:
        words: list[str] = []
        while (free := cells - sum(len(word) + 1 for word in words)) >= WORD_LENGTHS[0]:
            length = min(draw.randint(*WORD_LENGTHS), free)
            words.append("".join(draw.choices(ALPHABET, k=length)))
        letters += sum(map(len, words))
        yield face.px, " ".join(words)


def _set(line: TextLine, face: Typeface, shade: Tensor) -> None:
    """Print the line into (side, side) pixels."""
    paper = LEVEL if line.dark else -LEVEL
    for index, letter in enumerate(line.text):
        if letter != " ":
            left = line.left + index * face.width
            cell = shade[line.top : line.top + face.height, left : left + face.width]
            cell.copy_(paper - 2 * paper * face.glyphs[ALPHABET.index(letter)])
