"""The closed form against torch's own FLOP counter over the real diffusers model, and the table's own sense."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaecheck.errors import InputError
from vaecheck.unet_cost import diffusers_config, step_flops, unet_costs


def counted_flops(latent_channels: int, side: int) -> int:
    import torch
    from diffusers import UNet2DModel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet = UNet2DModel(**diffusers_config(latent_channels, side))
        out = unet(torch.empty(1, latent_channels, side, side), torch.zeros(1)).sample
    assert out.shape == (1, latent_channels, side, side)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("latent_channels", "side"), [(4, 16), (16, 16), (3, 32), (4, 32), (4, 64), (32, 8)])
def test_equals_the_flop_counter(latent_channels: int, side: int) -> None:
    assert step_flops(latent_channels, side) == counted_flops(latent_channels, side)


@pytest.mark.parametrize("f", [4, 8, 16])
def test_lists_f4_f8_f16_once_and_marks_this_vae(f: int) -> None:
    costs = unet_costs(f, latent_channels=4, size=256)
    assert [cost.f for cost in costs] == [4, 8, 16]
    assert [cost.tokens for cost in costs] == [4096, 1024, 256]
    assert [cost.latent_shape for cost in costs] == [(4, 64, 64), (4, 32, 32), (4, 16, 16)]
    assert [cost.f for cost in costs if cost.is_this_vae] == [f]


def test_another_f_is_added_in_order() -> None:
    costs = unet_costs(32, latent_channels=64, size=512)
    assert [(cost.f, cost.tokens) for cost in costs] == [(4, 16384), (8, 4096), (16, 1024), (32, 256)]
    assert [cost.is_this_vae for cost in costs] == [False, False, False, True]
    assert costs[-1].flops == step_flops(64, 16)


def test_four_times_the_tokens_cost_a_little_more_than_four_times_as_much() -> None:
    """The tokens' share is linear but for attention, whose two products grow with the square."""
    f4, f8, f16 = (cost.flops for cost in unet_costs(8, latent_channels=4, size=256))
    assert 4 < f8 / f16 < f4 / f8 < 4.5


def test_odd_sides_are_counted_at_the_padded_size() -> None:
    (cost,) = (cost for cost in unet_costs(8, latent_channels=4, size=200) if cost.is_this_vae)
    assert (cost.latent_shape, cost.tokens) == ((4, 25, 25), 625)
    assert cost.flops == step_flops(4, 32)


@pytest.mark.parametrize(("f", "latent_channels", "size"), [(0, 4, 256), (8, 0, 256), (8, 4, 7)])
def test_impossible_numbers_are_refused_with_the_numbers(f: int, latent_channels: int, size: int) -> None:
    with pytest.raises(InputError, match=f"f = {f}, {latent_channels} latent channels.* {size} pixels") as caught:
        unet_costs(f, latent_channels, size)
    assert caught.value.hint


def test_loads_neither_torch_nor_diffusers() -> None:
    program = "import sys, vaecheck.unet_cost; sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
