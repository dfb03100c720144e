"""The loop of every training here: steps, the log, checkpoints, resuming; in one process or several by accelerate.

Why all randomness is drawn from (seed, step, stream): a run that was killed and resumed sees exactly the pictures and
the noise that it would have seen, without the state of a sampler or a generator in its checkpoint. For several
processes the whole batch is drawn and each takes its share of it, so that their sum is what one process computes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.signals import held
from vaecheck.train.checkpoint import Reached, Stateful, resume
from vaecheck.train.checkpoint import save as save_checkpoint

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
PRECISIONS = ("float32", "bfloat16")
TO_WAIT = timedelta(hours=12)
"""For the slowest process. Why so long: all others wait while the first evaluates; torch would end them in minutes."""

Wrapped = TypeVar("Wrapped")


class Trainee(Protocol):
    """What is trained, one optimiser step at a time."""

    steps: int

    def made_with(self) -> Mapping[str, Any]:
        """Everything that decides the weights, as JSON: a checkpoint of anything else is refused."""

    def parts(self) -> Mapping[str, Stateful]:
        """All state, by name."""

    def batch(self, step: int) -> Any:
        """What step number `step` is trained on, on the CPU; called ahead, in another thread."""

    def step(self, step: int, batch: Any) -> Mapping[str, float | Tensor]:
        """One step; the figures of it to log, numbers or tensors of one element."""

    def save(self, folder: Path) -> None:
        """Write what the user takes, each file whole or not at all."""


@dataclass(frozen=True)
class Progress:
    """What the last steps did: means since the last report, and what is wrong, in words."""

    step: int
    steps: int
    means: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Watchers:
    """Who is told what, and when.

    report: every `report_every` steps. evaluate: every `evaluate_every` steps and at the last, in the first process,
    once the weights are in the run's folder; says whether to stop. One that was killed is done again. tell: where a
    run goes on, and where it was stopped.
    """

    report: Callable[[Progress], None] = lambda progress: None
    report_every: int = 100
    evaluate: Callable[[int], bool] = lambda step: False
    evaluate_every: int | None = None
    tell: Callable[[str], None] = lambda text: None


class Machine:
    """The processes and the device that a training runs on: what accelerate says of them, by our names.

    Why bfloat16 and not float16: it has float32's range. An adversarial loss in float16 needs a loss scale for each of
    two optimisers, and overflows all the same.
    """

    def __init__(self, precision: str | None = None, *, device: str = "auto", unused: bool = False) -> None:
        """precision: "float32" or "bfloat16"; None: what accelerate was launched with. unused: whether some
        parameters may get no gradient. Raises InputError."""
        kinds = [
            DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=unused),
            InitProcessGroupKwargs(timeout=TO_WAIT),
        ]
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        launched = {"no": "float32", "bf16": "bfloat16"}.get(asked)
        if launched is None:
            raise InputError(
                f"accelerate was launched with {asked}",
                hint="Trainings here run in float32 or bfloat16: accelerate launch --mixed_precision bf16",
            )
        self.precision = precision or launched
        if self.precision not in PRECISIONS:
            raise InputError(
                f"there is no training in {self.precision}", hint=f"Precisions are {' and '.join(PRECISIONS)}."
            )
        # "no": else accelerate would wrap modules in an autocast of its own, whatever the recipe says
        self._accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=kinds)
        self.device = self._accelerator.device
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes

    @property
    def is_first(self) -> bool:
        return bool(self.rank == 0)

    def prepare(self, part: Wrapped) -> Wrapped:
        """A module on this device, its gradients averaged over the processes; or an optimiser of one."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            prepared: Wrapped = self._accelerator.prepare(part)
        return prepared

    def bare(self, module: nn.Module) -> Any:
        """The module without what `prepare` put around it."""
        return self._accelerator.unwrap_model(module)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        """Over the processes."""
        reduced: Tensor = self._accelerator.reduce(values, "mean")
        return reduced

    def share(self, count: int) -> slice:
        """This process's part of a batch of `count`. Raises InputError where it cannot be divided evenly."""
        if count % self.size:
            raise InputError(
                f"a batch of {count} cannot be divided among {self.size} processes",
                hint=f"Give a batch size that is a multiple of {self.size}.",
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def agreed(self, value: Any) -> Any:
        """What the first process has."""
        return broadcast_object_list([value])[0] if self.size > 1 else value

    def any(self, *asked: bool) -> tuple[bool, ...]:
        """Of each, whether it holds in any process."""
        if self.size == 1:
            return asked
        shares = self.mean(torch.tensor(asked, dtype=torch.float32, device=self.device))
        return tuple(one > 0 for one in shares.tolist())

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def train(trainee: Trainee, machine: Machine, out: Path, watchers: Watchers, *, save_every: float = 60.0) -> int:
    """Train to the last step, or until an evaluation says stop; the number of steps done.

    out: holds checkpoint.pt, from which a run goes on, the log, and what the trainee saves; all are written every
    `save_every` seconds, at SIGTERM and Ctrl-C, and at the end. A folder whose training has ended is left as it is.
    Raises KeyboardInterrupt once it is saved where it was asked to stop.
    Raises InputError for a checkpoint of another training: going on would give weights of neither. And, in every
    process, for figures that are not finite at a report or before a save: what was saved last stays as it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    made_with = json.dumps(trainee.made_with(), sort_keys=True)
    reached = resume(out / CHECKPOINT, made_with, trainee.parts())
    machine.wait()  # none may write while another still reads
    if reached.ended:
        return reached.step
    step, log, means, saved = reached.step, reached.log, _Means(reached.sums), time.monotonic()
    evaluated = step if reached.evaluated is None else reached.evaluated

    def save(ended: bool = False) -> None:
        nonlocal saved
        sums = means.sums(machine)
        _expect_finite(_means_of(sums), step, machine, out)
        if machine.is_first:
            now = Reached(step, log, ended, evaluated, sums)
            save_checkpoint(out / CHECKPOINT, now, made_with, trainee.parts())
            _write(out / LOG, _table(log))
            trainee.save(out)
        machine.wait()
        saved = time.monotonic()

    def evaluation_stops() -> bool:
        """Evaluate, where it is due or a run that was killed owes it; whether the training ends by it."""
        nonlocal evaluated
        every = watchers.evaluate_every
        if not every or step <= evaluated or (step % every and step != trainee.steps):
            return False
        save()
        stop = machine.agreed(machine.is_first and watchers.evaluate(step))
        evaluated = step
        return bool(stop)

    if step:
        watchers.tell(f"going on after step {step} of {trainee.steps}")
    stopped = evaluation_stops()
    coming = iter(()) if stopped else _ahead(trainee, step)
    with held() as stopping:
        for step, batch in coming:
            means.add(trainee.step(step - 1, batch))
            if step % watchers.report_every == 0 or step == trainee.steps:
                found = means.taken(machine)
                _expect_finite(found, step, machine, out)
                log.append({"step": float(step), **found})
                if machine.is_first:
                    watchers.report(Progress(step, trainee.steps, found))
            if evaluation_stops():
                break
            asked, due = machine.any(stopping(), machine.is_first and time.monotonic() - saved > save_every)
            if asked or due:
                save()
            if asked and step < trainee.steps:
                watchers.tell(f"stopped after step {step} of {trainee.steps}, which is kept: the same command goes on")
                raise KeyboardInterrupt
    save(ended=True)
    return step


@contextmanager
def evaluation(*modules: nn.Module) -> Iterator[None]:
    """The modules in evaluation mode, without gradients; as they were after it."""
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


def generator(seed: int, step: int, stream: int) -> torch.Generator:
    """The randomness of one step for one purpose.

    Why a hash: torch's generator on a CPU looks at the low 32 bits of what seeds it, and at nothing above them.
    """
    digest = hashlib.sha256(f"{seed} {step} {stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


@dataclass(frozen=True)
class Schedule:
    """learning_rate over the steps: a linear warm-up, then constant, or half a cosine down to zero.

    Source: Loshchilov and Hutter 2017, equation 5 without restarts.
    """

    learning_rate: float
    warmup_steps: int
    steps: int
    shape: str = "cosine"

    def at(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decay = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.shape == "cosine" else 1.0
        return self.learning_rate * warmup * decay

    def set(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        for group in optimiser.param_groups:
            group["lr"] = self.at(step)


def averaged(module: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """An exponential moving average of the module's weights; `update_parameters` after each step. 0: no average.

    Why the decay of update n is at most (1 + n) / (10 + n): a short training would else keep its random beginning.
    """

    def average(averages: Any, weights: Any, updates: Any) -> None:
        count = int(updates)
        move = torch.optim.swa_utils.get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))  # type: ignore[no-untyped-call]
        move(averages, weights, updates)

    return torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=average).requires_grad_(False)


class _Means:
    """Of every logged figure since they were last taken. Figures stay on the device until then."""

    def __init__(self, sums: Mapping[str, tuple[float, int]]) -> None:
        """sums: what `sums` gave, in every process the same: their mean over the processes is what it was."""
        self._sums = {name: torch.tensor(value, dtype=torch.float64) for name, (value, _) in sums.items()}
        self._counts = {name: count for name, (_, count) in sums.items()}

    def add(self, figures: Mapping[str, float | Tensor]) -> None:
        for name, value in figures.items():
            value = torch.as_tensor(value).detach().reshape(())
            value = value.float() if value.device.type == "mps" else value.double()  # Metal has no float64
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def sums(self, machine: Machine) -> dict[str, tuple[float, int]]:
        """The mean over the processes of each sum, and of how many steps it is."""
        if not self._sums:
            return {}
        values = machine.mean(torch.stack([value.to(machine.device) for value in self._sums.values()])).tolist()
        return {name: (value, self._counts[name]) for name, value in zip(self._sums, values, strict=True)}

    def taken(self, machine: Machine) -> dict[str, float]:
        found = _means_of(self.sums(machine))
        self._sums, self._counts = {}, {}
        return found


def _means_of(sums: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    return {name: value / count for name, (value, count) in sums.items()}


def _expect_finite(means: Mapping[str, float], step: int, machine: Machine, out: Path) -> None:
    """Raises InputError. One step that was not finite shows in the mean of all, and the weights are lost with it."""
    if broken := [name for name, value in means.items() if not math.isfinite(value)]:
        precision = "" if machine.precision == "float32" else ', or set precision = "float32"'
        raise InputError(
            f"the training broke down at or before step {step}: not finite: {', '.join(broken)}",
            hint=f"Lower learning_rate{precision}, and begin in another --out. {out} keeps what was saved last.",
        )


def _ahead(trainee: Trainee, first: int) -> Iterator[tuple[int, Any]]:
    """The number of each step from 1 and its batch, which is made while the step before it runs."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(trainee.batch, first) if first < trainee.steps else None
        for step in range(first, trainee.steps):
            batch = coming.result() if coming else None
            coming = pool.submit(trainee.batch, step + 1) if step + 1 < trainee.steps else None
            yield step + 1, batch


def read_log(out: Path) -> list[dict[str, float]]:
    """The log of a training, by step; empty without one."""
    path = out / LOG
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _table(log: list[dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for row in log for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in log)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
