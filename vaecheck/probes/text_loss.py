"""Text that cannot be read any more: rendered words through the VAE, without any OCR, and with it where installed.

Why letters and not PSNR: pictures whose text is gone have the PSNR of pictures whose text is there. A letter that came
back is compared with every letter of the alphabet at its size by normalised correlation, which knows no brightness and
no contrast; it is read where its own is the nearest. Of stroke contrast, the slope of what came back on what went in is
kept, as a share of the contrast that large flat areas keep, so that pale pictures are not found twice. A size is
legible with READ of its letters and CONTRAST of its contrast; the figure is the size from which on text is legible,
interpolated between the last that is not and the next.

Why these limits. READ: with one letter in ten wrong, every second word of seven letters is. CONTRAST: strokes of black
on white that keep less than 0.4 of their contrast stand out by less than 3:1, the least that WCAG 2.2 (1.4.3) allows of
large text. Warning above 12 px: the small print of screens and documents. Fault where a letter has NUMBERS of the
latents' numbers to itself, and 16 px, and is lost all the same: 4 x 4 pixels of three colours are as many, and with
4 x 4 samples, two cycles, people still read (Legge et al. 1985, "Psychophysics of reading I"). No healthy model needs
that many: kl-f8-tiny reads from 20 to 26 px on cards of other words and sizes (its limit is 33 px), taef2 from 8 to
10 px (16 px); two models, of 4 and of 32 channels, that need about 25 numbers a letter. So a model of few latents has a
warning, and one that has room for text and loses it has a fault. Where even the largest letters of the card have less
room, there is no fault to be found.

With the extra `text`, OCR reads the words of the card and of the pictures kept: figures beside this one, which never
change the severity, so that a finding does not depend on what is installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.images import synthetic, text_cards
from vaecheck.images.text_cards import ALPHABET, MARGIN, TextCard, TextLine
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes import ocr
from vaecheck.probes.protocol import Examined, Limit, Picture, Subject, finite, unavailable
from vaecheck.probes.shown import Shown, rgb
from vaecheck.results.types import Line, Panel, Plot, VAECard

SIDE = 256
READ = 0.9
CONTRAST = 0.4
SMALL_PRINT = 12.0
LEAST_FAULT = 16.0
NUMBERS = 48
BITS = 4.0
"""Of a codebook, what counts as one number."""
LEAST_GAIN = 0.2
"""Of large areas' contrast, what counts at least: below it, even large shapes are gone."""
FLAT = 1e-3
"""A cell whose values differ by less, as pixels, holds no letter."""


@dataclass(frozen=True)
class Legibility:
    """Of the letters of one size: the share read, the share of their contrast kept, and the PSNR of their cells."""

    px: int
    letters: int
    read: float
    contrast: float
    psnr_db: float

    @property
    def score(self) -> float:
        """1 where the size is just legible."""
        return min(self.read / READ, self.contrast / CONTRAST)


class TextLoss:
    """The size in pixels from which on rendered text is legible after a round trip."""

    id = "text_loss"
    title = "small text lost"
    remedy = "Expect no smaller text: use larger pictures, or a VAE with more latent channels or a smaller f."
    broken = "Check the weights, and what filters the pictures around the VAE: its latents have room for this text."
    limit = Limit(
        (None, SMALL_PRINT),
        None,
        "px",
        "12 px is the small print of screens and documents; a fault is text lost at sizes where each letter has "
        f"{NUMBERS} latent numbers to itself, as many as 4 x 4 colour pixels, with which people still read "
        "(Legge et al. 1985), but not below 16 px",
    )
    needs: frozenset[Need] = frozenset()

    def update(self, batch: Batch) -> None:
        """Cards alone."""

    def examine(self, subject: Subject) -> Examined:
        card = text_cards.text(card_side(subject), subject.image_channels)
        if not card.lines or max(card.typefaces) <= SMALL_PRINT:
            why = f"This VAE takes pictures of {card_side(subject)} px alone, which hold no text of {SMALL_PRINT:g} px."
            return Examined(unavailable(self, why))
        back = subject.back(card.card)
        gain = _gain(subject)
        sizes = [legibility(card, back, px, gain) for px in card.typefaces]
        from_px = legible_from(sizes)
        roomy = fault_px(subject.vae.card)
        limit = replace(self.limit, fault=(None, roomy) if roomy < max(card.typefaces) else None)
        fault = limit.severity(from_px) == "fault"
        figures, words = _read(subject, card, back)
        finding = limit.finding(
            self,
            from_px,
            _evidence(sizes, from_px, roomy) + words,
            remedy=self.broken if fault else self.remedy,
            figures=figures | _figures(sizes) | {"fault_px": finite(roomy)},
        )
        return Examined(finding, (_plot(sizes, limit),), (_panel(card, back),))


def card_side(subject: Subject) -> int:
    """The multiple of f nearest above SIDE, or the one side that the VAE takes."""
    f = subject.vae.card.f
    return subject.vae.fixed_size or -(-SIDE // f) * f


def fault_px(card: VAECard) -> float:
    """The size at which a letter's cell has NUMBERS latent numbers, LEAST_FAULT at least.

    latents / f^2 numbers a pixel; a codebook's entry has its bits / BITS numbers at most.
    """
    latents = float(card.latent_channels)
    if card.codebook_size:
        latents = min(latents, math.log2(card.codebook_size) / BITS)
    face = text_cards.typeface(text_cards.SIZES[-1])
    cell = face.width * face.height / face.px**2
    return max(math.sqrt(NUMBERS * card.f**2 / (max(latents, 1e-9) * cell)), LEAST_FAULT)


def _gain(subject: Subject) -> float:
    """What flat greys keep of the step between them."""
    greys = synthetic.greys(subject.card_side, subject.image_channels)
    levels = lightness(subject.back(greys)).clamp(-1, 1).mean((1, 2))
    gain = float(levels[3] - levels[1]) / (synthetic.LEVELS[3] - synthetic.LEVELS[1])
    return max(gain, LEAST_GAIN) if math.isfinite(gain) else 1.0


def legibility(card: TextCard, back: Tensor, px: int, gain: float = 1.0) -> Legibility:
    """What became of the letters of one size.

    back: (n, image channels, H, W), what came back of the card's pixels; it is clamped, as for a viewer, and NaN is
    mid grey. read: the share of letters whose nearest glyph, by normalised correlation of lightness, is their own.
    contrast: cov(original, back) / var(original) within the cells, / gain, what large areas keep.
    """
    glyphs = card.typefaces[px].glyphs.flatten(1).double()
    lines = [line for line in card.lines if line.px == px]
    went_in, came_back = (
        torch.cat([_cells(card, lightness(pixels), line) for line in lines])
        for pixels in (card.card.pixels, back.nan_to_num(0.0).clamp(-1, 1))
    )
    own = torch.tensor([ALPHABET.index(letter) for line in lines for letter in line.text.replace(" ", "")])
    original, returned = _centred(went_in), _centred(came_back)
    likeness = returned @ _centred(glyphs / glyphs.std(1, keepdim=True)).T
    held = (came_back.amax(1) - came_back.amin(1)) > FLAT
    read = (likeness.argmax(1) == own) & held
    mse = float(((went_in - came_back) ** 2).mean()) / 4
    return Legibility(
        px,
        len(own),
        float(read.double().mean()),
        float((original * returned).sum() / (original**2).sum()) / gain,
        -10 * math.log10(mse) if mse else math.inf,
    )


def legible_from(sizes: Sequence[Legibility]) -> float:
    """The size in px from which on all are legible; the largest where that is not, the smallest where all are."""
    ordered = sorted(sizes, key=lambda one: -one.px)
    if ordered[0].score < 1:
        return float(ordered[0].px)
    for larger, smaller in pairwise(ordered):
        if smaller.score < 1:
            share = (1 - smaller.score) / (larger.score - smaller.score)
            return smaller.px + share * (larger.px - smaller.px)
    return float(ordered[-1].px)


def lightness(pixels: Tensor) -> Tensor:
    """(n, channels, H, W) -> (n, H, W): the mean of RGB; alpha does not count."""
    return pixels[:, :3].mean(1)


def _cells(card: TextCard, shade: Tensor, line: TextLine) -> Tensor:
    """The line's letters, ink high: (letters, height * width) float64."""
    face = card.typefaces[line.px]
    row = shade[line.picture, line.top : line.top + face.height].double()
    lefts = [line.left + index * face.width for index, letter in enumerate(line.text) if letter != " "]
    cells = torch.stack([row[:, left : left + face.width] for left in lefts])
    return cells.flatten(1) * (-1 if line.dark else 1)


def _centred(cells: Tensor) -> Tensor:
    return cells - cells.mean(1, keepdim=True)


def _figures(sizes: Sequence[Legibility]) -> dict[str, float | None]:
    return {
        f"{name}_{one.px}px": finite(getattr(one, name)) for one in sizes for name in ("read", "contrast", "psnr_db")
    }


def _evidence(sizes: Sequence[Legibility], from_px: float, roomy: float) -> str:
    small = min(sizes, key=lambda one: abs(one.px - SMALL_PRINT))
    largest = max(sizes, key=lambda one: one.px)
    said = f"Rendered text is legible from {from_px:.0f} px on"
    if largest.score < 1:
        said = f"Rendered text is legible at no size up to {largest.px} px"
    elif all(one.score >= 1 for one in sizes):
        said = f"Rendered text is legible down to {from_px:.0f} px, the smallest tried"
    return (
        f"{said}: of {small.letters} letters of {small.px} px, {small.read:.0%} come back nearest to their own shape, "
        f"with {small.contrast:.0%} of their contrast; of those of {largest.px} px {largest.read:.0%}, with "
        f"{largest.contrast:.0%}. These latents have room for letters from {roomy:.0f} px on."
    )


def _read(subject: Subject, card: TextCard, back: Tensor) -> tuple[dict[str, float | None], str]:
    """What OCR reads, as figures and as sentences; nothing where it is not installed."""
    try:
        reader = ocr.reader()
    except SetupError:
        return {}, ""
    words, misread = ocr.on_card(reader, card, back)
    seen = ocr.in_pictures(reader, _fitting(subject), subject.round_trip)
    figures: dict[str, float | None] = {"text_misread_in_original": float(misread)}
    said = ""
    for place, found in (("text", words), ("picture_text", seen)):
        if found:
            share, likeness = ocr.accuracy(found), ocr.ned(found)
            figures |= {f"{place}_words": float(len(found)), f"{place}_accuracy": share, f"{place}_ned": likeness}
            where = "in the pictures" if place == "picture_text" else "on the card"
            said += (
                f" Of {len(found)} words {where} that OCR reads in the original it reads {share:.0%} after the round "
                f"trip (NED {likeness:.2f})."
            )
    for px in {word.px for word in words}:
        figures[f"text_accuracy_{px}px"] = ocr.accuracy([word for word in words if word.px == px])
    return figures, said


def _fitting(subject: Subject) -> list[Picture]:
    """The kept pictures, cropped to what the VAE takes."""
    f, fixed = subject.vae.card.f, subject.vae.fixed_size
    cropped = [
        Picture(one.id, one.pixels[:, : one.pixels.shape[1] // f * f, : one.pixels.shape[2] // f * f])
        for one in subject.pictures
    ]
    return [one for one in cropped if one.pixels.numel() and fixed in (None, one.pixels.shape[1])]


def _plot(sizes: Sequence[Legibility], limit: Limit) -> Plot:
    px = tuple(float(one.px) for one in sizes)
    marks = {"limit": SMALL_PRINT}
    if limit.fault is not None and limit.fault[1] is not None:
        marks["fault"] = limit.fault[1]
    return Plot(
        name="text_loss",
        about="text_loss",
        kind="lines",
        title="Rendered text after a round trip",
        x_label="size of the letters (px)",
        y_label="share kept",
        lines=(
            Line("letters read", px, tuple(one.read for one in sizes)),
            Line("stroke contrast", px, tuple(one.contrast for one in sizes)),
        ),
        note=f"A size is legible with {READ:.0%} of its letters read and {CONTRAST:.0%} of its contrast kept.",
        marks=marks,
    )


def _panel(card: TextCard, back: Tensor) -> Panel:
    """A line of each size, largest first."""
    lines = sorted({line.px: line for line in card.lines if line.dark}.values(), key=lambda line: -line.px)
    return Panel(
        name="text_loss",
        about="text_loss",
        title="Rendered text, before and after",
        images=(("original", _strips(card, card.card.pixels, lines)), ("reconstruction", _strips(card, back, lines))),
        note=f"One line of each size, {', '.join(f'{line.px}' for line in lines)} px from above.",
    )


def _strips(card: TextCard, pixels: Tensor, lines: Sequence[TextLine]) -> Shown:
    strips = [
        pixels[line.picture, :, line.top - MARGIN : line.top + card.typefaces[line.px].height + MARGIN]
        for line in lines
    ]
    shown: Shown = rgb(torch.cat(strips, 1)[None])[0]
    return shown
