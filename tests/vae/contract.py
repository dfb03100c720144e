"""The contract of every adapter, one law a function; test_contract.py runs each on each adapter.

A law gets `load`, which loads one REF with load_vae's options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.vae.adapter import LoadedVAE

Load = Callable[..., LoadedVAE]


def pictures(batch: int, height: int, width: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Pixels (batch, channels, height, width) in [-1, 1]."""
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pictures_for(vae: LoadedVAE, batch: int = 1, height: int = 4, width: int = 4) -> Tensor:
    """Pixels that this VAE takes, of that many latents a side, or of the only size that it takes."""
    f, fixed = vae.card.f, vae.fixed_size
    return pictures(batch, fixed or height * f, fixed or width * f, channels=vae.card.image_channels)


def shapes_follow_f_and_channels(load: Load) -> None:
    vae = load()
    f, channels = vae.card.f, vae.card.latent_channels
    for batch, height, width in ((1, 6, 6), (2, 4, 10), (3, 6, 4)):
        pixels = pictures_for(vae, batch, height, width)
        posterior = vae.encode(pixels)
        assert posterior.mean.shape == (batch, channels, pixels.shape[2] // f, pixels.shape[3] // f)
        assert vae.decode(posterior.mean).shape == pixels.shape


def a_picture_does_not_know_its_batch(load: Load) -> None:
    vae = load()
    pixels = pictures_for(vae, batch=3)
    together, alone = vae.encode(pixels), [vae.encode(one[None]) for one in pixels]
    torch.testing.assert_close(together.mean, torch.cat([p.mean for p in alone]), rtol=1e-4, atol=1e-5)
    decoded = torch.cat([vae.decode(p.mean) for p in alone])
    torch.testing.assert_close(vae.decode(together.mean), decoded, rtol=1e-4, atol=1e-4)


def twice_gives_the_same(load: Load) -> None:
    first, second = load(), load()
    pixels = pictures_for(first)
    posterior = first.encode(pixels)
    for vae in (first, second):
        assert torch.equal(vae.encode(pixels).mean, posterior.mean)
        assert torch.equal(vae.decode(posterior.mean), first.decode(posterior.mean))
    assert first.card == second.card


def inputs_are_left_alone_and_no_graph_is_kept(load: Load) -> None:
    vae = load()
    pixels = pictures_for(vae)
    before = pixels.clone()
    posterior = vae.encode(pixels)
    latents = posterior.mean.clone()
    decoded = vae.decode(posterior.mean)
    assert torch.equal(pixels, before)
    assert torch.equal(posterior.mean, latents)
    assert not posterior.mean.requires_grad
    assert not decoded.requires_grad
    assert torch.is_grad_enabled()


def a_posterior_has_its_width_or_none(load: Load) -> None:
    vae = load()
    posterior = vae.encode(pictures_for(vae, batch=2))
    assert vae.card.deterministic == (posterior.log_var is None)
    if posterior.log_var is not None:
        assert posterior.log_var.shape == posterior.mean.shape
        assert posterior.log_var.dtype == torch.float32
        assert posterior.log_var.isfinite().all()


def float32_comes_out_of_every_dtype(load: Load) -> None:
    exact, rounded = load(), load(dtype=torch.bfloat16)
    pixels = pictures_for(exact)
    latents = exact.encode(pixels).mean
    assert rounded.card.dtype == "bfloat16"
    assert rounded.encode(pixels).mean.dtype == rounded.decode(latents).dtype == torch.float32
    error = (rounded.encode(pixels).mean - latents).abs().max() / latents.abs().max()
    assert 0 < error < 0.05


def a_size_that_does_not_fit_is_refused(load: Load) -> None:
    vae = load()
    needs = f"{vae.fixed_size} pixels alone" if vae.fixed_size else f"multiples of {vae.card.f}"
    for height, width in ((8 * vae.card.f, 8 * vae.card.f + 1), (8 * vae.card.f - 1, 8 * vae.card.f)):
        with pytest.raises(InputError, match=needs) as caught:
            vae.encode(pictures(1, height, width, channels=vae.card.image_channels))
        assert caught.value.exit_code == 2
        assert "--size" in caught.value.hint


def factors_are_told_and_never_applied(load: Load) -> None:
    plain, scaled = load(), load(scaling_factor=0.25, shift_factor=0.5)
    pixels = pictures_for(plain)
    assert (scaled.card.scaling_factor, scaled.card.shift_factor) == (0.25, 0.5)
    latents = plain.encode(pixels).mean
    assert torch.equal(scaled.encode(pixels).mean, latents)
    assert torch.equal(scaled.decode(latents), plain.decode(latents))


def codes_are_entries_of_the_codebook(load: Load) -> None:
    vae = load()
    posterior = vae.encode(pictures_for(vae, batch=2))
    assert (posterior.codes is None) == (vae.card.codebook_size is None)
    if posterior.codes is not None:
        assert posterior.codes.shape == (posterior.mean.shape[0], *posterior.mean.shape[2:])
        assert posterior.codes.dtype == torch.int64
        assert 0 <= posterior.codes.min() <= posterior.codes.max() < vae.card.codebook_size
        assert vae.card.deterministic


def the_card_is_whole(load: Load) -> None:
    card: Any = load().card
    assert card.ref
    assert card.class_name
    assert card.dtype == "float32"
    assert card.parameters > 0
    assert len(card.sha256) == 64
    assert card.latent_channels > 0


LAWS = (
    shapes_follow_f_and_channels,
    a_picture_does_not_know_its_batch,
    twice_gives_the_same,
    inputs_are_left_alone_and_no_graph_is_kept,
    a_posterior_has_its_width_or_none,
    float32_comes_out_of_every_dtype,
    a_size_that_does_not_fit_is_refused,
    factors_are_told_and_never_applied,
    codes_are_entries_of_the_codebook,
    the_card_is_whole,
)
