"""What families of autoencoders usually scale their latents by: said to the reader, never used."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaecheck.vae.shapes import Shape

# Published in each family's own config: CompVis and Stability AI's yaml files, vae/config.json of the pipelines.
FACTORS = {
    "SD 1": "0.18215",
    "SD 2": "0.18215",
    "SDXL": "0.13025",
    "SD 3": "1.5305 after a shift of 0.0609",
    "Flux.1": "0.3611 after a shift of 0.1159",
}
LDM_WIDTHS = [128, 256, 512, 512]

# What stands beside the VAE in a full checkpoint.
BESIDE = (
    (r"(model\.)?conditioner\.embedders\.", "SDXL"),
    (r"(model\.)?cond_stage_model\.transformer\.", "SD 1"),
    (r"(model\.)?cond_stage_model\.model\.", "SD 2"),
    (r"(model\.diffusion_model\.)?joint_blocks\.", "SD 3"),
    (r"(model\.diffusion_model\.)?double_blocks\.", "Flux.1"),
)


def usual_scaling(shape: Shape, names: Iterable[str]) -> str:
    """Which families have such a VAE, each with its usual factor, in words; empty where there is no custom.

    names: of all tensors in the file.
    """
    for family in _families(names):
        return f"beside it is a model like {family}'s, usually {FACTORS[family]}"
    if shape.class_name == "AutoencoderKLWan":
        return "Wan 2.1 and Qwen-Image use a mean and a std for each channel"
    if shape.class_name == "AutoencoderKL" and shape.config["block_out_channels"] == LDM_WIDTHS:
        quant, channels = shape.config["use_quant_conv"], shape.latent_channels
        if channels == 4 and quant:
            return f"this shape is that of SD 1 and 2, {FACTORS['SD 1']}, and of SDXL, {FACTORS['SDXL']}"
        if channels == 16 and not quant:
            return f"this shape is that of SD 3, {FACTORS['SD 3']}, and of Flux.1, {FACTORS['Flux.1']}"
    return ""


def _families(names: Iterable[str]) -> list[str]:
    listed = list(names)
    return [family for pattern, family in BESIDE if any(re.match(pattern, name) for name in listed)]
