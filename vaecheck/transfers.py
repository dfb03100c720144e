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
    """What is on its way to main memory from a device, and who waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._waiting: list[tuple[Keep, list[Tensor]]] = []
        self._under_way: dict[int, tuple[Tensor, Tensor]] = {}

    def bring(self, keep: Keep, *tensors: Tensor) -> None:
        """Call keep(*tensors), with these in main memory, when `settle` is called."""
        self._waiting.append((keep, [self._sent_for(tensor) for tensor in tensors]))

    def settle(self) -> None:
        """Wait for all that is under way, and hand it over in the order in which it was asked for."""
        waiting, self._waiting, self._under_way = self._waiting, [], {}
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        for keep, tensors in waiting:
            keep(*tensors)

    def _sent_for(self, tensor: Tensor) -> Tensor:
        """One copy of a tensor, whoever wants it. The tensor is held with it, so that no other takes its id."""
        if id(tensor) not in self._under_way:
            self._under_way[id(tensor)] = tensor, tensor.to("cpu", non_blocking=tensor.is_cuda)
        return self._under_way[id(tensor)][1]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A CUDA device copies it by itself, from memory that stays where it is; of others that
    is not known."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
