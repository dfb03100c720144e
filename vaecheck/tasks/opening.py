"""Settings -> all that a run needs, opened: the pictures, the VAEs on their device, and the metrics' catalogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vaecheck import feature_cache
from vaecheck.errors import InputError, SetupError
from vaecheck.images.entries import WHOLE, ImageSet, Share
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.preprocess import OWN_SIZE, check_size
from vaecheck.images.sources import open_images
from vaecheck.metrics.catalogue import Catalogue, WeightOptions
from vaecheck.pipeline import Run
from vaecheck.pixels import Levels
from vaecheck.protocols import Protocol
from vaecheck.results.types import DataCard
from vaecheck.tasks.machine import (
    DTYPES,
    auto_batch_pixels,
    auto_batch_size,
    choose_device,
    choose_dtype,
    default_workers,
    slow_dtype,
)
from vaecheck.tasks.settings import Listener, Settings, ignored_options, under_protocol
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.load import load_vae
from vaecheck.vae.room import is_out_of_memory, weights_do_not_fit
from vaecheck.vae.tiling import Tiled
from vaecheck.world import ALONE, World


@dataclass(frozen=True)
class Bench:
    """All that a run needs, opened: the pictures, the VAE on its device, and the metrics' catalogue.

    batch_size: pictures in a batch, at most. batch_pixels: pixels in it, at most, where nothing was asked for.
    multiple: of the pictures' sides; None where it is the VAE's f. world: the processes that share the pictures.
    """

    settings: Settings
    images: ImageSet
    vae: LoadedVAE | Tiled
    device: torch.device
    dtype: str
    batch_size: int
    catalogue: Catalogue
    listener: Listener = field(default_factory=Listener)
    batch_pixels: int | None = None
    protocol: Protocol | None = None
    multiple: int | None = None
    world: World = ALONE

    def shared_loader(self) -> Loader:
        """Of this process's share of the pictures."""
        return self.loader(share=Share(self.world.rank, self.world.size))

    def loader(self, images: ImageSet | None = None, share: Share = WHOLE) -> Loader:
        settings = self.settings
        return Loader(
            images or self.images,
            Intake(
                size=settings.size,
                fit=settings.fit,
                multiple=self.multiple or self.vae.card.f,
                channels=self.vae.card.image_channels,
                value_range=settings.value_range,
                icc=settings.icc,
                background=settings.background,
                bad_images=settings.bad_images,
                max_pixels=settings.max_pixels,
                fit_is_fixed=self.protocol is not None,
            ),
            batch_size=self.batch_size,
            batch_pixels=self.batch_pixels,
            workers=settings.workers if settings.workers is not None else default_workers(),
            share=share,
        )

    def document(self, run: Run) -> dict[str, Any]:
        """The settings for the result document, with what was in fact used where something was left open or failed."""
        return self.settings.document() | {
            "dtype": self.dtype,
            "batch_size": run.room.batch_size(self.batch_size),
            **machine_options(self.settings, self.vae),
        }

    def warnings(self, run: Run) -> tuple[str, ...]:
        """What a reader should know of the VAE and of how it ran."""
        ignored = ignored_options(self.settings) if self.protocol is None else ()
        return (*self.vae.warnings, *run.room.warnings(), *slow_dtype(self.dtype, self.device), *ignored)

    def data_card(self, loader: Loader) -> DataCard:
        return DataCard(
            source=self.images.source,
            count=loader.count,
            skipped=loader.skipped,
            fingerprint=loader.fingerprint,
            size=None if self.settings.fit in OWN_SIZE else self.settings.size,
            fit=self.settings.fit,
            notes=dict(loader.notes),
            image_channels=self.vae.card.image_channels,
            data_range=self._data_range if loader.notes.get("kept_as_float") else 255,
        )

    @property
    def _data_range(self) -> float:
        """White less black of pictures of more than 8 bits."""
        black, white = self.settings.value_range or (0, 65535)
        return abs(white - black)


def open_bench(source: str, ref: str, settings: Settings, listener: Listener, world: World = ALONE) -> Bench:
    """Open the pictures first (a typing error costs nothing), then the VAE."""
    settings, protocol = under_protocol(settings)
    images = open_images(
        source, limit=settings.limit, sample=settings.sample, seed=settings.seed, offline=settings.offline
    )
    device = choose_device(settings.device, world)
    dtype = choose_dtype(settings.dtype, device)
    for warning in slow_dtype(dtype, device):
        listener.warn(warning)
    vae = open_vae(ref, settings, device, dtype)
    dtype = vae.card.dtype  # not what was asked for where there is nothing to cast
    check_size(settings.size, settings.fit, vae.card.f)
    if protocol and vae.card.image_channels != 3:
        channels = "1 channel" if vae.card.image_channels == 1 else f"{vae.card.image_channels} channels"
        raise InputError(
            f"--protocol {protocol.name} compares RGB, and this VAE's pictures have {channels}",
            hint="Leave out --protocol.",
        )
    cache = feature_cache.of_environment(listener.warn)
    options = WeightOptions(
        settings.inception_weights, settings.lpips_weights, settings.offline, listener.download, cache
    )
    return Bench(
        settings=settings,
        images=images,
        vae=vae,
        device=device,
        dtype=dtype,
        batch_size=settings.batch_size or auto_batch_size(device, settings),
        catalogue=Catalogue(
            device,
            options,
            settings.seed,
            vae.card.image_channels,
            vae.card.codebook_size,
            protocol,
            vae.card.f,
        ),
        listener=listener,
        batch_pixels=None if settings.batch_size else auto_batch_pixels(device),
        protocol=protocol,
        world=world,
    )


def open_benches(
    source: str, refs: Sequence[str], settings: Settings, listener: Listener, world: World = ALONE
) -> tuple[Bench, ...]:
    """One for each VAE, on the same pictures: their sides are multiples of every f. Networks of metrics are shared.

    Raises InputError for VAEs whose pictures have other channels, SetupError where all do not fit into memory at once.
    """
    first = open_bench(source, refs[0], settings, listener, world)
    vaes: list[LoadedVAE | Tiled] = [first.vae]
    for ref in refs[1:]:
        try:
            vaes.append(open_vae(ref, settings, first.device, choose_dtype(settings.dtype, first.device)))
        except SetupError as error:
            if is_out_of_memory(error.__cause__):
                raise _too_many(refs, len(vaes), first.device) from error
            raise
        if vaes[-1].card.image_channels != first.vae.card.image_channels:
            raise InputError(
                f"the pictures of {refs[0]} have {first.vae.card.image_channels} channels and those of {ref} "
                f"{vaes[-1].card.image_channels}",
                hint="Compare VAEs of the same kind of pictures.",
            )
    multiple = math.lcm(*(vae.card.f for vae in vaes))
    check_size(first.settings.size, first.settings.fit, multiple)
    return tuple(
        replace(first, vae=vae, dtype=vae.card.dtype, catalogue=first.catalogue.of_vae(vae.card), multiple=multiple)
        for vae in vaes
    )


def _too_many(refs: Sequence[str], loaded: int, device: torch.device) -> SetupError:
    return SetupError(
        f"{len(refs)} VAEs do not fit into the memory of {device} at once: {loaded} did",
        hint="Run vaecheck reconstruct --out DIR for each, then vaecheck compare DIR DIR.",
    )


def open_vae(ref: str, settings: Settings, device: torch.device, dtype: str) -> LoadedVAE | Tiled:
    """The VAE, on its device, as the options for the machine have it. Raises SetupError where it does not fit there."""
    try:
        vae = load_vae(
            ref,
            offline=settings.offline,
            dtype=DTYPES[dtype],
            device=device,
            scaling_factor=settings.scaling_factor,
            shift_factor=settings.shift_factor,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise weights_do_not_fit(ref, device, dtype) from error
        raise
    channels_last = vae.faster_channels_last if settings.channels_last is None else settings.channels_last
    vae.configure(
        slicing=settings.slicing,
        channels_last=channels_last,
        compile=settings.compile,
        one_shape=settings.fit not in OWN_SIZE,
    )
    return vae if settings.tiling is None else Tiled(vae, settings.tiling)


def whole(vae: LoadedVAE | Tiled) -> LoadedVAE:
    """The VAE without its tiles."""
    return vae.whole if isinstance(vae, Tiled) else vae


def machine_options(settings: Settings, vae: LoadedVAE | Tiled) -> dict[str, Any]:
    """The options for small machines, for the result document: as they were used."""
    model = whole(vae)
    return {
        "tiling": settings.tiling,
        "slicing": model.slicing,
        "channels_last": model.channels_last,
        "compile": model.compiled,
    }


def levels_of(protocol: Protocol | None) -> Levels | None:
    """What values a run compares: 8 bits under a protocol, whose measures take others from the batch themselves."""
    return Levels.ROUND if protocol else None
