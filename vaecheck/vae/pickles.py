"""A torch pickle -> plain objects, with nothing of what it names ever imported or run.

Why a look before the load: torch's weights_only reader refuses what it does not know, one name at a time, and
advises to trust the file. Listing every name first lets an old Lightning checkpoint through, whose callbacks and
hyper-parameters are stood in for by classes that do nothing, and refuses at once whatever could run code.

Why the names still go through torch's own reader afterwards: it holds every class and call against its list again,
so a file that fools the look is refused there.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vaecheck.errors import InputError

AGAIN = "Fetch it again and compare its sha256: it may have been cut short on its way."
SAVE_AGAIN = "Save it again where it was made: torch.save(model.state_dict(), FILE), or as safetensors."
LARGEST_TUPLE = 10_000  # all told: hashing one that is nested much deeper overflows Python's own stack
MOST_OPERATIONS = 5_000_000
GREEDY = {
    "builtins.bytearray",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_device_tensor_from_numpy",
}
"""What torch allows in a file of weights although a few bytes of it can take all memory; no state_dict needs it."""
ENCODE = "_codecs.encode"  # NumPy pickles bytes with it, as text to latin1; other codecs grow with each nesting

HARMLESS_CLASSES = re.compile(
    r"(pytorch_lightning|lightning\.pytorch)\.callbacks(\.\w+){0,2}\.[A-Z]\w*"
    r"|omegaconf\.(base|dictconfig|listconfig|nodes)\.[A-Z]\w*"
    r"|numpy\.dtypes\.[A-Z]\w*",
    re.ASCII,
)
BUILTINS = ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "object", "range", "slice", "str", "tuple")
HARMLESS = {
    *(f"builtins.{name}" for name in BUILTINS),
    *("argparse.Namespace", "types.SimpleNamespace", "types.NoneType", "typing.Any", "uuid.UUID", "decimal.Decimal"),
    *("datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone"),
    *(
        f"{module}.{kind}"
        for module in ("pathlib", "pathlib._local")
        for kind in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    *("numpy.ndarray", *(f"numpy.{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64))),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.bool_", "numpy.bool"),
    "torch.torch_version.TorchVersion",
}
NUMBERS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?"} | {
    f"{sign}{size}": code.upper() if sign == "u" else code
    for sign in "iu"
    for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
}


class Inert:
    """Stands in for a class of the file: takes any arguments, does nothing, keeps the state it is given."""

    def __new__(cls, *_args: object, **_named: object) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class NumpyType(Inert):
    """Stands in for numpy.dtype: keeps its code, "f8"."""

    def __init__(self, code: object = "", *_args: object) -> None:
        super().__init__()
        self.code = code


def numpy_number(kind: object = None, data: object = None, *_args: object) -> float | int | bool | None:
    """Stands in for NumPy's constructor of scalars: the number, or None where it is none."""
    code = NUMBERS.get(kind.code) if isinstance(kind, NumpyType) and isinstance(kind.code, str) else None
    if code is None or not isinstance(data, bytes) or len(data) != struct.calcsize(code):
        return None
    (number,) = struct.unpack(f"<{code}", data)
    return number  # type: ignore[no-any-return]


def empty_dictionary(*_args: object) -> dict[object, object]:
    """Stands in for collections.defaultdict, whose default never matters here."""
    return {}


def empty_list(*_args: object) -> list[object]:
    return []


STUBS: dict[str, Callable[..., object]] = {
    "collections.defaultdict": empty_dictionary,
    "collections.deque": empty_list,
    "numpy.dtype": NumpyType,
    "numpy.core.multiarray.scalar": numpy_number,
    "numpy._core.multiarray.scalar": numpy_number,
    "pytorch_lightning.utilities.parsing.AttributeDict": OrderedDict,
    "lightning.pytorch.utilities.parsing.AttributeDict": OrderedDict,
    "lightning_fabric.utilities.data.AttributeDict": OrderedDict,
    "lightning.fabric.utilities.data.AttributeDict": OrderedDict,
    "diffusers.configuration_utils.FrozenDict": OrderedDict,
}


def load_pickle(source: Path | IO[bytes], names: Iterable[str], what: str) -> tuple[object, tuple[str, ...]]:
    """The objects of a torch.save file whose pickles name `names`, and which names were stood in for.

    source: a path is mapped into memory rather than read. Raises InputError, for a name that is neither torch's
    own nor harmless (all are listed) and for a file that torch cannot read.
    """
    if greedy := sorted(GREEDY & set(names)):
        raise InputError(
            f"{what} is refused: its pickle names {', '.join(greedy)}, which can take any amount of memory",
            hint=SAVE_AGAIN,
        )
    unknown = unknown_names(names)
    stubs = [(stub, name) for name in unknown if (stub := _stub(name))]
    if refused := sorted(unknown - {name for _, name in stubs}):
        raise _refusal(refused, what)
    try:
        with warnings.catch_warnings(), safe_globals(stubs):  # type: ignore[arg-type]
            warnings.simplefilter("ignore")
            loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=isinstance(source, Path))
    except Exception as error:
        reason = reason_of(error)
        if "Unsupported operand" in reason:
            other = f"{what} is a pickle of another protocol than torch.save's default ({reason})"
            raise InputError(other, hint=SAVE_AGAIN) from error
        raise InputError(f"{what} cannot be read: {reason}", hint=AGAIN) from error
    return loaded, tuple(sorted(unknown))


def unknown_names(names: Iterable[str]) -> set[str]:
    """Those among "module.name" that torch itself does not allow in a file of weights."""
    plain = {name for name in names if name.isprintable() and name.isascii() and "." in name}
    pickle = b"\x80\x02" + b"".join(b"c%s\n%s\n" % tuple(name.encode().rsplit(b".", 1)) for name in plain) + b"."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("names/data.pkl", pickle)
        writer.writestr("names/version", "3\n")
    archive.seek(0)
    return (set(names) - plain) | set(get_unsafe_globals_in_checkpoint(archive))


def names_in(pickle: IO[bytes], what: str) -> set[str]:
    """Every "module.name" that the next pickle of the stream would import, found without running it.

    Raises InputError where the bytes are no pickle, where it has no end in sight, and where it builds tuples so large
    that hashing one would hang or encodes text in a way that takes any amount of memory.
    """
    look = _Look()
    try:
        for done, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            look.follow(opcode, argument)
            if done == MOST_OPERATIONS:
                raise ValueError(f"over {MOST_OPERATIONS:,} operations")
    except (ValueError, IndexError, KeyError, UnicodeError, struct.error, OverflowError, MemoryError) as error:
        raise InputError(
            f"{what} holds a pickle that is broken, or far from one of weights: {reason_of(error)}", hint=AGAIN
        ) from error
    return look.names


@dataclass(frozen=True)
class _Name:
    """What GLOBAL pushes."""

    text: str


@dataclass(frozen=True)
class _Tuple:
    """size: elements all told. latin1: it is (text, "latin1")."""

    size: int
    latin1: bool = False


_Seen = str | _Name | _Tuple | None


class _Look:
    """Follows a pickle's stack as far as names and the sizes of tuples go: anything else is None."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._stack: list[_Seen] = []
        self._marks: list[int] = []
        self._memo: dict[int, _Seen] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name, stack = opcode.name, self._stack
        if name == "MARK":
            self._marks.append(len(stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            taken = self._take(opcode)
            stack.extend(self._made(name, argument, taken) for _ in opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[_Seen]:
        before = opcode.stack_before
        below = len(before)
        start = len(self._stack) - below
        if pickletools.markobject in before:
            below = before.index(pickletools.markobject)
            start = self._marks.pop() - below
        if start < 0:
            raise ValueError(f"{opcode.name} finds too few objects")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _made(self, name: str, argument: Any, taken: list[_Seen]) -> _Seen:
        if name in ("GLOBAL", "INST"):
            return self._add(*argument.split(" ", 1))
        if name == "STACK_GLOBAL":
            return self._add(*(part if isinstance(part, str) else "(computed)" for part in taken))
        if name == "REDUCE" and taken[0] == _Name(ENCODE) and not (isinstance(taken[1], _Tuple) and taken[1].latin1):
            raise ValueError(f"{ENCODE} of something else than text to latin1")
        if name.startswith("EXT"):
            self._add("copyreg", f"extension {argument}")
        elif name.startswith("TUPLE"):
            size = len(taken) + sum(item.size for item in taken if isinstance(item, _Tuple))
            if size > LARGEST_TUPLE:
                raise ValueError(f"tuples nested into more than {LARGEST_TUPLE:,} elements")
            if _Name(ENCODE) in taken:
                raise ValueError(f"{ENCODE} handed to another function")
            return _Tuple(size, len(taken) == 2 and isinstance(taken[0], str) and taken[1] == "latin1")
        elif isinstance(argument, str):
            return argument
        return None

    def _add(self, module: str, name: str) -> _Name:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.add(f"{module}.{name}")
        return _Name(f"{module}.{name}")


def _stub(name: str) -> Callable[..., object] | None:
    if name in STUBS:
        return STUBS[name]
    if name in HARMLESS or HARMLESS_CLASSES.fullmatch(name):
        return type(name.rpartition(".")[2], (Inert,), {})
    return None


def _refusal(refused: list[str], what: str) -> InputError:
    shown = ", ".join(printable(name) for name in refused[:8])
    more = f" and {len(refused) - 8} more" if len(refused) > 8 else ""
    if any(name.startswith("torch.nn.modules.") for name in refused):
        return InputError(
            f"{what} is a whole pickled model, which is code as well as weights; it names {shown}{more}",
            hint="Load it where it was made and save its weights alone: torch.save(model.state_dict(), FILE).",
        )
    return InputError(
        f"{what} is refused: its pickle names what is no weight and could run code: {shown}{more}",
        hint="Nothing of it was run. Ask its author for safetensors, or for a state_dict saved by torch.save alone.",
    )


def reason_of(error: BaseException) -> str:
    """The first sentence of torch's error that says what is wrong: its advice is to trust the file."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2] or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    plain = [line for line in lines if "weights_only" not in line and "Weights only load failed" not in line]
    return printable((plain or lines or [type(error).__name__])[0])


def printable(text: str) -> str:
    """Text of a file, without what could move a terminal's cursor, and not too long for a sentence."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
