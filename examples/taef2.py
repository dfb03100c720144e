"""TAEF2, the tiny autoencoder for FLUX.2's latents (github.com/madebyollin/taesd, MIT), behind a factory:

    TAEF2_WEIGHTS=FOLDER vaecheck reconstruct samples --vae examples/taef2.py:taef2

TAEF2_WEIGHTS is the folder with encoder.pth and decoder.pth. It shows what an adapter does for a model that
works on pixels in [0, 1] and has no posterior: shift the range, and return the latents as one tensor.
"""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

WIDTH, LATENTS, POOL_WIDTH, POOL_GROUPS = 64, 32, 256, 4


def conv(c_in: int, c_out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=bias)


class Block(nn.Module):
    """Three convolutions around a skip connection; a pooled one adds a wide 1x1 branch to its input first."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH))
        self.pool = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, POOL_WIDTH, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, POOL_WIDTH),
                nn.ReLU(),
                nn.Conv2d(POOL_WIDTH, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return (self.conv(x) + x).relu()


class SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def blocks(count: int, pooled: bool = False) -> list[nn.Module]:
    return [Block(pooled) for _ in range(count)]


def down() -> nn.Module:
    return conv(WIDTH, WIDTH, stride=2, bias=False)


def up() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), conv(WIDTH, WIDTH, bias=False)]


def encoder() -> nn.Sequential:
    return nn.Sequential(
        *(conv(3, WIDTH), *blocks(1)),
        *(down(), *blocks(3)),
        *(down(), *blocks(3)),
        *(down(), *blocks(3, pooled=True)),
        conv(WIDTH, LATENTS),
    )


def decoder() -> nn.Sequential:
    return nn.Sequential(
        *(SoftClamp(), conv(LATENTS, WIDTH), nn.ReLU(), *blocks(3, pooled=True)),
        *(*up(), *blocks(3)),
        *(*up(), *blocks(3)),
        *(*up(), *blocks(1)),
        conv(WIDTH, 3),
    )


class TAEF2(nn.Module):
    """f8, 32 latent channels, deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()

    def encode(self, pixels: Tensor) -> Tensor:
        return self.encoder(pixels * 0.5 + 0.5)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).clamp(0, 1) * 2 - 1


def taef2() -> TAEF2:
    """The factory: the published weights, stored in float16, read into float32."""
    if "TAEF2_WEIGHTS" not in os.environ:
        raise FileNotFoundError("set TAEF2_WEIGHTS to the folder with encoder.pth and decoder.pth")
    folder = Path(os.environ["TAEF2_WEIGHTS"])
    model = TAEF2()
    for name in ("encoder", "decoder"):
        state = torch.load(folder / f"{name}.pth", map_location="cpu", weights_only=True)
        getattr(model, name).load_state_dict(state)
    return model
