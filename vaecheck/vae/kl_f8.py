"""The KL autoencoder of latent diffusion, readable top to bottom.

Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1 and
appendix G. An encoder of residual blocks halves the picture log2(f) times and predicts the mean and
log-variance of a diagonal Gaussian; a decoder mirrors it.

Module names are those of diffusers' AutoencoderKL, so that a state dict is one and the same file for
both: `save` and `load` need no table of keys, and diffusers is the oracle in the tests.

Why channels_last on a CPU (see vaecheck.vae.adapter): at widths of 16 to 64 it takes 0.83 of the time, at 32 to 128
0.93, at 128 to 512 0.95, at 64 to 256 as much (256 x 256, one thread); decoded pixels move by 2e-4 at most.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.vae.protocol import Posterior

LOG_VAR_RANGE = (-30.0, 20.0)
NORM_EPS = 1e-6
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class KLConfig:
    """The shape of a KL autoencoder. Field names are those of diffusers' config.json.

    block_out_channels: width at each resolution, from the picture down; f = 2 ** (len - 1).
    layers_per_block: residual blocks a level in the encoder; the decoder has one more.
    latent_channels: C of the latents.
    norm_num_groups: groups of every GroupNorm; must divide every width. LDM uses 32.
    mid_block_add_attention: self-attention at the lowest resolution. It ties the result to the
        resolution trained at; without it the model is purely local.
    use_quant_conv, use_post_quant_conv: the 1x1 convolutions around the latents.
    scaling_factor, shift_factor: what a U-Net's latents are multiplied by and shifted by; not used
        in encode or decode. None: unknown.
    """

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    in_channels: int = 3
    out_channels: int = 3
    sample_size: int = 256
    scaling_factor: float | None = None
    shift_factor: float | None = None

    def __post_init__(self) -> None:
        if not 3 <= len(self.block_out_channels) <= 6:
            raise InputError(
                f"block_out_channels has {len(self.block_out_channels)} entries, that is f = {self.f}",
                hint="Give 3, 4, 5 or 6 widths for f = 4, 8, 16 or 32.",
            )
        uneven = [width for width in self.block_out_channels if width % self.norm_num_groups]
        if uneven:
            raise InputError(
                f"norm_num_groups = {self.norm_num_groups} does not divide the widths {uneven}",
                hint="Choose widths that are multiples of norm_num_groups.",
            )

    @property
    def f(self) -> int:
        """Downsampling factor: a picture of H x W has latents of H/f x W/f."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def to_diffusers(self) -> dict[str, Any]:
        """The config.json that diffusers' AutoencoderKL reads."""
        levels = len(self.block_out_channels)
        return {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "force_upcast": False,
            **asdict(self),
            "block_out_channels": list(self.block_out_channels),
        }

    @classmethod
    def from_diffusers(cls, config: dict[str, Any]) -> Self:
        """Read a diffusers config.json; a block type or activation we do not build is an error."""
        known = {"DownEncoderBlock2D", "UpDecoderBlock2D"}
        kinds = [*config.get("down_block_types", ()), *config.get("up_block_types", ())]
        foreign = sorted(set(kinds) - known)
        if foreign or config.get("act_fn", "silu") != "silu":
            raise InputError(
                f"the built-in KL autoencoder has no {', '.join(foreign) or config.get('act_fn')}",
                hint="Load this folder with --vae FOLDER, which uses diffusers.",
            )
        fields = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        fields["block_out_channels"] = tuple(config["block_out_channels"])
        return cls(**fields)


def norm(channels: int, config: KLConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, channels, eps=NORM_EPS)


class ResidualBlock(nn.Module):
    """(B, c_in, H, W) -> (B, c_out, H, W): twice GroupNorm, SiLU, 3x3 convolution, plus the input."""

    def __init__(self, c_in: int, c_out: int, config: KLConfig) -> None:
        super().__init__()
        self.norm1 = norm(c_in, config)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = norm(c_out, config)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.conv_shortcut(x) + h  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Single-head self-attention over all positions, with a residual connection."""

    def __init__(self, channels: int, config: KLConfig) -> None:
        super().__init__()
        self.group_norm = norm(channels, config)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        q, k, v = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        attended: Tensor = self.to_out[0](F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0])
        return x + attended.transpose(1, 2).reshape(x.shape)


class Down(nn.Module):
    """Halve H and W. The padding is on the right and bottom only, as LDM trained it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class Up(nn.Module):
    """Double H and W: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]


class Level(nn.Module):
    """One resolution: residual blocks, then a change of resolution except at the last level."""

    def __init__(self, widths: list[int], config: KLConfig, resample: tuple[str, nn.Module] | None) -> None:
        super().__init__()
        pairs = pairwise(widths)
        self.resnets = nn.ModuleList(ResidualBlock(c_in, c_out, config) for c_in, c_out in pairs)
        self.resample_name = resample[0] if resample else None
        if resample:
            self.add_module(resample[0], nn.ModuleList([resample[1]]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        if self.resample_name:
            x = self.get_submodule(self.resample_name)[0](x)  # type: ignore[index]
        return x


class Middle(nn.Module):
    """Residual block, attention (if any), residual block at the lowest resolution."""

    def __init__(self, channels: int, config: KLConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, config) for _ in range(2))
        if config.mid_block_add_attention:
            self.attentions = nn.ModuleList([Attention(channels, config)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        if hasattr(self, "attentions"):
            x = self.attentions[0](x)
        return self.resnets[1](x)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """(B, 3, H, W) -> moments (B, 2C, H/f, W/f)."""

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            chain = [widths[max(i - 1, 0)], *[width] * config.layers_per_block]
            last = i == len(widths) - 1
            self.down_blocks.append(Level(chain, config, None if last else ("downsamplers", Down(width))))
        self.mid_block = Middle(widths[-1], config)
        self.conv_norm_out = norm(widths[-1], config)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """(B, C, h, w) -> pixels (B, 3, h*f, w*f), not clamped."""

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], config)
        self.up_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            chain = [widths[max(i - 1, 0)], *[width] * (config.layers_per_block + 1)]
            last = i == len(widths) - 1
            self.up_blocks.append(Level(chain, config, None if last else ("upsamplers", Up(width))))
        self.conv_norm_out = norm(widths[-1], config)
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))  # type: ignore[no-any-return]


class KLAutoencoder(nn.Module):
    """The KL-VAE: `encode` gives a diagonal Gaussian over raw latents, `decode` gives pixels."""

    def __init__(self, config: KLConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1) if config.use_quant_conv else nn.Identity()
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if config.use_post_quant_conv else nn.Identity()

    def encode(self, pixels: Tensor) -> Posterior:
        """(B, 3, H, W) in [-1, 1], H and W multiples of f -> Posterior over (B, C, H/f, W/f)."""
        mean, log_var = self.quant_conv(self.encoder(pixels)).chunk(2, dim=1)
        return Posterior(mean, log_var.clamp(*LOG_VAR_RANGE))

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) -> pixels (B, 3, h*f, w*f), not clamped."""
        return self.decoder(self.post_quant_conv(latents))  # type: ignore[no-any-return]

    def save(self, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and safetensors as diffusers does; each file is moved into place whole.

        The weights carry the config too, because a file that is copied without its folder would not say how many
        groups its norms have.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in self.state_dict().items()}
        weights, config = folder / WEIGHTS_FILE, folder / CONFIG_FILE
        described = json.dumps(self.config.to_diffusers(), indent=2) + "\n"
        weights.with_suffix(".tmp").write_bytes(_serialised(tensors, {"format": "pt", "config": described}))
        weights.with_suffix(".tmp").replace(weights)
        config.with_suffix(".tmp").write_text(described)
        config.with_suffix(".tmp").replace(config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder in diffusers' AutoencoderKL format, in float32; strict about every key."""
        config = KLConfig.from_diffusers(json.loads((folder / CONFIG_FILE).read_text()))
        model = cls(config)
        state = load_file(folder / WEIGHTS_FILE)
        model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
        return model.eval()

    def with_scaling_factor(self, scaling_factor: float) -> Self:
        """The same weights with the measured factor in their config."""
        self.config = replace(self.config, scaling_factor=scaling_factor)
        return self


def _serialised(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file, the same for the same tensors.

    Why the header is written again: safetensors puts several metadata in an order of chance.
    """
    data = serialise(tensors)
    size = int.from_bytes(data[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(data[8 : 8 + size])}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]
