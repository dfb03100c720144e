"""off_size on models whose size rules are known, and its dB against scikit-image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import mean_squared_error
from torch import Tensor

from tests.probes.round_trips import Change, lossless, scenes, subject_of
from vaecheck.images.synthetic import clouds
from vaecheck.probes.off_size import UNSEEN, OffSize, views
from vaecheck.probes.protocol import Examined
from vaecheck.results.types import Finding

SIDE = 64


def examine(change: Change, pictures: Tensor | None = None, f: int = 8, **rest: int) -> Examined:
    shown = scenes(3, side=SIDE) if pictures is None else pictures
    return OffSize().examine(subject_of(lossless(change, f=f, **rest), shown))


def found(change: Change, pictures: Tensor | None = None, f: int = 8, **rest: int) -> Finding:
    return examine(change, pictures, f, **rest).finding


def noisy(pixels: Tensor, std: float) -> Tensor:
    return pixels + std * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(4))


def only_at(sides: Callable[[int, int], bool], otherwise: Change) -> Change:
    """A model with a little noise; at sizes that do not suit, `otherwise` of that."""

    def change(pixels: Tensor) -> Tensor:
        back = noisy(pixels, 0.05)
        return back if sides(pixels.shape[-2], pixels.shape[-1]) else otherwise(back)

    return change


def refuse(pixels: Tensor) -> Tensor:
    raise RuntimeError(f"cannot take {pixels.shape[-1]}")


def square(height: int, width: int) -> bool:
    return height == width


def at_run_size(height: int, width: int) -> bool:
    return height == width == SIDE


@pytest.mark.parametrize("f", [1, 2, 8, 16, 32])
def test_a_model_that_ignores_size_is_healthy(f: int) -> None:
    finding = found(lambda pixels: noisy(pixels, 0.05), f=f)
    assert finding.severity == "healthy"
    assert finding.value == pytest.approx(0.0, abs=0.6)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels: int) -> None:
    pictures = scenes(2, side=SIDE, channels=channels)
    assert found(lambda pixels: noisy(pixels, 0.05), pictures, channels=channels).severity == "healthy"


def test_db_is_that_of_the_same_pixels() -> None:
    picture = scenes(1, side=SIDE)

    def change(pixels: Tensor) -> Tensor:
        return 0.9 * pixels if pixels.shape[-2:] == (SIDE, SIDE) else 0.5 * pixels

    finding = found(change, picture)
    losses = []
    for shown in (picture[0], clouds(SIDE).pixels[0]):
        part = shown[:, 8:56, 8:56].numpy()
        here, there = mean_squared_error(part, 0.9 * part), mean_squared_error(part, 0.5 * part)
        losses.append(10 * np.log10((there + UNSEEN) / (here + UNSEEN)))
    assert finding.figures["smaller"] == pytest.approx(max(losses), abs=1e-3)
    assert finding.severity == "fault"


@pytest.mark.parametrize(
    "otherwise",
    [
        lambda pixels: pixels.transpose(-1, -2).reshape(pixels.shape),
        lambda pixels: F.interpolate(F.avg_pool2d(pixels, 4), size=pixels.shape[-2:]),
        lambda pixels: pixels.roll(8, -1),
        lambda pixels: torch.zeros_like(pixels),
        lambda pixels: pixels * torch.nan,
    ],
    ids=["transposed", "blurred", "moved", "grey", "nan"],
)
@pytest.mark.parametrize("suits", [square, at_run_size])
def test_what_breaks_at_another_size_is_a_fault(otherwise: Change, suits: Callable[[int, int], bool]) -> None:
    result = examine(only_at(suits, otherwise))
    assert result.finding.severity == "fault"
    assert [label for label, _ in result.panels[0].images][:2] == ["original", "at the run's size"]
    assert {line.label for line in result.plots[0].lines} == {"whole view", "along the cut"}


def test_somewhat_more_noise_is_a_warning() -> None:
    """The same noise times 1.4 and 0.05 is 6.4 levels: 10 log10((1.4^2 6.4^2 + 3^2) / (6.4^2 + 3^2)) = 2.5 dB."""
    finding = found(only_at(at_run_size, lambda pixels: noisy(pixels, 0.4 * 0.05)))
    assert finding.figures["larger"] == pytest.approx(2.5, abs=0.2)
    assert finding.severity == "warning"


def test_a_broken_border_is_found() -> None:
    def dark_border(pixels: Tensor) -> Tensor:
        back = noisy(pixels, 0.02)
        back[..., -8:, :] -= 0.3
        back[..., -8:] -= 0.3
        return back

    assert found(dark_border).severity == "fault"


def test_one_size_only_is_a_warning() -> None:
    finding = found(lambda pixels: pixels, fixed_size=SIDE)
    assert finding.severity == "warning"
    assert "fixed_size" in finding.evidence
    assert "--size 64" in finding.remedy


def test_refusing_every_other_size_is_a_warning() -> None:
    """Probed at 64 pixels, it takes no other size: the adapter cannot know."""
    finding = found(only_at(at_run_size, refuse))
    assert finding.severity == "warning"
    assert finding.value == 4  # the padded picture has the run's own size
    assert "cannot take" in finding.evidence


def test_refusing_odd_sizes_alone_is_a_warning_that_names_them() -> None:
    finding = found(only_at(lambda height, width: height % 16 == 0 == width % 16, refuse))
    assert finding.severity == "warning"
    assert "odd 56x40" in finding.evidence


def test_a_fault_at_one_size_goes_before_a_refusal_of_another() -> None:
    def change(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] > SIDE:
            refuse(pixels)
        return noisy(pixels, 0.05) if pixels.shape[-1] == pixels.shape[-2] else torch.zeros_like(pixels)

    finding = found(change)
    assert finding.severity == "fault"
    assert "refused 1 more" in finding.evidence


def test_another_size_back_is_a_fault() -> None:
    def floored(pixels: Tensor) -> Tensor:
        height, width = (side // 16 * 16 for side in pixels.shape[-2:])
        return pixels[..., :height, :width]

    finding = found(floored)
    assert finding.severity == "fault"
    assert finding.unit.startswith("sizes")
    assert "56x40" in finding.evidence


def test_flat_pictures_without_error_are_healthy() -> None:
    flat = torch.full((2, 3, SIDE, SIDE), 0.2)
    assert found(lambda pixels: pixels + 1e-4 * pixels.shape[-1], flat).severity == "healthy"


def test_unavailable_for_pictures_of_one_latent() -> None:
    finding = found(lambda pixels: pixels, scenes(2, side=32), f=32)
    assert finding.severity == "unavailable"


def test_unavailable_where_nothing_is_finite() -> None:
    assert found(lambda pixels: pixels * torch.nan).severity == "unavailable"


def test_views_are_other_sizes_in_whole_latents_inside_the_picture() -> None:
    for height, width, f in [(256, 256, 8), (256, 384, 8), (64, 64, 32), (48, 48, 16), (7, 9, 1)]:
        tried = list(views(height // f * f, width // f * f, f))
        assert len({view.label for view in tried}) == len(tried)
        for view in tried:
            assert 0 <= view.top <= view.top + view.height <= height
            assert 0 <= view.left <= view.left + view.width <= width
            sides = (
                view.height + view.before[0] + view.after[0],
                view.width + view.before[1] + view.after[1],
            )
            assert all(side % f == 0 for side in sides)
    tried = {view.name: view for view in views(256, 256, 8)}
    assert list(tried) == ["tall", "odd", "smaller", "larger", "padded"]
    assert (tried["odd"].height // 8 % 2, tried["odd"].width // 8 % 2) == (1, 1)
    assert tried["smaller"].height == 128
    assert next(view for view in views(128, 128, 8) if view.name == "smaller").height == 96
