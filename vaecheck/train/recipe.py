"""TOML -> VAERecipe: a file of the user's, or one of the bundled recipes by name."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from vaecheck.errors import InputError
from vaecheck.train.vae import Stage, VAERecipe
from vaecheck.vae.kl_f8 import KLConfig

SECTIONS = {"picture_side", "model", "loss", "training", "stages"}


@dataclass(frozen=True)
class TrainConfig:
    """picture_side: pictures are resized to this shorter side before crops are cut."""

    picture_side: int
    recipe: VAERecipe


def bundled() -> list[str]:
    """Names of the recipes that ship with vaecheck."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def load_config(name_or_file: str) -> TrainConfig:
    """Read a recipe; InputError names the key that is unknown, missing or of the wrong kind."""
    if name_or_file in bundled():
        text = (_folder() / f"{name_or_file}.toml").read_text()
    else:
        path = Path(name_or_file)
        if not path.is_file():
            raise InputError(
                f"--config {name_or_file} is neither a file nor a bundled recipe",
                hint=f"The bundled recipes are: {', '.join(bundled())}.",
            )
        text = path.read_text()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name_or_file} is no TOML: {error}", hint="Mend the line it names.") from error
    return _config(document, name_or_file)


def _config(document: dict[str, Any], source: str) -> TrainConfig:
    if unknown := sorted(set(document) - SECTIONS):
        raise InputError(
            f"{source} has the unknown sections {', '.join(unknown)}", hint=f"There are: {', '.join(sorted(SECTIONS))}."
        )
    model = dict(document.get("model", {}))
    if "block_out_channels" in model:
        model["block_out_channels"] = tuple(model["block_out_channels"])
    stages = tuple(_build(Stage, stage, f"{source} [[stages]]") for stage in document.get("stages", ()))
    if not stages:
        raise InputError(f"{source} has no [[stages]]", hint="Give at least one with crop, batch_size and steps.")
    rest = {**document.get("loss", {}), **document.get("training", {})}
    recipe = _build(
        VAERecipe, {"model": _build(KLConfig, model, f"{source} [model]"), "stages": stages, **rest}, source
    )
    side = int(document.get("picture_side", 256))
    multiple = recipe.model.f
    for stage in stages:
        if stage.crop % multiple or stage.crop > side or min(stage.crop, stage.batch_size, stage.steps) < 1:
            raise InputError(
                f"{source}: a stage of {stage.steps} steps on {stage.batch_size} crops of {stage.crop} does not fit "
                f"pictures of side {side} and f = {multiple}",
                hint=f"crop must be a multiple of {multiple}, at most picture_side; the numbers must be positive.",
            )
    return TrainConfig(side, recipe)


def _build(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"{where} has the unknown keys {', '.join(unknown)}", hint=f"There are: {', '.join(sorted(known))}."
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}", hint="Give the keys it names.") from error


def _folder() -> Any:
    return resources.files("vaecheck") / "assets" / "recipes"
