"""What a weight file says about its model beside the weights: the latent scaling and the groups of GroupNorm."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from vaecheck.results.types import LatentScaling
from vaecheck.vae.tensors import TensorFile

# diffusers' PLAYGROUND_VAE_SCALING_FACTOR: EDM's sigma_data, which the file does not repeat.
EDM_SCALE = 0.5


def carried_scaling(file: TensorFile, prefix: str) -> LatentScaling:
    """The scaling that the file has beside the model; one with nothing known where it has none.

    In this order: `edm_mean` and `edm_std` (Playground v2.5), the buffer `scale_factor` that LDM saves with
    scale_by_std, then the file's metadata and a trainer's hyperparameters.
    """
    mean, std = (_tensor(file, prefix, name) for name in ("edm_mean", "edm_std"))
    if mean is not None and std is not None:
        means, stds = tuple(mean.flatten().tolist()), tuple(std.flatten().tolist())
        source = "edm_mean and edm_std in the file, with EDM's 0.5"
        return LatentScaling(EDM_SCALE, None, channel_means=means, channel_stds=stds, source=source)
    for name in ("scale_factor", "scaling_factor"):
        buffer = _tensor(file, prefix, name)
        if buffer is not None and buffer.numel() == 1 and (factor := _number(buffer.item())):
            shift = _tensor(file, prefix, "shift_factor")
            return LatentScaling(factor, None if shift is None else shift.item(), source=f"{name} in the file")
    return _from_metadata(file.metadata)


def carried_groups(metadata: Mapping[str, object]) -> int | None:
    """GroupNorm's groups, where a diffusers config lies in the file's metadata."""
    for _, name, value in _entries(metadata):
        if name == "norm_num_groups" and (number := _number(value)) and number == int(number) > 0:
            return int(number)
    return None


def _tensor(file: TensorFile, prefix: str, name: str) -> Tensor | None:
    """The tensor beside the autoencoder, where LDM keeps what belongs to both it and the U-Net."""
    outer = prefix.removesuffix("first_stage_model.").removesuffix("vae.")
    return next((file.tensors[key] for key in (outer + name, name) if key in file.tensors), None)


def _from_metadata(metadata: Mapping[str, object]) -> LatentScaling:
    """`scaling_factor` anywhere; LDM's `scale_factor` only where it is the latent diffusion model's own parameter."""
    found: dict[str, tuple[float, str]] = {}
    for path, name, value in _entries(metadata):
        own = all(step in ("hyper_parameters", "model", "params", "first_stage", "config") for step in path)
        if name in ("scaling_factor", "shift_factor") or (name == "scale_factor" and own):
            number = _number(value)
            if number is not None:
                key = "shift" if name == "shift_factor" else "scale"
                found.setdefault(key, (number, ".".join((*path, name))))
    if "scale" not in found or not found["scale"][0]:
        return LatentScaling()
    shift = found.get("shift")
    return LatentScaling(found["scale"][0], shift[0] if shift else None, source=f"{found['scale'][1]} in the file")


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
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
