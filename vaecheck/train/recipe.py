"""TOML -> a recipe: a file of the user's, or one of the bundled recipes by name."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from vaecheck.errors import InputError
from vaecheck.metrics.perceptual import LPIPS_WEIGHTS
from vaecheck.train.crops import Stage
from vaecheck.train.loop import PRECISIONS
from vaecheck.train.losses import DISCRIMINATOR_LOSSES
from vaecheck.train.vae import Loss, Training, VAERecipe
from vaecheck.vae.kl_f8 import KLConfig

SECTIONS = ("picture_side", "model", "loss", "training", "stages")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "lpips_net": tuple(LPIPS_WEIGHTS),
    "adversarial_loss": tuple(DISCRIMINATOR_LOSSES),
    "schedule": ("cosine", "constant"),
    "precision": PRECISIONS,
    "prediction": ("epsilon", "v_prediction", "flow"),
    "posterior": ("sample", "mode"),
}
LEVELS = "attention_levels"
MAY_BE_NEGATIVE = {"seed"}
SHARES = {"equivariance", "ema_decay"}
ABOVE_0 = {
    *("learning_rate", "clip", "adaptive_limit", "discriminator_layers", "discriminator_width"),
    *("layers_per_block", "latent_channels", "norm_num_groups", "in_channels", "out_channels", "sample_size"),
}

Record = TypeVar("Record")


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
    document = read_toml(name_or_file, bundled())
    if unknown := sorted(set(document) - set(SECTIONS)):
        raise InputError(
            f"{name_or_file} has the unknown sections {', '.join(unknown)}",
            hint=f"There are: {', '.join(sorted(SECTIONS))}.",
        )
    stages = document.get("stages", ())
    if not stages or not isinstance(stages, list):
        raise InputError(f"{name_or_file} has no [[stages]]", hint="Give at least one with crop, batch_size and steps.")
    side = document.get("picture_side", 256)
    recipe = VAERecipe(
        model=record(KLConfig, document["model"], f"{name_or_file} [model]") if "model" in document else None,
        stages=tuple(record(Stage, stage, f"{name_or_file} [[stages]]") for stage in stages),
        loss=record(Loss, document.get("loss", {}), f"{name_or_file} [loss]"),
        training=record(Training, document.get("training", {}), f"{name_or_file} [training]"),
    )
    check(recipe, side, recipe.model.f if recipe.model else 1, name_or_file)
    return TrainConfig(side, recipe)


def check(recipe: VAERecipe, picture_side: Any, f: int, source: str) -> None:
    """Raises InputError for what cannot be trained. f: of the model."""
    for stage in recipe.stages:
        fits = _is_whole(picture_side) and not stage.crop % f and stage.crop <= picture_side
        if not fits or min(stage.crop, stage.batch_size, stage.steps) < 1:
            raise InputError(
                f"{source}: a stage of {stage.steps} steps on {stage.batch_size} crops of {stage.crop} does not fit "
                f"pictures of side {picture_side} and f = {f}",
                hint=f"crop must be a multiple of {f}, at most picture_side; the numbers must be positive.",
            )
    loss = recipe.loss
    if not (loss.l1 or loss.l2 or loss.perceptual):
        raise InputError(f"{source}: nothing in [loss] asks for a reconstruction", hint="Give l1, l2 or perceptual.")
    if loss.adversarial and loss.adversarial_start >= recipe.steps:
        raise InputError(
            f"{source}: the discriminator starts at step {loss.adversarial_start} of {recipe.steps}",
            hint="Set adversarial = 0, or an earlier adversarial_start.",
        )


def read_toml(name_or_file: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """The document of a file, or of a bundled recipe where it is one of `names`. Raises InputError."""
    if name_or_file in names:
        text = (_folder() / f"{name_or_file}.toml").read_text(encoding="utf-8")
    else:
        path = Path(name_or_file)
        if not path.is_file():
            raise InputError(
                f"--config {name_or_file} is {'neither a file nor a bundled recipe' if names else 'no file'}",
                hint=f"The bundled recipes are: {', '.join(names)}." if names else "The README, Ceiling, shows one.",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name_or_file} cannot be read as text: {error}", hint="Give a TOML file.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name_or_file} is no TOML: {error}", hint="Mend the line it names.") from error


def record(kind: type[Record], values: Any, where: str) -> Record:
    """The frozen record of these values. Raises InputError for keys and values that it does not take."""
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise InputError(
            f"{where} is {values!r}, no table",
            hint=f"Write {where.split()[-1]} on a line of its own and below it lines of key = value; "
            f"keys are {', '.join(sorted(known))}.",
        )
    if unknown := sorted(set(values) - set(known)):
        raise InputError(
            f"{where} has the unknown keys {', '.join(unknown)}", hint=f"There are: {', '.join(sorted(known))}."
        )
    if missing := [name for name, one in known.items() if one.default is MISSING and name not in values]:
        raise InputError(f"{where} lacks {', '.join(missing)}", hint="Give the keys it names.")
    hints = get_type_hints(kind)
    made = kind(**{name: _value(name, value, hints[name], where) for name, value in values.items()})
    if LEVELS in values:
        _expect_levels(made, where)
    return made


def _expect_levels(made: Any, where: str) -> None:
    """Raises InputError for attention at a level that the model has not."""
    count = len(made.block_out_channels)
    if beyond := [level for level in made.attention_levels if level >= count]:
        raise InputError(
            f"{where}: {LEVELS} = {list(made.attention_levels)}: there is no level {', '.join(map(str, beyond))}",
            hint=f"block_out_channels has {count} levels, 0 to {count - 1}.",
        )


def _value(name: str, value: Any, wanted: Any, where: str) -> Any:
    """The value in the type of its field. Raises InputError."""
    kinds = getattr(wanted, "__args__", (wanted,)) if not str(wanted).startswith("tuple") else (tuple,)
    choices = CHOICES.get(name)
    if choices is not None:
        if value in choices:
            return value
        wrong = f"{where}: {name} = {value!r} is none of: {', '.join(choices)}"
        raise InputError(wrong, hint=f"Give one of {', '.join(choices)}.")
    if name == "betas":
        if isinstance(value, list) and len(value) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in value):
            return tuple(value)
        wrong = f"{where}: {name} = {value!r} is no list of two numbers from 0 to below 1"
        raise InputError(wrong, hint="Try betas = [0.9, 0.99].")
    if name == "block_out_channels":
        if isinstance(value, list) and value and all(_is_whole(width) and width > 0 for width in value):
            return tuple(value)
        wrong = f"{where}: {name} = {value!r} is no list of whole numbers above 0"
        raise InputError(wrong, hint="Try block_out_channels = [128, 256, 512, 512].")
    if name == LEVELS:
        if isinstance(value, list) and all(_is_whole(level) and level >= 0 for level in value):
            return tuple(value)
        wrong = f"{where}: {name} = {value!r} is no list of whole numbers, not below 0"
        raise InputError(wrong, hint=f"Try {name} = [1, 2], or [] for a model without attention.")
    if tuple in kinds:
        if isinstance(value, list) and value and all(_is_number(entry) for entry in value):
            return tuple(value)
        raise InputError(f"{where}: {name} = {value!r} is no list of numbers", hint=f"Try {name} = [1, 2].")
    if bool in kinds:
        right, word = isinstance(value, bool), "true or false"
    elif float in kinds:
        right, word = _is_number(value), "a number, not below 0"
    else:
        right, word = _is_whole(value), "a whole number, not below 0"
    if right and (name in SHARES and not 0 <= value <= 1):
        right, word = False, "a share, from 0 to 1"
    if name in ABOVE_0 and right and value <= 0:
        right, word = False, word.replace("not below 0", "above 0")
    if not right or (bool not in kinds and name not in MAY_BE_NEGATIVE and "factor" not in name and value < 0):
        raise InputError(f"{where}: {name} = {value!r} is not {word}", hint=f"Give {word}.")
    return float(value) if float in kinds and bool not in kinds else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _folder() -> Any:
    return resources.files("vaecheck") / "assets" / "recipes"
