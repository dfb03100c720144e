"""Whether figures of several runs may be set beside each other: they say something of the VAEs only where all else is
equal.

Why fields and not the whole settings: how pictures were read (--icc, --background, --limit) shows in the fingerprint of
their pixels, and batch sizes and devices change the last bits alone. Another seed draws other posterior samples: that
is a repetition of the measurement, and what it scatters is known from `gate --calibrate`.

Why what is absent differs from what is there: a field that got lost would else switch off what it guards. Results of
old versions lack the protocol and the tiling, which is as having none, and the hashes of the metrics' weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from vaecheck.errors import NotComparable
from vaecheck.results.types import Result

OF_THE_DATA = ("fingerprint", "count", "size", "fit", "data_range")
OF_THE_MODEL, OF_THE_PICTURES = ("dtype", "tiling"), ("posterior", "protocol")
"""Settings."""

_WEIGHTS = re.compile(r"\(sha256 ([0-9a-f]{8,})\)")
_DIGITS = 12


def differing_fields(
    a: Result, b: Result, names: Iterable[str] = (), *, may_differ: Collection[str] = ()
) -> tuple[str, ...]:
    """What differs in how two results came about, but for the VAE: "data.size: 256 against 512".

    names: the measures that are to be compared; they must have one definition, and weights that are the same.
    may_differ: settings that are what the user compares.
    """
    of_pictures = "bench" not in (a.kind, b.kind)
    of_vaes = a.vae is not None and b.vae is not None  # `score` has none
    found = [
        _differs(f"data.{field}", getattr(a.data, field), getattr(b.data, field))
        for field in (OF_THE_DATA if of_pictures else ())
    ]
    found += [
        _differs(f"settings.{name}", _setting(a, name), _setting(b, name))
        for name in (*OF_THE_MODEL, *(OF_THE_PICTURES if of_pictures else ()))
        if name not in may_differ and (of_vaes or name not in OF_THE_MODEL)
    ]
    weights, others = (result.settings.get("metric_weights") or {} for result in (a, b))
    found += [_differs(f"weights of {name}", weights[name], others[name]) for name in weights if name in others]
    for name in names:
        one, other = a.measures.get(name), b.measures.get(name)
        if one is not None and other is not None and None not in (one.value, other.value):
            found.append(_differs(f"measures.{name}.definition", one.definition, other.definition))
            found.append(_differs(f"weights of {name}", _weights(one.reason), _weights(other.reason)))
    return tuple(filter(None, found))


def differing_ids(a: Result, b: Result) -> list[str]:
    """Where results of the same pixels name their pictures otherwise, so that few or none can be paired."""
    ids, others = set(a.per_image.ids), set(b.per_image.ids)
    if not ids or not others or ids == others or a.data.fingerprint != b.data.fingerprint:
        return []
    return [f"names of the pictures: {min(ids ^ others)} is in one alone"]


def differing_vaes(a: Result, b: Result) -> tuple[str, ...]:
    """Whether two results are of two VAEs: by their weights where those are known, else by their names."""
    if a.vae is None or b.vae is None:
        return ("vae: one result has none",) if a.vae is not b.vae else ()
    if a.vae.sha256 and b.vae.sha256:
        return tuple(filter(None, [_differs("vae.sha256", a.vae.sha256, b.vae.sha256)]))
    return tuple(filter(None, [_differs("vae.ref", a.vae.ref, b.vae.ref)]))


def check_comparable(a: Result, b: Result, whose_a: str, whose_b: str, names: Iterable[str] = ()) -> None:
    """Raises NotComparable, naming every field that differs."""
    if found := differing_fields(a, b, names):
        raise not_comparable(whose_a, whose_b, found)


def not_comparable(whose_a: str, whose_b: str, found: Iterable[str]) -> NotComparable:
    return NotComparable(
        f"{whose_a} and {whose_b} cannot be set beside each other: {'; '.join(found)}",
        hint="Measure both with the same pictures and the same options.",
    )


def _setting(result: Result, name: str) -> object:
    """None where there is none, as for a protocol or tiles that were not asked for."""
    value = result.settings.get(name)
    return result.vae.dtype if name == "dtype" and value is None and result.vae is not None else value


def _differs(what: str, a: object, b: object) -> str:
    return "" if a == b else f"{what}: {_shown(a)} against {_shown(b)}"


def _shown(value: object) -> str:
    text = str(value) or "none"
    return text[:_DIGITS] if re.fullmatch(r"[0-9a-f]{32,}", text) else text


def _weights(reason: str) -> str:
    """The hash of weights that are not the published ones; those that are, are all the same."""
    found = _WEIGHTS.search(reason)
    return found[1] if found else "the published ones"
