"""`e2e`: the same U-Net budget and seed on each VAE, and how near each comes to its VAE's ceiling.

Why three looks: denoised pictures show what is lost on the way back from one level of noise, samples what a user would
get, and the courses how fast each U-Net learns. Only what is measured after decoding can be compared between VAEs.

Why one share of the pictures is held out: a small U-Net learns a few hundred pictures by heart, and would denoise them
better than any that it has not seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from vaecheck import provenance
from vaecheck.errors import InputError
from vaecheck.images.entries import ImageSet
from vaecheck.images.loader import Images, Loader
from vaecheck.images.sources import open_images
from vaecheck.metrics.pixel import psnr_db
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import Levels, to_image, to_pixels
from vaecheck.results.ceiling import Ceiling, Climb, Denoised, Point
from vaecheck.results.files import write_atomically
from vaecheck.results.types import Measure, VAECard
from vaecheck.tasks.e2e_judgement import best_of, plots_of
from vaecheck.tasks.machine import training_device
from vaecheck.tasks.opening import Bench, open_bench
from vaecheck.tasks.reconstruct import picture_warnings
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.tasks.train_unet import UNetSettings, chosen_scaling, encode_all, load_unet_recipe, run
from vaecheck.tasks.yardsticks import evenly
from vaecheck.train.latents import scaled, unscaled
from vaecheck.train.loop import Machine
from vaecheck.train.unet import UNetRecipe, UNetTrainee
from vaecheck.vae.protocol import Posterior, joined, noise_for
from vaecheck.vae.room import Room

FRECHET = ("rfid", "fd_efficientnet_lite0")
OF_SAMPLES = {"rfid": "fid"}
"""A distance of samples is no rFID."""
HELD_OUT_SHARE, FEWEST_HELD_OUT = 6, 2
LOOKS = 8
LOOKS_FILE = "looks.json"


@dataclass(frozen=True)
class E2ESettings:
    """levels: of noise, as Denoised has them. denoise_steps, sample_steps: of the solver. samples: at most so many,
    and as many as there are pictures to train on. looked_at: held-out pictures at each look at the training."""

    levels: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    denoise_steps: int = 25
    sample_steps: int = 50
    samples: int = 1000
    looked_at: int = 32


def e2e(
    source: str,
    refs: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    val: str | None = None,
    config: str | None = None,
    unet: UNetSettings | None = None,
    check: E2ESettings | None = None,
    listener: Listener | None = None,
) -> Ceiling:
    """Train a U-Net on each VAE's latents and measure it; `out` keeps the trainings, which are gone on with.

    val: the held-out pictures; without them one in six of the source's.
    Raises InputError for too few pictures, and for REFs that are given twice.
    """
    started = time.perf_counter()
    unet, check, listener = unet or UNetSettings(), check or E2ESettings(), listener or Listener()
    recipe = load_unet_recipe(config)
    held_out = open_images(val, seed=settings.seed, offline=settings.offline) if val else None
    if len(set(refs)) < len(refs):
        raise InputError("a VAE is given twice", hint="Give each --vae once.")
    machine = Machine(recipe.training.precision, device=training_device(settings.device))
    if machine.size > 1:
        raise InputError("e2e runs in one process", hint="Start it alone; train vae and train unet take several.")
    settings = replace(settings, device=str(machine.device))
    climbs, warnings = [], list[str]()
    for place, ref in enumerate(refs):
        listener.tell(f"{ref}: {place + 1} of {len(refs)}")
        bench = open_bench(source, ref, settings, listener)
        one = _OneVAE(
            bench, ref, recipe, machine, out / f"{place:02d}-{_file_name(ref)}", unet, check, held_out, listener
        )
        climbs.append(one.climb())
        warnings += [*bench.vae.warnings, *one.warnings]
    best, decided_by = best_of(climbs)
    return Ceiling(
        vaes=tuple(climbs),
        data=bench.data_card(one.loader),
        held_out=one.held_out.count,
        settings={
            **settings.document(),
            "val": val,
            "steps": recipe.training.steps,
            "batch_size": recipe.training.batch_size,
            "prediction": recipe.training.prediction,
            "block_out_channels": list(recipe.model.block_out_channels),
            "unet_seed": recipe.training.seed,
            "levels": list(check.levels),
            "denoise_steps": check.denoise_steps,
            "sample_steps": check.sample_steps,
        },
        environment=provenance.environment(str(machine.device), {"total": time.perf_counter() - started}),
        best=best,
        decided_by=decided_by,
        warnings=tuple(dict.fromkeys((*warnings, *picture_warnings(one.loader)))),
        plots=plots_of(climbs),
    )


class _OneVAE:
    """The check of one VAE."""

    def __init__(
        self,
        bench: Bench,
        ref: str,
        recipe: UNetRecipe,
        machine: Machine,
        out: Path,
        unet: UNetSettings,
        check: E2ESettings,
        held_out: ImageSet | None,
        listener: Listener,
    ) -> None:
        self.bench, self.ref, self.check, self.machine, self.out = bench, ref, check, machine, out
        self.room = Room()
        self.training, held_out = (bench.images, held_out) if held_out else _divided(bench.images)
        self.held_out = bench.loader(held_out)
        self.looked_at = _first(self.held_out, check.looked_at)
        self.listener, self.unet = listener, unet
        self.latents, self.loader = encode_all(replace(bench, images=self.training), out)
        self.scaling = chosen_scaling(bench, self.latents, unet, listener)
        self.trainee = UNetTrainee(recipe, self.latents, self.scaling, machine, ref)
        self.diffusion = self.trainee.diffusion
        looks = {
            "training": self.trainee.made_with(),
            "held out": self.held_out.fingerprint,
            "seed": bench.settings.seed,
            "looked_at": check.looked_at,
            "levels": check.levels,
        }
        self.looks_of = hashlib.sha256(json.dumps(looks, sort_keys=True).encode()).hexdigest()
        self.points = self._kept_points()
        self.warnings = list(self._overlap())
        self.names = bench.settings.metrics or ("psnr_db", f"lpips_{bench.settings.lpips_net}", *FRECHET)

    def climb(self) -> Climb:
        steps = self.trainee.steps
        run(self.trainee, self.machine, self.out, self.unet, self.listener, self._look, max(1, steps // LOOKS))
        if not self.points:  # the training had ended, and what was seen of it is gone
            self._look(steps)
        self.listener.start(f"Denoising, {self.ref}", len(self.check.levels) * self.held_out.count)
        ceiling = self._measured(((images, self._own(images)) for images in self.held_out), self.names)
        denoised = tuple(self._denoised(level) for level in self.check.levels)
        of_all, samples = self._samples()
        self.warnings += self.room.warnings()
        parameters = sum(parameter.numel() for parameter in self.trainee.module.parameters())
        unet = {"parameters": float(parameters), "latent_std": self.latents.scaled_std(self.scaling)}
        if self.scaling.scaling_factor is not None:
            unet["scaling_factor"] = self.scaling.scaling_factor
        card: VAECard = self.bench.vae.card
        return Climb(
            self.ref,
            card,
            ceiling,
            denoised,
            of_all,
            samples,
            tuple(self.points[step] for step in sorted(self.points)),
            unet,
        )

    def _look(self, step: int) -> None:
        """One step of denoising of a few held-out pictures at each level."""
        errors, psnrs = list[float](), list[float]()
        for images in self.looked_at:
            clean = self._clean(images)
            noise = self._noise(images.ids, clean)
            for level in self.check.levels:
                times = torch.full((len(clean),), self.diffusion.time_at(level))
                noised = self.diffusion.noised(clean, noise, times)
                with torch.no_grad():
                    predicted = self.trainee.predict(noised, times.to(noised.device))
                found, _ = self.diffusion.ends(predicted, noised, times)
                errors += (found - clean).square().flatten(1).mean(1).tolist()
                shown = _batch(images, self._decoded(found), self.bench.device)
                assert shown.reconstruction is not None
                psnrs += psnr_db(shown.original, shown.reconstruction).tolist()
        self.points[step] = Point(step, fmean(errors) / float(self._variance()), fmean(psnrs))
        kept = {"of": self.looks_of, "points": [asdict(point) for point in self.points.values()]}
        write_atomically(self.out / LOOKS_FILE, json.dumps(kept))

    def _kept_points(self) -> dict[int, Point]:
        """What was seen of a training that is gone on with, by step; nothing where that was another, or is damaged."""
        try:
            kept = json.loads((self.out / LOOKS_FILE).read_text())
            return {one["step"]: Point(**one) for one in kept["points"]} if kept["of"] == self.looks_of else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _overlap(self) -> Iterator[str]:
        trained_on = set(self.loader.digests.values())
        if both := sum(digest in trained_on for digest in self.held_out.digests.values()):
            yield (
                f"{both} of the {self.held_out.count} held-out pictures are among those that were trained on: the "
                f"U-Net knows them, and the figures of denoised pictures flatter it"
            )

    def _denoised(self, level: float) -> Denoised:
        time_at, squares, count = self.diffusion.time_at(level), 0.0, 0

        def pairs() -> Iterator[tuple[Images, Tensor]]:
            nonlocal squares, count
            for images in self.held_out:
                clean = self._clean(images)
                times = torch.full((len(clean),), time_at)
                noised = self.diffusion.noised(clean, self._noise(images.ids, clean), times)
                found = self.diffusion.denoise(self.trainee.predict, noised, time_at, self.check.denoise_steps)
                squares, count = squares + float((found - clean).square().sum()), count + clean.numel()
                yield images, self._decoded(found)
                self.listener.advance(len(images.ids))

        measures = self._measured(pairs(), self.names)
        return Denoised(level, measures, squares / count / float(self._variance()))

    def _samples(self) -> tuple[Mapping[str, Measure], Mapping[str, Measure]]:
        """Distances of the VAE's reconstructions, and of samples, to the pictures that were trained on."""
        names = tuple(name for name in self.names if name in FRECHET)
        if not names or self.check.samples < 2:
            return {}, {}
        chosen = evenly(self.loader.ids, self.check.samples)
        own = self.bench.catalogue.build(names)
        drawn = self.bench.catalogue.build(names)
        self.listener.start(f"Sampling, {self.ref}", len(chosen))
        for images in self.bench.loader(self.training.only(chosen)):
            like = self._clean(images)
            noise = noise_for([f"sample of {name}" for name in images.ids], like, self.bench.settings.seed)
            latents = self.diffusion.generate(self.trainee.predict, noise, self.check.sample_steps)
            for built, decoded in ((own, self._own(images)), (drawn, self._decoded(latents))):
                batch = _batch(images, decoded, self.bench.device)
                for metric in built.metrics:
                    metric.update(batch)
            self.listener.advance(len(images.ids))
        return own.measures(), {OF_SAMPLES.get(n, n): _of_samples(m) for n, m in drawn.measures().items()}

    def _measured(self, pairs: Iterable[tuple[Images, Tensor]], names: Sequence[str]) -> Mapping[str, Measure]:
        built = self.bench.catalogue.build(names)
        for images, decoded in pairs:
            batch = _batch(images, decoded, self.bench.device)
            for metric in built.metrics:
                metric.update(batch)
        return built.measures()

    def _clean(self, images: Images) -> Tensor:
        vae, pixels = self.bench.vae, to_pixels(images.image.to(self.bench.device))
        return scaled(Posterior.joined(self.room.through("encode", vae, vae.encode, pixels)).mean, self.scaling)

    def _own(self, images: Images) -> Tensor:
        return self._decoded(self._clean(images))

    def _decoded(self, latents: Tensor) -> Tensor:
        vae = self.bench.vae
        return joined(self.room.through("decode", vae, vae.decode, unscaled(latents, self.scaling)))

    def _noise(self, ids: Sequence[str], like: Tensor) -> Tensor:
        return noise_for(ids, like, self.bench.settings.seed)

    def _variance(self) -> Tensor:
        return scaled(self.latents.means, self.scaling).var(unbiased=False)


def _first(loader: Loader, count: int) -> list[Images]:
    """The first pictures of a whole pass, in batches."""
    kept = list[Images]()
    for images in loader:
        if (room := count - sum(len(one.ids) for one in kept)) > 0:
            kept.append(Images(images.ids[:room], images.image[:room], images.valid))
    return kept


def _batch(images: Images, decoded: Tensor, device: torch.device) -> Batch:
    (height, width), image = images.valid, images.image.to(device)
    decoded = decoded[..., :height, :width]
    return Batch(
        images.ids,
        image[..., :height, :width],
        reconstruction=to_image(decoded.nan_to_num(), Levels.ROUND),
        reconstruction_pixels=decoded,
        finite=decoded.isfinite().flatten(1).all(1),
    )


def _of_samples(measure: Measure) -> Measure:
    name = OF_SAMPLES.get(measure.name, measure.name)
    words = f"of samples of the U-Net to the pictures that it was trained on, as many: {measure.definition}"
    return replace(measure, name=name, definition=words)


def _divided(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Those to train on, and one in six held out, evenly spaced. Raises InputError where there are too few."""
    ids = sorted(images.ids)
    held = set(evenly(ids, max(FEWEST_HELD_OUT, len(ids) // HELD_OUT_SHARE)))
    train = [name for name in ids if name not in held]
    if len(train) < 2:
        raise InputError(
            f"{len(ids)} pictures are too few: {len(held)} are held out and 2 at least are trained on",
            hint="Give more pictures; thousands are better.",
        )
    return images.only(train), images.only(held)


def _file_name(ref: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in ref)[-60:]
