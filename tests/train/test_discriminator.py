"""The PatchGAN: pix2pix's layout by closed forms, its receptive field by gradient."""

from __future__ import annotations

import itertools

import pytest
import torch

from vaecheck.train.discriminator import PatchDiscriminator


@pytest.mark.parametrize(("layers", "width", "channels"), [(3, 64, 3), (3, 64, 6), (1, 8, 3), (2, 16, 1), (4, 8, 3)])
def test_parameters_are_those_of_pix2pix(layers: int, width: int, channels: int) -> None:
    """16 weights a pair of channels; a bias where no BatchNorm follows, which has two figures a channel."""
    widths = [width * min(2**i, 8) for i in range(layers + 1)]
    expected = 16 * channels * widths[0] + widths[0]
    expected += sum(16 * a * b + 2 * b for a, b in itertools.pairwise(widths))
    expected += 16 * widths[-1] + 1
    model = PatchDiscriminator(layers, width, channels)
    assert sum(p.numel() for p in model.parameters()) == expected
    if channels == 6:
        assert f"{expected / 1e6:.3f} M" == "2.769 M"  # what pix2pix prints of its discriminator of pairs


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("side", [32, 64, 96])
def test_output_has_one_logit_a_patch(layers: int, side: int) -> None:
    logits = PatchDiscriminator(layers, 8)(torch.zeros(2, 3, side, side))
    assert logits.shape == (2, 1, side // 2**layers - 2, side // 2**layers - 2)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_the_published_field(layers: int, field: int) -> None:
    """Isola et al. 2017, appendix 6.1.2: 16x16, 70x70; 34 is between. In evaluation, where BatchNorm mixes nothing."""
    torch.manual_seed(0)
    model = PatchDiscriminator(layers, 8).eval().double()
    pixels = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = model(pixels)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    assert pixels.grad is not None
    seen = pixels.grad[0].abs().sum(0) > 0
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (field, field)


def test_weights_begin_as_in_pix2pix() -> None:
    torch.manual_seed(0)
    model = PatchDiscriminator()
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 1, 1]
    for convolution in convolutions:
        assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.05)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert not norm.bias.any()
    assert [m.negative_slope for m in model.modules() if isinstance(m, torch.nn.LeakyReLU)] == [0.2] * 4
