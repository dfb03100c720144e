"""A result on disk: result.json, per_image.csv, and files that are never seen half written.

Why NaN and infinity are refused here too: they are not JSON, every other reader chokes on them, and a
gate that compares with NaN lets everything through. A metric that yields one has a bug, so it is loud.

Why a missing text, list or mapping is read as empty: results outlive versions, and fields get added.
"""

from __future__ import annotations

import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union

from vaecheck.errors import InputError, VaecheckError
from vaecheck.results.ceiling import Ceiling
from vaecheck.results.comparison import Comparison
from vaecheck.results.gate import GateReport
from vaecheck.results.history import History
from vaecheck.results.per_image_csv import finite, load_csv, to_csv
from vaecheck.results.types import SCHEMA, Measure, Result, VAECard

Document = Result | Comparison | GateReport | History | Ceiling
"""What a command leaves in result.json; `kind` tells which."""

RESULT_FILE = "result.json"
PER_IMAGE_FILE = "per_image.csv"

_ONLY_WHERE_PRESENT = ("yardsticks", "unet_cost", "scaling", "published", "findings", "channels", "plots")
_DOCUMENT_NAMES: Mapping[tuple[type, str], str] = {(VAECard, "class_name"): "class"}
_FACTORS = ("scaling_factor", "shift_factor")
_NO_VALUE = object()
WRITTEN = "Give a result.json that vaecheck wrote."
HALF = "It was cut short or edited: take it away, and run the command that wrote it again."
_CSV = "per_image"
"""The field that goes to the CSV file instead."""
_RECORDS: Mapping[object, type[Document]] = {
    "compare": Comparison,
    "gate": GateReport,
    "watch": History,
    "e2e": Ceiling,
}
"""By kind; every other kind is a Result."""


def to_document(result: Document) -> dict[str, Any]:
    """The contract's JSON document. Raises VaecheckError where a number is NaN or infinite."""
    document: dict[str, Any] = _encode_record(result, "")
    for key in _ONLY_WHERE_PRESENT:
        if key in document and not document[key]:
            del document[key]
    return document


def to_json(result: Document) -> str:
    """`to_document` as indented JSON text with a newline at its end."""
    return json.dumps(to_document(result), indent=2, allow_nan=False) + "\n"


def from_document(document: Mapping[str, Any]) -> Document:
    """The record that a JSON document holds. Raises InputError, naming the field that is wrong."""
    schema = document.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int):
        raise InputError("the document has no schema number", hint=WRITTEN)
    if schema > SCHEMA:
        raise InputError(
            f"the result has schema {schema}; this vaecheck reads up to {SCHEMA}",
            hint="Upgrade: pip install --upgrade vaecheck.",
        )
    if schema < 1:
        raise InputError(f"there is no schema {schema}", hint=WRITTEN)
    kind = document.get("kind")
    if kind is not None and not isinstance(kind, str):
        _refuse(kind, "kind", "str")
    record = _RECORDS.get(kind or "", Result)
    for key in ("kind", *(["measures"] if record is Result else [])):
        if key not in document:
            raise InputError(f"the document has no {key!r}", hint=WRITTEN)
    environment = document.get("environment", {})
    if isinstance(environment, dict):  # may be stripped from a kept baseline: it decides nothing
        document = {**document, "environment": {"threads": 0, **environment}}
    found: Document = _decode(record, document, "")
    _check_names(found)
    return _named(found) if isinstance(found, Comparison) else found


def save(result: Document, out: Path) -> None:
    """Write per_image.csv where there are pictures, then result.json, into `out`; each appears whole or not at all."""
    document = to_json(result)
    if isinstance(result, Result | Comparison):
        write_atomically(out / PER_IMAGE_FILE, to_csv(result.per_image))
    write_atomically(out / RESULT_FILE, document)


def load_result(folder: Path) -> Result:
    """As `load`, of one run of one VAE. Raises InputError for a folder of anything else."""
    found = load(folder)
    if not isinstance(found, Result):
        raise InputError(
            f"{folder} holds a {found.kind}, not the result of one VAE",
            hint="Give the --out folder of reconstruct, score, latents, diagnose or scale-factor.",
        )
    return found


def load(folder: Path) -> Document:
    """Read what `save` wrote. A folder without per_image.csv gives a result without per-image values.

    Raises InputError for a missing folder or file, broken JSON, an unknown schema, a field of the wrong type.
    """
    if not folder.is_dir():
        problem = f"{folder} is no folder" if folder.exists() else f"there is no result folder {folder}"
        raise InputError(problem, hint="Give the folder that --out named.")
    path = folder / RESULT_FILE
    try:
        document = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_finite_int,
        )
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {RESULT_FILE}", hint="Give the folder that --out named.") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="Check the permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}", hint=HALF) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a result: it holds no JSON object", hint="Give the folder that --out named.")
    try:
        found = from_document(document)
        if isinstance(found, Result | Comparison):
            return replace(found, per_image=load_csv(folder / PER_IMAGE_FILE))
        return found
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write under a temporary name in the same folder, then move; a failure leaves the old file as it was."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", hint="Give another --out.") from error


# --- records to JSON values -------------------------------------------------------------------------------


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return finite(float(value), where)
    if is_dataclass(value):
        return _encode_record(value, where)
    if isinstance(value, Mapping):
        return {str(key): _encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    raise VaecheckError(f"{where.lstrip('.')} is a {type(value).__name__}, which JSON cannot hold")


def _encode_record(record: Any, where: str) -> dict[str, Any]:
    document = {}
    for field in fields(record):
        if isinstance(record, Measure) and (field.name == "name" or _has_no(field.name, record)):
            continue
        if field.name == _CSV:
            continue
        key = _DOCUMENT_NAMES.get((type(record), field.name), field.name)
        document[key] = _encode(getattr(record, field.name), f"{where}.{key}")
    if isinstance(record, VAECard):  # the contract has these two beside the rest
        document |= {name: document["scaling"][name] for name in _FACTORS}
    return document


def _has_no(name: str, measure: Measure) -> bool:
    """Only latent measures have a role, with its evidence."""
    return name in ("role", "evidence") and not measure.role


# --- JSON values to records, by the types of their fields -------------------------------------------------


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if value is _NO_VALUE:
        return _empty(hint, where)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(hint), value, where)
    if origin is Literal:
        return value if value in typing.get_args(hint) else _refuse(value, where, hint)
    if origin is tuple:
        return _decode_tuple(typing.get_args(hint), value, where)
    if is_dataclass(hint):
        return _decode_record(hint, value, where)
    if origin is Mapping:
        return _decode_mapping(typing.get_args(hint)[1], value, where)
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if number and _is_finite(value) else _refuse(value, where, "a finite number")
    if hint is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else _refuse(value, where, "an integer")
    return value if isinstance(value, hint) else _refuse(value, where, hint.__name__)


def _decode_record(record: Any, value: Any, where: str, **given: Any) -> Any:
    if not isinstance(value, dict):
        _refuse(value, where, "an object")
    if record is VAECard and "scaling" not in value:
        value = {**value, "scaling": {name: value.get(name) for name in _FACTORS}}
    hints = typing.get_type_hints(record)
    for field in fields(record):
        key = _DOCUMENT_NAMES.get((record, field.name), field.name)
        if field.name in given or key == _CSV:
            continue
        if key in value or field.name in _required(record):
            given[field.name] = _decode(hints[field.name], value.get(key, _NO_VALUE), f"{where}.{key}".lstrip("."))
    return record(**given)


def _decode_mapping(item_hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(value, where, "an object")
    if item_hint is Measure:
        return {key: _decode_record(Measure, item, f"{where}.{key}", name=key) for key, item in value.items()}
    return {key: _decode(item_hint, item, f"{where}.{key}") for key, item in value.items()}


def _check_names(found: Document) -> None:
    """That what is looked up by name is there."""
    if isinstance(found, Result) and not isinstance(weights := found.settings.get("metric_weights", {}), dict):
        _refuse(weights, "settings.metric_weights", "an object")
    if isinstance(found, Result) and found.scaling is not None:
        for place, channel in enumerate(found.scaling.per_channel):
            if not channel.keys() >= {"mean", "std"}:
                raise InputError(f"scaling.per_channel[{place}] lacks its mean or its std", hint=WRITTEN)
    if isinstance(found, Comparison):
        for name, contest in found.measures.items():
            differing = {ref for each in contest.differences for ref in (each.a, each.b)}
            if not contest.values or not differing <= contest.values.keys():
                raise InputError(f"measures.{name} lacks a value that it compares", hint=WRITTEN)


def _named(comparison: Comparison) -> Comparison:
    """A measure's name is its key, but in a contest, where REFs are the keys: there it is the contest's."""
    return replace(
        comparison,
        measures={
            name: replace(contest, values={ref: replace(one, name=name) for ref, one in contest.values.items()})
            for name, contest in comparison.measures.items()
        },
    )


def _decode_tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(value, where, "a list")
    if hints[-1] is Ellipsis:
        return tuple(_decode(hints[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(hints):
        _refuse(value, where, f"a list of {len(hints)}")
    return tuple(_decode(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))


def _decode_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """A union here is of a type, perhaps a tuple, perhaps None: told apart by the JSON value alone."""
    if value is None and type(None) in options:
        return None
    wanted = [hint for hint in options if hint is not type(None)]
    lists = [hint for hint in wanted if typing.get_origin(hint) is tuple]
    if lists and (isinstance(value, list) or len(lists) == len(wanted)):
        return _decode(lists[0], value, where)
    return _decode(next(hint for hint in wanted if hint not in lists), value, where)


def _required(record: Any) -> set[str]:
    """Measure.status too: a figure that does not say whether it is to be relied on would pass a gate."""
    always = {"status"} if record is Measure else set()
    return always | {
        field.name for field in fields(record) if field.default is MISSING and field.default_factory is MISSING
    }


def _empty(hint: Any, where: str) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType, Literal) and (type(None) in options or None in options):
        return None
    if hint is str:
        return ""
    if origin is Mapping:
        return {}
    if origin is tuple and options[-1] is Ellipsis:
        return ()
    if is_dataclass(hint):
        return _decode_record(hint, {}, where)
    raise InputError(f"{where} is missing", hint=WRITTEN)


def _refuse(value: Any, where: str, wanted: Any) -> typing.NoReturn:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise InputError(f"{where} is {shown}, not {wanted}", hint=WRITTEN)


def _refuse_constant(constant: str) -> typing.NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _is_finite(number: float) -> bool:
    """Also of integers that no float can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _finite_float(text: str) -> float:
    number = float(text)
    return number if _is_finite(number) else _too_large(text)


def _finite_int(text: str) -> int:
    number = int(text)
    return number if _is_finite(number) else _too_large(text)


def _too_large(text: str) -> typing.NoReturn:
    raise ValueError(f"{text if len(text) <= 20 else text[:17] + '...'} is out of the range of numbers")
