"""Recipes: every bundled one is whole, and a wrong one is told what is wrong with it and what would be right."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from vaecheck.errors import InputError
from vaecheck.train.crops import Stage
from vaecheck.train.recipe import CHOICES, bundled, load_config, record
from vaecheck.train.unet import UNetConfig
from vaecheck.train.vae import Loss, Training
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

STAGE = "[[stages]]\ncrop = 64\nbatch_size = 1\nsteps = 10\n"


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_config(str(path))


@pytest.mark.parametrize("name", bundled())
def test_bundled_recipes_are_whole(name: str) -> None:
    config = load_config(name)
    assert config.recipe.steps > 0
    if config.recipe.model is not None:
        assert KLAutoencoder(config.recipe.model).config.f in (4, 8, 16, 32)


def test_the_recipe_of_the_bundled_vae_is_there() -> None:
    assert "kl-f8-tiny" in bundled()
    assert load_config("kl-f8-tiny").recipe.model == KLConfig(
        (32, 64, 128, 128), 1, 4, norm_num_groups=8, mid_block_add_attention=False
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        picture_side = 128
        [model]
        block_out_channels = [8, 16, 16]
        norm_num_groups = 4
        scaling_factor = -0.5
        [loss]
        l1 = 0
        l2 = 2
        perceptual = 0.5
        lpips_net = "alex"
        adversarial = 0.5
        adversarial_loss = "vanilla"
        adversarial_start = 3
        learned_log_variance = true
        [training]
        learning_rate = 1e-4
        betas = [0.5, 0.9]
        precision = "bfloat16"
        schedule = "constant"
        seed = 7
        """
        + STAGE
        + STAGE.replace("64", "128"),
    )
    assert config.picture_side == 128
    recipe = config.recipe
    assert recipe.model == KLConfig((8, 16, 16), norm_num_groups=4, scaling_factor=-0.5)
    assert recipe.stages == (Stage(64, 1, 10), Stage(128, 1, 10))
    assert recipe.loss == Loss(
        0.0, 2.0, 0.5, "alex", adversarial=0.5, adversarial_loss="vanilla", adversarial_start=3,
        learned_log_variance=True,
    )  # fmt: skip
    assert recipe.training == Training(1e-4, betas=(0.5, 0.9), precision="bfloat16", schedule="constant", seed=7)
    assert isinstance(recipe.loss.l2, float)


def test_what_is_not_given_is_the_default(tmp_path: Path) -> None:
    config = load(tmp_path, STAGE)
    assert (config.recipe.model, config.recipe.loss, config.recipe.training) == (None, Loss(), Training())
    assert config.picture_side == 256


LOSS, TRAINING, MODEL = f"{STAGE}[loss]\n", f"{STAGE}[training]\n", f"{STAGE}[model]\n"


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (f"{STAGE}[optimizer]\nx = 1", "unknown sections optimizer", "loss, model, picture_side, stages, training"),
        (f"{MODEL}width = 3", r"\[model\] has the unknown keys width", "block_out_channels"),
        (f"{LOSS}kl_weight = 3", r"\[loss\] has the unknown keys kl_weight", "kl"),
        (f"{TRAINING}lr = 3", r"\[training\] has the unknown keys lr", "learning_rate"),
        ("loss = 3\n" + STAGE, r"\[loss\] is 3, no table", "Write [loss] on a line of its own"),
        ("stages = [3]", "is 3, no table", "[[stages]]"),
        (f"{LOSS}kl = -1", "kl = -1 is not a number, not below 0", "not below 0"),
        (f"{LOSS}kl = true", "kl = True is not a number", "number"),
        (f"{LOSS}kl = nan", "kl = nan is not a number", "number"),
        (f"{LOSS}kl = inf", "kl = inf is not a number", "number"),
        (f'{LOSS}kl = "1e-6"', "kl = '1e-6' is not a number", "number"),
        (f"{LOSS}learned_log_variance = 1", "is not true or false", "true or false"),
        (f'{LOSS}lpips_net = "resnet"', "lpips_net = 'resnet'", "alex, vgg, squeeze"),
        (f'{LOSS}adversarial_loss = "wgan"', "adversarial_loss = 'wgan'", "hinge, vanilla"),
        (f"{LOSS}adversarial_start = 1.5", "is not a whole number", "whole number"),
        (f"{LOSS}adversarial = 1\nadversarial_start = 10", "starts at step 10 of 10", "adversarial_start"),
        (f"{LOSS}l1 = 0", "asks for a reconstruction", "l1, l2 or perceptual"),
        (f'{TRAINING}schedule = "linear"', "schedule = 'linear' is none of: cosine, constant", "cosine, constant"),
        (f'{TRAINING}precision = "float16"', "precision = 'float16'", "float32, bfloat16"),
        (f"{TRAINING}betas = 0.9", "betas = 0.9 is no list of two numbers", "betas = "),
        (f'{TRAINING}betas = ["a"]', "is no list of two numbers", "betas = "),
        ("[[stages]]\ncrop = 64", "lacks batch_size, steps", "keys"),
        (STAGE.replace("steps = 10", "steps = 0"), "0 steps", "must be positive"),
        (STAGE.replace("64", "512"), "does not fit pictures of side 256", "at most picture_side"),
        (f"{STAGE.replace('64', '60')}[model]\nnorm_num_groups = 32", "f = 8", "multiple of 8"),
        ('picture_side = "big"\n' + STAGE, "side big", "picture_side"),
        ("[loss]\nkl = 1", r"no \[\[stages\]\]", "crop, batch_size and steps"),
        ("stages = 3", r"no \[\[stages\]\]", "crop, batch_size and steps"),
        ("[[stages", "no TOML", "line"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, text: str, message: str, remedy: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text)
    assert remedy in caught.value.hint
    assert "recipe.toml" in caught.value.message


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a file nor a bundled recipe") as caught:
        load_config(str(tmp_path / "none.toml"))
    assert "kl-f8-tiny" in caught.value.hint
    (tmp_path / "weights.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_config(str(tmp_path / "weights.toml"))


def test_every_key_of_words_has_its_choices() -> None:
    words = {one.name for kind in (Loss, Training) for one in fields(kind) if "str" in str(one.type)}
    assert words <= set(CHOICES)


@pytest.mark.parametrize(
    "text",
    [
        f"{TRAINING}betas = [0.9]",
        f"{TRAINING}betas = [0.9, 1.5]",
        f"{TRAINING}ema_decay = 2",
        f"{TRAINING}discriminator_width = 0",
        f"{TRAINING}clip = 0",
        f"{MODEL}block_out_channels = [8.5, 16, 16]\nnorm_num_groups = 1",
        f"{MODEL}norm_num_groups = 0",
        f"{LOSS}equivariance = 3",
        f"{MODEL}latent_channels = 0",
        f"{LOSS}lpips_net = [1]",
        "picture_side = true\n" + STAGE,
    ],
)
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load(tmp_path, text)


@pytest.mark.parametrize("levels", [[], [0], [1, 2], [2, 0]])
def test_attention_may_be_at_any_level_or_at_none(levels: list[int]) -> None:
    made = record(UNetConfig, {"attention_levels": levels}, "r [model]")
    assert made.attention_levels == tuple(levels)


def test_fewer_levels_leave_the_default_of_attention() -> None:
    assert record(UNetConfig, {"block_out_channels": [32, 64]}, "r [model]").attention_levels == (1, 2)


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"attention_levels": [1, 3]}, r"attention_levels = \[1, 3\]: there is no level 3", "3 levels, 0 to 2"),
        ({"attention_levels": [1], "block_out_channels": [32]}, "there is no level 1", "1 levels, 0 to 0"),
        ({"attention_levels": [-1]}, "no list of whole numbers, not below 0", "or [] for"),
        ({"attention_levels": [0.5]}, "no list of whole numbers, not below 0", "or [] for"),
        ({"attention_levels": [True]}, "no list of whole numbers, not below 0", "or [] for"),
        ({"attention_levels": 1}, "no list of whole numbers, not below 0", "or [] for"),
        ({"block_out_channels": []}, "no list of whole numbers above 0", "block_out_channels"),
    ],
)
def test_attention_at_levels_that_are_not_there(values: dict[str, object], message: str, remedy: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        record(UNetConfig, values, "r [model]")
    assert remedy in caught.value.hint
