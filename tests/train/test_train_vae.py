"""The training loop: it learns, it resumes to the bit, and each loss weight moves what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vaecheck.errors import InputError
from vaecheck.train import vae as training
from vaecheck.train.recipe import bundled, load_config
from vaecheck.train.vae import Progress, Stage, VAERecipe, train_vae
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

MODEL = KLConfig((8, 8, 16), 1, 2, 4, mid_block_add_attention=False)
RECIPE = VAERecipe(MODEL, (Stage(16, 4, 12), Stage(32, 2, 6)), warmup_steps=2, ema_decay=0.5)


def pictures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(40, 48), mode="bilinear") * 255
    return list(smooth.to(torch.uint8))


def weights(model: KLAutoencoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_loss_goes_down(tmp_path: Path) -> None:
    reports: list[Progress] = []
    recipe = replace(RECIPE, stages=(Stage(16, 8, 150),), learning_rate=3e-3)
    train_vae(recipe, pictures(), tmp_path, report_every=15, report=reports.append)
    assert reports[-1].means["l1"] < 0.85 * reports[0].means["l1"]
    assert (reports[-1].step, reports[-1].steps) == (150, 150)


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights(train_vae(RECIPE, pictures(), tmp_path / "whole"))

    real, calls = training._step, 0

    def killed(*args: object) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(training, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_vae(RECIPE, pictures(), tmp_path / "parts", save_every=0)
    monkeypatch.setattr(training, "_step", real)
    resumed = weights(train_vae(RECIPE, pictures(), tmp_path / "parts", save_every=0))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_kl_weight_moves_the_posterior_to_the_prior(tmp_path: Path) -> None:
    found = {}
    for kl in (0.0, 100.0):
        reports: list[Progress] = []
        recipe = replace(RECIPE, kl=kl, stages=(Stage(16, 4, 40),), learning_rate=3e-3)
        train_vae(recipe, pictures(), tmp_path / str(kl), report_every=40, report=reports.append)
        found[kl] = reports[-1].means["kl_nats_per_element"]
    assert found[100.0] < 0.5 * found[0.0]


def test_the_trained_folder_loads_again(tmp_path: Path) -> None:
    trained = train_vae(RECIPE, pictures(), tmp_path)
    loaded = KLAutoencoder.load(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in trained.state_dict().items())


def test_pictures_smaller_than_the_largest_crop_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="32 x 32"):
        train_vae(RECIPE, [torch.zeros(3, 31, 64, dtype=torch.uint8)], tmp_path)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = replace(RECIPE, learning_rate=1.0, warmup_steps=4, stages=(Stage(16, 1, 100),))
    rates = [recipe.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == pytest.approx(rates[3], rel=0.01)
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("name", bundled())
def test_bundled_recipes_are_whole(name: str) -> None:
    config = load_config(name)
    assert config.recipe.steps > 0
    assert KLAutoencoder(config.recipe.model).config.f in (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[stages]]\ncrop = 64\nbatch_size = 1\nsteps = 1\n[optimizer]\nx = 1", "unknown sections"),
        ("[model]\nwidth = 3\n[[stages]]\ncrop = 64\nbatch_size = 1\nsteps = 1", "unknown keys"),
        ("[[stages]]\ncrop = 60\nbatch_size = 1\nsteps = 1", "does not fit"),
        ("[[stages]]\ncrop = 64", "missing"),
        ("[loss]\nkl = 1", "no \\[\\[stages\\]\\]"),
        ("[[stages", "no TOML"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(str(path))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train_vae(RECIPE, pictures(), tmp_path)
    for other in (replace(RECIPE, seed=1), replace(RECIPE, model=replace(MODEL, latent_channels=3))):
        with pytest.raises(InputError, match="another recipe"):
            train_vae(other, pictures(), tmp_path)


def test_a_trained_folder_becomes_one_to_ship(tmp_path: Path) -> None:
    trained = train_vae(RECIPE, pictures(), tmp_path / "trained")
    trained.with_scaling_factor(0.25).save(tmp_path / "shipped", dtype=torch.float16)
    shipped = KLAutoencoder.load(tmp_path / "shipped")
    assert shipped.config == replace(MODEL, scaling_factor=0.25)
    for name, value in trained.state_dict().items():
        assert torch.equal(shipped.state_dict()[name], value.half().float())


def test_a_run_that_goes_on_leaves_a_vae_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = training._step, []

    def looked_at(*args: object) -> dict[str, float]:
        if (tmp_path / "config.json").exists():
            seen.append(weights(KLAutoencoder.load(tmp_path)))
        return real(*args)

    monkeypatch.setattr(training, "_step", looked_at)
    final = weights(train_vae(RECIPE, pictures(), tmp_path, save_every=0))
    assert len(seen) == RECIPE.steps - 1
    changed = sum(not torch.equal(one["decoder.conv_in.weight"], final["decoder.conv_in.weight"]) for one in seen)
    assert changed == len(seen)
