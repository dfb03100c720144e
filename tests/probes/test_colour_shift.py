"""colour_shift against scikit-image's CIEDE2000 of what a known matrix makes of the palette."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor

from tests.probes.round_trips import Change, examined, lossless, scenes
from vaecheck.probes.colour_shift import ColourShift
from vaecheck.results.types import Finding

LUMA = torch.tensor([19595 / 65536, 38470 / 65536, 7471 / 65536])


def found(change: Change, pictures: Tensor | None = None, channels: int = 3) -> Finding:
    shown = scenes(6, channels=channels) if pictures is None else pictures
    return examined(ColourShift(), lossless(change, channels=channels), shown).finding


def plus(*parts: float) -> Change:
    return lambda pixels: pixels + torch.tensor(parts)[:, None, None]


def saturated(share: float) -> Change:
    def change(pixels: Tensor) -> Tensor:
        luma = (pixels * LUMA[:, None, None]).sum(1, keepdim=True)
        return luma + share * (pixels - luma)

    return change


def test_tint_is_ciede2000_of_greys() -> None:
    finding = found(plus(0.0, 0.1, 0.0))
    greys = np.full((3, 3), [[0.25], [0.5], [0.75]])
    tinted = rgb2lab(greys + np.array([0.0, 0.05, 0.0]))
    lab = rgb2lab(greys)
    tinted[:, 0] = lab[:, 0]
    assert finding.value == pytest.approx(deltaE_ciede2000(lab, tinted).mean(), abs=0.02)
    assert finding.figures["green"] == pytest.approx(0.1, abs=1e-3)


def test_colours_are_ciede2000_of_the_muted_palette() -> None:
    finding = found(saturated(0.7))
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    muted = 0.25 + 0.5 * corners
    luma = muted @ LUMA.numpy()
    washed = rgb2lab(luma[:, None] + 0.7 * (muted - luma[:, None]))
    lab = rgb2lab(muted)
    washed[:, 0] = lab[:, 0]
    assert finding.value == pytest.approx(deltaE_ciede2000(lab, washed).mean(), abs=0.05)
    assert finding.figures["saturation"] == pytest.approx(
        np.hypot(*washed[:, 1:].T).mean() / np.hypot(*lab[:, 1:].T).mean(), abs=0.01
    )


@pytest.mark.parametrize(
    ("change", "severities"),
    [
        (lambda pixels: pixels, {"healthy"}),
        (saturated(0.87), {"warning"}),
        (plus(0.0, 0.02, 0.0), {"warning"}),
        (saturated(0.6), {"fault"}),
        (plus(0.0, 0.1, 0.0), {"fault"}),
        (plus(0.08, 0.0, -0.08), {"fault"}),
        (lambda pixels: pixels[:, [2, 1, 0]], {"fault"}),
        (lambda pixels: (pixels + 1) * torch.tensor([1.0, 1.0, 0.8])[:, None, None] - 1, {"fault"}),
        (saturated(0.0), {"fault"}),
    ],
)
def test_severity(change: Change, severities: set[str]) -> None:
    assert found(change).severity in severities


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: 0.7 * pixels,
        lambda pixels: pixels + 0.15,
        lambda pixels: (pixels + 1) / 2,
        lambda pixels: -pixels,
        lambda pixels: pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3)),
    ],
    ids=["contrast", "brightness", "range", "inverted", "noise"],
)
def test_other_faults_do_not_move_it(change: Change) -> None:
    assert found(change).severity == "healthy"


def grey_scenes() -> Tensor:
    return scenes(6).mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def test_grey_pictures_do_not_accuse_but_a_tint_on_them_does() -> None:
    assert found(lambda pixels: pixels, grey_scenes()).severity == "healthy"
    assert found(plus(0.0, 0.1, 0.0), grey_scenes()).severity == "fault"


def test_lost_colour_is_found_with_grey_pictures_by_the_card() -> None:
    assert found(saturated(0.5), grey_scenes()).severity == "fault"


@pytest.mark.parametrize(("order", "name"), [([2, 1, 0], "BGR"), ([1, 2, 0], "GBR"), ([0, 2, 1], "RBG")])
def test_remedy_names_the_swap(order: list[int], name: str) -> None:
    assert name in found(lambda pixels: pixels[:, order]).remedy


def test_remedy_of_another_shift_names_no_swap() -> None:
    assert "order RGB" not in found(saturated(0.5)).remedy
    assert "come back in the order" not in found(saturated(0.5)).remedy


@pytest.mark.parametrize("channels", [1, 2])
def test_without_colour_it_is_unavailable(channels: int) -> None:
    assert found(lambda pixels: pixels, channels=channels).severity == "unavailable"


def test_alpha_does_not_count() -> None:
    def alpha_lost(pixels: Tensor) -> Tensor:
        return torch.cat([pixels[:, :3], -torch.ones_like(pixels[:, 3:])], 1)

    assert found(alpha_lost, channels=4).severity == "healthy"


@pytest.mark.parametrize(
    "change", [lambda pixels: 0.02 * pixels, lambda pixels: pixels * 0 - 0.3, lambda pixels: pixels * torch.nan]
)
def test_unavailable_where_no_colour_can_be_read(change: Change) -> None:
    assert found(change).severity == "unavailable"


def test_a_fault_shows_a_picture() -> None:
    result = examined(ColourShift(), lossless(saturated(0.0)), scenes(3))
    assert [label for label, _ in result.panels[0].images] == ["original", "reconstruction"]
    grey = result.panels[0].images[1][1].astype(int)
    assert abs(grey[..., 0] - grey[..., 1]).max() <= 1
