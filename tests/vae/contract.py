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


def pictures(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Pixels (batch, 3, height, width) in [-1, 1]."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def shapes_follow_f_and_channels(load: Load) -> None:
    vae = load()
    f, channels = vae.card.f, vae.card.latent_channels
    for batch, height, width in ((1, 8, 8), (2, 4, 12), (3, 8, 4)):
        posterior = vae.encode(pictures(batch, height * f, width * f))
        assert posterior.mean.shape == (batch, channels, height, width)
        assert vae.decode(posterior.mean).shape == (batch, 3, height * f, width * f)


def a_picture_does_not_know_its_batch(load: Load) -> None:
    vae = load()
    pixels = pictures(3, 8 * vae.card.f, 8 * vae.card.f)
    together, alone = vae.encode(pixels), [vae.encode(one[None]) for one in pixels]
    torch.testing.assert_close(together.mean, torch.cat([p.mean for p in alone]), rtol=1e-4, atol=1e-5)
    decoded = torch.cat([vae.decode(p.mean) for p in alone])
    torch.testing.assert_close(vae.decode(together.mean), decoded, rtol=1e-4, atol=1e-5)


def twice_gives_the_same(load: Load) -> None:
    pixels = pictures(1, 64, 64)
    first, second = load(), load()
    posterior = first.encode(pixels)
    for vae in (first, second):
        assert torch.equal(vae.encode(pixels).mean, posterior.mean)
        assert torch.equal(vae.decode(posterior.mean), first.decode(posterior.mean))
    assert first.card == second.card


def inputs_are_left_alone_and_no_graph_is_kept(load: Load) -> None:
    vae, pixels = load(), pictures(1, 64, 64)
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
    posterior = vae.encode(pictures(2, 64, 64))
    assert vae.card.deterministic == (posterior.log_var is None)
    if posterior.log_var is not None:
        assert posterior.log_var.shape == posterior.mean.shape
        assert posterior.log_var.dtype == torch.float32
        assert posterior.log_var.isfinite().all()


def float32_comes_out_of_every_dtype(load: Load) -> None:
    pixels = pictures(1, 64, 64)
    exact, rounded = load(), load(dtype=torch.bfloat16)
    latents = exact.encode(pixels).mean
    assert rounded.card.dtype == "bfloat16"
    assert rounded.encode(pixels).mean.dtype == rounded.decode(latents).dtype == torch.float32
    error = (rounded.encode(pixels).mean - latents).abs().max() / latents.abs().max()
    assert 0 < error < 0.05


def a_size_that_does_not_fit_is_refused(load: Load) -> None:
    vae = load()
    for height, width in ((8 * vae.card.f, 8 * vae.card.f + 1), (8 * vae.card.f - 1, 8 * vae.card.f)):
        with pytest.raises(InputError, match=f"multiples of {vae.card.f}") as caught:
            vae.encode(pictures(1, height, width))
        assert caught.value.exit_code == 2
        assert "--size" in caught.value.hint


def factors_are_told_and_never_applied(load: Load) -> None:
    plain, scaled, pixels = load(), load(scaling_factor=0.25, shift_factor=0.5), pictures(1, 64, 64)
    assert (scaled.card.scaling_factor, scaled.card.shift_factor) == (0.25, 0.5)
    latents = plain.encode(pixels).mean
    assert torch.equal(scaled.encode(pixels).mean, latents)
    assert torch.equal(scaled.decode(latents), plain.decode(latents))


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
    the_card_is_whole,
)
