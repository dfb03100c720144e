"""`train vae` as a task: evaluations on the way, early stopping, training on, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vaecheck.errors import InputError
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.train_vae import TrainSettings, train
from vaecheck.vae.load import load_vae

RECIPE = """
picture_side = 32
[model]
block_out_channels = [8, 8, 16]
layers_per_block = 1
norm_num_groups = 4
mid_block_add_attention = false
[training]
learning_rate = {rate}
warmup_steps = 2
ema_decay = 0.5
[[stages]]
crop = 16
batch_size = 2
steps = {steps}
"""
EVALUATION = Settings(metrics=("psnr_db", "ssim"), yardstick="none", limit=3, offline=True)


def recipe(folder: Path, *, rate: float = 1e-3, steps: int = 6, without_model: bool = False) -> str:
    text = RECIPE.format(rate=rate, steps=steps)
    if without_model:
        text = text[: text.index("[model]")] + text[text.index("[training]") :]
    path = folder / "recipe.toml"
    path.write_text(text)
    return str(path)


def test_the_way_is_evaluated_and_the_best_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    figures: list[int] = []
    listener = Listener(tell=told.append, figures=lambda step, steps, means: figures.append(step))
    settings = TrainSettings(val="samples", evaluate_every=2, report_every=2, limit=4, evaluation=EVALUATION)
    done = train("samples", recipe(tmp_path), tmp_path / "out", settings, listener=listener)
    assert done.history is not None
    assert [one.step for one in done.history.evaluations] == [2, 4, 6]
    assert all(one.measures["psnr_db"].value for one in done.history.evaluations)
    assert figures == [2, 4, 6]
    left = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert left == sorted({done.history.best_checkpoint, "step-0000006"})
    for name in left:
        assert load_vae(str(tmp_path / "out" / "checkpoints" / name), offline=True).card.f == 4
    with (tmp_path / "out" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [2, 4, 6]
    assert {"loss", "l1", "kl_nats_per_element", "posterior_std", "latent_std", "gradient_norm"} <= set(rows[0])
    scalars = tmp_path / "out" / "tensorboard"
    assert any(path.name.startswith("events") for path in scalars.iterdir())


def test_a_training_that_does_not_improve_is_stopped(tmp_path: Path) -> None:
    """A rate of nothing: every evaluation is of the same weights but for what the first step moved."""
    settings = TrainSettings(
        val="samples", evaluate_every=2, limit=4, patience=2, evaluation=replace(EVALUATION, metrics=("psnr_db",))
    )
    done = train("samples", recipe(tmp_path, rate=1e-7, steps=40), tmp_path / "out", settings)
    assert done.history is not None
    assert done.history.stop
    assert done.steps < 40
    again = train("samples", recipe(tmp_path, rate=1e-7, steps=40), tmp_path / "out", settings)
    assert again.steps == done.steps


def test_going_on_with_a_vae_leaves_its_encoder(tmp_path: Path) -> None:
    told: list[str] = []
    settings = TrainSettings(start_from="kl-f8-tiny", limit=4, offline=True)
    done = train("samples", recipe(tmp_path), tmp_path / "out", settings, listener=Listener(tell=told.append))
    assert any("[model]" in text for text in told)
    before, after = load_vae("kl-f8-tiny"), load_vae(str(done.folder))
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(before.encode(pixels).mean, after.encode(pixels).mean)
    latents = before.encode(pixels).mean
    assert not torch.equal(before.decode(latents), after.decode(latents))
    assert after.card.scaling_factor == before.card.scaling_factor


def test_training_an_encoder_on_warns_of_the_scaling(tmp_path: Path) -> None:
    warned: list[str] = []
    settings = TrainSettings(start_from="kl-f8-tiny", tune="whole", limit=4, offline=True)
    train(
        "samples",
        recipe(tmp_path, without_model=True),
        tmp_path / "out",
        settings,
        listener=Listener(warn=warned.append),
    )
    assert any("scaling factor" in text for text in warned)


@pytest.mark.parametrize(
    ("settings", "without_model", "message"),
    [
        (TrainSettings(), True, "has no \\[model\\]"),
        (TrainSettings(start_from="kl-f8-tiny", tune="encoder"), True, "no part 'encoder'"),
        (TrainSettings(start_from="no-such-vae"), True, "no-such-vae"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, settings: TrainSettings, without_model: bool, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(
            "samples", recipe(tmp_path, without_model=without_model), tmp_path / "out", replace(settings, offline=True)
        )


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaecheck.errors import SetupError
    from vaecheck.tasks.machine import training_device

    if not torch.cuda.is_available():
        with pytest.raises(SetupError, match="no cuda device"):
            train("samples", recipe(tmp_path), tmp_path / "out", TrainSettings(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="takes the GPUs that it sees") as refused:
        training_device("cuda:1")
    assert "CUDA_VISIBLE_DEVICES=1" in refused.value.hint
    assert training_device("cpu") == "cpu"
    assert training_device("auto") == "auto"
