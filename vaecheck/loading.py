"""Build a network whose weights come from a file, without what a new one would need.

Why: of the start of a process with the networks of all metrics, on two cores, half a second went into random weights
that the file then replaced, half a second into the collector's passes over the modules that lpips and
torch-fidelity import, of which none is ever garbage, and a second into torch's compiler, which these packages import
by way of torchvision for one question that none of their networks ever asks.
"""

from __future__ import annotations

import gc
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
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
        with _NothingDrawn(), _compiler_on_demand():
            yield
    finally:
        if collects:
            gc.enable()


COMPILER = "torch._dynamo.utils"
"""Of torch's compiler, the module whose `is_compile_supported` torchvision.ops.roi_align takes by its name."""


@contextmanager
def _compiler_on_demand() -> Iterator[None]:
    """Inside, taking `is_compile_supported` of COMPILER does not import it; calling it, or taking any other, does."""
    if COMPILER in sys.modules:
        yield
        return
    stand_in = ModuleType(COMPILER)
    vars(stand_in).update(is_compile_supported=is_compile_supported, __getattr__=_of_the_compiler)
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(COMPILER) is stand_in:
            del sys.modules[COMPILER]


def is_compile_supported(device_type: str) -> bool:
    """What the function of this name in COMPILER says."""
    return bool(_of_the_compiler("is_compile_supported")(device_type))


def _of_the_compiler(name: str) -> Any:
    if name.startswith("__"):  # what looks through all modules asks for these
        raise AttributeError(name)
    if getattr(sys.modules.get(COMPILER), "__spec__", None) is None:  # the stand-in: no file was read for it
        sys.modules.pop(COMPILER, None)
    return getattr(importlib.import_module(COMPILER), name)


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
