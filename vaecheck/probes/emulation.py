"""A model in a type of 16 bits: every operation seen, its results rounded as that type's own kernels round them.

Why emulation: on a CPU many float16 kernels are missing, or take hundreds of times as long as float32 ones. The weights
and the activations really are of the type, so that a model which casts by itself does so here too; only the
arithmetic of an operation is done in float32 and its result rounded, which is what kernels do that accumulate in
float32. Checked against torch's own float16 and bfloat16 kernels, to what the order of sums allows.
Why operations and not modules: a model may be made of functions, and what overflows is often a sum outside any module.
Why the weights are put back and not cast back: what was rounded to 16 bits stays rounded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vaecheck.errors import VaecheckError
from vaecheck.probes.protocol import ModelRefused
from vaecheck.vae.adapter import Adapted, one_line
from vaecheck.vae.room import is_out_of_memory

NOTHING_COMPUTED = ("empty", "new_empty", "lift")
"""Beginnings of the names of operations whose values are not theirs."""
ONE_TYPE = ("convolution", "mm", "linear", "scaled_dot_product", "native_", "_norm")
"""Parts of the names of operations that torch refuses where their arguments are of several floating types."""


@dataclass(frozen=True)
class Operation:
    """One operation that gave floating values.

    block: the name of the innermost module that ran it, or "operation NAME" outside any.
    peak: its largest |value| before rounding to the type; inf where one is not finite or overflows in the type.
    offset: root mean square over the standard deviation within each channel; 0 where it does not vary.
    """

    block: str
    peak: float
    offset: float


@dataclass(frozen=True)
class Pass:
    """What one stage of a model gave in one type.

    output: float32. operations: in their order. narrow: how many gave values of a type of 16 bits.
    mixed: whether torch would refuse it, because it mixes types where one is asked for. same: gave back its input.
    """

    output: Tensor
    operations: tuple[Operation, ...]
    narrow: int
    mixed: bool
    same: bool


@contextmanager
def weights_in(module: nn.Module | None, dtype: torch.dtype) -> Iterator[None]:
    """The module's floating parameters and buffers in another type for a while; then the very same values again."""
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    kept = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()]
    try:
        for tensor, data in kept:
            tensor.data = data.to(dtype)
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


@torch.no_grad()
def run(adapted: Adapted, stage: str, values: Tensor, dtype: torch.dtype, *, emulate: bool) -> Pass:
    """One stage ("encode" or "decode") in a type, its weights already in it (`weights_in`).

    values: (1, C, H, W) float32. emulate: compute in float32 and round, rather than by the type's own kernels.
    Raises ModelRefused where the model raises.

    Why no_grad and not inference mode: in the latter torch shows composite operations undivided.
    """
    cast = values.to(dtype, copy=True)
    watch = Watch(_names(adapted.module), dtype if emulate else None)
    try:
        with _same_chance(values.device), _uncompiled(), watch.modules(), watch:
            found: Any = adapted.encode(cast) if stage == "encode" else adapted.decode(cast)
    except VaecheckError as error:
        raise ModelRefused(error.message, hint=error.hint) from error
    except Exception as error:
        what = "does not fit into memory" if is_out_of_memory(error) else f"raised {type(error).__name__}"
        raise ModelRefused(f"the model {what} in {dtype_name(dtype)}: {one_line(error)}") from error
    output: Tensor = found.mean if stage == "encode" else found
    same = output.shape == cast.shape and bool(torch.equal(output.float(), cast.float()))
    return Pass(output.float(), tuple(watch.operations), watch.narrow, watch.mixed, same)


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of a model; with `low`, a type of 16 bits, computes those on such values in float32."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Why not: torch would load its compiler for it, which takes 2 seconds, and nothing is compiled here."""
        return False

    def __init__(self, names: Mapping[int, str], low: torch.dtype | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.narrow = 0
        self.mixed = False
        self._names = names
        self._low = low
        self._running: list[str] = []

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Note which module runs."""

        def enter(module: nn.Module, _inputs: Any) -> None:
            self._running.append(self._names.get(id(module)) or type(module).__name__)

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            self._running.pop()

        hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        plain = func.is_view or kwargs.get("dtype") is not None
        if self._low is None or plain or not any(leaf.dtype == self._low for leaf in given):
            result = unrounded = func(*args, **kwargs)
        else:
            result, unrounded = self._emulated(func, args, kwargs, given)
        if given and not plain and not func.__name__.startswith(NOTHING_COMPUTED):
            self._note(func, result, unrounded)
        return result

    def _emulated(self, func: Any, args: Any, kwargs: Any, given: list[Tensor]) -> tuple[Any, Any]:
        """The result in the type, and as it was before it was rounded to it."""
        low = self._low
        assert low is not None
        mixed = any(leaf.dtype != low and leaf.dim() > 0 for leaf in given)
        if mixed and not any(part in func.__name__ for part in ONE_TYPE):
            result = func(*args, **kwargs)  # torch promotes it to float32
            return result, result
        self.mixed |= mixed
        wide = {id(leaf): leaf.float() if leaf.dtype == low else leaf for leaf in given}
        unrounded = func(*_replaced(args, wide), **_replaced(kwargs, wide))
        if not func._schema.is_mutable:
            return tree_map(lambda one: _rounded(one, low), unrounded), unrounded
        for leaf in given:
            if wide[id(leaf)] is not leaf:
                leaf.copy_(wide[id(leaf)])
        back = {id(copy): leaf for leaf in given if (copy := wide[id(leaf)]) is not leaf}
        return _replaced(unrounded, back), unrounded

    def _note(self, func: Any, result: Any, unrounded: Any) -> None:
        """Why the first result alone: the further ones are what a kernel keeps for gradients, such as 1/std."""
        first, exact = (next(iter(tree_leaves(one)), None) for one in (result, unrounded))
        if not isinstance(first, Tensor) or not first.is_floating_point() or not first.numel():
            return
        assert isinstance(exact, Tensor)
        largest = torch.finfo(first.dtype).max
        low, high = (float(end) for end in torch.aminmax(exact))
        peak = max(abs(low), abs(high))
        if not peak <= largest and not first.isfinite().all():  # what rounds to the largest value is finite
            peak = math.inf
        self.narrow += first.dtype in (torch.float16, torch.bfloat16)
        block = self._running[-1] if self._running else f"operation {func.__name__.split('.')[0]}"
        offset = _offset(first) if self._low is None and first.dtype == torch.float32 else 0.0
        self.operations.append(Operation(block, peak, offset))


def _offset(values: Tensor) -> float:
    dims = (-2, -1) if values.dim() == 4 else tuple(range(values.dim()))
    mean = values.mean(dims, keepdim=True)
    spread = float((values - mean).square_().mean())
    return math.sqrt(1 + float(mean.square().mean()) / spread) if spread > 0 else 0.0


@contextmanager
def _same_chance(device: torch.device) -> Iterator[None]:
    """Why: a model that draws noise must draw the same in both types."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def _uncompiled() -> AbstractContextManager[Any]:
    """Why: a model that compiles itself would have torch compile the watching too, for a minute.

    Where no one has loaded the compiler there is nothing to stop, and loading it takes 2 seconds.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _replaced(tree: Any, by: Mapping[int, Tensor]) -> Any:
    return tree_map(lambda leaf: by.get(id(leaf), leaf), tree)


def _rounded(value: Any, low: torch.dtype) -> Any:
    return value.to(low) if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def _names(module: nn.Module | None) -> dict[int, str]:
    return {} if module is None else {id(one): name for name, one in module.named_modules()}


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
