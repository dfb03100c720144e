"""What others published of known VAEs, and how far their protocol is that of a run.

Why a model is matched by a list of names: the same weights go by many, and many weights go by "SD-VAE"; a likeness
of words would set a figure beside the wrong model.

Why differences are spelt out row by row: the same weights spread by 2 dB and the same pictures by 0.09 SSIM across
publications, through settings alone.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from vaecheck.results.types import DataCard, Published, VAECard
from vaecheck.vae.aliases import ALIASES

CROPS = {
    "crop": "bicubic centre crop",
    "adm": "ADM's crop (box, then bicubic)",
    "resize": "squeezed to a square",
    "pad": "padded",
    "none": "own size",
    "own_size": "own size, padded with zeros to a multiple of 16",
    "as_they_are": "none needed: the pictures have that size",
    "pil_bilinear": "bilinear centre crop (Pillow)",
    "pil_lanczos": "Lanczos centre crop (Pillow)",
    "pil_bilinear_or_lanczos": "bilinear or Lanczos centre crop (Pillow; which is not stated)",
    "tensor": "antialiased centre crop of the tensor",
    "tensor_bilinear": "bilinear centre crop of the tensor",
    "random": "random crop without resizing",
}
SSIMS = {
    "gaussian": "Gaussian windows of 11 x 11",
    "gaussian-signed": "Gaussian windows of 11 x 11 on values of -1 to 1",
    "gaussian-data-range": "Gaussian windows of 11 x 11, the range taken from each picture",
    "uniform": "uniform windows of 7 x 7",
    "uniform-range-2": "uniform windows of 7 x 7 and a range of 2 for values of 0 to 1",
}
ROUNDINGS = {
    "rounded": "values rounded to 8 bits",
    "rounded_except_lpips": "values rounded to 8 bits, for LPIPS unclamped floats",
    "truncated": "values cut off to 8 bits",
    "none": "unclamped floats",
}
FIDS = {
    "torch-fidelity": "torch-fidelity's Inception",
    "pytorch-fid": "pytorch-fid's",
    "openai-tensorflow": "OpenAI's TensorFlow evaluator",
}
OWN: Mapping[str, str] = {"ssim": "gaussian", "rounding": "rounded", "fid": "torch-fidelity"}
"""How vaecheck measures where no --protocol says otherwise."""
SAMPLES = "samples"
SHOWN = 4


@dataclass(frozen=True)
class Model:
    """A VAE that something was published of, or that people ask for. names: aliases and hub ids, lower case."""

    key: str
    name: str
    names: tuple[str, ...]
    class_name: str | None
    f: int | None
    channels: int | None
    scaling_factor: float | None
    shift_factor: float | None
    scaling_note: str
    scaling_source: str

    @property
    def scaling(self) -> str:
        """The usual scaling in words; empty where none is known."""
        if self.scaling_note or self.scaling_factor is None:
            return self.scaling_note
        shift = f", shift {self.shift_factor:g}" if self.shift_factor else ""
        return f"factor {self.scaling_factor:g}{shift}"


def find(ref: str) -> Model | None:
    """The model that an alias, a hub id with or without :vae and @revision, or a name of the table stands for."""
    names = _names()
    return next((names[name] for name in _candidates(ref) if name in names), None)


def of_vae(ref: str) -> Model | None:
    """The same for a VAE that was loaded: by alias or hub id only, because a folder may have any name."""
    return find(ref) if ref in ALIASES or "/" in ref else None


def nearest(ref: str, n: int = 5) -> tuple[str, ...]:
    """Names of the table that look like `ref`, for an error's hint."""
    wanted = ref.lower()
    inside = [name for name in _names() if wanted in name]
    alike = difflib.get_close_matches(wanted, _names(), n=n, cutoff=0.5)
    return tuple(dict.fromkeys([*alike, *inside]))[:n]


def rows(model: Model) -> tuple[Published, ...]:
    """All that was published of it, by data set, then by tier."""
    found = (_row(row) for row in _table()["rows"] if row["model"] == model.key)
    return tuple(sorted(found, key=lambda row: (row.dataset or "~", row.split or "~", row.tier)))


def described(class_name: str | None, model: Model | None) -> str:
    """ "AutoencoderKL, f8, 4 channels", as far as it is known."""
    parts = [class_name or "class not stated"]
    if model is not None:
        parts += [f"f{model.f}"] if model.f else []
        parts += [f"{model.channels} channels"] if model.channels else []
    return ", ".join(parts)


def usual_scaling(model: Model | None, shipped: float | None = None) -> str:
    """ "factor 0.13025 (config.json)". shipped: what an alias brings for a repository that has none."""
    if model is None or not model.scaling:
        return f"factor {shipped:g}" if shipped is not None else "not known"
    return f"{model.scaling} ({model.scaling_source})" if model.scaling_source else model.scaling


def aliases() -> tuple[tuple[str, str, str, str, str], ...]:
    """Each alias: name, what it is, class with f and channels, usual scaling, where it comes from."""
    rows = []
    for name, alias in ALIASES.items():
        model = of_vae(name)
        scaling = usual_scaling(model, alias.scaling_factor)
        rows.append((name, alias.about, described(alias.class_name, model), scaling, alias.target))
    return tuple(rows)


def facts(model: Model | None) -> dict[str, Any]:
    """f, channels and usual scaling for JSON; null where not known."""
    names = ("f", "channels", "scaling_factor", "shift_factor", "scaling_note", "scaling_source")
    known = {name: getattr(model, name, None) or None for name in names}
    return known | {"published": len(rows(model)) if model else 0}


def document(row: Published) -> dict[str, Any]:
    """A row for JSON, without what a run would add."""
    return {key: value for key, value in asdict(row).items() if key not in ("differs", "unknown")}


def models() -> tuple[Model, ...]:
    return tuple(_models().values())


def beside(
    card: VAECard, data: DataCard, settings: Mapping[str, Any], measured: Collection[str], most: int = SHOWN
) -> tuple[Published, ...]:
    """The published rows nearest to a run's protocol, each with what differs and what cannot be known.

    Nearest: the fewest of both, since what is not stated may differ too; a row of one metric comes last.
    measured: names of the run's measures; a row that shares none is left out. One row an evaluation,
    `most` in all.
    """
    model = of_vae(card.ref)
    if model is None:
        return ()
    judged = [
        replace(
            row,
            differs=tuple(_differences(row, card, data, settings, measured)),
            unknown=tuple(_unknown(row, card, data)),
        )
        for row in rows(model)
        if _shared(row, measured)
    ]
    judged.sort(key=lambda row: (len(row.metrics) < 2, len(row.differs) + len(row.unknown), len(row.differs), row.tier))
    first = {row.protocol or row.source: row for row in reversed(judged)}
    return tuple(row for row in judged if first[row.protocol or row.source] is row)[:most]


# --- how two protocols differ -----------------------------------------------------------------------------


def _differences(
    row: Published, card: VAECard, data: DataCard, settings: Mapping[str, Any], measured: Collection[str]
) -> Iterator[str]:
    theirs = _protocol(row)
    yours = {**OWN, "crop": data.fit, **_table()["protocols"].get(settings.get("protocol"), {})}
    if row.n_images is not None and row.n_images != data.count:
        yield f"{_pictures(data.count)} against {row.n_images:,}, so other pictures"
    elif data.source == SAMPLES:
        yield "vaecheck's sample pictures against others"
    if row.resolution is not None and row.resolution != data.size:
        size = f"{data.size} px" if data.size is not None else "their own sizes"
        yield f"{size} against {row.resolution} px"
    if "crop" in theirs and theirs["crop"] not in (yours["crop"], "as_they_are"):
        yield f"{_words(CROPS, yours['crop'])} against {_words(CROPS, theirs['crop'])}"
    posterior = settings.get("posterior")
    if posterior and row.posterior in {"mode", "sample"} - {posterior} and not card.deterministic:
        yield f"posterior {posterior} against {row.posterior}"
    nets = _lpips(measured)
    if "lpips" in row.metrics and row.lpips_net and nets and row.lpips_net not in nets:
        yield f"LPIPS with {' and '.join(nets)} against {row.lpips_net}"
    for metric, key, kinds, lead in (("ssim", "ssim", SSIMS, "SSIM with"), ("rfid", "fid", FIDS, "rFID by")):
        if metric in row.metrics and key in theirs and theirs[key] != yours[key]:
            yield f"{lead} {_words(kinds, yours[key])} against {_words(kinds, theirs[key])}"
    pixels = bool({"psnr_db", "ssim", "lpips"} & set(row.metrics))
    if pixels and "rounding" in theirs and theirs["rounding"] != yours["rounding"]:
        yield f"{_words(ROUNDINGS, yours['rounding'])} against {_words(ROUNDINGS, theirs['rounding'])}"


def _unknown(row: Published, card: VAECard, data: DataCard) -> Iterator[str]:
    """What the source does not state, of what moves these metrics."""
    theirs = _protocol(row)
    if row.dataset is None:
        yield "their data set"
    elif row.n_images in (None, data.count) and data.source != SAMPLES:
        yield f"whether your pictures are {' '.join(filter(None, (row.dataset, row.split)))}"
    if row.n_images is None:
        yield "how many pictures"
    if row.resolution is None and theirs.get("crop") != "own_size":
        yield "their size"
    if "crop" not in theirs:
        yield "their crop"
    if row.posterior is None and not card.deterministic:
        yield "mode or sample"
    if "lpips" in row.metrics and row.lpips_net is None:
        yield "the LPIPS net"
    if "ssim" in row.metrics and "ssim" not in theirs:
        yield "the SSIM window"
    if "rfid" in row.metrics and "fid" not in theirs:
        yield "the rFID software"


def _shared(row: Published, measured: Collection[str]) -> bool:
    own = {*measured, *(["lpips"] if _lpips(measured) else []), *(["rfid"] if "fd_pytorch_fid" in measured else [])}
    return bool(own & set(row.metrics))


def _lpips(measured: Collection[str]) -> list[str]:
    return [name.removeprefix("lpips_") for name in measured if name.startswith("lpips_")]


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _words(table: Mapping[str, str], key: str) -> str:
    return table.get(key, key)


# --- the table --------------------------------------------------------------------------------------------


def _protocol(row: Published) -> Mapping[str, str]:
    found: Mapping[str, str] = _table()["protocols"].get(row.protocol, {})
    return found


@cache
def _table() -> dict[str, Any]:
    text = (resources.files("vaecheck") / "assets" / "published.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def _models() -> Mapping[str, Model]:
    return {
        key: Model(
            key=key,
            name=entry["name"],
            names=tuple(name.lower() for name in (key, *entry.get("names", ()))),
            class_name=entry.get("class"),
            f=entry.get("f"),
            channels=entry.get("channels"),
            scaling_factor=entry.get("scaling_factor"),
            shift_factor=entry.get("shift_factor"),
            scaling_note=entry.get("scaling_note", ""),
            scaling_source=entry.get("scaling_source", ""),
        )
        for key, entry in _table()["models"].items()
    }


@cache
def _names() -> Mapping[str, Model]:
    """Every name, lower case; a model's own name too, as its source writes it."""
    found = {model.name.lower(): model for model in models()}
    return found | {name: model for model in models() for name in model.names}


def _candidates(ref: str) -> Iterator[str]:
    """`ref` as it is, without @revision and :vae, and the same of an alias's target."""
    for text in (ref, ALIASES[ref].target if ref in ALIASES else ""):
        plain = text.partition("@")[0].lower()
        yield from (plain, plain.removesuffix(":vae"))


def _row(row: Mapping[str, Any]) -> Published:
    source = _table()["sources"][row["source"]]
    name = row.get("protocol", source.get("protocol"))
    protocol = _table()["protocols"].get(name, {})
    metrics = row["metrics"]
    net = row.get("lpips_net")
    return Published(
        model=_models()[row["model"]].name,
        source=source["name"],
        tier=row["tier"],
        metrics=metrics,
        dataset=row.get("dataset"),
        split=row.get("split"),
        n_images=row.get("n_images"),
        resolution=row.get("resolution"),
        preprocessing=CROPS[protocol["crop"]] if "crop" in protocol else None,
        posterior=row.get("posterior", protocol.get("posterior")),
        lpips_net=net,
        ssim=SSIMS[protocol["ssim"]] if "ssim" in protocol and "ssim" in metrics else None,
        software=protocol.get("software"),
        protocol=name,
        remark=row.get("remark", ""),
    )
