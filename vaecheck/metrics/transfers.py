"""Between main memory and the device: what a batch needs over there, and what its observers want back.

Why together: every `.cpu()` waits until a GPU has done all that it was told, and then it has nothing to do until it is
told more. With ten metrics it would stop ten times a batch. What all of them want is copied while the GPU goes on, and
it is waited for once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Keep = Callable[..., Any]


class Transfers:
    """What is on its way to main memory, and who waits for it."""

    def __init__(self) -> None:
        self._under_way: list[tuple[Keep, list[Tensor]]] = []
        self._devices: set[torch.device] = set()

    def bring(self, keep: Keep, *tensors: Tensor) -> None:
        """Call keep(*tensors), with copies in main memory, when `settle` is called."""
        self._under_way.append((keep, [tensor.to("cpu", non_blocking=tensor.is_cuda) for tensor in tensors]))
        self._devices |= {tensor.device for tensor in tensors if tensor.is_cuda}

    def settle(self) -> None:
        """Wait for all that is under way, and hand it over in the order in which it was asked for."""
        arrived, self._under_way = self._under_way, []
        for device in self._devices:
            torch.cuda.current_stream(device).synchronize()
        for keep, tensors in arrived:
            keep(*tensors)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a GPU copies it by itself, from memory that stays where it is."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
