"""Other sizes than the run's: what they cost on the very same pixels, and what the model refuses.

Why the same pixels: a crop of a picture goes through the model, and the same crop is cut out of the reconstruction of
the whole, so that only the size differs, not the content and not its sharpness. For a larger size the picture is
mirrored on, and for one that is no multiple of f it is cut, mirrored on as `--fit pad` does, and cut back.

Why pictures and a card: detail shows what blurs, and the smooth card what detail hides. Flat pictures are left out:
models of photographs drift on them, at any size.

Why these limits: on photographs of 64, 128 and 256 pixels, on drawings and on grey pictures the worst size costs
kl-f8-tiny 0.9 to 1.4 dB and taef2 0.5 to 1.2, nearly all of it on the card. The strip along the cut loses up to 2.8,
since padding stands where the neighbours were, so that it counts by half. 3 dB is twice the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaecheck.errors import SetupError, VaecheckError
from vaecheck.images.synthetic import clouds
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.probes.protocol import Examined, Limit, ModelRefused, Subject, unavailable
from vaecheck.probes.shown import rgb
from vaecheck.probes.tones import not_flat
from vaecheck.results.types import Line, Panel, Plot

PICTURES = 2
"""And a card: on a smooth one a small error shows that detail hides."""
SMALL = 128
"""Pixels a side."""
UNSEEN = (3 * 2 / 255) ** 2
"""The squared error of three levels of 8 bits, 38.6 dB: what is below is hardly seen, and not told apart."""
LEAST_LATENTS = 2
"""A side of fewer latents is not tried."""
REFUSED = Limit(
    (None, 0.0), None, "other sizes refused", "a U-Net's latents, and the users' pictures, come in more than one size."
)
WRONG = Limit(
    None,
    (None, 0.0),
    "sizes came back as another",
    "what comes back must have the size of what went in, without exception.",
)


@dataclass(frozen=True)
class View:
    """A part of the picture, height x width from (top, left) on, and how far it is mirrored on.

    before, after: (rows, columns) that are added before and after it, and cut off again.
    """

    name: str
    top: int
    left: int
    height: int
    width: int
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)

    @property
    def label(self) -> str:
        height, width = (sum(sides) for sides in zip((self.height, self.width), self.before, self.after, strict=True))
        return f"{self.name} {width}x{height}"

    def of(self, pixels: Tensor) -> Tensor:
        return pixels[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def through(self, subject: Subject, pixels: Tensor) -> Tensor:
        (above, left), (below, right) = self.before, self.after
        shown = F.pad(self.of(pixels), (left, right, above, below), mode="reflect")
        back = subject.round_trip(shown)
        return back[..., above : above + self.height, left : left + self.width]

    def strip(self, width: int, whole: tuple[int, int]) -> Tensor | None:
        """bool (height, width): `width` pixels along the sides that were cut out of a picture; None where none was."""
        mask = torch.zeros(self.height, self.width, dtype=torch.bool)
        mask[: width if self.top else 0] = True
        mask[:, : width if self.left else 0] = True
        if self.top + self.height < whole[0]:
            mask[-width:] = True
        if self.left + self.width < whole[1]:
            mask[:, -width:] = True
        return mask if bool(mask.any()) else None


@dataclass(frozen=True)
class Cost:
    """dB lost against the run's size, over the view and over the strip along its cut sides.

    back: of the first of the pictures that were measured, which `part` gives.
    """

    view: View
    db: float
    strip_db: float
    back: Tensor
    part: slice

    @property
    def value(self) -> float:
        return max(self.db, self.strip_db / 2)


class OffSize:
    """The most that another size costs, in dB of the same pixels: 10 log10(MSE there / MSE at the run's size)."""

    id = "off_size"
    title = "Pictures of other sizes"
    limit = Limit(
        (None, 2.0),
        (None, 3.0),
        "dB lost on the same pixels",
        "3 dB is twice the squared error; healthy models lose at most 1.4 dB, at half the size. The strip along a "
        "cut counts by half.",
    )
    remedy = (
        "Use pictures of the size that the model was trained on, or tiles of that size (--tiling), and look for what "
        "depends on it: position embeddings, windows, a resize inside the model."
    )
    needs: frozenset[Need] = frozenset()

    def update(self, batch: Batch) -> None:
        """Its pictures are those that were kept."""

    def examine(self, subject: Subject) -> Examined:
        fixed = subject.vae.fixed_size
        if fixed is not None:
            evidence = f"fixed_size: it takes pictures of {fixed}x{fixed} pixels alone."
            remedy = f"Resize every picture to {fixed}x{fixed} (--size {fixed}), in training and in use."
            return Examined(REFUSED.finding(self, 1.0, evidence, remedy=remedy))
        pixels = _contents(subject)
        whole = subject.round_trip(pixels)
        good = whole.isfinite().flatten(1).all(1)
        if not bool(good.any()):
            return Examined(unavailable(self, "No picture came back finite at the run's own size."))
        pixels, whole = pixels[good], whole[good]
        tried = list(views(pixels.shape[-2], pixels.shape[-1], subject.vae.card.f))
        costs, refused, wrong = _tried(subject, tried, pixels, whole)
        if wrong:
            evidence = f"Of {len(tried)} other sizes {len(wrong)} came back as another: {_said(wrong)}."
            remedy = "Mend the model's shapes: at every size and aspect, decode must give back what encode was given."
            return Examined(WRONG.finding(self, len(wrong), evidence, remedy=remedy), _plots(costs))
        worst = max(costs, key=lambda cost: cost.value, default=None)
        if worst is not None and (not refused or self.limit.severity(worst.value) == "fault"):
            return self._costly(worst, costs, pixels, whole, refused)
        if not refused:
            return Examined(unavailable(self, "The pictures are too small for another size.", "Use a larger --size."))
        evidence = f"Of {len(tried)} other sizes it refused {len(refused)}: {_said(refused)}."
        remedy = "Resize or pad every picture to a size that it takes, in training and in use."
        return Examined(REFUSED.finding(self, len(refused), evidence, remedy=remedy), _plots(costs))

    def _costly(
        self, worst: Cost, costs: list[Cost], pixels: Tensor, whole: Tensor, refused: list[tuple[View, str]]
    ) -> Examined:
        view = worst.view
        evidence = (
            f"Of {len(costs)} other sizes the worst is {view.label}: the same pixels lose {worst.db:.1f} dB against "
            f"{whole.shape[-1]}x{whole.shape[-2]}, and those along the cut {worst.strip_db:.1f} dB."
        )
        if refused:
            evidence += f" It refused {len(refused)} more."
        figures = {cost.view.name: cost.db for cost in costs} | {
            f"{cost.view.name}_strip": cost.strip_db for cost in costs
        }
        finding = self.limit.finding(self, worst.value, evidence, figures=figures)
        if finding.severity == "healthy":
            return Examined(finding, _plots(costs))
        images = zip(
            ("original", "at the run's size", f"as {view.label}"),
            (rgb(side[None])[0] for side in (*(view.of(side[worst.part][0]) for side in (pixels, whole)), worst.back)),
            strict=True,
        )
        panel = Panel(
            "off_size", self.id, "The same pixels at another size", tuple(images), "The last should look as the second."
        )
        return Examined(finding, _plots(costs), (panel,))


def views(height: int, width: int, f: int) -> Iterator[View]:
    """Other sizes for a picture whose sides are multiples of f: of both aspects, smaller, larger, and no multiple.

    Smaller is half, or three quarters where half is below SMALL pixels, which nobody runs. "odd" is wide and has an
    odd number of latents a side, which a second halving inside the model does not divide.
    """
    rows, columns = height // f, width // f

    def part(name: str, tall: int, wide: int) -> Iterator[View]:
        if LEAST_LATENTS <= tall <= rows and LEAST_LATENTS <= wide <= columns and (tall, wide) != (rows, columns):
            yield View(name, (rows - tall) // 2 * f, (columns - wide) // 2 * f, tall * f, wide * f)

    fewer = [count // 2 if count * f >= 2 * SMALL else count * 3 // 4 for count in (rows, columns)]
    yield from part("tall", rows, fewer[1])
    yield from part("odd", (fewer[0] - 1) | 1, columns - 1 + columns % 2)
    yield from part("smaller", *fewer)
    more = max(rows // 16, 1) * f, max(columns // 16, 1) * f
    if more[0] < height and more[1] < width:
        yield View("larger", 0, 0, height, width, more, more)
    if f > 1 and min(rows, columns) > 1:
        missing = f // 2
        yield View("padded", 0, 0, height - missing, width - missing, (0, 0), (missing, missing))


def _contents(subject: Subject) -> Tensor:
    """The first of the kept pictures that are not flat, and a card of clouds of their size: (n, channels, H, W)."""
    pictures = subject.stacked()
    height, width = pictures.shape[-2:]
    card = clouds(max(height, width), subject.image_channels).pixels[:1, :, :height, :width]
    return torch.cat([pictures[not_flat(pictures)][:PICTURES], card.to(pictures)])


def _tried(
    subject: Subject, tried: list[View], pixels: Tensor, whole: Tensor
) -> tuple[list[Cost], list[tuple[View, str]], list[tuple[View, str]]]:
    """What each view costs; those that the model refused; those that came back in another size."""
    costs: list[Cost] = []
    refused: list[tuple[View, str]] = []
    wrong: list[tuple[View, str]] = []
    for view in tried:
        try:
            back = view.through(subject, pixels)
        except ModelRefused as error:
            if isinstance(error.__cause__, SetupError):
                continue  # out of memory says nothing about sizes
            (wrong if _is_of_shapes(error.__cause__) else refused).append((view, error.message))
        else:
            costs.append(_cost(view, pixels, whole, back, subject.vae.card.f))
    return costs, refused, wrong


def _is_of_shapes(error: BaseException | None) -> bool:
    """Whether what came back had a wrong shape; what the model raised itself is behind an error as its cause."""
    return isinstance(error, VaecheckError) and error.__cause__ is None


def _cost(view: View, pixels: Tensor, whole: Tensor, back: Tensor, f: int) -> Cost:
    """The pictures together, the card, which is the last, apart."""
    there, here = (_squares(view.of(pixels), side) for side in (back, view.of(whole)))
    strip = view.strip(min(max(f, 4), view.height // 2, view.width // 2), (pixels.shape[-2], pixels.shape[-1]))
    costs = []
    for part in (slice(-1), slice(-1, None)) if len(pixels) > 1 else (slice(None),):
        along = 0.0 if strip is None else _db(there[part, strip], here[part, strip])
        costs.append(Cost(view, _db(there[part], here[part]), along, back[part][0], part))
    return max(costs, key=lambda cost: cost.value)


def _squares(original: Tensor, back: Tensor) -> Tensor:
    """(B, H, W) mean squared error over channels, clamped; NaN is mid grey."""
    return (original - back.nan_to_num(0.0).clamp(-1, 1)).square().mean(1).cpu()


def _db(there: Tensor, here: Tensor) -> float:
    """Squared errors twice -> dB lost."""
    return 10 * math.log10((float(there.mean()) + UNSEEN) / (float(here.mean()) + UNSEEN))


def _said(these: list[tuple[View, str]]) -> str:
    """The views, and the model's words on the first."""
    return f"{', '.join(view.label for view, _ in these)} ({these[0][1]})"


def _plots(costs: list[Cost]) -> tuple[Plot, ...]:
    if not costs:
        return ()
    places = tuple(map(float, range(len(costs))))
    whole = Line("whole view", places, tuple(cost.db for cost in costs))
    strip = Line("along the cut", places, tuple(cost.strip_db for cost in costs))
    names = "; ".join(f"{place:.0f}: {cost.view.label}" for place, cost in zip(places, costs, strict=True))
    plot = Plot("off_size", "off_size", "bars", "Cost of other sizes", "size", "dB lost", (whole, strip), note=names)
    return (plot,)
