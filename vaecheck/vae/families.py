"""How diffusers' autoencoder classes differ: frames, ranges, what encode and decode take and give, and scaling.

Why a class for each difference and one table: the adapter is the same for all, and what a class does otherwise than
AutoencoderKL can be read here in a few lines. A class that is not in the table is taken to be of AutoencoderKL's form.

Why video autoencoders are given one frame: Wan, Qwen-Image, HunyuanVideo and others encode the first frame by
itself, so that a picture is a video of one frame to them, and image models are trained on their latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.family import Family, posterior_of
from vaecheck.vae.kl_f8 import KLAutoencoder
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.scaling import Config, Unusable, of_config
from vaecheck.vae.usage import DECODE, ENCODE, Usage

NOISE_SEED = 0
NOISY = "its decoder adds random noise; every picture gets the noise of seed 0, so that figures can be repeated"
ONE_FRAME = "a video autoencoder, given one frame"


class KL(Family):
    called = Usage(ENCODE, DECODE)

    @property
    def f(self) -> int | None:
        levels = self.config.get("block_out_channels")
        return 2 ** (len(levels) - 1) if levels else None


class OwnKL(KL):
    """AutoencoderKL in our own class; `takes` is what diffusers' takes."""

    def __init__(self, model: KLAutoencoder, config: Config) -> None:
        super().__init__(model, config)
        self.takes = {"scaling_factor": 0.18215, "shift_factor": None, "latents_mean": None, "latents_std": None}
        self.entries = {name: config[name] for name in self.takes if config.get(name) is not None}

    @staticmethod
    def covers(config: Config) -> bool:
        """Whether the config names an AutoencoderKL of plain blocks and nothing that our class has not."""
        plain = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
        levels = config.get("block_out_channels")
        return (
            config.get("_class_name") == "AutoencoderKL"
            and set(config) <= OWN_KL_MAY_HAVE
            and set(config) >= OWN_KL_MUST_HAVE
            and isinstance(levels, list)
            and all(config[name] == [kind] * len(levels) for name, kind in plain.items())
            and config["in_channels"] == config["out_channels"]
            and config.get("act_fn", "silu") == "silu"
        )

    def encode(self, pixels: Tensor) -> Posterior:
        posterior: Posterior = self.model.encode(pixels)
        return posterior

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.model.decode(latents)
        return decoded


OWN_KL_MUST_HAVE = {
    *("_class_name", "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels"),
    *("layers_per_block", "latent_channels", "norm_num_groups"),
}
"""What diffusers would fill in otherwise than our class does."""
OWN_KL_MAY_HAVE = OWN_KL_MUST_HAVE | {
    *("_diffusers_version", "_name_or_path", "act_fn", "sample_size", "force_upcast", "mid_block_add_attention"),
    *("use_quant_conv", "use_post_quant_conv", "scaling_factor", "shift_factor", "latents_mean", "latents_std"),
}


class Tiny(Family):
    """TAESD: its encoder gives what the U-Net sees, so that its factor is 1 whoever trained it."""

    called = Usage("vae.encode(pixels).latents", DECODE, ldm=False)
    by_construction = LatentScaling(1.0, source="TAESD's construction")


class DC(Family):
    called = Usage("vae.encode(pixels).latent", DECODE, ldm=False)


class Quantised(Family):
    """VQModel: encode gives the latents before quantisation, decode quantises them first."""

    called = Usage("vae.encode(pixels).latents", DECODE)
    channels_named = ("vq_embed_dim", "latent_channels")

    def encode(self, pixels: Tensor) -> Posterior:
        latents = super().encode(pixels).mean
        _, _, (_, _, nearest) = self.model.quantize(latents)
        batch, _, height, width = latents.shape
        return Posterior(latents, codes=nearest.reshape(batch, height, width))

    @property
    def recognised(self) -> str:
        return "quantised; latent figures are of the latents before quantisation"

    @property
    def codebook_size(self) -> int | None:
        return int(self.model.quantize.n_e)


class ConsistencyDecoder(Family):
    """Its decoder is a diffusion model of two steps that starts from noise. It applies scaling_factor by itself."""

    pictures_named = ("encoder_in_channels",)
    notes = (NOISY,)

    def decode(self, latents: Tensor) -> Tensor:
        generators = [torch.Generator().manual_seed(NOISE_SEED) for _ in latents]
        decoded: Tensor = self.model.decode(latents, generator=generators).sample
        return decoded

    def shipped_scaling(self) -> LatentScaling:
        return LatentScaling(self.model.config.scaling_factor, source="its own decode")


class Flux2(Family):
    """Its pipeline folds 2x2 positions into channels, then applies the running statistics of a BatchNorm.

    The order of the folded channels is pixel_unshuffle's: channel, row in the patch, column in the patch.
    Source: diffusers' Flux2Pipeline._encode_vae_image. Other pipelines read the same class in another way
    (Ideogram 4: patch first; ERNIE-Image: another epsilon); a VAE's folder does not say which it is for.
    """

    def shipped_scaling(self) -> LatentScaling:
        patch, norm = self.model.config.patch_size, self.model.bn
        if patch[0] != patch[1]:
            raise Unusable(f"its patches are {patch[0]}x{patch[1]}, not square")
        variances = (norm.running_var.double() + self.model.config.batch_norm_eps).tolist()
        return LatentScaling(
            channel_means=tuple(norm.running_mean.double().tolist()),
            channel_stds=tuple(math.sqrt(variance) if variance > 0 else math.nan for variance in variances),
            patch=patch[0],
            source="the BatchNorm statistics",
        )


class Representation(Family):
    """AutoencoderRAE: pictures in [0, 1] of one size, and latents that its own encode has normalised.

    Why the normalisation stays: it is a mean and a std for each element, in encode and undone in decode, so that what
    encode gives is what a diffusion model is trained on. The scaling_factor, which encode applies too, is taken off.
    """

    channels_named = ("encoder_hidden_size",)
    pictures_named = ("num_channels",)
    called = Usage(
        "vae.encode((pixels + 1) / 2).latent / vae.config.scaling_factor",
        "vae.decode(({}) * vae.config.scaling_factor).sample * 2 - 1",
        ldm=False,
    )
    lists_in_config = False
    notes = ("its encode normalises the latents by its own statistics: latent figures are of the normalised ones",)

    def encode(self, pixels: Tensor) -> Posterior:
        latents = posterior_of(self.model.encode((pixels + 1) / 2)).mean
        return Posterior(latents / self.model.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.model.decode(latents * self.model.config.scaling_factor).sample
        return decoded * 2 - 1

    @property
    def fixed_size(self) -> int | None:
        return int(self.model.decoder_image_size)

    def shipped_scaling(self) -> LatentScaling:
        return LatentScaling(self.model.config.scaling_factor, source="its own encode")


class OneFrame(Family):
    """Takes (B, channels, T, H, W) with T = 1 and gives latents (B, C, 1, h, w)."""

    called = Usage(ENCODE.replace("pixels", "pixels.unsqueeze(2)"), f"{DECODE}.squeeze(2)", 5, ldm=False)

    def encode(self, pixels: Tensor) -> Posterior:
        posterior = super().encode(pixels.unsqueeze(2))
        log_var = posterior.log_var
        return Posterior(_still(posterior.mean), None if log_var is None else _still(log_var))

    def decode(self, latents: Tensor) -> Tensor:
        return _still(super().decode(latents.unsqueeze(2)))

    @property
    def recognised(self) -> str:
        return ONE_FRAME


class Wan(OneFrame):
    """Wan, Qwen-Image: (z - latents_mean) / latents_std, no factor. Their decode clamps to [-1, 1].

    With patch_size (Wan 2.2) in_channels counts pixels folded into channels. Their feature caches are cleared by
    diffusers before and after every call.
    """

    channels_named = ("z_dim",)
    pictures_named = ("in_channels", "input_channels")

    @property
    def image_channels(self) -> int | None:
        channels, patch = self._first_of(self.pictures_named), self.config.get("patch_size") or 1
        return channels // patch**2 if channels else None


class Mochi(OneFrame):
    pictures_named = ("out_channels",)  # in_channels counts the Fourier features that its encoder adds


class Cosmos(OneFrame):
    """Deterministic. latents_mean and latents_std have one figure for each channel and frame: the first frame's count.

    The pipeline also multiplies by the scheduler's sigma_data, which is not the VAE's.
    """

    lists_in_config = False

    def shipped_scaling(self) -> LatentScaling:
        scaling = of_config(self.entries)
        if scaling.channel_means is None or scaling.channel_stds is None or not self.latent_channels:
            return scaling
        frames = max(1, len(scaling.channel_means) // self.latent_channels)
        means, stds = scaling.channel_means[::frames], scaling.channel_stds[::frames]
        return replace(scaling, channel_means=means, channel_stds=stds)


class LTX(OneFrame):
    """Its means and stds are tensors of the weights. A decoder with timestep_conditioning is told step 0: clean.

    Source: diffusers' LTXPipeline._normalize_latents, and its default decode_timestep.
    """

    @property
    def usage(self) -> Usage:
        usage = super().usage
        if not self.config.get("timestep_conditioning"):
            return usage
        return replace(usage, decode="vae.decode({}, torch.zeros(len(latents))).sample.squeeze(2)")

    def decode(self, latents: Tensor) -> Tensor:
        timestep = latents.new_zeros(len(latents)) if self.config.get("timestep_conditioning") else None
        with _seeded(latents.device):
            return _still(self.model.decode(latents.unsqueeze(2), timestep).sample)

    @property
    def warnings(self) -> tuple[str, ...]:
        noisy = self.config.get("decoder_inject_noise")
        return (NOISY,) if (any(noisy) if isinstance(noisy, (list, tuple)) else noisy) else ()

    def shipped_scaling(self) -> LatentScaling:
        means, stds = self.model.latents_mean.double().tolist(), self.model.latents_std.double().tolist()
        factor = of_config(self.entries).scaling_factor
        return LatentScaling(factor, None, tuple(means), tuple(stds), source="the tensors latents_mean and latents_std")


class HunyuanVideo15(OneFrame):
    """Its attention mask has the right shape for one picture alone (diffusers 0.42)."""

    def encode(self, pixels: Tensor) -> Posterior:
        encode_one = super().encode
        return Posterior.joined([encode_one(one[None]) for one in pixels])

    def decode(self, latents: Tensor) -> Tensor:
        decode_one = super().decode
        return torch.cat([decode_one(one[None]) for one in latents])


class KVAEVideo(OneFrame):
    """Deterministic: diffusers drops the variance that its encoder gives and puts 1 in its place."""

    channels_named = ("z_channels",)
    called = replace(OneFrame.called, encode=OneFrame.called.encode.replace("sample", "mode"))

    def encode(self, pixels: Tensor) -> Posterior:
        return Posterior(super().encode(pixels).mean)


class KVAE(Family):
    channels_named = ("z_channels",)


class TemporalDecoder(Family):
    """Pictures in, and a decoder of videos: every picture is a video of one frame."""

    called = Usage(ENCODE, "vae.decode({}, num_frames=1).sample", ldm=False)

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.model.decode(latents, num_frames=1).sample
        return decoded

    @property
    def recognised(self) -> str:
        return ONE_FRAME


FAMILIES: dict[str, type[Family]] = {
    "AutoencoderKL": KL,
    "AsymmetricAutoencoderKL": Family,
    "AutoencoderTiny": Tiny,
    "AutoencoderDC": DC,
    "VQModel": Quantised,
    "ConsistencyDecoderVAE": ConsistencyDecoder,
    "AutoencoderRAE": Representation,
    "AutoencoderKLFlux2": Flux2,
    "AutoencoderKLHunyuanImage": Family,
    "AutoencoderKLKVAE": KVAE,
    "AutoencoderKLTemporalDecoder": TemporalDecoder,
    "AutoencoderKLWan": Wan,
    "AutoencoderKLQwenImage": Wan,
    "AutoencoderKLQwenImage21": Wan,
    "AutoencoderKLLTXVideo": LTX,
    "AutoencoderKLLTX2Video": LTX,
    "AutoencoderKLCosmos": Cosmos,
    "AutoencoderKLMochi": Mochi,
    "AutoencoderKLHunyuanVideo": OneFrame,
    "AutoencoderKLHunyuanVideo15": HunyuanVideo15,
    "AutoencoderKLHunyuanImageRefiner": OneFrame,
    "AutoencoderKLCogVideoX": OneFrame,
    "AutoencoderKLMagvit": OneFrame,
    "AutoencoderKLKVAEVideo": KVAEVideo,
    "Kandinsky6SRVAE": OneFrame,
}
SOUND = "it encodes sound, not pictures"
REFUSED = {
    **dict.fromkeys(("AutoencoderOobleck", "AutoencoderSAME", "MMAudioVAE", "LongCatAudioDiTVae"), SOUND),
    **dict.fromkeys(("AutoencoderKLLTX2Audio", "AutoencoderKLKVAEAudio", "AutoencoderKLMiniMaxH3Audio"), SOUND),
    "Cosmos3AVAEAudioTokenizer": SOUND,
    "RFD4ProteinaAutoencoder": "it encodes proteins, not pictures",
    "AutoencoderKLAllegro": "diffusers runs it in tiles of 24 frames, so it cannot encode a single one",
    "AutoencoderKLMiniMaxH3": "its decoder gives whole clips; diffusers has no way to decode a single frame",
    "AutoencoderVidTok": "it pools over time and needs more frames than one",
}
"""Classes that cannot be measured on still pictures, and why."""


def _still(video: Tensor) -> Tensor:
    """(B, C, 1, H, W) -> (B, C, H, W)."""
    if video.ndim != 5 or video.shape[2] != 1:
        raise InputError(
            f"one frame came back as {tuple(video.shape)}, not as one frame",
            hint="vaecheck measures autoencoders on still pictures; this one needs a video.",
        )
    return video.squeeze(2)


@contextmanager
def _seeded(device: torch.device) -> Iterator[None]:
    """Noise of one seed inside, and the generators as they were outside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(NOISE_SEED)
        yield
