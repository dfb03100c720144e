"""`file.py:factory` or `package.module:factory` -> an adapted model.

A factory takes no argument and returns any object with `encode(pixels)` and `decode(latents)`: see the contract.

Why a file's neighbours are forgotten after the import: two experiments have a `model.py` each, and the second
would silently get the first one's from Python's module cache.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.adapter import PROBE_CHANNELS, Adapted, one_line, sha256_of_state
from vaecheck.vae.protocol import Posterior

INSTALLED = frozenset(("site-packages", "dist-packages"))
MODULE_DEPTH = 4
"""How deep an object's attributes, lists and dicts are searched for modules."""
OURS = Path(__file__).resolve().parent.parent
ENCODE_RETURNS = (
    "encode must return a float tensor (B, C, H/f, W/f), or an object with such tensors as mean and log_var."
)


def from_factory(where: str, factory: str) -> Adapted:
    """Import `where` (a .py file or a module's dotted name), call `factory()` and adapt what it returns.

    Raises InputError with the place in the user's code when that code raises.
    """
    ref = f"{where}:{factory}"
    with _import_path(where):
        module = _import(where, ref)
        build = _named(module, factory, ref)
        model = _run(ref, f"{factory}()", build)
    for method in ("encode", "decode"):
        if not callable(getattr(model, method, None)):
            raise InputError(
                f"{ref} returned an object of type {type(model).__name__} without a method {method}",
                hint="A factory returns an object with encode(pixels) and decode(latents).",
            )
    modules = _modules(model)
    if modules is not None:
        _run(ref, "eval()", lambda: modules.eval().requires_grad_(False))
    scaling_factor, about_scaling = _factor(model, "scaling_factor", ref)
    shift_factor, about_shift = _factor(model, "shift_factor", ref)
    return Adapted(
        encode=lambda pixels: _posterior(_run(ref, "encode", lambda: model.encode(pixels)), ref),
        decode=lambda latents: _pixels(_run(ref, "decode", lambda: model.decode(latents)), ref),
        class_name=type(model).__name__,
        module=modules,
        sha256=None if modules is None else sha256_of_state(modules),
        scaling=LatentScaling(scaling_factor, shift_factor, source=ref),
        image_channels=_image_channels(model, ref),
        warnings=(*about_scaling, *about_shift),
    )


@contextmanager
def _import_path(where: str) -> Iterator[None]:
    """The file's folder (or the working folder) first on sys.path; a file's neighbours are forgotten afterwards."""
    is_file = where.endswith(".py")
    folder = str(Path(where).expanduser().resolve().parent if is_file else Path.cwd())
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)
        for name in set(sys.modules) - before if is_file else ():
            if _is_neighbour(Path(getattr(sys.modules[name], "__file__", None) or "/"), Path(folder)):
                del sys.modules[name]


def _is_neighbour(file: Path, folder: Path) -> bool:
    """Whether a module's file is the experiment's: under its folder, and of no package (a .venv may be there too)."""
    return file.is_relative_to(folder) and not INSTALLED.intersection(file.parts) and not file.is_relative_to(OURS)


def _import(where: str, ref: str) -> ModuleType:
    if not where.endswith(".py"):
        if not _exists(where):
            raise InputError(
                f"there is no module {where!r} (for {ref})",
                hint="Run from the folder that holds the package, install it, or give FILE.py:FACTORY.",
            )
        return _run(ref, "its import", lambda: importlib.import_module(where))  # type: ignore[no-any-return]
    path = Path(where).expanduser().resolve()
    name = f"vaecheck_factory_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"{where} does not exist", hint="Give FILE.py:FACTORY, the path from the working folder.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _run(ref, "its import", lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _named(module: ModuleType, factory: str, ref: str) -> Callable[[], Any]:
    found = getattr(module, factory, None)
    if callable(found):
        _expect_no_arguments(found, f"{ref}: {factory}()")
        return found  # type: ignore[no-any-return]
    own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
    close = difflib.get_close_matches(factory, own, n=1)
    raise InputError(
        f"{ref}: {factory} is " + ("not there" if found is None else f"a {type(found).__name__}, not callable"),
        hint=f"Did you mean {close[0]}?" if close else f"Callables there: {', '.join(own) or 'none'}.",
    )


def _expect_no_arguments(build: Callable[..., Any], call: str) -> None:
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):  # of compiled code, which may have none
        return
    try:
        signature.bind()
    except TypeError as error:
        raise InputError(
            f"{call} needs arguments: {error}",
            hint="A factory takes none: give them defaults, or add a function that calls it with them.",
        ) from error


def _run(ref: str, what: str, call: Callable[[], Any]) -> Any:
    """`call()`; whatever the user's code raises becomes an InputError with its text and place.

    Running out of memory passes through: the caller can try a smaller batch.
    """
    try:
        return call()
    except (InputError, torch.OutOfMemoryError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{ref}: {what} raised {type(error).__name__}: {one_line(error)} ({_place(error)})",
            hint="That was raised in the factory's own file, which takes no argument; --debug shows the traceback.",
        ) from error


def _place(error: BaseException) -> str:
    """file:line of the innermost frame that is the user's code, not an installed package's."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    own = [frame for frame in frames if _is_users(Path(frame.filename))]
    place = (own or frames)[-1] if frames else None
    return f"{Path(place.filename).name}:{place.lineno}" if place else "place unknown"


def _is_users(file: Path) -> bool:
    library = Path(traceback.__file__).parent
    return file.is_file() and not INSTALLED.intersection(file.parts) and not file.is_relative_to(library)


def _modules(model: Any) -> nn.Module | None:
    """The model, or the modules that its attributes hold, or None: what can be moved, cast, hashed and counted."""
    if isinstance(model, nn.Module):
        return model
    found: dict[int, nn.Module] = {}
    _collect(model, found, set(), depth=MODULE_DEPTH)
    return nn.ModuleList(found.values()) if found else None


def _collect(value: Any, found: dict[int, nn.Module], seen: set[int], *, depth: int) -> None:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        found[id(value)] = value
        return
    if isinstance(value, dict):
        parts: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values() if not isinstance(value, type | ModuleType) else ()
    for part in parts:
        _collect(part, found, seen, depth=depth - 1)


def _posterior(output: Any, ref: str) -> Posterior:
    if isinstance(output, Tensor):
        return Posterior(_floating(output, ref, "encode"))
    distribution = getattr(output, "latent_dist", output)
    mean = getattr(distribution, "mean", None)
    log_var = getattr(distribution, "log_var", getattr(distribution, "logvar", None))
    if isinstance(mean, Tensor) and log_var is None and hasattr(distribution, "log_var"):
        return Posterior(_floating(mean, ref, "encode"))
    if not isinstance(mean, Tensor) or not isinstance(log_var, Tensor):
        raise InputError(f"encode of {ref} returned {_describe(output)}", hint=ENCODE_RETURNS)
    if mean.shape != log_var.shape:
        raise InputError(
            f"encode of {ref} returned a mean of shape {tuple(mean.shape)} and a log_var of {tuple(log_var.shape)}",
            hint="Both have the latents' shape (B, C, H/f, W/f).",
        )
    return Posterior(_floating(mean, ref, "encode"), _floating(log_var, ref, "encode"))


def _pixels(output: Any, ref: str) -> Tensor:
    sample = getattr(output, "sample", None)
    pixels = sample if isinstance(sample, Tensor) else output
    if not isinstance(pixels, Tensor):
        raise InputError(
            f"decode of {ref} returned {_describe(output)}", hint="decode must return a float tensor (B, 3, H, W)."
        )
    return _floating(pixels, ref, "decode")


def _floating(tensor: Tensor, ref: str, method: str) -> Tensor:
    if not tensor.is_floating_point():
        raise InputError(
            f"{method} of {ref} returned {tensor.dtype}",
            hint="Latents and pixels are floating point; pixels are in [-1, 1], not 0 to 255.",
        )
    return tensor


def _factor(model: Any, name: str, ref: str) -> tuple[float | None, tuple[str, ...]]:
    """(the number, warnings). One value for each channel cannot be judged as one factor: it is unknown, and said."""
    value = _attribute(model, name, ref)
    if value is None:
        return None, ()
    if _length(value) > 1:
        return None, (f"{name} of {ref} has {_length(value)} values; it is not judged: only one for all channels is",)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} of {ref} is {_describe(value)}", hint="It is one number, or absent.") from error
    if not math.isfinite(number):
        raise InputError(f"{name} of {ref} is {number}", hint="It is one finite number, or absent.")
    return number, ()


def _attribute(model: Any, name: str, ref: str) -> Any:
    """The attribute, or None. diffusers warns of those that are in its configs; it is we who ask for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return _run(ref, name, lambda: getattr(model, name, None))


def _image_channels(model: Any, ref: str) -> int | None:
    """What the object says it takes, by the name of `image_channels` or `in_channels`; None where a probe must tell.

    Raises InputError for an `image_channels` of more than 4 or none.
    Why only counts that pictures have: `in_channels` of a user's class may as well be the width of a layer.
    """
    for name in ("image_channels", "in_channels"):
        said = _attribute(model, name, ref)
        if name == "image_channels" and isinstance(said, int) and said not in PROBE_CHANNELS:
            raise InputError(f"image_channels of {ref} is {said!r}", hint="It is 1, 2, 3 or 4, or absent.")
        if type(said) is int and said in PROBE_CHANNELS:
            return said
    return None


def _length(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    return len(value) if isinstance(value, list | tuple) else getattr(value, "size", 1)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
