"""A single file with weights -> a model: recognised by its keys and shapes, never by its name.

Why every model is of diffusers' class: a file and a folder of the same weights are then one and the same model.
Why a scaling factor that is not in the file stays unknown: SD 1 and SDXL have tensors of the same shapes and
factors that differ by 40 %; a guess would be the very fault that `scale-factor` looks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.adapter import PROBE_CHANNELS, Adapted, one_line, sha256_of_files, sha256_of_state
from vaecheck.vae.carried import BESIDE, carried_groups, carried_scaling, config_beside
from vaecheck.vae.families import FAMILIES
from vaecheck.vae.family import Family
from vaecheck.vae.layouts import Found, Layout, find, some, what_else
from vaecheck.vae.pickles import printable
from vaecheck.vae.scaling import CONFIG, ENTRIES, UNKNOWN, Unusable, checked, entries_of, in_words
from vaecheck.vae.shapes import Shape, shape_of
from vaecheck.vae.tensors import TensorFile, read_tensors
from vaecheck.vae.usual import usual_scaling

SCALING_UNKNOWN = "the file does not carry its scaling"
COUNTER = "num_batches_tracked"  # of BatchNorm: not used in eval mode, and not saved by every program
LAYOUT_WORDS: dict[Layout, str] = {"ldm": "LDM", "diffusers": "diffusers"}
CLASS_WORDS = {
    "AutoencoderKL": "VAE",
    "AsymmetricAutoencoderKL": "asymmetric VAE",
    "AutoencoderKLFlux2": "Flux.2 VAE",
    "AutoencoderKLWan": "Wan 2.1 or Qwen-Image VAE",
    "AutoencoderTiny": "TAESD",
    "AutoencoderDC": "DC-AE",
    "VQModel": "VQ model",
}


@dataclass(frozen=True)
class Checkpoint:
    """A model read from one file.

    model: in float32 and eval mode, every weight from the file. config: a diffusers config.json that describes it;
    it has no scaling_factor where none is known.
    stored_dtype: of most of its weights in the file. recognised: one line on what it is and what was guessed.
    sha256: of the file, or of the model's tensors where the file holds other models too.
    unsure: those of the warnings that are about guesses in the config.
    """

    model: nn.Module
    config: dict[str, Any]
    recognised: str
    scaling: LatentScaling
    stored_dtype: torch.dtype
    sha256: str
    unsure: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def model_of(path: Path) -> Checkpoint:
    """The autoencoder in the file, of the class that diffusers has for it.

    Raises InputError when it holds none, or one that does not fit its class tensor by tensor.
    """
    try:
        file = read_tensors(path)
        found = find(file.tensors)
        shape = shape_of(found.tensors, carried_groups(file.metadata))
        beside, unlike = config_beside(path, shape)
        groups = carried_groups(beside) if shape.guesses else None
        if groups:
            traits = (*shape.traits, f"{groups} groups in GroupNorm from {BESIDE}")
            shape = replace(shape_of(found.tensors, groups), traits=traits)
        _check_pictures(shape)
        model = _loaded(shape, found.tensors)
    except InputError as error:
        raise InputError(_about(path, error.message), hint=error.hint) from error
    scaling, unusable = _scaling(file, found.prefix, shape, model, beside)
    stored = _stored_dtype(found.tensors)
    rounded = f"its weights are stored in {str(stored).removeprefix('torch.')}: rounded before vaecheck saw them"
    whole_file = found.beside == 0 or not _in_full_checkpoint(file, found)
    return Checkpoint(
        model=model,
        config={"_class_name": shape.class_name, **shape.config, **_scaling_entries(scaling, shape.class_name)},
        recognised=_recognised(file, found, shape, scaling),
        scaling=scaling,
        stored_dtype=stored,
        sha256=sha256_of_files([path]) if whole_file else sha256_of_state(model),
        unsure=(*unlike, *shape.unsure),
        warnings=(
            *unlike,
            *shape.unsure,
            *unusable,
            *(() if scaling.known or unusable else (_unknown(model),)),
            *((rounded,) if stored.itemsize < 4 else ()),
        ),
    )


def from_checkpoint(path: Path) -> Adapted:
    """The autoencoder in the file, adapted. Raises InputError when it holds none."""
    checkpoint = model_of(path)
    class_name = checkpoint.config["_class_name"]
    family = FAMILIES.get(class_name, Family)(checkpoint.model, checkpoint.config)
    return Adapted(
        encode=family.encode,
        decode=family.decode,
        class_name=class_name,
        module=checkpoint.model,
        sha256=checkpoint.sha256,
        scaling=checkpoint.scaling,
        image_channels=family.image_channels,
        codebook_size=family.codebook_size,
        recognised=checkpoint.recognised,
        warnings=(*checkpoint.warnings, *family.warnings),
        usage=replace(family.usage, default=UNKNOWN),
    )


def _scaling(
    file: TensorFile, prefix: str, shape: Shape, model: nn.Module, beside: Mapping[str, Any]
) -> tuple[LatentScaling, tuple[str, ...]]:
    """What the file carries, in the model (Flux.2) or with it, else config.json; unknown, with why, where unusable."""
    entries = {name: beside[name] for name in ENTRIES if name in beside}
    family = FAMILIES.get(shape.class_name, Family)(model, {**shape.config, **entries})
    scaling, unusable = family.scaling()
    try:
        carried = carried_scaling(file, prefix)
    except Unusable as error:
        return _unusable(error)
    if carried.known and scaling.source in ("", CONFIG, family.by_construction.source):
        if "scaling_factor" in family.takes:
            return _usable(carried, shape.latent_channels)
        told = f"{carried.source} is not used: {shape.class_name} takes {in_words(tuple(family.takes))}"
        scaling, unusable = replace(scaling, unusable=told), (*unusable, told)
    return replace(scaling, source=BESIDE) if scaling.source == CONFIG else scaling, unusable


def _usable(scaling: LatentScaling, channels: int) -> tuple[LatentScaling, tuple[str, ...]]:
    try:
        return checked(scaling, channels), ()
    except Unusable as error:
        return _unusable(error)


def _unusable(error: Unusable) -> tuple[LatentScaling, tuple[str, ...]]:
    told = f"{error}: not used"
    return replace(UNKNOWN, unusable=told), (told,)


def _unknown(model: nn.Module) -> str:
    """What to say where the file carries no scaling, by what the class takes."""
    if "scaling_factor" in (taken := entries_of(type(model))):
        return f"{SCALING_UNKNOWN} factor: settle it with --scaling-factor (and --shift-factor)"
    return f"{SCALING_UNKNOWN}, for which {type(model).__name__} takes {in_words(tuple(taken))} in {CONFIG}"


def _check_pictures(shape: Shape) -> None:
    channels = shape.config["in_channels"]
    if channels not in PROBE_CHANNELS:
        raise InputError(
            f"it takes pictures of {channels} channels",
            hint=f"vaecheck has pictures of {', '.join(map(str, sorted(PROBE_CHANNELS)))} channels.",
        )


def _loaded(shape: Shape, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The class with these very tensors in float32; strict about every name and shape."""
    with torch.device("meta"):
        model = _made(shape)
    expected = model.state_dict()
    given = {name: _copied(name, tensor) for name, tensor in tensors.items()}
    for name in expected.keys() - given.keys():
        if name.endswith(COUNTER):
            given[name] = torch.zeros((), dtype=torch.long)
    _compare(shape, expected, given)
    model.load_state_dict(given, strict=True, assign=True)
    unloaded = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if value.is_meta]
    if unloaded:
        model = _made(shape)
        model.load_state_dict(given, strict=True)
    return model.eval().requires_grad_(False)


def _made(shape: Shape) -> nn.Module:
    import diffusers

    try:
        model: nn.Module = getattr(diffusers, shape.class_name)(**shape.config)
    except Exception as error:
        raise InputError(
            f"diffusers {diffusers.__version__} cannot build {shape.class_name} of {'; '.join(shape.traits)}: "
            f"{one_line(error)}",
            hint="Wrap the model in a factory, --vae FILE.py:FACTORY.",
        ) from error
    return model


def _copied(name: str, tensor: Tensor) -> Tensor:
    """A copy in float32 (a counter's in int64), so that neither the mapped file nor a shared storage is held."""
    dtype = torch.long if name.endswith(COUNTER) else torch.float32 if tensor.is_floating_point() else tensor.dtype
    try:
        return tensor.detach().to(dtype, copy=True).contiguous()
    except (NotImplementedError, RuntimeError) as error:  # torch has packed types that it cannot convert
        raise InputError(
            f"tensor {printable(name)} of {tensor.dtype} cannot be turned into {dtype}",
            hint="Give the weights in float32, bfloat16 or float16.",
        ) from error


def _compare(shape: Shape, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    misshapen = [
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    whole_numbers = [
        name
        for name, value in expected.items()
        if name in given and value.is_floating_point() and not given[name].is_floating_point()
    ]
    faults = [
        f"{len(names)} {what} ({some(names)})"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
            ("of whole numbers", whole_numbers),
        )
        if names
    ]
    if not faults:
        return
    hint = "It is of a variant that diffusers' class does not have. Wrap the model in a factory, FILE.py:FACTORY."
    if missing and not unexpected and not misshapen:
        hint = "The file may be cut short, or saved without some of the model's parts."
    raise InputError(f"its tensors do not fit {shape.class_name}: {', '.join(faults)}", hint=hint)


def _stored_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors.values():
        if tensor.is_floating_point():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


def _scaling_entries(scaling: LatentScaling, class_name: str) -> dict[str, Any]:
    """The entries of config.json that say the scaling, of those that the class takes."""
    import diffusers

    taken = entries_of(getattr(diffusers, class_name))
    entries = {
        "scaling_factor": scaling.scaling_factor,
        "shift_factor": scaling.shift_factor,
        "latents_mean": None if scaling.channel_means is None else list(scaling.channel_means),
        "latents_std": None if scaling.channel_stds is None else list(scaling.channel_stds),
    }
    return {name: value for name, value in entries.items() if name in taken and value is not None}


def _in_full_checkpoint(file: TensorFile, found: Found) -> bool:
    return bool(what_else(name for name in file.tensors if not (found.prefix and found.prefix in name)))


def _recognised(file: TensorFile, found: Found, shape: Shape, scaling: LatentScaling) -> str:
    where = f" ({found.prefix}*)" if found.prefix else ""
    inside = "inside a full checkpoint" if found.beside and _in_full_checkpoint(file, found) else "alone"
    latents = f"{shape.latent_channels} latent channel{'s' * (shape.latent_channels > 1)}"
    what = f"{LAYOUT_WORDS.get(found.layout, 'original')} {CLASS_WORDS[shape.class_name]} {inside}{where}"
    parts = [f"{what}: f{shape.f}, {latents}, {', '.join(shape.traits)}", *shape.guesses]
    parts += [note for note in file.notes if ", not " in note]
    if found.ema:
        parts.append("averaged (EMA) weights, the only ones there")
    if found.other_copies:
        parts.append(f"other copies left out ({', '.join(f'{copy}*' for copy in found.other_copies)})")
    if scaling.known:
        parts.append(f"scaling from {scaling.source}")
    else:
        usual = usual_scaling(shape, file.tensors)
        parts.append("scaling factor not in the file" + (f" ({usual})" if usual else ""))
    return "; ".join(parts)


def _about(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
