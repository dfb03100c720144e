"""`train vae`: a KL autoencoder from a recipe and pictures, new or from any VAE that can be loaded.

Why the evaluations on the way are `watch`'s: a training here is judged exactly as somebody else's, by the same
`reconstruct`, the same rule for when it has stopped improving and the same page.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vaecheck.errors import InputError
from vaecheck.event_files import MISSING, EventFile
from vaecheck.results.history import History
from vaecheck.tasks.machine import training_device
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.training_pictures import HeldPictures, also_trained_on, hold_pictures
from vaecheck.tasks.watch import Writer, save, watch
from vaecheck.tasks.watch_history import WatchRules
from vaecheck.train import autoencoder
from vaecheck.train.alarms import Alarms
from vaecheck.train.autoencoder import Trainable
from vaecheck.train.loop import Machine, Progress, Watchers
from vaecheck.train.loop import train as train_loop
from vaecheck.train.losses import PerceptualDistance, perceptual_distance
from vaecheck.train.recipe import TrainConfig, check, load_config
from vaecheck.train.vae import VAERecipe, VAETrainee
from vaecheck.vae.load import adapted

CHECKPOINTS, EVALUATIONS, EVENTS = "checkpoints", "evaluations", "tensorboard"
WRITTEN, STEP = "written-by-vaecheck.txt", re.compile(r"step-\d{7,}")


@dataclass(frozen=True)
class TrainSettings:
    """What the user asked for, by the names of the command line.

    start_from: a VAE to go on with; tune: what of it, "decoder" or "whole". val: pictures to evaluate on every
    `evaluate_every` steps; `patience` evaluations without a gain end the training, 0 never.
    """

    start_from: str | None = None
    tune: str = "decoder"
    val: str | None = None
    evaluate_every: int = 1000
    patience: int = 5
    save_every: float = 60.0
    report_every: int = 100
    limit: int | None = None
    device: str = "auto"
    offline: bool = False
    evaluation: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Trained:
    """The folder that --vae takes, the module that is in it, and how it went.

    steps: done, of those that the recipe has. history: of the evaluations; None without them. is_first: whether this
    is the process that speaks for all.
    """

    folder: Path
    model: Any
    pictures: int
    skipped: tuple[str, ...]
    steps: int
    of_steps: int
    history: History | None
    is_first: bool


def train(
    source: str,
    config: str,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    listener: Listener | None = None,
    write: Writer = save,
) -> Trained:
    """Train, or go on training where `out` holds a checkpoint; the folder is in diffusers' format at the end."""
    settings = settings or TrainSettings()
    recipe_file = load_config(config)
    machine = Machine(
        recipe_file.recipe.training.precision,
        device=training_device(settings.device),
        unused=settings.start_from is not None,
    )
    listener = listener if listener and machine.is_first else Listener()
    for stage in recipe_file.recipe.stages:
        machine.share(stage.batch_size)  # before anything that takes long
    if settings.start_from and Path(settings.start_from).resolve() == out.resolve():
        raise InputError(
            f"--from {settings.start_from} is --out too: the training would overwrite what it starts from",
            hint="Give another --out.",
        )
    torch.manual_seed(recipe_file.recipe.training.seed)
    recipe, trainable = _opened(recipe_file, config, settings, listener)
    perceptual = _perceptual(recipe, machine, settings, listener)
    pictures = hold_pictures(source, recipe_file.picture_side, listener, limit=settings.limit, offline=settings.offline)
    if settings.val and machine.is_first:
        _warn_of_overlap(pictures, settings.val, settings, listener)
    trainee = VAETrainee(recipe, trainable, pictures, machine, perceptual)
    telling = _Telling(trainee, pictures, out, settings, recipe_file.picture_side, listener, write)
    if machine.is_first and not EventFile.is_possible():
        listener.warn(MISSING)
    with EventFile(out / EVENTS) as telling.events:
        telling.start(0)
        steps = train_loop(trainee, machine, out, telling.watchers(), save_every=settings.save_every)
    return Trained(
        out,
        trainee.averaged(),
        len(pictures),
        pictures.skipped,
        steps,
        recipe.steps,
        telling.history,
        machine.is_first,
    )


def _opened(file: TrainConfig, config: str, settings: TrainSettings, listener: Listener) -> tuple[VAERecipe, Trainable]:
    """The recipe as it is used, and what is trained. Raises InputError where they do not go together."""
    recipe = file.recipe
    if settings.start_from is None:
        if recipe.model is None:
            raise InputError(f"{config} has no [model]", hint="Give one, or a VAE to go on with, --from REF.")
        return recipe, autoencoder.built_in(recipe.model)
    if recipe.model is not None:
        listener.tell(f"[model] of {config} is not used: the model is {settings.start_from}'s")
        recipe = replace(recipe, model=None)
    model = adapted(settings.start_from, offline=settings.offline)
    trainable = autoencoder.loaded(settings.start_from, model, settings.tune)
    if trainable.image_channels != 3:
        raise InputError(
            f"the pictures of {settings.start_from} have {trainable.image_channels} channels",
            hint="Trainings here are of RGB pictures.",
        )
    check(recipe, file.picture_side, trainable.f, config)
    if settings.val and not autoencoder.can_be_opened(trainable.module):
        raise InputError(
            f"a training of {settings.start_from} cannot be evaluated on the way: its class has no save_pretrained",
            hint="Leave out --val.",
        )
    if settings.tune == "whole" and model.scaling.known:
        listener.warn(
            f"the encoder of {settings.start_from} is trained too: its scaling factor, and every U-Net on its latents, "
            f"fit no longer. Afterwards: vaecheck scale-factor IMAGES --vae DIR"
        )
    return recipe, trainable


def _warn_of_overlap(pictures: HeldPictures, val: str, settings: TrainSettings, listener: Listener) -> None:
    judged = settings.evaluation
    offline = settings.offline or judged.offline
    count = also_trained_on(pictures, val, limit=judged.limit, sample=judged.sample, seed=judged.seed, offline=offline)
    if count:
        listener.warn(
            f"{count} pictures of --val {val} are trained on too: the evaluations flatter, and hide overfitting"
        )


def _perceptual(
    recipe: VAERecipe, machine: Machine, settings: TrainSettings, listener: Listener
) -> PerceptualDistance | None:
    if not recipe.loss.perceptual:
        return None
    net: Any = recipe.loss.lpips_net
    distance, caveat = perceptual_distance(machine.device, net=net, offline=settings.offline)
    if distance is None:
        raise InputError(
            f"the recipe asks for a perceptual loss, and there is none: {caveat}",
            hint="pip install 'vaecheck[offline]', or set perceptual = 0 in [loss].",
        )
    if caveat:
        listener.warn(caveat)
    return distance


@dataclass
class _Telling:
    """What a training tells on its way: figures, warnings, event files, and evaluations."""

    trainee: VAETrainee
    pictures: HeldPictures
    out: Path
    settings: TrainSettings
    picture_side: int
    listener: Listener
    write: Writer
    events: EventFile | None = None
    history: History | None = None
    alarms: Alarms = field(default_factory=Alarms)
    _done: int = 0

    def watchers(self) -> Watchers:
        every = self.settings.evaluate_every if self.settings.val else None
        return Watchers(self.report, self.settings.report_every, self.evaluate, every, self.listener.tell)

    def start(self, step: int) -> None:
        self.listener.start("Training", self.trainee.steps)
        self._done = 0
        self._advance(step)

    def report(self, progress: Progress) -> None:
        self._advance(progress.step)
        self.listener.figures(progress.step, progress.steps, progress.means)
        for warning in self.alarms.heard(progress.step, progress.means):
            self.listener.warn(warning)
        if self.events and EventFile.is_possible():
            self.events.add(progress.means, progress.step)

    def evaluate(self, step: int) -> bool:
        """Evaluate the averaged weights of this step; whether the training has stopped improving."""
        checkpoints, name = self.out / CHECKPOINTS, f"step-{step:07d}"
        written = self._written() | ({name} if not (checkpoints / name).exists() else set())
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / WRITTEN).write_text("".join(f"{one}\n" for one in sorted(written)))
        self.trainee.save(checkpoints / name)
        self.history = watch(
            checkpoints,
            self.settings.val or "samples",
            replace(
                self.settings.evaluation,
                size=self.picture_side,
                device=self.settings.device,
                offline=self.settings.offline or self.settings.evaluation.offline,
            ),
            WatchRules(once=True, settle=0.0, patience=self.settings.patience),
            out=self.out / EVALUATIONS,
            listener=self.listener,
            write=self.write,
        )
        for old in written - {self.history.best_checkpoint, name}:
            shutil.rmtree(checkpoints / old, ignore_errors=True)
        self.start(step)
        return self.history.stop

    def _written(self) -> set[str]:
        """The folders of checkpoints that this training wrote; it removes no others."""
        checkpoints = self.out / CHECKPOINTS
        names = (checkpoints / WRITTEN).read_text().splitlines() if (checkpoints / WRITTEN).exists() else []
        return {name for name in names if STEP.fullmatch(name) and (checkpoints / name).is_dir()}

    def _advance(self, step: int) -> None:
        self.listener.advance(step - self._done)
        self._done = step
