"""`train unet`: a latent U-Net on the latents of a VAE, encoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vaecheck.errors import InputError
from vaecheck.event_files import EventFile
from vaecheck.images.loader import Loader
from vaecheck.results.types import LatentScaling
from vaecheck.tasks.machine import training_device
from vaecheck.tasks.opening import Bench, open_bench
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.train.latents import Latents, encoded, kept
from vaecheck.train.loop import Machine, Progress, Watchers
from vaecheck.train.loop import train as train_loop
from vaecheck.train.recipe import read_toml, record
from vaecheck.train.unet import UNetConfig, UNetRecipe, UNetTrainee, UNetTraining
from vaecheck.vae.room import Room

GOOD_STD = (0.8, 1.25)
"""Of scaled latents, as `scale-factor` judges it."""
EVENTS = "tensorboard"
MEASURED = "measured"


@dataclass(frozen=True)
class UNetSettings:
    """scaling: "shipped", or "measured" for 1 / std of these latents. any_scale: train whatever std that gives."""

    scaling: str = "shipped"
    any_scale: bool = False
    save_every: float = 60.0
    report_every: int = 100


@dataclass(frozen=True)
class TrainedUNet:
    """folder: in diffusers' format. latents: how many, mirror images too. std: of them after the scaling."""

    folder: Path
    steps: int
    latents: int
    std: float
    scaling: LatentScaling
    is_first: bool


def load_unet_recipe(name_or_file: str | None) -> UNetRecipe:
    """A TOML file with [model] and [training]; the defaults without one. Raises InputError."""
    if name_or_file is None:
        return UNetRecipe()
    document = read_toml(name_or_file)
    if unknown := sorted(set(document) - {"model", "training"}):
        raise InputError(
            f"{name_or_file} has the unknown sections {', '.join(unknown)}", hint="There are: model, training."
        )
    recipe = UNetRecipe(
        record(UNetConfig, document.get("model", {}), f"{name_or_file} [model]"),
        record(UNetTraining, document.get("training", {}), f"{name_or_file} [training]"),
    )
    if min(recipe.training.steps, recipe.training.batch_size) < 1:
        raise InputError(f"{name_or_file}: steps and batch_size must be positive", hint="Give 1 or more.")
    return recipe


def train_unet(
    source: str,
    ref: str,
    out: Path,
    settings: Settings,
    unet: UNetSettings | None = None,
    config: str | None = None,
    listener: Listener | None = None,
) -> TrainedUNet:
    """Train, or go on training where `out` holds a checkpoint.

    Raises InputError for a scaling that leaves the latents' deviation outside 0.8 to 1.25.
    """
    unet, recipe = unet or UNetSettings(), load_unet_recipe(config)
    machine = Machine(recipe.training.precision, device=training_device(settings.device))
    listener = listener if listener and machine.is_first else Listener()
    bench = open_bench(source, ref, replace(settings, device=str(machine.device)), listener)
    latents = _encoded_once(bench, out, machine)
    scaling = chosen_scaling(bench, latents, unet, listener)
    trainee = UNetTrainee(recipe, latents, scaling, machine, ref)
    steps = run(trainee, machine, out, unet, listener)
    return TrainedUNet(out, steps, len(latents), latents.scaled_std(scaling), scaling, machine.is_first)


def _encoded_once(bench: Bench, out: Path, machine: Machine) -> Latents:
    """By the first process, for all. Raises InputError where the others do not find what it wrote."""
    if machine.is_first:
        latents, _ = encode_all(bench, out)
        machine.wait()
        return latents
    machine.wait()
    found = kept(out)
    if found is None:
        raise InputError(
            f"process {machine.rank} finds no latents in {out}", hint="Give an --out on a disk that all machines see."
        )
    return found


def encode_all(bench: Bench, out: Path) -> tuple[Latents, Loader]:
    """The latents, and the loader after its pass over the pictures."""
    loader, room = bench.loader(), Room()
    bench.listener.start("Encoding", bench.images.count)
    latents = encoded(bench.vae, loader, bench.device, out, room, advance=bench.listener.advance)
    for warning in room.warnings():
        bench.listener.warn(warning)
    return latents, loader


def chosen_scaling(bench: Bench, latents: Latents, unet: UNetSettings, listener: Listener) -> LatentScaling:
    """Shipped or given, else measured, which is said. Raises InputError where the latents it makes are off scale."""
    scaling, ref = bench.vae.card.scaling, bench.vae.card.ref
    std = latents.scaled_std(scaling)
    if not std > 0:
        raise InputError(f"the latents of {ref} are constant", hint="Run vaecheck diagnose.")
    if unet.scaling == MEASURED or not scaling.known:
        factor = (1.0 if scaling.scaling_factor is None else scaling.scaling_factor) / std
        if unet.scaling != MEASURED:
            listener.tell(f"{ref} ships no scaling factor: {factor:.5g} is taken, 1 / std of these latents")
        return replace(scaling, scaling_factor=factor, source=MEASURED)
    measured = 1 / latents.scaled_std(LatentScaling())
    if not GOOD_STD[0] <= std <= GOOD_STD[1] and not unet.any_scale:
        raise InputError(
            f"after the scaling of {ref} its latents have a std of {std:.3g}, outside {GOOD_STD[0]} to {GOOD_STD[1]}: "
            "a U-Net trains badly on them",
            hint=f"Try --scaling-factor {measured:.5g}, which gives 1, or --any-scale to train all the same.",
        )
    return scaling


@dataclass
class _Telling:
    listener: Listener
    events: EventFile
    steps: int
    done: int = field(default=0)

    def report(self, progress: Progress) -> None:
        self.listener.advance(progress.step - self.done)
        self.done = progress.step
        self.listener.figures(progress.step, progress.steps, progress.means)
        if EventFile.is_possible():
            self.events.add(progress.means, progress.step)


def run(
    trainee: UNetTrainee,
    machine: Machine,
    out: Path,
    unet: UNetSettings,
    listener: Listener,
    look: Callable[[int], Any] | None = None,
    look_every: int | None = None,
) -> int:
    """The loop with what it tells; look: called every `look_every` steps. Returns the steps done."""

    def evaluate(step: int) -> bool:
        if look:
            look(step)
        return False

    listener.start("Training the U-Net", trainee.steps)
    with EventFile(out / EVENTS) as events:
        telling = _Telling(listener, events, trainee.steps)
        watchers = Watchers(telling.report, unet.report_every, evaluate, look_every, listener.tell)
        return train_loop(trainee, machine, out, watchers, save_every=unet.save_every)
