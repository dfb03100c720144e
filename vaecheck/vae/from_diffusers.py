"""A folder in diffusers' format -> an adapted model.

Why folders are read by diffusers itself: one may name any class, block or old key layout that diffusers knows, and
diffusers defines what it means. Why not an AutoencoderKL of which every entry and tensor is one that our own class
has, as the bundled one: they are equal to 1e-5 by test, and importing diffusers takes longer than measuring.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vaecheck.errors import InputError, SetupError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.adapter import PROBE_CHANNELS, Adapted, one_line, sha256_of_files
from vaecheck.vae.families import FAMILIES, KL, REFUSED, OwnKL
from vaecheck.vae.family import Family
from vaecheck.vae.kl_f8 import KLAutoencoder
from vaecheck.vae.scaling import CONFIG
from vaecheck.vae.tensors import read_tensors

STEM = "diffusion_pytorch_model"
# Full precision before half, safetensors before pickles.
WEIGHT_FILES = tuple(
    (f"{STEM}{variant}{suffix}", variant.strip(".") or None)
    for variant in ("", ".fp16")
    for suffix in (".safetensors", ".safetensors.index.json", ".bin")
)
DEPTHS = ("layers_per_block", "layers_per_down_block", "layers_per_up_block", "num_res_blocks", "_blocks", "_layers")
MOST_LAYERS = 1000
UNREADABLE = "Take the config.json that came with the weights, or have diffusers' save_pretrained write one."


@dataclass(frozen=True)
class WeightFiles:
    """The files of one set of weights. variant: "fp16", or None for the full precision."""

    names: tuple[str, ...]
    variant: str | None

    @property
    def pickled(self) -> bool:
        return any(name.endswith(".bin") for name in self.names)


NOT_OURS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, InputError)
SAFETENSORS = WeightFiles((f"{STEM}.safetensors",), None)


def choose_weights(names: Iterable[str]) -> WeightFiles | None:
    """The set to load among the file names of a folder, or None when it has no diffusers weights."""
    present = set(names)
    for name, variant in WEIGHT_FILES:
        if name in present:
            shards = [n for n in present if n.startswith(f"{STEM}-") and n.endswith(".safetensors")]
            return WeightFiles((name, *(sorted(shards) if name.endswith(".index.json") else ())), variant)
    return None


def vae_folder(folder: Path) -> Path:
    """The folder with the VAE's config.json: this one, or its vae/ when it is a pipeline's. Raises InputError."""
    for candidate in (folder, folder / "vae"):
        if (candidate / CONFIG).is_file():
            return candidate
    raise InputError(
        f"{folder} holds no VAE: neither {CONFIG} nor vae/{CONFIG}",
        hint="Give a folder that diffusers' save_pretrained wrote, or a factory, --vae FILE.py:FACTORY.",
    )


def built_in(folder: Path) -> Adapted:
    """The bundled folder, read without diffusers."""
    model = KLAutoencoder.load(folder)
    return Adapted(
        encode=model.encode,
        decode=model.decode,
        class_name=type(model).__name__,
        module=model,
        sha256=sha256_of_files(_weight_paths(folder, _weights(folder))),
        scaling=LatentScaling(model.config.scaling_factor, model.config.shift_factor, source=CONFIG),
        f=model.config.f,
        latent_channels=model.config.latent_channels,
        usage=KL.called,
        faster_channels_last=True,
    )


def from_diffusers(folder: Path) -> Adapted:
    """Any diffusers autoencoder of still pictures, in float32; a video one is given single frames.

    The scaling is what the folder itself ships, see vaecheck.vae.scaling. Raises InputError when it is no such
    autoencoder or cannot be loaded, SetupError when a package that it is built from is missing.
    """
    config = _config(folder)
    weights = _weights(folder)
    class_name = config["_class_name"]
    own = _own_class(folder, config, weights)
    if own is not None:
        family: Family = OwnKL(own, config)
    else:
        family = FAMILIES.get(class_name, Family)(_read(folder, class_name, weights), config)
    model = family.model
    scaling, unusable = family.scaling()
    rounded = f"its weights come in {weights.variant} alone: rounded before vaecheck saw them"
    return Adapted(
        encode=family.encode,
        decode=family.decode,
        class_name=class_name,
        module=model,
        sha256=sha256_of_files(_weight_paths(folder, weights)),
        scaling=scaling,
        f=family.f,
        latent_channels=family.latent_channels,
        image_channels=_image_channels(folder, family),
        fixed_size=family.fixed_size,
        codebook_size=family.codebook_size,
        recognised=family.recognised,
        warnings=(*((rounded,) if weights.variant else ()), *unusable, *family.warnings),
        usage=family.usage,
        faster_channels_last=own is not None,
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / CONFIG} cannot be read: {one_line(error)}", hint=UNREADABLE) from error
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise InputError(
            f"{folder / CONFIG} does not name a diffusers class (_class_name)",
            hint="Give a folder that diffusers' save_pretrained wrote, or a factory, --vae FILE.py:FACTORY.",
        )
    for name, value in config.items():
        if name.endswith(DEPTHS) and any(isinstance(n, int) and n > MOST_LAYERS for n in _numbers(value)):
            raise InputError(
                f"{folder / CONFIG} says {name} = {value}: more than {MOST_LAYERS} layers",
                hint="It is damaged. Take the config.json that came with the weights.",
            )
    return config


def _numbers(value: Any) -> list[Any]:
    return [number for item in value for number in _numbers(item)] if isinstance(value, list) else [value]


def _image_channels(folder: Path, family: Family) -> int | None:
    """What config.json says, None where only a probe can tell. Raises InputError for what no picture has."""
    channels = family.image_channels
    if channels is not None and channels not in PROBE_CHANNELS:
        raise InputError(
            f"{folder} takes pictures of {channels} channels",
            hint=f"vaecheck has pictures of {', '.join(map(str, sorted(PROBE_CHANNELS)))} channels.",
        )
    return channels


def _weights(folder: Path) -> WeightFiles:
    weights = choose_weights(path.name for path in folder.iterdir())
    if weights is None:
        raise InputError(
            f"{folder} has a {CONFIG} but no weights",
            hint=f"It needs {STEM}.safetensors (or .fp16.safetensors, or .bin).",
        )
    return weights


def _weight_paths(folder: Path, weights: WeightFiles) -> list[Path]:
    tensors = [name for name in weights.names if not name.endswith(".json")]
    return [folder / name for name in tensors]


def _own_class(folder: Path, config: dict[str, Any], weights: WeightFiles) -> KLAutoencoder | None:
    """The model in our own class, where config and tensors leave nothing to it that it does not have; else None."""
    if not OwnKL.covers(config) or weights != SAFETENSORS:
        return None
    try:
        return KLAutoencoder.load(folder).requires_grad_(False)
    except NOT_OURS:  # a broken or older file: diffusers reads it, or has the words for what is wrong
        return None


def _read(folder: Path, class_name: str, weights: WeightFiles) -> Any:
    """The model. A pickle is looked through first, so that one able to run code is refused with what it names."""
    import diffusers

    if class_name in REFUSED:
        raise InputError(
            f"{class_name} of {folder} cannot be measured on pictures: {REFUSED[class_name]}",
            hint="vaecheck takes autoencoders of still pictures, and those of videos that take one frame.",
        )
    if class_name == "AutoencoderRAE" and importlib.util.find_spec("transformers") is None:
        raise SetupError(
            f"{class_name} of {folder} is built from the package transformers, which is not installed",
            hint="pip install transformers",
        )
    kind = getattr(diffusers, class_name, None)
    if not (isinstance(kind, type) and hasattr(kind, "from_pretrained") and hasattr(kind, "decode")):
        raise InputError(
            f"{folder / CONFIG} names {class_name}, which is no autoencoder of diffusers {diffusers.__version__}",
            hint="Give the VAE's own folder, a newer diffusers, or a factory, --vae FILE.py:FACTORY.",
        )
    if weights.pickled:
        for path in _weight_paths(folder, weights):
            read_tensors(path)
    try:
        with _quiet():
            model, info = kind.from_pretrained(
                folder,
                variant=weights.variant,
                use_safetensors=not weights.pickled,
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
    except Exception as error:
        raise InputError(
            f"{folder} cannot be loaded as {class_name}: {one_line(error)}",
            hint="A file may be cut short, or config.json may belong to other weights.",
        ) from error
    missing = sorted(info["missing_keys"])
    foreign = sorted(name for name in info["unexpected_keys"] if name.startswith(("encoder.", "decoder.")))
    if foreign:
        raise InputError(
            f"{folder} has {len(foreign)} tensors that {class_name} of its {CONFIG} has no place for: "
            f"{', '.join(foreign[:3])}, ...",
            hint="config.json and the weights do not belong together; without these the model is another one.",
        )
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} tensors of {class_name}: {', '.join(missing[:3])}, ...",
            hint="config.json and the weights do not belong together; random values would stand in for these.",
        )
    return model.eval().float().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep diffusers' advice (to install accelerate, say) off the terminal; errors still come as exceptions."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
