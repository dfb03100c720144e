"""What a weight file, or a config.json beside it, says about its model: the latent scaling, GroupNorm's groups."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaecheck.results.types import LatentScaling
from vaecheck.vae.scaling import CONFIG, Unusable
from vaecheck.vae.shapes import Shape
from vaecheck.vae.tensors import TensorFile

# diffusers' PLAYGROUND_VAE_SCALING_FACTOR: EDM's sigma_data, which the file does not repeat.
EDM_SCALE = 0.5
DDCONFIG = "ddconfig"
OWN = {
    *("hyper_parameters", "hparams", "config", "model", "params", "first_stage", "first_stage_config", DDCONFIG),
    *("vae", "vae_config", "autoencoder", "autoencoder_config"),
}
"""What may stand above an entry of the metadata that is the autoencoder's: a scheduler's or a U-Net's is not."""
BESIDE = f"{CONFIG} beside it"
WIDTHS = ("block_out_channels", "latent_channels", "base_dim", "dim_mult", "z_dim")


def carried_scaling(file: TensorFile, prefix: str) -> LatentScaling:
    """The scaling that the file has beside the model; one with nothing known where it has none.

    In this order: `edm_mean` and `edm_std` (Playground v2.5), the buffer `scale_factor` that LDM saves with
    scale_by_std, then the file's metadata and a trainer's hyperparameters.
    """
    mean, std = (_tensor(file, prefix, name) for name in ("edm_mean", "edm_std"))
    if mean is not None and std is not None:
        if not (mean.is_floating_point() and std.is_floating_point()):
            raise Unusable("the file's edm_mean and edm_std are no real numbers")
        means, stds = tuple(mean.flatten().tolist()), tuple(std.flatten().tolist())
        source = "edm_mean and edm_std in the file, with EDM's 0.5"
        return LatentScaling(EDM_SCALE, None, channel_means=means, channel_stds=stds, source=source)
    for name in ("scale_factor", "scaling_factor"):
        buffer = _tensor(file, prefix, name)
        if buffer is not None and buffer.numel() == 1 and (factor := _number(buffer.item())):
            shift = _tensor(file, prefix, "shift_factor")
            if shift is not None and (shift.numel() != 1 or _number(shift.item()) is None):
                raise Unusable("the file's shift_factor is not one number")
            return LatentScaling(factor, None if shift is None else _number(shift.item()), source=f"{name} in the file")
    return _from_metadata(file.metadata)


def carried_groups(metadata: Mapping[str, object]) -> int | None:
    """GroupNorm's groups, where the autoencoder's own config lies in the file's metadata and says one number."""
    said = {
        int(number)
        for path, name, value in _entries(metadata)
        if name == "norm_num_groups" and _own(path) and (number := _number(value)) and number == int(number) > 0
    }
    return said.pop() if len(said) == 1 else None


def config_beside(path: Path, shape: Shape) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config.json in the file's folder where it is of the same class and widths; else none, and perhaps why.

    Why the class decides: beside a full checkpoint lies the config.json of another model as often as not.
    """
    try:
        config = json.loads((path.parent / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}, ()
    if not isinstance(config, dict) or config.get("_class_name") != shape.class_name:
        return {}, ()
    for name, value in shape.config.items():
        widths = list(value) if isinstance(value, tuple) else value
        if name.endswith(WIDTHS) and config.get(name) != widths:
            return {}, (f"{BESIDE} is not used: {name} is {config.get(name)} there and {widths} in the file",)
    return config, ()


def _tensor(file: TensorFile, prefix: str, name: str) -> Tensor | None:
    """The tensor beside the autoencoder, where LDM keeps what belongs to both it and the U-Net."""
    outer = prefix.removesuffix("first_stage_model.").removesuffix("vae.")
    return next((file.tensors[key] for key in (outer + name, prefix + name, name) if key in file.tensors), None)


def _from_metadata(metadata: Mapping[str, object]) -> LatentScaling:
    """The factor, and the shift beside it, where they are the autoencoder's or the latent diffusion model's own."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for path, name, value in _entries(metadata):
        if name in ("scaling_factor", "scale_factor", "shift_factor") and _own(path):
            if name == "scale_factor" and DDCONFIG in path:  # of a resampling, as in a U-Net's config
                continue
            if (number := _number(value)) is not None:
                found.setdefault(path, {}).setdefault("shift" if name == "shift_factor" else name, number)
    for path, numbers in found.items():
        for name in ("scaling_factor", "scale_factor"):
            if numbers.get(name):
                source = f"{'.'.join((*path, name))} in the file"
                return LatentScaling(numbers[name], numbers.get("shift"), source=source)
    return LatentScaling()


def _own(path: tuple[str, ...]) -> bool:
    """Whether the names above an entry lead to the autoencoder or the latent diffusion model, and to nothing else."""
    return all(step in OWN for step in path)


def _entries(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, object]]:
    """Every plain value in nested metadata: the names above it, its name, itself. JSON in strings is read too."""
    if not isinstance(node, Mapping) or len(path) > 6:
        return
    for name, value in node.items():
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping):
            yield from _entries(value, (*path, str(name)))
        else:
            yield path, str(name), value


def _number(value: object) -> float | None:
    """A finite real number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
