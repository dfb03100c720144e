"""What a latent's shape costs a U-Net: tokens and FLOPs of one denoising step, in closed form.

The reference U-Net is that of the class-conditional LDM-4 on ImageNet 256 (Rombach et al. 2022, "High-Resolution
Image Synthesis with Latent Diffusion Models", appendix, hyperparameters of the conditional LDMs; the file
configs/latent-diffusion/cin256-v2.yaml of CompVis/stable-diffusion): 192 model channels, multipliers 1, 2, 3, 5, two
residual blocks a level, one attention head, attention at the downsampling factors 2, 4 and 8 of the latent, that is on
every level but the first. `diffusers_config` gives it as the arguments of diffusers' UNet2DModel.

A multiply-add counts as 2 FLOPs. Counted: every convolution and linear layer, and attention's two matrix products.
Left out: normalisations, activations, softmax, additions, biases, the nearest-neighbour enlarging, and conditioning:
LDM's cross-attention to the class and its feed-forward layer are not in UNet2DModel, whose attention is the plain
self-attention block of LDM's unconditional models. With them a step would cost 1.31 to 1.32 times as much at f4 to f16.

Why one U-Net at every f: the question is what the latent's size alone changes. Published LDMs also change the U-Net's
width and depth with f, which would mix two causes.
"""

from __future__ import annotations

from typing import Any

from vaecheck.errors import InputError
from vaecheck.results.types import UNetCost

MODEL_CHANNELS = 192
CHANNEL_MULTIPLIERS = (1, 2, 3, 5)
RESIDUAL_BLOCKS = 2
ATTENTION_FACTORS = (2, 4, 8)
REFERENCE_F = (4, 8, 16)

_WIDTHS = tuple(MODEL_CHANNELS * multiplier for multiplier in CHANNEL_MULTIPLIERS)
_TIME_CHANNELS = 4 * MODEL_CHANNELS
SIDE_MULTIPLE = 2 ** (len(_WIDTHS) - 1)
"""Of a latent's side, or a U-Net must pad it: it is halved once between levels."""


def unet_costs(f: int, latent_channels: int, size: int) -> tuple[UNetCost, ...]:
    """Cost of one denoising step on the latents of one size x size picture, at f4, f8, f16 and this VAE's own f.

    f: downsampling factor of this VAE. latent_channels: its C, assumed at every other f too (only the U-Net's first and
    last convolution see it). size: side of the picture in pixels; latents have side ceil(size / f), and tokens are
    their h * w. FLOPs are for a batch of one and for one forward pass; guidance takes two. Ordered by f.
    Raises InputError where a number is below 1 or the picture is smaller than f.
    Checked against torch 2.14's FlopCounterMode over diffusers' UNet2DModel: equal.
    """
    if min(f, latent_channels) < 1 or size < f:
        raise InputError(
            f"no U-Net cost for f = {f}, {latent_channels} latent channels and a picture of {size} pixels",
            hint="f and the channels must be at least 1, and the picture's side at least f.",
        )
    return tuple(_cost(each, latent_channels, size, own=each == f) for each in sorted({*REFERENCE_F, f}))


def diffusers_config(latent_channels: int, side: int) -> dict[str, Any]:
    """The reference U-Net as keyword arguments of diffusers' UNet2DModel, for latents of side x side."""
    attends = [2**level in ATTENTION_FACTORS for level in range(len(_WIDTHS))]
    return {
        "sample_size": side,
        "in_channels": latent_channels,
        "out_channels": latent_channels,
        "block_out_channels": _WIDTHS,
        "layers_per_block": RESIDUAL_BLOCKS,
        "down_block_types": tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        "up_block_types": tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        "attention_head_dim": None,
        "norm_num_groups": 32,
    }


def step_flops(latent_channels: int, side: int) -> int:
    """FLOPs of one forward pass on one latent (latent_channels, side, side).

    A side that three halvings do not divide is counted at the next multiple of 8, to which a U-Net must pad it.
    """
    side = -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE
    channels = MODEL_CHANNELS
    flops = _linear(MODEL_CHANNELS, _TIME_CHANNELS) + _linear(_TIME_CHANNELS, _TIME_CHANNELS)
    flops += _conv(latent_channels, channels, side)
    skips = [channels]
    for level, width in enumerate(_WIDTHS):
        for _ in range(RESIDUAL_BLOCKS):
            flops += _block(channels, width, side, level)
            channels = width
            skips.append(channels)
        if level < len(_WIDTHS) - 1:
            side //= 2
            flops += _conv(channels, channels, side)
            skips.append(channels)

    flops += 2 * _residual_block(channels, channels, side) + _attention(channels, side)

    for level, width in reversed(list(enumerate(_WIDTHS))):
        for _ in range(RESIDUAL_BLOCKS + 1):
            flops += _block(channels + skips.pop(), width, side, level)
            channels = width
        if level > 0:
            side *= 2
            flops += _conv(channels, channels, side)
    return flops + _conv(channels, latent_channels, side)


def _cost(f: int, latent_channels: int, size: int, *, own: bool) -> UNetCost:
    side = -(-size // f)
    return UNetCost(
        f=f,
        latent_shape=(latent_channels, side, side),
        tokens=side * side,
        flops=float(step_flops(latent_channels, side)),
        is_this_vae=own,
    )


def _block(c_in: int, c_out: int, side: int, level: int) -> int:
    attention = _attention(c_out, side) if 2**level in ATTENTION_FACTORS else 0
    return _residual_block(c_in, c_out, side) + attention


def _residual_block(c_in: int, c_out: int, side: int) -> int:
    """Two 3x3 convolutions, the time embedding's projection, and a 1x1 shortcut where the width changes."""
    shortcut = _conv(c_in, c_out, side, kernel=1) if c_in != c_out else 0
    return _conv(c_in, c_out, side) + _linear(_TIME_CHANNELS, c_out) + _conv(c_out, c_out, side) + shortcut


def _attention(channels: int, side: int) -> int:
    """Query, key, value and output projections of each token, then QK^T and its product with V."""
    tokens = side * side
    return 4 * tokens * _linear(channels, channels) + 2 * (2 * tokens * tokens * channels)


def _conv(c_in: int, c_out: int, side: int, kernel: int = 3) -> int:
    """side: of the output."""
    return 2 * kernel * kernel * c_in * c_out * side * side


def _linear(c_in: int, c_out: int) -> int:
    return 2 * c_in * c_out
