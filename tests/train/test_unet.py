"""The latent U-Net: it learns, it resumes to the bit, and its scaling is undone exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.train.diffusion import PREDICTIONS
from vaecheck.train.latents import Latents, scaled, unscaled
from vaecheck.train.loop import Machine, Watchers, read_log, train
from vaecheck.train.unet import UNetConfig, UNetRecipe, UNetTrainee, UNetTraining, new_unet

MODEL = UNetConfig((16, 32), 1, (1,), 8)
TRAINING = UNetTraining(steps=6, batch_size=4, warmup_steps=2, ema_decay=0.5)
SCALING = LatentScaling(0.5, 0.25)


def latents(seed: int = 0) -> Latents:
    draw = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(12, 4, 8, 8, generator=draw)
    return Latents(means, torch.full_like(means, 0.5), f"key {seed}")


def trainee(recipe: UNetRecipe) -> UNetTrainee:
    return UNetTrainee(recipe, latents(), SCALING, Machine("float32", device="cpu"))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_goes_down(tmp_path: Path, prediction: str) -> None:
    """Latents that are one number each: a U-Net has something to learn of them."""
    training = replace(TRAINING, steps=60, batch_size=8, prediction=prediction, learning_rate=3e-3)
    one_number = torch.randn(12, 1, 1, 1, generator=torch.Generator().manual_seed(0)).expand(12, 4, 8, 8).contiguous()
    flat = Latents(one_number, None, "flat")
    made = UNetTrainee(UNetRecipe(MODEL, training), flat, LatentScaling(1.0), Machine("float32", device="cpu"))
    train(made, Machine("float32", device="cpu"), tmp_path, Watchers(report_every=10))
    log = read_log(tmp_path)
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    assert {"config.json", "scheduler_config.json"} <= {path.name for path in tmp_path.iterdir()}


def test_what_is_saved_is_the_average_and_diffusers_reads_it(tmp_path: Path) -> None:
    from diffusers import UNet2DModel

    made = trainee(UNetRecipe(MODEL, TRAINING))
    train(made, Machine("float32", device="cpu"), tmp_path, Watchers())
    read = UNet2DModel.from_pretrained(tmp_path).eval()
    x, times = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        torch.testing.assert_close(read(x, times).sample, made.predict(x, times))


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = UNetRecipe(MODEL, TRAINING)
    whole = trainee(recipe)
    train(whole, Machine("float32", device="cpu"), tmp_path / "whole", Watchers())
    broken, calls = trainee(recipe), 0
    real = broken.step

    def killed(step: int, batch: object):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(step, batch)

    monkeypatch.setattr(broken, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(broken, Machine("float32", device="cpu"), tmp_path / "parts", Watchers(), save_every=0)
    resumed = trainee(recipe)
    train(resumed, Machine("float32", device="cpu"), tmp_path / "parts", Watchers(), save_every=0)
    theirs = resumed.module.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.module.state_dict().items())


def test_other_latents_are_another_training(tmp_path: Path) -> None:
    machine = Machine("float32", device="cpu")
    train(trainee(UNetRecipe(MODEL, TRAINING)), machine, tmp_path, Watchers())
    other = UNetTrainee(UNetRecipe(MODEL, TRAINING), latents(1), SCALING, machine)
    with pytest.raises(InputError, match="another training"):
        train(other, machine, tmp_path, Watchers())


@pytest.mark.parametrize(
    "scaling",
    [
        LatentScaling(0.5),
        LatentScaling(0.3611, 0.1159),
        LatentScaling(None, None, (0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0)),
        LatentScaling(1.5, None, tuple(i / 16 for i in range(16)), tuple(1 + i for i in range(16)), patch=2),
    ],
)
def test_the_scaling_is_undone(scaling: LatentScaling) -> None:
    raw = latents().means
    torch.testing.assert_close(unscaled(scaled(raw, scaling), scaling), raw)


def test_the_scaling_is_the_publishers_formula() -> None:
    raw = latents().means
    torch.testing.assert_close(scaled(raw, LatentScaling(0.3611, 0.1159)), (raw - 0.1159) * 0.3611)
    means, stds = torch.arange(4.0), torch.arange(1.0, 5.0)
    per_channel = LatentScaling(2.0, None, tuple(means.tolist()), tuple(stds.tolist()))
    expected = (raw - means[:, None, None]) / stds[:, None, None] * 2
    torch.testing.assert_close(scaled(raw, per_channel), expected)


def test_the_std_is_that_of_samples() -> None:
    """sqrt(Var(means) + mean variance), against many samples."""
    held = latents()
    noise = torch.randn(200, *held.means.shape, generator=torch.Generator().manual_seed(1))
    samples = scaled((held.means + held.stds * noise).flatten(0, 1), SCALING)
    assert held.scaled_std(SCALING) == pytest.approx(float(samples.std()), rel=2e-3)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (UNetConfig((16, 32, 32), 1, (), 8), (4, 6, 6), "do not fit a U-Net of 3 levels"),
        (UNetConfig((16, 20), 1, (), 8), (4, 8, 8), "does not divide"),
    ],
)
def test_a_unet_that_does_not_fit_is_refused(config: UNetConfig, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        new_unet(config, shape)
