"""Rendered text: the same each time, every letter where it is said to be, at every side."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from vaecheck.images.text_cards import ALPHABET, LETTERS, LEVEL, MARGIN, SIZES, text, typeface


def test_a_card_is_the_same_for_the_same_arguments_and_another_for_another_seed() -> None:
    once, again, other = text(128), text(128), text(128, seed=1)
    assert once.lines == again.lines
    assert torch.equal(once.card.pixels, again.card.pixels)
    assert once.card.name != other.card.name
    assert [line.text for line in once.lines] != [line.text for line in other.lines]


def test_each_cell_holds_the_letter_that_its_line_says() -> None:
    card = text(160)
    for line in card.lines:
        face = card.typefaces[line.px]
        for index, letter in enumerate(line.text):
            left = line.left + index * face.width
            cell = card.card.pixels[line.picture, 0, line.top : line.top + face.height, left : left + face.width]
            ink = (LEVEL - cell) / (2 * LEVEL) if line.dark else (cell + LEVEL) / (2 * LEVEL)
            expected = torch.zeros_like(ink) if letter == " " else face.glyphs[ALPHABET.index(letter)]
            assert torch.allclose(ink, expected, atol=1e-6)


def test_lines_do_not_overlap_and_stay_inside() -> None:
    card = text(96)
    for line in card.lines:
        face = card.typefaces[line.px]
        assert line.left >= MARGIN
        assert line.left + len(line.text) * face.width <= 96 - MARGIN
        assert line.top + face.height <= 96 - MARGIN
    for a, b in combinations(card.lines, 2):
        if a.picture == b.picture:
            first, second = sorted((a, b), key=lambda line: line.top)
            assert first.top + card.typefaces[first.px].height <= second.top


@pytest.mark.parametrize("side", [64, 256])
def test_every_size_that_fits_has_enough_letters_of_both_polarities(side: int) -> None:
    card = text(side)
    assert set(card.typefaces) <= set(SIZES)
    assert side < 256 or set(card.typefaces) == set(SIZES)
    for px in card.typefaces:
        for dark in (True, False):
            letters = sum(len(line.text.replace(" ", "")) for line in card.lines if (line.px, line.dark) == (px, dark))
            assert letters >= LETTERS


def test_words_are_found_by_their_first_cell() -> None:
    for line in text(96).lines:
        assert [line.text[start : start + len(word)] for start, word in line.words()] == line.text.split(" ")


@pytest.mark.parametrize("px", SIZES)
def test_no_two_letters_of_a_size_look_the_same(px: int) -> None:
    glyphs = typeface(px).glyphs.flatten(1).double()
    unit = glyphs - glyphs.mean(1, keepdim=True)
    unit = unit / unit.norm(dim=1, keepdim=True)
    likeness = unit @ unit.T - 2 * torch.eye(len(ALPHABET), dtype=torch.float64)
    assert likeness.max() < 0.99


def test_a_side_that_holds_no_text_gives_no_picture() -> None:
    card = text(8)
    assert card.lines == ()
    assert card.card.pixels.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_have_the_same_text(channels: int) -> None:
    rgb, other = text(64).card.pixels, text(64, channels).card.pixels
    assert other.shape == (len(rgb), channels, 64, 64)
    assert torch.allclose(other[:, 0], rgb[:, 0])
    if channels == 4:
        assert (other[:, 3] == 1).all()
