"""Build a network whose weights come from a file, without what a new one would need.

Why: of the start of a process with the networks of all metrics, on two cores, half a second went into random weights
that the file then replaced, and half a second into the collector's passes over the modules that lpips and
torch-fidelity import, of which none is ever garbage.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def loading() -> Iterator[None]:
    """No random weights and no garbage collection inside: what was to be drawn is NaN until a file replaces it.

    Why NaN: a weight that no file replaces makes every figure NaN, where leftovers of memory might pass for a figure.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with _NothingDrawn():
            yield
    finally:
        if collects:
            gc.enable()


class _NothingDrawn(TorchFunctionMode):
    """Fills with NaN what torch.nn.init was to draw."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWN:
            tensor: Tensor = args[0] if args else given["tensor"]
            with torch.no_grad():
                return tensor.fill_(math.nan)
        return func(*args, **given)


_DRAWN = {torch.nn.init.kaiming_uniform_, torch.nn.init.uniform_, torch.nn.init.normal_}
"""What convolutions and linear layers are drawn by. Not trunc_normal_, which draws again until all values suit it."""
