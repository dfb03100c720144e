"""The rules of a gate: TOML in, frozen rules out, and every mistake in them told at once.

Why mistakes are gathered: whoever mends a rules file in CI waits minutes between two of them.
Why metrics come from the table of explanations: a saved result is judged without torch, which the catalogues need.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vaecheck.errors import InputError
from vaecheck.explanations import explanations
from vaecheck.results.types import Better

METRICS = tuple(name for entry in explanations() if not entry.remedy for name in entry.names)
FINDINGS = tuple(name for entry in explanations() if entry.remedy for name in entry.names)
SHAPES = ("latent_shape",)
"""Measures that are no number."""
HIGHER = (
    *("psnr_db", "ssim", "psnr_border_db", "psnr_inside_db", "tiling_psnr_db", "lds", "cds", "lnc"),
    *("noise_psnr_db_10", "noise_psnr_db_20", "noise_mse_doubling", "noise_lpips_doubling"),
    *("encode_images_per_second", "decode_images_per_second"),
)
LOWER = (
    *("lpips_alex", "lpips_vgg", "lpips_squeeze", "rfid", "kid", "fd_efficientnet_lite0", "fd_pytorch_fid"),
    *("seam_error_ratio", "sec_25", "sec_50", "equivariance_rotation", "equivariance_scale"),
    *("intrinsic_dimension", "viv", "ifid", "ifd_efficientnet_lite0", "decoder_sensitivity"),
    *("encode_flops_per_image", "decode_flops_per_image", "peak_memory_bytes"),
)
SEVERITIES = ("fault", "warning")
PYPROJECT = "pyproject.toml"

Side = Literal["min", "max"]
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """At least (min) or at most (max) so much of a metric; `warn` is a softer limit on the same side."""

    metric: str
    side: Side
    fail: float | None
    warn: float | None


@dataclass(frozen=True)
class Amount:
    """So much in the metric's unit, or so large a share of the baseline's figure."""

    value: float
    is_share: bool

    def of(self, baseline: float) -> float:
        return self.value * abs(baseline) if self.is_share else self.value

    def __str__(self) -> str:
        return f"{100 * self.value:.6g} %" if self.is_share else f"{self.value:.6g}"


@dataclass(frozen=True)
class AgainstBaseline:
    """No worse than a baseline by more than an amount; or, where `significant`, by no more than chance explains."""

    metric: str
    fail: Amount | None = None
    warn: Amount | None = None
    significant: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Which findings fail: those of `fail_on` and graver, of `ids`."""

    fail_on: Literal["fault", "warning"]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """Everything that a gate asks. source: the file, for a person."""

    source: str
    limits: tuple[Limit, ...] = ()
    baseline: tuple[AgainstBaseline, ...] = ()
    diagnosis: Diagnosis | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a rule names, once."""
        named = [*(rule.metric for rule in self.limits), *(rule.metric for rule in self.baseline)]
        return tuple(dict.fromkeys(named))


def better(metric: str) -> Better:
    """Which direction is an improvement, without torch."""
    return "higher" if metric in HIGHER else "lower" if metric in LOWER else None


def read_rules(given: Path | str | Mapping[str, Any] | None = None) -> Rules:
    """The rules of a TOML file, of a pyproject.toml's [tool.vaecheck.gate], or of a mapping of the same shape.

    None: the pyproject.toml of the working directory. Raises InputError that lists every mistake.
    """
    if isinstance(given, Mapping):
        return parse(given.get("gate", given), "the given rules", "gate")
    path = Path(PYPROJECT) if given is None else Path(given).expanduser()
    document = _load(path, is_asked_for=given is not None)
    own = _inside(document, "tool", "vaecheck", "gate") if path.name == PYPROJECT else document.get("gate")
    if own is None:
        table = "[tool.vaecheck.gate.METRIC]" if path.name == PYPROJECT else "[gate.METRIC]"
        raise InputError(f"{path} has no rules", hint=f"Write {table} with max or min, or give --rules FILE.")
    if path.name == PYPROJECT:
        return parse(own, str(path), "tool.vaecheck.gate")
    strangers = [f"[{name}] is no part of the rules: only [gate] is read" for name in document if name != "gate"]
    return parse(own, str(path), "gate", strangers)


def need_baseline(rules: Rules, *, is_given: bool) -> None:
    """Raises InputError where rules are against a baseline and there is none."""
    if rules.baseline and not is_given:
        wanted = ", ".join(rule.metric for rule in rules.baseline)
        raise InputError(f"{rules.source} has rules against a baseline ({wanted})", hint="Give --baseline DIR.")


def parse(table: Any, source: str, root: str, mistakes: Iterable[str] = ()) -> Rules:
    """table: what stands under [gate]. root: how that table is called. mistakes: found before."""
    reader = _Reader(root, list(mistakes))
    rules = reader.rules(table, source)
    if reader.mistakes:
        count = "a mistake" if len(reader.mistakes) == 1 else f"{len(reader.mistakes)} mistakes"
        raise InputError(
            "\n  ".join([f"{source} has {count}:", *reader.mistakes]),
            hint="vaecheck explain lists every metric and finding. A rule is [gate.METRIC] with max or min, and warn.",
        )
    return rules


def _load(path: Path, *, is_asked_for: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if is_asked_for:
            raise InputError(f"there is no rules file {path}", hint="Give --rules FILE.") from None
        raise InputError(
            f"no --rules were given, and there is no {PYPROJECT} here", hint="Give --rules FILE, such as gate.toml."
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="Give a TOML file of rules.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}", hint="Write numbers bare and texts in quotes.") from error


def _inside(table: Any, *names: str) -> Any:
    """What stands under nested tables; None where there is none."""
    for name in names:
        table = table.get(name) if isinstance(table, Mapping) else None
    return table


class _Reader:
    """Reads what it can and keeps every mistake."""

    def __init__(self, root: str, mistakes: list[str]) -> None:
        self.root = root
        self.mistakes = mistakes

    def rules(self, table: Any, source: str) -> Rules:
        if not isinstance(table, Mapping):
            self.mistakes.append(f"[{self.root}] is {_shown(table)}, not a table")
            return Rules(source)
        if not table:
            self.mistakes.append(f"[{self.root}] is empty: nothing would be checked")
        limits: list[Limit] = []
        baseline: tuple[AgainstBaseline, ...] = ()
        diagnosis = None
        for name, entry in table.items():
            if name == "baseline":
                baseline = self._baseline(entry)
            elif name == "diagnose":
                diagnosis = self._diagnosis(entry)
            else:
                limits += self._limits(name, entry)
        return Rules(source, tuple(limits), baseline, diagnosis)

    def _wrong(self, where: str, what: str) -> None:
        self.mistakes.append(f"[{self.root}.{where if where.isprintable() else ascii(where)}] {what}")

    def _limits(self, metric: str, entry: Any) -> list[Limit]:
        known = self._is_metric(metric, metric)
        found = self._table(metric, entry, ("max", "min", "warn"), "write min = 24 or max = 0.1 below it")
        numbers = {key: self._number(metric, key, value) for key, value in found.items()}
        low, high, warn = (numbers.get(key) for key in ("min", "max", "warn"))
        if not known or None in numbers.values() or not numbers:
            return []
        if low is not None and high is not None:
            if low > high:
                self._wrong(metric, f"min = {low:g} is above max = {high:g}: nothing could pass")
            if warn is not None:
                self._wrong(metric, "warn has no side beside both min and max; leave it out")
            return [Limit(metric, "min", low, None), Limit(metric, "max", high, None)]
        side = self._side(metric, low, high)
        limit = low if side == "min" else high
        if side is None:
            return []
        if warn is not None and limit is not None and (warn <= limit if side == "min" else warn >= limit):
            word = "above" if side == "min" else "below"
            self._wrong(metric, f"warn = {warn:g} never warns: it must lie {word} {side} = {limit:g}")
        return [Limit(metric, side, limit, warn)]

    def _side(self, metric: str, low: float | None, high: float | None) -> Side | None:
        """Which side a rule is of; of `warn` alone, the worse one."""
        if low is not None:
            return "min"
        if high is not None:
            return "max"
        if better(metric) is None:
            self._wrong(metric, f"warn needs min or max beside it: {metric} is better neither high nor low")
            return None
        return "min" if better(metric) == "higher" else "max"

    def _baseline(self, entry: Any) -> tuple[AgainstBaseline, ...]:
        where = "baseline"
        if not isinstance(entry, Mapping) or not entry:
            self._wrong(where, 'names no metric; write psnr_db = {worse_by = 0.1} or ssim = "significant" below it')
            return ()
        found = [self._against(metric, value) for metric, value in entry.items() if self._is_metric(where, metric)]
        return tuple(one for one in found if one is not None)

    def _against(self, metric: str, value: Any) -> AgainstBaseline | None:
        where = f"baseline.{metric}"
        if better(metric) is None:
            self._wrong(where, f"cannot be judged: {metric} is better neither high nor low; use min and max")
            return None
        if value == "significant":
            return AgainstBaseline(metric, significant=True)
        if not isinstance(value, Mapping):
            self._wrong(where, f'is {_shown(value)}; write {{worse_by = 0.1}}, {{worse_by = "5%"}} or "significant"')
            return None
        found = self._table(where, value, ("worse_by", "warn"), "write worse_by = 0.1")
        amounts = {key: self._amount(where, key, amount) for key, amount in found.items()}
        if None in amounts.values() or not amounts:
            return None
        fail, warn = amounts.get("worse_by"), amounts.get("warn")
        if fail is not None and warn is not None:
            if fail.is_share != warn.is_share:
                self._wrong(where, "warn and worse_by must both be amounts or both be percentages")
            elif warn.value >= fail.value:
                self._wrong(where, f"warn = {warn} never warns: it must be less than worse_by = {fail}")
        return AgainstBaseline(metric, fail, warn)

    def _diagnosis(self, entry: Any) -> Diagnosis | None:
        where = "diagnose"
        found = self._table(where, entry, ("fail_on", "ignore", "only"), 'write fail_on = "fault" below it')
        if not found:
            return None
        fail_on = found.get("fail_on")
        if fail_on not in SEVERITIES:
            told = f"fail_on is {_shown(fail_on)}" if "fail_on" in found else "has no fail_on"
            self._wrong(where, f'{told}; write fail_on = "fault" or "warning"')
        ignored, only = (self._ids(key, found[key]) if key in found else None for key in ("ignore", "only"))
        ids = tuple(one for one in FINDINGS if (only is None or one in only) and one not in (ignored or ()))
        if not ids:
            self._wrong(where, "leaves no finding to look for")
        return Diagnosis(fail_on, ids) if fail_on in SEVERITIES else None

    def _ids(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self._wrong("diagnose", f'{key} is {_shown(value)}, not a list such as ["text_loss"]')
            return ()
        for one in value:
            if one not in FINDINGS:
                self._wrong("diagnose", f"{key}: there is no finding {one!r}{_nearest(one, FINDINGS)}")
        return tuple(value)

    def _is_metric(self, where: str, name: str) -> bool:
        if name in METRICS and name not in SHAPES:
            return True
        if name in SHAPES:
            self._wrong(where, f"{name} is a shape, not a number")
        elif name in FINDINGS:
            told = f'{name} is a finding, not a metric; write only = ["{name}"] below [{self.root}.diagnose]'
            self._wrong(where, told)
        else:
            self._wrong(where, f"there is no metric {name!r}{_nearest(name, METRICS)}")
        return False

    def _table(self, where: str, entry: Any, keys: tuple[str, ...], remedy: str) -> dict[str, Any]:
        """The entries of a table that are known; what else stands there is a mistake."""
        if not isinstance(entry, Mapping):
            self._wrong(where, f"is {_shown(entry)}, not a table; {remedy}")
            return {}
        if not entry:
            self._wrong(where, f"is empty; {remedy}")
        for key in entry:
            if key not in keys:
                self._wrong(where, f"has no key {key!r}{_nearest(key, keys) or f'; there are {_listed(keys)}'}")
        return {key: value for key, value in entry.items() if key in keys}

    def _number(self, where: str, key: str, value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(where, f"{key} is {_shown(value)}, not a number")
            return None
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self._wrong(where, f"{key} is {number}: a limit must be finite")
            return None
        return number

    def _amount(self, where: str, key: str, value: Any) -> Amount | None:
        """0.1 or "5%"."""
        is_share = isinstance(value, str) and value.strip().endswith("%")
        if is_share:
            try:
                value = float(value.strip()[:-1]) / 100
            except ValueError:
                is_share = False
        number = self._number(where, key, value)
        if number is not None and number < 0:
            self._wrong(where, f"{key} is {number:g}: how much worse cannot be negative")
            return None
        return None if number is None else Amount(number, is_share)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
