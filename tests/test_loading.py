"""What a network that comes from a file is built without."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from vaecheck.loading import loading


def drawn() -> int:
    """How far building a convolution moves the generator."""
    before = torch.get_rng_state()
    nn.Conv2d(3, 8, 3)
    return int((torch.get_rng_state() != before).sum())


def test_nothing_is_drawn_inside_and_again_after() -> None:
    with loading():
        assert not drawn()
    assert drawn()


def test_what_a_network_computes_is_untouched() -> None:
    with loading():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).tolist() == [[2.0, 2.0], [2.0, 2.0]]
        assert torch.rand(1000, generator=torch.Generator().manual_seed(0)).std() > 0.2


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(RuntimeError), loading():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
