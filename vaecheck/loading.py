"""Build a network whose weights come from a file, without what a new one would need.

Why: of the start of a process with the networks of all metrics, on two cores, half a second went into random weights
that the file then replaced, and half a second into the collector's passes over the modules that lpips and
torch-fidelity import, of which none is ever garbage.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def loading() -> Iterator[None]:
    """No random weights and no garbage collection inside: parameters keep whatever their memory held.

    Only for networks of which a strict load then replaces every parameter.
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
    """Leaves tensors as they are where a random one was to be drawn in place."""

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
            return tensor
        return func(*args, **given)


_DRAWN = {
    *(torch.nn.init.kaiming_uniform_, torch.nn.init.kaiming_normal_, torch.nn.init.uniform_, torch.nn.init.normal_),
    *(torch.nn.init.trunc_normal_, Tensor.uniform_, Tensor.normal_),
}
