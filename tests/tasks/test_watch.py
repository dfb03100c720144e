"""A watch with a clock that a test turns: what is evaluated, what is kept, what is begun again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vaecheck.errors import InputError, NotComparable, SetupError
from vaecheck.results import files
from vaecheck.results.history import History
from vaecheck.tasks import watch as watching
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.watch import OUT, watch
from vaecheck.tasks.watch_history import WatchRules
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig

SETTINGS = Settings(size=64, limit=4, metrics=("psnr_db", "ssim"), offline=True)
RULES = WatchRules(once=True, stop_on=("psnr_db", "ssim"), patience=2)
CONFIG = KLConfig((8, 8, 16, 16), 1, 4, 4, mid_block_add_attention=False)


@dataclass
class TurnedClock:
    """Each sleep moves it on, and then does the next of `events`, as a trainer would meanwhile."""

    events: list[Callable[[], object]] = field(default_factory=list)
    seconds: float = 0.0
    began: float = field(default_factory=time.time)

    def monotonic(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.began + self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        assert self.seconds < 10_000, "it never ends"
        if self.events:
            self.events.pop(0)()


@dataclass
class Trainer:
    """Leaves checkpoints of a small VAE, other weights for another seed, in a folder."""

    folder: Path

    def weights(self, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return KLAutoencoder(CONFIG).state_dict()

    def saves(self, name: str, seed: int, *, old: bool = True) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.weights(seed), path)
        if not (path.parent / "config.json").exists():
            KLAutoencoder(CONFIG).save(self.folder / "unused")
            shutil.move(self.folder / "unused" / "config.json", path.parent / "config.json")
            shutil.rmtree(self.folder / "unused")
        if old:
            os.utime(path, (1000 + seed, 1000 + seed))
        return path


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "run")


@dataclass
class Watched:
    trainer: Trainer
    warned: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __call__(
        self, rules: WatchRules = RULES, settings: Settings = SETTINGS, *events: Callable[[], object]
    ) -> History:
        listener = Listener(warn=self.warned.append, tell=self.told.append)
        self.told.clear()
        clock = TurnedClock(list(events))
        return watch(self.trainer.folder, "samples", settings, rules, listener=listener, clock=clock)


@pytest.fixture
def watched(trainer: Trainer) -> Watched:
    return Watched(trainer)


def names(history: History) -> list[str]:
    return [one.name for one in history.evaluations]


def test_every_checkpoint_is_evaluated_once_and_kept(trainer: Trainer, watched: Watched) -> None:
    for step, seed in ((200, 2), (100, 1), (300, 3)):
        trainer.saves(f"step-{step}.safetensors", seed)
    history = watched()
    assert names(history) == ["step-100.safetensors", "step-200.safetensors", "step-300.safetensors"]
    assert len(watched.told) == 3
    out = trainer.folder / OUT
    assert replace(files.load(out), environment=history.environment) == history
    for one in history.evaluations:
        result = files.load_result(out / one.folder)
        assert set(one.measures) == {"psnr_db", "ssim"} < set(result.measures)
        assert one.measures["psnr_db"] == result.measures["psnr_db"]
        assert one.sha256 == result.vae.sha256 if result.vae else False
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["100", "200", "300"]
    assert float(rows[0]["psnr_db"]) == history.evaluations[0].measures["psnr_db"].value
    best = max(history.evaluations, key=lambda one: one.measures["psnr_db"].value or 0)
    assert history.best["psnr_db"] == best.name
    assert Path((out / "best").read_text().strip()) == trainer.folder / history.best_checkpoint
    again = watched()
    assert not watched.told, "nothing is evaluated again"
    assert replace(again, environment=history.environment) == history


def test_a_restart_evaluates_what_is_new_and_what_was_overwritten(trainer: Trainer, watched: Watched) -> None:
    trainer.saves("last.safetensors", 1)
    assert names(watched()) == ["last.safetensors"]
    trainer.saves("last.safetensors", 2)
    trainer.saves("step-7.safetensors", 3)
    history = watched()
    assert [(one.step, one.name, one.gone) for one in history.evaluations] == [
        (1, "last.safetensors (step 1)", True),
        (7, "step-7.safetensors", False),
        (8, "last.safetensors", False),
    ]
    assert len(watched.told) == 2
    trainer.saves("step-7.safetensors", 4)
    history = watched()
    assert names(history) == ["last.safetensors (step 1)", "step-7.safetensors", "last.safetensors"]
    assert len(watched.told) == 1, "a numbered one that is overwritten takes its own place"


def test_touched_and_copied_weights_are_known_and_a_copy_takes_over(trainer: Trainer, watched: Watched) -> None:
    first = trainer.saves("step-1.safetensors", 1)
    watched()
    os.utime(first, (5000, 5000))
    shutil.copy(first, trainer.folder / "best.safetensors")
    os.utime(trainer.folder / "best.safetensors", (1, 1))
    assert names(watched()) == ["step-1.safetensors"]
    assert watched.told == ["best.safetensors has the same weights as step-1.safetensors: not evaluated again"]
    first.unlink()
    history = watched()
    assert [(one.name, one.step, one.gone) for one in history.evaluations] == [("best.safetensors", 1, False)]
    assert not watched.told


def test_the_best_that_is_gone_is_told_of_and_not_taken(trainer: Trainer, watched: Watched) -> None:
    for seed in (1, 2, 3):
        trainer.saves(f"step-{seed}.safetensors", seed)
    best = watched().best_checkpoint
    (trainer.folder / best).unlink()
    history = watched()
    assert history.best["psnr_db"] == best
    assert history.best_checkpoint != best
    assert f"{best} was better and is gone" in history.best_overall
    assert (trainer.folder / history.best_checkpoint).exists()


def test_one_that_cannot_be_read_is_listed_and_tried_again_when_it_changes_or_after_a_restart(
    trainer: Trainer, watched: Watched
) -> None:
    good = trainer.saves("step-2.safetensors", 2)
    bad = trainer.folder / "step-1.safetensors"
    bad.write_bytes(good.read_bytes()[:1000])
    os.utime(bad, (1000, 1000))
    history = watched()
    assert history.evaluations[0].problem
    assert not history.evaluations[1].problem
    assert "step-1.safetensors was not evaluated" in watched.warned[0]
    watched.warned.clear()
    assert names(watched(replace(RULES, once=False, timeout=100.0))) == names(history)
    assert len(watched.warned) == 1, "once more after a restart, and then no more as it is"
    trainer.saves("step-1.safetensors", 1)
    assert [one.problem for one in watched().evaluations] == ["", ""]


def test_where_none_can_be_read_once_ends_with_an_error(trainer: Trainer, watched: Watched) -> None:
    path = trainer.folder / "step-1.ckpt"
    path.parent.mkdir()
    path.write_text("no weights")
    os.utime(path, (1000, 1000))
    with pytest.raises(InputError, match="none of 1 checkpoints could be evaluated"):
        watched()


def test_a_file_that_is_still_written_is_waited_for(trainer: Trainer, watched: Watched) -> None:
    path = trainer.saves("step-1.safetensors", 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    history = watched(RULES, SETTINGS, lambda: path.write_bytes(whole))
    assert names(history) == []
    assert "still being written" in watched.warned[-1]
    live = replace(RULES, once=False, every=2, timeout=60)
    path.write_bytes(whole[: len(whole) // 2])
    assert names(watched(live, SETTINGS, lambda: path.write_bytes(whole))) == ["step-1.safetensors"]
    assert len(watched.told) == 1


def test_live_it_takes_what_comes_and_stops_by_itself(trainer: Trainer, watched: Watched) -> None:
    """The best comes first, so that patience runs out with the third."""
    order = sorted((1, 2, 3, 4), key=lambda seed: _psnr(trainer, watched, seed), reverse=True)
    shutil.rmtree(trainer.folder)
    trainer.saves("step-10.safetensors", order[0])
    rest = [
        lambda step=step, seed=seed: trainer.saves(f"step-{step}.safetensors", seed)
        for step, seed in zip((20, 30, 40), order[1:], strict=True)
    ]
    live = replace(RULES, once=False, stop_on=("psnr_db",))
    history = watched(live, SETTINGS, *rest)
    assert names(history) == [f"step-{step}.safetensors" for step in (10, 20, 30)]
    assert history.stop
    assert history.stopped == {"psnr_db": 10}
    assert history.best_checkpoint == "step-10.safetensors"
    told = json.loads((trainer.folder / OUT / "early_stop.json").read_text())
    assert told == {
        "stop": True,
        "since_step": 10,
        "metrics": {
            "psnr_db": {
                "best": history.evaluations[0].measures["psnr_db"].value,
                "improved_at_step": 10,
                "stopped": True,
            }
        },
        "best": str(trainer.folder / "step-10.safetensors"),
    }


def _psnr(trainer: Trainer, watched: Watched, seed: int) -> float:
    shutil.rmtree(trainer.folder, ignore_errors=True)
    trainer.saves("step-1.safetensors", seed)
    value = watched().evaluations[0].measures["psnr_db"].value
    assert isinstance(value, float)
    return value


def test_a_checkpoint_deleted_or_overwritten_meanwhile_is_no_crash(
    trainer: Trainer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trainer.saves("step-1.safetensors", 1)
    second = trainer.saves("step-2.safetensors", 2)
    real = watching.reconstruct

    def meddled(source: str, ref: str, *rest: object) -> object:
        if ref.endswith("step-1.safetensors"):
            first.unlink(missing_ok=True)
        found = real(source, ref, *rest)
        if ref.endswith("step-2.safetensors") and second.stat().st_mtime == 1002:
            trainer.saves("step-2.safetensors", 5)
        return found

    monkeypatch.setattr(watching, "reconstruct", meddled)
    assert [(one.name, one.gone) for one in watched().evaluations] == [("step-2.safetensors", True)]
    overwritten = watched()
    assert [(one.name, one.gone) for one in overwritten.evaluations] == [("step-2.safetensors", False)]
    assert len(watched.told) == 1
    assert overwritten.best_checkpoint == "step-2.safetensors"


def test_the_path_of_the_best_holds_in_any_working_directory(
    trainer: Trainer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that is a checkpoint itself, too."""
    trainer.saves("diffusion_pytorch_model.safetensors", 1)
    monkeypatch.chdir(trainer.folder.parent)
    watch("run", "samples", SETTINGS, RULES)
    monkeypatch.chdir("/")
    best = Path((trainer.folder / OUT / "best").read_text().strip())
    assert best == trainer.folder
    assert KLAutoencoder.load(best)


def test_limits_end_it(trainer: Trainer, watched: Watched) -> None:
    for seed in (1, 2, 3):
        trainer.saves(f"step-{seed}.safetensors", seed)
    live = replace(RULES, once=False, patience=0)
    assert len(watched(replace(live, max_evaluations=2)).evaluations) == 2
    assert len(watched(replace(live, timeout=100, every=30)).evaluations) == 3
    assert len(watched(replace(live, timeout=0)).evaluations) == 3


def test_another_history_is_not_gone_on_with(trainer: Trainer, watched: Watched) -> None:
    trainer.saves("step-1.safetensors", 1)
    watched()
    with pytest.raises(NotComparable, match="size 64 there and 32 here"):
        watched(RULES, replace(SETTINGS, size=32))
    with pytest.raises(NotComparable, match="metrics"):
        watched(RULES, replace(SETTINGS, metrics=("psnr_db", "ssim", "latent_std")))
    assert watched(replace(RULES, patience=9, stop_on=("ssim",))).settings["patience"] == 9
    out = trainer.folder / OUT
    files.save(files.load_result(out / watched().evaluations[0].folder), out)
    with pytest.raises(InputError, match="holds a reconstruct, not a watch"):
        watched()


def test_other_pictures_of_the_same_name_are_refused(trainer: Trainer, tmp_path: Path) -> None:
    samples = Path(watching.__file__).parents[1] / "assets" / "samples"
    chosen = sorted(path for path in samples.iterdir() if path.suffix in (".png", ".jpg", ".webp"))[:3]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(chosen[0], pictures)
    trainer.saves("step-1.safetensors", 1)
    watch(trainer.folder, str(pictures), SETTINGS, RULES)
    shutil.copy(chosen[1], pictures)
    trainer.saves("step-2.safetensors", 2)
    with pytest.raises(InputError, match="are not those of the evaluations before"):
        watch(trainer.folder, str(pictures), SETTINGS, RULES)


def test_what_cannot_be_had_is_said_and_a_stand_in_decides(
    trainer: Trainer, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)
    trainer.saves("step-1.safetensors", 1)
    usual = replace(SETTINGS, metrics=None, limit=2)
    history = watched(replace(RULES, stop_on=None), usual)
    assert history.settings["stop_on"][0] == "psnr_db"
    assert history.warnings[0].startswith("lpips_alex cannot be had, psnr_db decides in its place: ")
    assert history.warnings[1].startswith("rfid cannot be had, ")
    with pytest.raises(SetupError, match="rfid"):
        watch(trainer.folder, "samples", SETTINGS, replace(RULES, stop_on=("rfid",)), out=tmp_path / "another")


def test_bad_words_cost_nothing(trainer: Trainer, watched: Watched) -> None:
    with pytest.raises(InputError, match="does not exist"):
        watched()
    trainer.saves("step-1.safetensors", 1)
    with pytest.raises(InputError, match="psnr"):
        watched(replace(RULES, stop_on=("psnr",)))
    with pytest.raises(InputError, match="neither more nor less of it is better"):
        watched(replace(RULES, stop_on=("latent_std",)))
    with pytest.raises(InputError, match="is the watched folder itself"):
        watch(trainer.folder, "samples", SETTINGS, RULES, out=trainer.folder / "." / "")
    with pytest.raises(InputError, match="nowhere"):
        watch(trainer.folder, str(trainer.folder / "nowhere"), SETTINGS, RULES)


def test_event_files_hold_every_figure(trainer: Trainer, watched: Watched) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for seed in (1, 2):
        trainer.saves(f"step-{seed}00.safetensors", seed)
    history = watched()
    trainer.saves("step-300.safetensors", 3)
    history = watched()
    events = EventAccumulator(str(trainer.folder / OUT / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["psnr_db", "ssim"]
    read = [(event.step, event.value) for event in events.Scalars("psnr_db")]
    assert read == [(one.step, pytest.approx(one.measures["psnr_db"].value, rel=1e-6)) for one in history.evaluations]


def test_without_tensorboard_it_warns_once_and_goes_on(
    trainer: Trainer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.EventFile, "is_possible", staticmethod(lambda: False))
    trainer.saves("step-1.safetensors", 1)
    assert len(watched().evaluations) == 1
    assert [text for text in watched.warned if "tensorboard" in text] == [watching.MISSING]
    assert not (trainer.folder / OUT / "tensorboard").exists()


def test_plots_have_every_metric_with_its_band_and_its_best(trainer: Trainer, watched: Watched) -> None:
    for seed in (1, 2):
        trainer.saves(f"step-{seed}.safetensors", seed)
    history = watched()
    assert [plot.name for plot in history.plots] == ["psnr_db", "ssim"]
    (line,) = history.plots[0].lines
    assert line.x == (1.0, 2.0)
    assert line.y == tuple(one.measures["psnr_db"].value for one in history.evaluations)
    assert all(low < value < high for low, value, high in zip(line.low, line.y, line.high, strict=True))
    best = next(one for one in history.evaluations if one.name == history.best["psnr_db"])
    assert dict(history.plots[0].marks) == {f"best: step {best.step}": best.step}
    assert "decides when to stop" in history.plots[0].note
