"""`train vae` as a task: evaluations on the way, early stopping, training on, and what is refused."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vaecheck.errors import InputError, SetupError
from vaecheck.tasks import train_vae, training_pictures
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.train_vae import CHECKPOINTS, WRITTEN, TrainSettings, train
from vaecheck.tasks.training_pictures import also_trained_on, hold_pictures
from vaecheck.train.loop import Machine
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
    written = {done.history.best_checkpoint, "step-0000006"}
    assert left == sorted({*written, WRITTEN})
    for name in written:
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


def test_what_lies_beside_the_checkpoints_is_left(tmp_path: Path) -> None:
    """Folders of others, also one that is named as ours are."""
    checkpoints = tmp_path / "out" / CHECKPOINTS
    for name in ("notes", "step-0000001", "step-12"):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "mine.txt").write_text("mine")
    (checkpoints / "todo.txt").write_text("mine")
    settings = TrainSettings(val="samples", evaluate_every=1, limit=4, evaluation=EVALUATION)
    done = train("samples", recipe(tmp_path, steps=4), tmp_path / "out", settings)
    assert done.history is not None
    left = {path.name for path in checkpoints.iterdir()}
    ours = {done.history.best_checkpoint, "step-0000004"}
    assert left == {"notes", "step-0000001", "step-12", "todo.txt", WRITTEN} | ours
    assert (checkpoints / "step-0000001" / "mine.txt").read_text() == "mine"


def test_offline_reaches_the_pictures_and_the_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen(Exception):
        pass

    def stop(folder: Path, source: str, settings: Settings, *more: Any, **named: Any) -> None:
        raise Seen(settings.offline)

    monkeypatch.setattr(train_vae, "watch", stop)
    evaluation = replace(EVALUATION, offline=False)
    for offline in (True, False):
        settings = TrainSettings(val="samples", evaluate_every=1, limit=4, offline=offline, evaluation=evaluation)
        with pytest.raises(Seen, match=str(offline)):
            train("samples", recipe(tmp_path), tmp_path / str(offline), settings)
    with pytest.raises(SetupError, match="offline"):
        hold_pictures("hf://datasets/nobody/nothing", 32, Listener(), offline=True)
    with pytest.raises(SetupError, match="offline"):
        train("hf://datasets/nobody/nothing", recipe(tmp_path), tmp_path / "out", TrainSettings(offline=True))


def photos(folder: Path, seeds: range, side: int = 40) -> Path:
    folder.mkdir()
    for seed in seeds:
        pixels = torch.randint(0, 256, (side, side, 3), generator=torch.Generator().manual_seed(seed))
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{seed}.png")
    return folder


def test_pictures_that_are_trained_on_and_judged_by_are_counted(tmp_path: Path) -> None:
    """By their bytes: under another name too, and not by name or length."""
    train_on, other = photos(tmp_path / "train", range(6)), photos(tmp_path / "val", range(10, 14))
    held = hold_pictures(str(train_on), 32, Listener())
    assert also_trained_on(held, str(other)) == 0
    shutil.copy(train_on / "3.png", other / "zzz.png")
    shutil.copy(train_on / "4.png", other / "aaa.png")
    data = bytearray((train_on / "5.png").read_bytes())
    data[-1] ^= 1
    (other / "5.png").write_bytes(bytes(data))
    assert also_trained_on(held, str(other)) == 2
    assert also_trained_on(held, str(other), limit=2) == 0
    assert also_trained_on(held, str(train_on)) == 6
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", other)
    assert also_trained_on(held, archive) == 2


def test_files_of_other_lengths_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = hold_pictures(str(photos(tmp_path / "train", range(2))), 32, Listener())
    val = photos(tmp_path / "val", range(5, 8), side=64)

    def read(data: bytes) -> tuple[int, bytes]:
        raise AssertionError

    monkeypatch.setattr(training_pictures, "_file", read)
    assert also_trained_on(held, str(val)) == 0


def test_a_training_warns_of_what_it_is_judged_by(tmp_path: Path) -> None:
    warned: list[str] = []
    settings = TrainSettings(val="samples", evaluate_every=6, limit=2, evaluation=EVALUATION)
    train("samples", recipe(tmp_path), tmp_path / "out", settings, listener=Listener(warn=warned.append))
    assert any(text.startswith("2 pictures of --val samples are trained on too") for text in warned)


def test_pictures_that_do_not_fit_into_memory_are_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos(tmp_path / "photos", range(8))
    each, advanced = 3 * 32 * 32, []
    monkeypatch.setattr(training_pictures, "ENOUGH_TO_TELL", 3)
    monkeypatch.setattr(training_pictures, "available_memory", lambda: 8 * each)
    assert len(hold_pictures(str(source), 32, Listener())) == 8
    monkeypatch.setattr(training_pictures, "available_memory", lambda: 8 * each - 1)
    with pytest.raises(InputError, match=r"8 pictures of .* held at side 32, take") as caught:
        hold_pictures(str(source), 32, Listener(advance=advanced.append))
    assert len(advanced) == 2
    assert "--limit" in caught.value.hint
    assert "picture_side" in caught.value.hint
    assert len(hold_pictures(str(source), 32, Listener(), limit=7)) == 7
    monkeypatch.setattr(training_pictures, "available_memory", lambda: None)
    assert len(hold_pictures(str(source), 32, Listener())) == 8
    monkeypatch.setattr(training_pictures, "available_memory", lambda: 8 * each)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match="free for this process"):
        hold_pictures(str(source), 32, Listener())


def test_a_stream_is_refused_once_it_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", photos(tmp_path / "photos", range(8)))
    monkeypatch.setattr(training_pictures, "available_memory", lambda: 5 * 3 * 32 * 32)
    with pytest.raises(InputError, match="the first 6 pictures of"):
        hold_pictures(archive, 32, Listener())


def test_a_batch_that_cannot_be_divided_is_refused_before_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: Any, **named: Any) -> None:
        raise AssertionError

    def of_three(machine: Machine, *arguments: Any, **named: Any) -> None:
        real(machine, *arguments, **named)
        machine.size = 3

    real = Machine.__init__
    monkeypatch.setattr(Machine, "__init__", of_three)
    monkeypatch.setattr(train_vae, "hold_pictures", read)
    monkeypatch.setattr(train_vae, "_opened", read)
    with pytest.raises(InputError, match="a batch of 2 cannot be divided among 3"):
        train("samples", recipe(tmp_path), tmp_path / "out")


def test_a_start_that_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    train("samples", recipe(tmp_path), tmp_path / "out", TrainSettings(limit=4))
    again = TrainSettings(start_from=str(tmp_path / "out"), limit=4)
    with pytest.raises(InputError, match="is --out too"):
        train("samples", recipe(tmp_path), tmp_path / "out", again)
