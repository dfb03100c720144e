"""non_finite finds every way in which numbers are lost, and says where."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.probes.round_trips import examined, lossless, scenes
from vaecheck.probes.non_finite import LARGEST, NonFinite
from vaecheck.vae.protocol import Posterior


def bright_breaks(value: float):
    """A decoder that puts `value` into pictures whose mean is above 0.3."""

    def change(pixels: Tensor) -> Tensor:
        back = pixels.clone()
        back[pixels.mean((1, 2, 3)) > 0.3, 0, 0, 0] = value
        return back

    return change


PICTURES = torch.cat([0.5 * scenes(3), 0.2 * scenes(1) + 0.6])


def test_healthy() -> None:
    finding = examined(NonFinite(), lossless(), PICTURES).finding
    assert (finding.severity, finding.value) == ("healthy", 0.0)
    assert "12 flat cards" in finding.evidence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_one_picture_of_four(value: float) -> None:
    finding = examined(NonFinite(), lossless(bright_breaks(value)), PICTURES).finding
    assert (finding.severity, finding.value) == ("fault", 0.25)
    assert "3.png" in finding.evidence
    assert "decoder" in finding.evidence


def test_the_largest_of_float16_is_a_number() -> None:
    assert torch.finfo(torch.float16).max == LARGEST
    assert examined(NonFinite(), lossless(bright_breaks(6e4)), PICTURES).finding.severity == "healthy"


@pytest.mark.parametrize(
    ("mean", "log_var"), [(math.nan, 0.0), (math.inf, 0.0), (0.0, math.nan), (0.0, 90.0), (0.0, math.inf)]
)
def test_latents(mean: float, log_var: float) -> None:
    """90 is past the largest exponent of float32, 88.7."""

    def encode(pixels: Tensor) -> Posterior:
        latents = F.pixel_unshuffle(pixels, 8)
        bright = (pixels.mean((1, 2, 3)) > 0.3).float()[:, None, None, None]
        marked = torch.zeros_like(latents)
        marked[:, 0, 0, 0] = 1
        where = (marked * bright) > 0
        return Posterior(latents.masked_fill(where, mean), torch.full_like(latents, -6.0).masked_fill(where, log_var))

    finding = examined(NonFinite(), lossless(encode=encode), PICTURES).finding
    assert (finding.severity, finding.value) == ("fault", 0.25)
    assert "encoder" in finding.evidence


def test_a_clamped_log_var_is_healthy() -> None:
    """LDM clamps at 20, far below the overflow."""

    def encode(pixels: Tensor) -> Posterior:
        latents = F.pixel_unshuffle(pixels, 8)
        return Posterior(latents, torch.full_like(latents, 20.0))

    assert examined(NonFinite(), lossless(encode=encode), PICTURES).finding.severity == "healthy"


def test_a_model_that_breaks_only_on_flat_pictures() -> None:
    def normalised(pixels: Tensor) -> Tensor:
        mean, std = pixels.mean((1, 2, 3), keepdim=True), pixels.std((1, 2, 3), keepdim=True)
        return (pixels - mean) / std * std + mean

    finding = examined(NonFinite(), lossless(normalised), PICTURES).finding
    assert finding.severity == "fault"
    assert "greys -1.0" in finding.evidence
    assert finding.figures["pictures"] == 0.0


def test_cards_that_are_refused_say_nothing() -> None:
    def refuse(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] > 64:
            raise RuntimeError("only 64")
        return pixels

    assert examined(NonFinite(), lossless(refuse), PICTURES).finding.severity == "healthy"


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels: int) -> None:
    vae = lossless(channels=channels)
    assert examined(NonFinite(), vae, scenes(2, channels=channels)).finding.severity == "healthy"
