"""A weight file -> named tensors, without running anything that the file says.

What the file is, is read from its bytes: names lie (a pickle called .safetensors, a web page called .ckpt).

Why a zip's checksums are compared, which torch does not do: a flipped bit would load as a wrong weight and be
measured as the model's own fault.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.vae.adapter import one_line
from vaecheck.vae.foreign_files import explain
from vaecheck.vae.pickles import AGAIN, Inert, load_pickle, names_in, printable

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
LEGACY_PICKLES = 5  # magic number, protocol, system, the objects, the keys of the storages
MOST_VALUES = 200_000
DEEPEST = 32
ROOM = 1 << 20  # a tensor may repeat its storage up to this many bytes

PLAIN_TENSORS = "Save plain dense weights: {name: tensor.dequantize().to_dense().clone() for each}, with torch.save."

# Where training code puts weights, the first found first. EMA weights are taken where the file says so (use_ema) or
# has no others.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params", "generator", "net", "weights")
EMA_WRAPPERS = ("ema_state_dict", "model_ema", "params_ema", "ema", "g_ema")
TRAINING_STATE = (
    *("optimizer_states", "optimizer", "optimizers", "optimizer_state_dict", "opt", "lr_schedulers", "scheduler"),
    *("callbacks", "loops", "scaler", "rng_state", "rng_states", "amp_scaling_state"),
)
ADVERSARIES = ("discriminator", "disc", "netD", "d", "discriminator_state_dict", "loss")


@dataclass(frozen=True)
class TensorFile:
    """What a weight file holds.

    tensors: by their flat names in the file, on the CPU, contiguous, without gradients, no two sharing memory.
    metadata: plain values found beside them (global_step, hyper_parameters, safetensors' __metadata__).
    notes: what was unwrapped, stood in for or left out, one short phrase each.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, object]
    notes: tuple[str, ...] = ()


def read_tensors(path: Path) -> TensorFile:
    """The tensors of a safetensors file, or of a torch.save file of either kind, at any depth of dictionaries.

    Raises InputError for anything else (said by name where it is known), for a file that is damaged or cut short,
    and for one that names anything able to run code; nothing of it is run.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file", hint="Give a file of weights, or a folder with its config.json.")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint="Check the path and its rights.") from error
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if LEGACY_MAGIC in head[:32]:
        return _read_legacy(path)
    if head[8:9] == b"{":
        return _read_safetensors(path, int.from_bytes(head[:8], "little"))
    raise explain(path, head)


def _read_safetensors(path: Path, header: int) -> TensorFile:
    size = path.stat().st_size
    if header > size - 8:
        raise InputError(
            f"{path} is cut short or damaged: its safetensors header claims {header:,} bytes, the file has {size:,}",
            hint=AGAIN,
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except Exception as error:
        raise InputError(f"{path} is a damaged safetensors file: {one_line(error)}", hint=AGAIN) from error
    _expect_tensors(path, tensors)
    return TensorFile(tensors, metadata)


def _read_zip(path: Path) -> TensorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            pickles = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
            if not pickles or any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise explain(path, b"PK\x03\x04", tuple(entry.filename for entry in entries))
            room = _check(path, archive, entries)
            names: set[str] = set()
            for entry in pickles:
                names |= names_in(io.BytesIO(archive.read(entry)), str(path))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        endless = not zipfile.is_zipfile(path)
        reason = "the end of its zip archive is missing" if endless else printable(one_line(error))
        raise InputError(f"{path} is cut short or damaged: {reason}", hint=AGAIN) from error
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if stored and path.suffix != ".safetensors":  # by that suffix torch.load would choose another reader
        return _sorted_out(path, *load_pickle(path, names, str(path)), room)
    with path.open("rb") as file:
        return _sorted_out(path, *load_pickle(file, names, str(path)), room)


def _check(path: Path, archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo]) -> int:
    """The bytes that the entries hold all told. Raises InputError for a bomb, a repeated name, a wrong checksum."""
    size = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    if total > 4 * size + ROOM:
        raise InputError(f"{path} has {size:,} bytes and claims to hold {total:,}", hint=AGAIN)
    if len({entry.filename for entry in entries}) < len(entries):
        raise InputError(f"{path} holds two entries of one name", hint=AGAIN)
    for entry in entries:
        if entry.CRC == 0:
            del entry.CRC  # torch can be told to compute none; zipfile then expects none
        with archive.open(entry) as file:
            while file.read(1 << 20):
                pass
    return total


def _read_legacy(path: Path) -> TensorFile:
    with path.open("rb") as file:
        names = set[str]().union(*(names_in(file, str(path)) for _ in range(LEGACY_PICKLES)))
        file.seek(0)
        return _sorted_out(path, *load_pickle(file, names, str(path)), path.stat().st_size)


def _sorted_out(path: Path, loaded: object, stubbed: Sequence[str], room: int) -> TensorFile:
    """The weights and the plain values of what a pickle held. room: the bytes that its storages can have."""
    packages = sorted({name.partition(".")[0] for name in stubbed})
    notes = [f"stood in for harmless classes of {', '.join(packages)}"] if packages else []
    if not isinstance(loaded, dict):
        raise InputError(
            f"{path} holds a {type(loaded).__name__}, no named tensors",
            hint="Save the model's state_dict: torch.save(model.state_dict(), FILE).",
        )
    loaded = _entries(loaded)
    metadata: dict[str, object] = {}
    plain = _Plain()
    for _ in range(DEEPEST):
        notes += [f"left out {key}" for key in loaded if key in TRAINING_STATE]
        found = {str(key): plain(value) for key, value in loaded.items() if key not in TRAINING_STATE}
        metadata |= {key: value for key, value in found.items() if value is not None}
        places = {keys[0] for keys, value in _flat(loaded) if isinstance(value, Tensor)}
        inner = _wrapper(loaded, places, says_ema=_says_ema(metadata))
        if inner is None:
            break
        others = [key for key in (*WRAPPERS, *EMA_WRAPPERS) if key != inner and key in places]
        notes.append(f"took {inner}" + (f", not {' or '.join(others)}{_why(inner, others)}" if others else ""))
        loaded = _entries(loaded[inner])
    tensors: dict[str, Tensor] = {}
    no_tensors: list[str] = []
    for keys, value in _flat({key: value for key, value in loaded.items() if key not in TRAINING_STATE}):
        name = ".".join(keys)
        if isinstance(value, Tensor) and name in tensors:
            raise InputError(f"{path} names {printable(name)} twice", hint=AGAIN)
        if isinstance(value, Tensor):
            tensors[name] = value
        else:
            no_tensors.append(name)
    if no_tensors:
        notes.append(f"left out {len(no_tensors)} values that are no tensors ({printable(no_tensors[0])}, ...)")
    _expect_tensors(path, tensors)
    return TensorFile(_owned(path, tensors, room), metadata, tuple(notes))


def _why(inner: str, others: Collection[str]) -> str:
    """Why the averaged weights, or how to have them measured, where both kinds are there."""
    if inner in EMA_WRAPPERS:
        return " (the file says use_ema)"
    averaged = set(others) & set(EMA_WRAPPERS)
    return " (to measure the averaged ones, save them in a file of their own)" if averaged else ""


def _says_ema(metadata: Mapping[str, object]) -> bool:
    """Whether the file says that its EMA weights are the ones to use."""
    places = [metadata, *(metadata.get(key) for key in ("hyper_parameters", "config", "args"))]
    return any(isinstance(place, Mapping) and place.get("use_ema") is True for place in places)


def _entries(loaded: Any) -> dict[object, object]:
    """A plain copy: a pickle may set attributes on its dictionaries (`items`, say), as on its tensors."""
    return dict(dict.items(loaded))


def _wrapper(loaded: Mapping[object, object], places: Collection[str], *, says_ema: bool) -> str | None:
    """The key under which the weights lie, or None where they lie here. places: the keys with tensors below them."""
    for key in ("state_dict", "model_state_dict"):
        if key in places and isinstance(loaded[key], dict):
            return key
    if set(places) - {*WRAPPERS, *EMA_WRAPPERS, *TRAINING_STATE, *ADVERSARIES}:
        return None
    first, second = (EMA_WRAPPERS, WRAPPERS) if says_ema else (WRAPPERS, EMA_WRAPPERS)
    return next((key for key in (*first, *second) if key in places and isinstance(loaded[key], dict)), None)


def _flat(loaded: Mapping[object, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value that is no dictionary, with the keys above it, in order. Raises InputError past any sense."""
    waiting: list[tuple[tuple[str, ...], object]] = [((), loaded)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        keys, value = waiting.pop()
        if not isinstance(value, dict):
            yield keys, value
        elif len(keys) == DEEPEST or len(waiting) + len(value) > MOST_VALUES:
            break
        else:
            inner = [((*keys, str(key)), item) for key, item in dict.items(value) if isinstance(key, str | int)]
            waiting.extend(reversed(inner))
    raise InputError(
        f"the dictionaries in the file are nested more than {DEEPEST} deep, or hold over {MOST_VALUES:,} values",
        hint="Save the model's state_dict alone: torch.save(model.state_dict(), FILE).",
    )


class _Plain:
    """Turns what a pickle held into plain values, a limited number of them; None for anything else."""

    def __init__(self) -> None:
        self._left = 10_000

    def __call__(self, value: object, depth: int = 0) -> object:
        self._left -= 1
        if self._left < 0 or depth > 8:
            return None
        if isinstance(value, Inert):
            return self._of_stub(value, depth)
        if isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, dict):
            pairs = ((str(key), self(item, depth + 1)) for key, item in dict.items(value) if isinstance(key, str | int))
            return {key: item for key, item in pairs if item is not None} or None
        if isinstance(value, list | tuple):
            return [self(item, depth + 1) for item in value]
        return None

    def _of_stub(self, stub: Inert, depth: int) -> object:
        """The value of an omegaconf node, or the attributes of a Namespace."""
        state = stub.state
        if not isinstance(state, dict):
            return None
        for inner in ("_content", "_val"):
            if inner in state:
                return self(state[inner], depth + 1)
        return self(state, depth + 1)


def _expect_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        raise InputError(
            f"{path} holds no named tensors", hint="Save the model's state_dict: torch.save(model.state_dict(), FILE)."
        )


def _owned(path: Path, tensors: Mapping[str, Tensor], room: int) -> dict[str, Tensor]:
    """Each tensor plain, contiguous and with memory of its own."""
    owned: dict[str, Tensor] = {}
    seen: set[int] = set()
    left = 2 * room + ROOM
    for name, tensor in tensors.items():
        if fault := _fault(tensor, room):
            raise InputError(f"{path}: tensor {printable(name)} {fault}", hint=PLAIN_TENSORS)
        plain = Tensor.detach(tensor)  # the class's own: a pickle may set attributes on its tensors
        needed = plain.numel() * plain.element_size()
        if plain.untyped_storage().nbytes() != needed or plain.data_ptr() in seen or not plain.is_contiguous():
            left -= needed
            if left < 0:
                raise InputError(
                    f"{path} has {room:,} bytes of weights and unfolds them to more than twice that", hint=PLAIN_TENSORS
                )
            plain = plain.clone(memory_format=torch.contiguous_format)
        seen.add(plain.data_ptr())
        owned[name] = plain
    return owned


def _fault(tensor: Tensor, room: int) -> str:
    """Why a tensor is no plain array of numbers; empty where it is one."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return f"is a {type(tensor).__name__}, no plain tensor"
    if tensor.is_nested:
        return "is a nested tensor"
    if tensor.is_meta:
        return "is on the meta device: the file has its shape and no values"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype})"
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout})"
    storage, needed = Tensor.untyped_storage(tensor).nbytes(), tensor.shape.numel() * tensor.dtype.itemsize
    if storage > room or needed > max(storage, ROOM):
        return f"claims {max(storage, needed):,} bytes; the file holds {min(storage, room):,} for it"
    return ""
