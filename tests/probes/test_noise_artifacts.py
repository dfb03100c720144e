"""noise_artifacts: the std of known noise, wherever it is; nothing for invented texture, blur, tone or a lattice."""

from __future__ import annotations

import math

import pytest
import torch

from tests.probes.probe_walk import gaussian, low_pass, scenes, walked, wave, white
from vaecheck.images.synthetic import greys
from vaecheck.probes.noise_artifacts import NoiseArtifacts, card_noise


def half_flat() -> torch.Tensor:
    pictures = scenes()
    pictures[..., 128:] = 0.1
    return pictures


@pytest.mark.parametrize(("std", "severity"), [(0.005, "healthy"), (0.03, "warning"), (0.1, "fault")])
def test_white_noise_has_its_own_std(std: float, severity: str) -> None:
    found = walked(NoiseArtifacts(), half_flat(), lambda x: x + white(x, std))
    assert found.finding.severity == severity
    assert found.finding.value == pytest.approx(std, rel=0.25)
    assert found.finding.figures["flat_places"] == pytest.approx(std, rel=0.1)


def test_the_identity_adds_nothing() -> None:
    found = walked(NoiseArtifacts(), half_flat(), lambda x: x)
    assert found.finding.severity == "healthy"
    assert found.finding.value == pytest.approx(0.0, abs=1e-3)


def test_pictures_without_flat_places_are_judged_on_cards() -> None:
    found = walked(NoiseArtifacts(), scenes(), lambda x: x + white(x, 0.1))
    assert found.finding.severity == "fault"
    assert found.finding.figures["flat_places"] is None
    assert len(found.panels[0].images) == 3


def test_noise_that_is_the_same_in_all_channels() -> None:
    def trip(x: torch.Tensor) -> torch.Tensor:
        return x + white(x[:, :1], 0.1)

    assert walked(NoiseArtifacts(), half_flat(), trip).finding.severity == "fault"


def test_noise_in_the_bright_and_in_a_corner() -> None:
    def bright(x: torch.Tensor) -> torch.Tensor:
        return x + white(x, 0.15) * (x + 1).clamp(min=0) / 2

    def corner(x: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(x.shape[-2:])
        mask[: x.shape[-2] // 2, : x.shape[-1] // 2] = 1.0
        return x + white(x, 0.12) * mask

    assert walked(NoiseArtifacts(), half_flat(), bright).finding.severity == "fault"
    pictures = scenes()
    pictures[..., :128] = 0.1
    assert walked(NoiseArtifacts(), pictures, corner).finding.severity == "fault"


def test_blotches_of_the_size_of_latents() -> None:
    def trip(x: torch.Tensor) -> torch.Tensor:
        small = white(x[..., ::8, ::8], 0.2)
        return x + torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic")

    assert walked(NoiseArtifacts(), half_flat(), trip).finding.severity == "fault"


def test_halos_far_beyond_the_original_are_artefacts() -> None:
    found = walked(NoiseArtifacts(), scenes(), lambda x: x + 3.0 * (x - gaussian(x, 1.0)))
    assert found.finding.severity == "fault"
    assert found.finding.figures["cards"] == pytest.approx(0.0, abs=1e-3)


def test_invented_texture_of_the_right_strength_is_no_noise() -> None:
    other = scenes(seed=5)

    def trip(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != 256:
            return x
        return low_pass(x, 0.1) + (other - low_pass(other, 0.1))[: len(x)]

    assert walked(NoiseArtifacts(), scenes(3), trip).finding.severity == "healthy"


@pytest.mark.parametrize(
    "trip",
    [
        lambda x: gaussian(x, 2.0),
        lambda x: 0.5 * x + 0.4,
        lambda x: x - 0.3,
        lambda x: x + 0.2 * x**2,
        lambda x: x + 0.05 * wave(x, 8, down=True),
    ],
    ids=["blur", "affine", "brightness", "curve", "lattice"],
)
def test_what_other_probes_name(trip) -> None:
    assert walked(NoiseArtifacts(), half_flat(), trip).finding.severity == "healthy"


def test_noisy_pictures_accuse_nobody() -> None:
    pictures = half_flat()
    pictures = pictures + white(pictures, 0.1, seed=3)
    assert walked(NoiseArtifacts(), pictures, lambda x: x).finding.severity == "healthy"


def test_card_noise_is_its_std_and_leaves_a_lattice_out() -> None:
    card = torch.zeros(3, 256, 256)
    noise = card_noise(card + white(card, 0.05), 16)
    assert noise == pytest.approx(0.05, rel=0.2)  # the largest of many windows
    lattice = 0.1 * wave(card, 16, down=True)
    assert card_noise(card + lattice, 16) == pytest.approx(0.0, abs=1e-3)
    assert card_noise(card + lattice + white(card, 0.05), 16) == pytest.approx(0.05, rel=0.25)
    assert card_noise(torch.zeros(1, 16, 16), 16) == 0.0


def test_cards_alone_and_broken_models() -> None:
    flat = torch.zeros(3, 3, 64, 64)
    assert walked(NoiseArtifacts(), flat, lambda x: x + white(x, 0.1)).finding.severity == "fault"
    broken = walked(NoiseArtifacts(), flat, lambda x: x * math.nan)
    assert broken.finding.severity == "unavailable"
    far = walked(NoiseArtifacts(), flat, lambda x: white(x, 1e30))
    assert far.finding.value is not None
    assert math.isfinite(far.finding.value)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int) -> None:
    pictures = torch.zeros(3, channels, 128, 128)
    found = walked(NoiseArtifacts(), pictures, lambda x: x + white(x, 0.1))
    assert found.finding.severity == "fault"
    assert greys(64, channels).pixels.shape[1] == channels
    assert found.panels[0].images[0][1].shape[2] == 3
