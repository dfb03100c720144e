"""TokBench's rules on words whose answer is known, and OCR itself where it is installed."""

from __future__ import annotations

import socket
from importlib import util
from itertools import product

import pytest
import torch
from torch import Tensor

from tests.probes.round_trips import lossless, subject_of
from vaecheck.errors import SetupError
from vaecheck.images.text_cards import text
from vaecheck.probes import ocr
from vaecheck.probes.ocr import Word, accuracy, edit_distance, ned, normalised_edit_similarity
from vaecheck.probes.protocol import Picture
from vaecheck.probes.text_loss import TextLoss

needs_ocr = pytest.mark.skipif(
    util.find_spec("rapidocr") is None or util.find_spec("onnxruntime") is None,
    reason="the extra `text` is not installed",
)


def by_definition(a: str, b: str) -> int:
    """The recursion of the definition, without a table."""
    if not a or not b:
        return len(a) + len(b)
    return min(by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1, by_definition(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distance_is_the_least_number_of_changes() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    words = ["".join(letters) for length in range(4) for letters in product("ab", repeat=length)]
    for a, b in product(words, words):
        assert edit_distance(a, b) == by_definition(a, b)


def test_ned_and_accuracy_follow_tokbench() -> None:
    words = [Word("Exit", "Exit"), Word("Exit", "exit"), Word("Exit", "")]
    assert accuracy(words) == pytest.approx(1 / 3)
    assert ned(words) == pytest.approx((1 + 0.75 + 0) / 3)
    assert normalised_edit_similarity("", "") == 1
    assert normalised_edit_similarity("ab", "abcd") == pytest.approx(0.5)


def test_without_the_package_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ocr.reader.cache_clear()
    monkeypatch.setattr(ocr.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="not installed") as raised:
        ocr.reader()
    assert "vaecheck[text]" in raised.value.hint


class Spelling:
    """Stands for a reader: a crop's text is its mean, so that what is read follows from the pixels alone."""

    def read(self, crop: ocr.Shown) -> tuple[str, float]:
        return f"{crop.mean():.0f}", 1.0 if crop.mean() > 100 else 0.5

    def find(self, image: ocr.Shown) -> list[tuple[int, int, int, int]]:
        return [(0, 0, 8, 8), (8, 8, 16, 16)]


def test_words_of_pictures_are_those_that_are_sure_in_the_original() -> None:
    bright, dark = torch.full((3, 16, 16), 0.5), torch.full((3, 16, 16), -0.5)
    sent: list[Tensor] = []

    def trip(pixels: Tensor) -> Tensor:
        sent.append(pixels)
        return torch.cat([pixels[..., :8], -pixels[..., 8:]], -1)

    words = ocr.in_pictures(Spelling(), [Picture("a", bright), Picture("b", dark)], trip)
    assert [word.whole for word in words] == [True, False]
    assert len(sent) == 1


@needs_ocr
def test_it_reads_the_card_and_nothing_of_a_grey_one_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    ocr.reader.cache_clear()
    reader = ocr.reader()
    card = text(256)
    words, misread = ocr.on_card(reader, card, card.card.pixels)
    assert accuracy(words) == 1
    assert len(words) > 4 * misread
    assert {word.px for word in words} >= {12, 16, 20, 24}
    lost, _ = ocr.on_card(reader, card, torch.zeros_like(card.card.pixels))
    assert accuracy(lost) == 0


@needs_ocr
def test_the_finding_has_its_figures_and_the_same_severity() -> None:
    card = text(256)
    finding = TextLoss().examine(subject_of(lossless(), card.card.pixels[:1])).finding
    assert finding.severity == "healthy"
    assert finding.figures["text_accuracy"] == 1
    assert finding.figures["text_ned"] == 1
    assert finding.figures["picture_text_words"] >= 3
    assert finding.figures["picture_text_accuracy"] == 1
    assert "OCR" in finding.evidence
