"""One of diffusers' autoencoder classes: how it is called, what its config says, and what scaling it ships."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.scaling import (
    CONFIG,
    ENTRIES,
    LISTS,
    UNKNOWN,
    Config,
    Unusable,
    checked,
    entries_of,
    in_words,
    of_config,
)
from vaecheck.vae.usage import DECODE, ENCODE, Usage


class Family:
    """AutoencoderKL, and what every class shares with it unless its own family says otherwise.

    model: in eval mode. config: what config.json itself has, without diffusers' defaults.
    """

    channels_named: tuple[str, ...] = ("latent_channels",)
    pictures_named: tuple[str, ...] = ("in_channels",)
    notes: tuple[str, ...] = ()
    """What a reader of the figures should know of this class, one sentence each."""
    called = Usage(ENCODE, DECODE, ldm=False)
    lists_in_config = True
    """Whether latents_mean and latents_std, where the class takes them, are one figure for each channel."""
    by_construction = UNKNOWN

    def __init__(self, model: Any, config: Config) -> None:
        self.model = model
        self.config = config
        self.takes = entries_of(type(model))
        self.entries = {name: config[name] for name in self.takes if config.get(name) is not None}

    def encode(self, pixels: Tensor) -> Posterior:
        """(B, channels, H, W) in [-1, 1] -> posterior over raw latents."""
        return posterior_of(self.model.encode(pixels))

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) -> pixels in [-1, 1], as far as the class itself does not clamp."""
        decoded: Tensor = self.model.decode(latents).sample
        return decoded

    @property
    def recognised(self) -> str:
        return ""

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.notes

    @property
    def f(self) -> int | None:
        return None

    @property
    def latent_channels(self) -> int | None:
        return self._first_of(self.channels_named)

    @property
    def image_channels(self) -> int | None:
        return self._first_of(self.pictures_named)

    @property
    def codebook_size(self) -> int | None:
        return None

    @property
    def fixed_size(self) -> int | None:
        """The one side that pictures may have; None where any multiple of f will do."""
        return None

    def scaling(self) -> tuple[LatentScaling, tuple[str, ...]]:
        """What is shipped, as far as it can be used, and a sentence on what cannot.

        Means and stds that are broken leave the factor beside them; a broken factor leaves nothing.
        """
        told = self._not_taken()
        try:
            scaling = checked(self.shipped_scaling(), self.latent_channels)
        except Unusable as error:
            told += (f"{error}: not used",)
            scaling = self._factor_alone()
        else:
            scaling = scaling if scaling.known else replace(self.by_construction, shift_factor=scaling.shift_factor)
        return replace(scaling, unusable="; ".join(told)), told

    def shipped_scaling(self) -> LatentScaling:
        return of_config(self.entries)

    @property
    def usage(self) -> Usage:
        """How this class is called, what its config.json takes, and what diffusers takes where that says nothing."""
        entries = tuple(name for name in self.takes if self.lists_in_config or name not in LISTS)
        default = UNKNOWN if self.entries else of_config(self.takes)
        return replace(self.called, entries=entries, default=default)

    def _not_taken(self) -> tuple[str, ...]:
        """What config.json has and this class ignores, as diffusers does."""
        found = {name: self.config[name] for name in ENTRIES if name not in self.takes and self.config.get(name)}
        lengths = {name: f" of {len(v)} values" if isinstance(v, list) else f" {v}" for name, v in found.items()}
        takes = f"{type(self.model).__name__} takes {in_words(tuple(self.takes))}"
        return tuple(f"{CONFIG}'s {name}{words} is not used: {takes}" for name, words in lengths.items())

    def _factor_alone(self) -> LatentScaling:
        if not any(name in self.entries for name in LISTS):
            return UNKNOWN
        try:
            return checked(of_config({name: v for name, v in self.entries.items() if name not in LISTS}), None)
        except Unusable:
            return UNKNOWN

    def _first_of(self, names: tuple[str, ...]) -> int | None:
        values = (self.config.get(name) for name in names)
        return next((value for value in values if isinstance(value, int)), None)


def posterior_of(output: Any) -> Posterior:
    """diffusers' outputs: `latent_dist` of a KL-VAE; `latents` or `latent` of a deterministic autoencoder."""
    distribution = getattr(output, "latent_dist", None)
    if distribution is not None:
        return Posterior(distribution.mode(), getattr(distribution, "logvar", None))
    for name in ("latents", "latent"):
        if isinstance(latents := getattr(output, name, None), Tensor):
            return Posterior(latents)
    raise InputError(
        f"encode returns {type(output).__name__}, with neither latent_dist nor latents",
        hint="Wrap it in a factory, --vae FILE.py:FACTORY.",
    )
