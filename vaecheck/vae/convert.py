"""Any weights that vaecheck reads -> safetensors, which hold tensors and nothing else.

Why what was written is loaded before it is put in place: a folder that only looks right is worse than none.
Why a folder's tensors keep their names: its config.json says what they mean, and stays what it is.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.adapter import one_line
from vaecheck.vae.from_checkpoint import model_of
from vaecheck.vae.from_diffusers import STEM, UNREADABLE, choose_weights, vae_folder
from vaecheck.vae.hub import SINGLE_FILES
from vaecheck.vae.load import load_vae
from vaecheck.vae.scaling import CONFIG, NO_ENTRY, entries_of, in_words
from vaecheck.vae.tensors import read_tensors

SUFFIX = ".safetensors"
UNKNOWN = (
    "the scaling factor is not known, so config.json has none, and diffusers would take its default for this class; "
)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Converted:
    """What was read and what was written.

    recognised: one line on the input. files: as written, the weights last. dtypes: of the floating weights.
    scaling: as the written folder has it; None where plain tensors were written, which have none.
    """

    recognised: str
    files: tuple[Path, ...]
    tensors: int
    size_bytes: int
    dtypes: tuple[str, ...]
    scaling: LatentScaling | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """Named tensors with the config.json that describes them."""

    recognised: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    unsure: tuple[str, ...] = ()


def convert(
    source: Path,
    out: Path,
    *,
    dtype: str | None = None,
    scaling_factor: float | None = None,
    shift_factor: float | None = None,
) -> Converted:
    """Write the VAE in `source`, a weight file or a diffusers folder, as a diffusers folder of safetensors.

    out: a folder, new or empty; or a new file NAME.safetensors, which gets the tensors as they are named, whatever
    they belong to. dtype: "float32", "float16" or "bfloat16" for the floating weights; None keeps theirs.
    scaling_factor, shift_factor: for config.json, in place of what was found.
    Everything is written under a temporary name and then moved. Raises InputError for what cannot be read, for an
    `out` that is taken, and for a dtype that the weights do not fit in.
    """
    factors = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
    given = {name: value for name, value in factors.items() if value is not None}
    _check(source, out, given)
    place = _resolved(source)
    if out.suffix.lower() == SUFFIX:
        return _tensors_alone(place, out, dtype)
    read = _of_folder(place) if place.is_dir() else _of_file(place)
    tensors = _cast(read.tensors, dtype)
    with _placed(out) as part:
        part.mkdir()
        text = json.dumps({**read.config, **given}, indent=2, sort_keys=True)
        (part / CONFIG).write_text(text + "\n", encoding="utf-8")
        _save(tensors, part / f"{STEM}{SUFFIX}", {})
        scaling = _scaling_of(part, given)
    warnings = (*read.unsure, *(() if scaling.known else (_unknown(read.config["_class_name"]),)))
    return _converted(read.recognised, (out / CONFIG, out / f"{STEM}{SUFFIX}"), tensors, scaling, warnings)


def _check(source: Path, out: Path, given: Mapping[str, float]) -> None:
    if not source.exists():
        raise InputError(f"{source} does not exist", hint="Give a weight file or a diffusers folder.")
    suffix = out.suffix.lower()
    if suffix in SINGLE_FILES and suffix != SUFFIX:
        raise InputError(f"{out} would be a pickle", hint=f"Give a folder, or a name that ends in {SUFFIX}.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty", hint="Give a folder that is new or empty; nothing is written over.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} exists already", hint="Give a new name; nothing is written over.")
    if given and suffix == SUFFIX:
        raise InputError(
            f"{out} has no config.json to write {' and '.join(given)} to", hint="Give OUT as a folder: it gets one."
        )
    for name, value in given.items():
        if not math.isfinite(value) or (name == "scaling_factor" and not value):
            raise InputError(f"a {name} of {value} scales nothing", hint="Give a finite number; a factor is not 0.")


def _resolved(source: Path) -> Path:
    """The weight file or the diffusers folder that a path leads to, as --vae takes it."""
    if source.is_dir():
        files = [path for path in sorted(source.iterdir()) if path.suffix in SINGLE_FILES and path.is_file()]
        configured = any((source / place).is_file() for place in (CONFIG, f"vae/{CONFIG}"))
        return files[0] if len(files) == 1 and not configured else vae_folder(source)
    weights = choose_weights(path.name for path in source.parent.iterdir())
    if weights and weights.names == (source.name,) and (source.parent / CONFIG).is_file():
        return source.parent
    return source


def _of_file(path: Path) -> _Source:
    checkpoint = model_of(path)
    state = checkpoint.model.state_dict()
    tensors = {name: _narrowed(tensor, checkpoint.stored_dtype) for name, tensor in state.items()}
    return _Source(checkpoint.recognised, tensors, checkpoint.config, checkpoint.unsure)


def _of_folder(folder: Path) -> _Source:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / CONFIG} cannot be read: {one_line(error)}", hint=UNREADABLE) from error
    if not isinstance(config, dict):
        raise InputError(f"{folder / CONFIG} is no diffusers config", hint="It must be one JSON object.")
    files = _weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file).tensors
    names = ", ".join(file.name for file in files)
    return _Source(f"diffusers folder of {config.get('_class_name')}, weights in {names}", tensors, config)


def _weight_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    weights = choose_weights(path.name for path in place.iterdir())
    if weights is None:
        raise InputError(f"{place} has a {CONFIG} but no weights", hint=f"It needs {STEM}{SUFFIX} or {STEM}.bin.")
    return [place / name for name in weights.names if not name.endswith(".json")]


def _tensors_alone(place: Path, out: Path, dtype: str | None) -> Converted:
    """The tensors under their own names, and what was found beside them in the file's metadata, as JSON."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    notes: list[str] = []
    for path in _weight_files(place):
        file = read_tensors(path)
        tensors |= file.tensors
        metadata |= {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in file.metadata.items()
        }
        notes += file.notes
    tensors = _cast(tensors, dtype)
    with _placed(out) as part:
        _save(tensors, part, metadata)
    return _converted("; ".join(("tensors by their own names", *notes)), (out,), tensors, None, ())


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in the file's dtype, or as it is where that would lose something (a file of several dtypes)."""
    if not tensor.is_floating_point():
        return tensor.clone()
    narrow = tensor.to(dtype, copy=True)
    return narrow if narrow.element_size() <= tensor.element_size() and _equal(narrow, tensor) else tensor.clone()


def _equal(narrow: Tensor, tensor: Tensor) -> bool:
    return torch.allclose(narrow.to(tensor.dtype), tensor, rtol=0, atol=0, equal_nan=True)


def _cast(tensors: Mapping[str, Tensor], dtype: str | None) -> dict[str, Tensor]:
    if dtype is None:
        return dict(tensors)
    cast = {name: t.to(DTYPES[dtype]) if t.is_floating_point() else t for name, t in tensors.items()}
    lost = [name for name, tensor in tensors.items() if _overflows(tensor, cast[name])]
    if lost:
        largest = max(float(tensors[name].nan_to_num(posinf=0, neginf=0).abs().max()) for name in lost)
        raise InputError(
            f"{len(lost)} tensors do not fit in {dtype}: {lost[0]}, ..., up to {largest:.6g}",
            hint="Take --dtype bfloat16, which has float32's range, or leave --dtype out.",
        )
    return cast


def _overflows(tensor: Tensor, cast: Tensor) -> bool:
    narrower = tensor.is_floating_point() and cast.dtype.itemsize < tensor.dtype.itemsize
    return narrower and bool((tensor.isfinite() & ~cast.isfinite()).any())


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """With the rights that any new file has: safetensors' own are for its writer alone."""
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata={**metadata, "format": "pt"})  # diffusers asks for the format
    path.chmod(mode)


def _unknown(class_name: str) -> str:
    """What to do where no scaling is known, by what the class takes."""
    import diffusers

    taken = entries_of(getattr(diffusers, class_name))
    if not taken:
        return f"the scaling is not known, and {class_name} takes {NO_ENTRY} in its config.json"
    if "scaling_factor" in taken:
        return f"{UNKNOWN}measure it with `vaecheck scale-factor` and convert again with --scaling-factor"
    return (
        f"the scaling is not known, so config.json has none, and diffusers would take the default of {class_name}; "
        f"measure it with `vaecheck scale-factor` and paste the {in_words(tuple(taken))} that it prints"
    )


def _scaling_of(folder: Path, given: Mapping[str, float]) -> LatentScaling:
    """Load what was written as --vae will. Raises InputError where it is no VAE or does not keep a given factor."""
    import diffusers

    card = load_vae(str(folder)).card
    scaling = card.scaling
    for name, value in given.items():
        if getattr(scaling, name) != value:
            taken = in_words(tuple(entries_of(getattr(diffusers, card.class_name))))
            raise InputError(
                f"a VAE of this class has no {name} in its config.json: {card.class_name} takes {taken}",
                hint=f"Leave --{name.replace('_', '-')} out, and give it to the command that measures.",
            )
    return scaling


@contextmanager
def _placed(out: Path) -> Iterator[Path]:
    """A temporary name beside `out`, moved there at the end, or removed when anything fails."""
    final = out.expanduser().resolve()
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if final.is_dir():
            final.rmdir()
        part.replace(final)
    except InputError as error:
        raise InputError(error.message.replace(str(part), str(out)), hint=error.hint) from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(
            f"{out} cannot be written: {reason}", hint="Give a place with room that you may write to."
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _converted(
    recognised: str,
    files: tuple[Path, ...],
    tensors: Mapping[str, Tensor],
    scaling: LatentScaling | None,
    warnings: tuple[str, ...],
) -> Converted:
    dtypes = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.is_floating_point()})
    size = sum(tensor.nbytes for tensor in tensors.values())
    return Converted(recognised, files, len(tensors), size, tuple(dtypes), scaling, warnings)
