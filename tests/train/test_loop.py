"""The loop: resuming to the bit, a kill at any moment, what is refused, and a training that breaks down."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import InitProcessGroupKwargs
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.train.small import MODEL, RECIPE, pictures, recipe, same, spied, state_of, trained, trainee_of, weights
from vaecheck.errors import InputError
from vaecheck.train import loop
from vaecheck.train.loop import CHECKPOINT, LOG, Machine, Schedule, generator, read_log
from vaecheck.vae.kl_f8 import KLAutoencoder

REPOSITORY = Path(__file__).resolve().parents[2]
ALL_TERMS = {"adversarial": 0.5, "adversarial_start": 3, "kl": 1e-3, "learned_log_variance": True, "latent_noise": 0.1}


class Killed(Exception):
    pass


def killed_at(trainee: Any, step: int) -> Any:
    def die(now: int, batch: Any) -> None:
        if now == step:
            raise Killed

    spied(trainee, "step", die)
    return trainee


@pytest.mark.parametrize("loss", [{}, ALL_TERMS])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, loss: dict[str, Any]) -> None:
    configured = replace(RECIPE, loss=recipe(loss=loss).loss)
    whole = trainee_of(configured)
    trained(whole, tmp_path / "whole", report_every=5)
    out = tmp_path / "parts"
    for step in (5, 9):
        with pytest.raises(Killed):
            trained(killed_at(trainee_of(configured), step), out, report_every=5, save_every=0)
    torch.manual_seed(99)
    resumed = trainee_of(configured)
    trained(resumed, out, report_every=5, save_every=0)
    assert same(weights(whole), weights(resumed))
    for name, part in whole.parts().items():
        if isinstance(part, nn.Module):
            assert same(state_of(part), state_of(resumed.parts()[name])), name  # type: ignore[arg-type]
    assert same(saved(tmp_path / "whole"), saved(out))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_keeps_its_last_step_and_says_so(tmp_path: Path, number: int) -> None:
    whole, asked = trainee_of(RECIPE), trainee_of(RECIPE)
    trained(whole, tmp_path / "whole", report_every=5)
    spied(asked, "step", lambda now, batch: os.kill(os.getpid(), number) if now == 6 else None)
    told: list[str] = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        trained(asked, tmp_path / "parts", report_every=5, tell=told.append)
    assert signal.getsignal(number) is before
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["step"] == 7
    resumed = trainee_of(RECIPE)
    trained(resumed, tmp_path / "parts", report_every=5, tell=told.append)
    assert told == [
        "stopped after step 7 of 12, which is kept: the same command goes on",
        "going on after step 7 of 12",
    ]
    assert same(weights(whole), weights(resumed))


def test_the_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    trained(trainee_of(RECIPE), tmp_path / "whole", report_every=2)
    with pytest.raises(Killed):
        trained(killed_at(trainee_of(RECIPE), 7), tmp_path / "parts", report_every=2, save_every=0)
    trained(trainee_of(RECIPE), tmp_path / "parts", report_every=2, save_every=0)
    log = read_log(tmp_path / "parts")
    assert [row["step"] for row in log] == [2, 4, 6, 8, 10, 12]
    whole = read_log(tmp_path / "whole")
    assert log == whole


def test_a_line_after_a_kill_is_the_mean_of_all_its_steps(tmp_path: Path) -> None:
    """Also of figures that began between the last line and the kill."""
    configured = recipe(10, loss={"adversarial": 0.5, "adversarial_start": 6})
    trained(trainee_of(configured), tmp_path / "whole", report_every=5)
    with pytest.raises(Killed):
        trained(killed_at(trainee_of(configured), 8), tmp_path / "parts", report_every=5, save_every=0)
    trained(trainee_of(configured), tmp_path / "parts", report_every=5, save_every=0)
    assert (tmp_path / "whole" / LOG).read_text() == (tmp_path / "parts" / LOG).read_text()


@pytest.mark.parametrize("at", [4, 8])
def test_an_evaluation_that_was_killed_is_done_by_the_run_that_goes_on(tmp_path: Path, at: int) -> None:
    seen: list[int] = []

    def evaluate(step: int) -> bool:
        if step == at and len(seen) < at // 2:
            seen.append(-step)
            raise Killed
        assert same(saved(tmp_path), state_of(KLAutoencoder.load(tmp_path)))
        seen.append(step)
        return False

    with pytest.raises(Killed):
        trained(trainee_of(recipe(8)), tmp_path, evaluate=evaluate, evaluate_every=2)
    assert not torch.load(tmp_path / CHECKPOINT, weights_only=True)["ended"]
    reports = trained(trainee_of(recipe(8)), tmp_path, evaluate=evaluate, evaluate_every=2)
    assert len(reports) == 8 - at
    assert seen == [*range(2, at, 2), -at, *range(at, 9, 2)]
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["ended"]


def test_an_evaluation_that_is_owed_may_stop(tmp_path: Path) -> None:
    def dies(step: int) -> bool:
        raise Killed

    with pytest.raises(Killed):
        trained(trainee_of(recipe(8)), tmp_path, evaluate=dies, evaluate_every=4)
    assert trained(trainee_of(recipe(8)), tmp_path, evaluate=lambda step: step == 4, evaluate_every=4) == []
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert (state["step"], state["ended"]) == (4, True)


def test_an_evaluation_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(Killed):
        trained(
            killed_at(trainee_of(recipe(8)), 4),
            tmp_path,
            save_every=0,
            evaluate=lambda step: bool(seen.append(step)),
            evaluate_every=4,
        )
    assert seen == [4]
    trained(trainee_of(recipe(8)), tmp_path, evaluate=lambda step: bool(seen.append(step)), evaluate_every=4)
    assert seen == [4, 8]


def test_a_checkpoint_from_before_evaluations_were_kept_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(killed_at(trainee_of(recipe(8)), 4), tmp_path, save_every=0)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save(
        {name: value for name, value in state.items() if name not in ("sums", "evaluated")}, tmp_path / CHECKPOINT
    )
    seen: list[int] = []
    trained(trainee_of(recipe(8)), tmp_path, evaluate=lambda step: bool(seen.append(step)), evaluate_every=4)
    assert seen == [8]


def test_no_process_writes_before_all_have_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(trainee_of(recipe(2)), tmp_path / "ended")
    order: list[str] = []
    monkeypatch.setattr(Machine, "wait", lambda machine: order.append("wait"))
    for folder in ("new", "ended"):
        order.clear()
        trainee = trainee_of(recipe(2))
        spied(trainee, "save", lambda folder: order.append("save"))
        trained(trainee, tmp_path / folder)
        assert order == (["wait", "save", "wait"] if folder == "new" else ["wait"])


def test_processes_wait_for_a_long_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    real = loop.Accelerator

    def seen(**arguments: Any) -> Any:
        given.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(loop, "Accelerator", seen)
    Machine("float32", device="cpu")
    timeouts = [one.timeout for one in given["kwargs_handlers"] if isinstance(one, InitProcessGroupKwargs)]
    assert timeouts == [loop.TO_WAIT]
    assert loop.TO_WAIT.total_seconds() >= 6 * 3600


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path: Path) -> None:
    trained(trainee_of(recipe(3)), tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = trainee_of(recipe(3))
    assert trained(again, tmp_path) == []
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert same(state_of(again.averaged()), saved(tmp_path))


def test_a_run_that_goes_on_leaves_a_vae_to_look_at(tmp_path: Path) -> None:
    trainee, seen = trainee_of(recipe(6)), []

    def look(step: int, batch: Any) -> None:
        if step:
            seen.append(state_of(KLAutoencoder.load(tmp_path)))

    spied(trainee, "step", look)
    trained(trainee, tmp_path, save_every=0)
    assert len(seen) == 5
    assert not any(same(a, b) for a, b in itertools.pairwise(seen))
    assert same(saved(tmp_path), state_of(trainee.averaged()))


def test_an_evaluation_sees_the_weights_and_may_stop(tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}

    def evaluate(step: int) -> bool:
        seen[step] = saved(tmp_path)
        return step == 4

    trainee = trainee_of(recipe(8))
    reports = trained(trainee, tmp_path, evaluate=evaluate, evaluate_every=2)
    assert list(seen) == [2, 4]
    assert len(reports) == 4
    assert same(seen[4], state_of(trainee.averaged()))
    assert trained(trainee_of(recipe(8)), tmp_path) == []


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    trained(trainee_of(recipe(2)), tmp_path)
    others = {
        "recipe.training.seed was 0 and is 1": trainee_of(recipe(2, seed=1)),
        "recipe.loss.kl was 1e-06 and is 0.5": trainee_of(recipe(2, loss={"kl": 0.5})),
        "latent_channels was 2 and is 3": trainee_of(replace(recipe(2), model=replace(MODEL, latent_channels=3))),
    }
    for message, other in others.items():
        with pytest.raises(InputError, match=message):
            trained(other, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"half"])
def test_a_checkpoint_that_is_broken_is_refused(tmp_path: Path, content: bytes) -> None:
    trained(trainee_of(recipe(2)), tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:5000] if content == b"half" else content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        trained(trainee_of(recipe(2)), tmp_path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        trained(trainee_of(recipe(2)), tmp_path)


def broken_at(trainee: Any, step: int, where: str) -> Any:
    """From that step on the loss, or its gradient alone, is not a number."""
    module = trainee._trainable.module

    def break_it(now: int, batch: Any) -> None:
        if now == step and where == "loss":
            module.decoder.conv_out.bias.data[0] = float("nan")
        if now == step and where == "gradient":
            module.decoder.conv_out.bias.register_hook(lambda gradient: gradient * float("inf") * 0)

    spied(trainee, "step", break_it)
    return trainee


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("report_every", [1, 100])
def test_a_training_that_breaks_down_keeps_what_was_saved_last(tmp_path: Path, where: str, report_every: int) -> None:
    good = trainee_of(recipe(8))
    with pytest.raises(Killed):
        trained(killed_at(good, 4), tmp_path, save_every=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"step [68]: not finite: .*gradient_norm") as caught:
        trained(broken_at(trainee_of(recipe(8)), 5, where), tmp_path, report_every=report_every, save_every=1e9)
    assert caught.value.exit_code == 2
    assert "learning_rate" in caught.value.hint
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_break_down_between_two_reports_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step 4: not finite"):
        trained(broken_at(trainee_of(recipe(8)), 3, "loss"), tmp_path, report_every=100, save_every=0)
    assert all(value.isfinite().all() for value in saved(tmp_path).values())
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 3


def test_a_learning_rate_far_too_high_ends_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the training broke down"):
        trained(trainee_of(recipe(40, learning_rate=1e30, warmup_steps=0)), tmp_path, report_every=10)


@pytest.mark.parametrize("shape", ["cosine", "constant"])
def test_the_learning_rate_warms_up_and_falls(shape: str) -> None:
    schedule = Schedule(1.0, 4, 100, shape)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == pytest.approx(rates[3], rel=0.01)
    assert rates[50] == pytest.approx(0.5 if shape == "cosine" else 1.0)
    assert (rates[-1] < 1e-3) == (shape == "cosine")


def test_the_optimisers_have_the_rate_of_the_step() -> None:
    trainee = trainee_of(recipe(8, loss={"adversarial": 0.1}))
    trainee.step(0, trainee.batch(0))
    trainee.step(5, trainee.batch(5))
    expected = trainee._schedule.at(5)
    for optimiser in (trainee._optimiser, trainee._discriminator_optimiser):
        assert [group["lr"] for group in optimiser.param_groups] == [expected]


def test_randomness_differs_by_seed_step_and_stream() -> None:
    draws = [torch.rand(1, generator=generator(*key)).item() for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]]
    assert len(set(draws)) == 4
    assert torch.rand(1, generator=generator(0, 0, 0)).item() == draws[0]


def test_precision_is_that_of_the_recipe_or_of_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert Machine().precision == "bfloat16"
    machine = Machine("float32")
    assert machine.precision == "float32"
    layer = machine.prepare(nn.Linear(4, 4))
    seen: list[torch.dtype] = []
    machine.bare(layer).register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    layer(torch.zeros(1, 4))
    assert seen == [torch.float32]
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(InputError, match="launched with fp16"):
        Machine()
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    with pytest.raises(InputError, match="no training in float16"):
        Machine("float16")


def saved(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


VICTIM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.small import recipe, trained, trainee_of
loss = {"adversarial": 0.5, "adversarial_start": 5, "kl": 1e-3}
trained(trainee_of(recipe(40, loss=loss)), Path(sys.argv[1]), report_every=7, save_every=0.01)
"""


def victim(out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", VICTIM, str(out)], env=environment, cwd=REPOSITORY)


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_changes_no_bit(tmp_path: Path, kills: int) -> None:
    """Also in the middle of a save: the moments are as they come."""
    out, at_work, last = tmp_path / "killed", 0, -1
    for number in range(kills):
        process = victim(out)
        deadline = time.monotonic() + 60
        while not (out / CHECKPOINT).exists() or (out / CHECKPOINT).stat().st_mtime_ns == last:
            assert time.monotonic() < deadline
            if process.poll() is not None:
                break
            time.sleep(0.001)
        time.sleep(0.037 * number + 0.01)
        at_work += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        last = (out / CHECKPOINT).stat().st_mtime_ns
    assert at_work
    assert torch.load(out / CHECKPOINT, weights_only=True)["step"] < 40 or kills > 1
    assert victim(out).wait(60) == 0
    loss = {"adversarial": 0.5, "adversarial_start": 5, "kl": 1e-3}
    whole = trainee_of(recipe(40, loss=loss))
    trained(whole, tmp_path / "whole", report_every=7)
    assert same(saved(tmp_path / "whole"), saved(out))
    one, other = (torch.load(folder / CHECKPOINT, weights_only=True) for folder in (tmp_path / "whole", out))
    assert same(one["discriminator"], other["discriminator"])
    assert (tmp_path / "whole" / LOG).read_text() == (out / LOG).read_text()
    assert pictures().fingerprint in one["made_with"]
