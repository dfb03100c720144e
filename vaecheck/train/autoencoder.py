"""What `train vae` trains: the built-in KL autoencoder, or any loaded VAE that it goes on with.

Why the last layer and the decoder's parameters are found by running the model: any class can be trained on, and names
of modules differ, but what a decoded picture depends on does not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.train.loop import evaluation
from vaecheck.vae.adapter import Adapted, LoadedVAE, one_line, sha256_of_state
from vaecheck.vae.kl_f8 import KLAutoencoder, KLConfig
from vaecheck.vae.protocol import Posterior

LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
OWN_WEIGHTS = "weights.safetensors"
PROBE_LATENT_SIDE = 8


@dataclass(frozen=True)
class Trainable:
    """An autoencoder in training: its module, and encode and decode with gradients, in raw latents.

    tuned: the parameters that are trained, all or those of the decoder. sha256: of the weights of a loaded one before
    any training, as its card has it; None of a new one, whose weights follow from the seed.
    """

    module: nn.Module
    encode: Callable[[Tensor], Posterior]
    decode: Callable[[Tensor], Tensor]
    f: int
    latent_channels: int
    image_channels: int
    tuned: tuple[str, ...]
    sha256: str | None = None

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the layer that a decoded picture comes from. Raises InputError."""
        called: list[nn.Module] = []
        layers = [module for module in self.module.modules() if isinstance(module, LAYERS)]
        hooks = [layer.register_forward_hook(lambda module, given, made: called.append(module)) for layer in layers]
        try:
            with torch.no_grad():
                self.decode(self._latents())
        finally:
            for hook in hooks:
                hook.remove()
        if not called:
            raise InputError("the decoder has no layer to balance an adversarial loss by", hint="Set adversarial = 0.")
        weight = called[-1].weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def of_decoder(self) -> tuple[str, ...]:
        """The names of the parameters that a decoded picture depends on."""
        with torch.enable_grad():
            decoded = self.decode(self._latents())
        named = [(name, parameter) for name, parameter in self.module.named_parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(decoded.float().sum(), [p for _, p in named], allow_unused=True)
        return tuple(name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None)

    def _latents(self) -> Tensor:
        like = next(self.module.parameters())
        side = PROBE_LATENT_SIDE
        return torch.zeros(1, self.latent_channels, side, side, device=like.device, dtype=like.dtype)


class RoundTrip(nn.Module):
    """Pixels -> posterior -> latents -> pixels as one forward pass, which several processes need."""

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()
        self.module = trainable.module
        self._encode, self._decode = trainable.encode, trainable.decode

    def forward(
        self, pixels: Tensor, noise: Tensor, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Reconstruction, posterior mean and log-variance. change: of the latents before they are decoded."""
        posterior = self._encode(pixels)
        log_var = None if posterior.log_var is None else posterior.log_var.float()
        posterior = Posterior(posterior.mean.float(), log_var)
        return self._decode(change(posterior.sample(noise))).float(), posterior.mean, log_var


def built_in(config: KLConfig) -> Trainable:
    """A new model of this shape, with random weights."""
    model = KLAutoencoder(config).to(memory_format=torch.channels_last)
    names = tuple(name for name, _ in model.named_parameters())
    return Trainable(model, model.encode, model.decode, config.f, config.latent_channels, config.in_channels, names)


def loaded(ref: str, adapted: Adapted, part: str) -> Trainable:
    """A VAE to go on with. part: "whole" or "decoder", which leaves the encoder, and with it the latents, as they are.

    Raises InputError for one that cannot be trained.
    """
    if part not in ("whole", "decoder"):
        raise InputError(f"there is no part {part!r} to train", hint="Parts are decoder and whole.")
    module = adapted.module
    if module is None or not any(p.is_floating_point() for p in module.parameters()):
        raise InputError(f"{ref} has no torch module to train", hint="Its factory must return a torch.nn.Module.")
    card = LoadedVAE(ref, adapted, "cpu", torch.float32).card
    module.train().requires_grad_(True)
    whole = Trainable(module, adapted.encode, adapted.decode, card.f, card.latent_channels, card.image_channels, ())
    try:
        tuned = whole.of_decoder()
    except RuntimeError as error:
        raise InputError(
            f"{ref} cannot be trained: {one_line(error)}", hint="Its decode must keep gradients."
        ) from error
    if part == "whole":
        side = card.f * PROBE_LATENT_SIDE
        with torch.enable_grad():
            posterior = adapted.encode(torch.zeros(1, card.image_channels, side, side))
        if not posterior.mean.requires_grad:
            raise InputError(f"{ref}: its encode keeps no gradients", hint="Train the decoder alone, or mend encode.")
        tuned = tuple(name for name, _ in module.named_parameters())
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in tuned)

    def fixed(pixels: Tensor) -> Posterior:
        """Why in evaluation: a BatchNorm or a dropout in training would change the latents all the same."""
        with evaluation(module):
            return adapted.encode(pixels)

    encode = adapted.encode if part == "whole" else fixed
    sha256 = adapted.sha256 or sha256_of_state(module)
    return Trainable(module, encode, adapted.decode, card.f, card.latent_channels, card.image_channels, tuned, sha256)


def can_be_opened(module: nn.Module) -> bool:
    """Whether what `save` writes is a folder that --vae takes."""
    return hasattr(module, "save_pretrained") or isinstance(module, KLAutoencoder)


def save(module: Any, folder: Path) -> None:
    """The module in diffusers' format; a user's own class as its state dict, weights.safetensors."""
    if isinstance(module, KLAutoencoder):
        module.save(folder)
        return
    part = folder / ".saving.tmp"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if hasattr(module, "save_pretrained"):
        module.save_pretrained(part)
    else:
        copies = {  # tied weights each for itself, which safetensors asks for
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in module.state_dict().items()
        }
        save_file(copies, part / OWN_WEIGHTS)
    for file in sorted(part.iterdir(), reverse=True):  # the weights before config.json, which makes it a checkpoint
        file.replace(folder / file.name)
    part.rmdir()
