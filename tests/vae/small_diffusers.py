"""A small random model of every diffusers class that vaecheck takes, in the shape of its real configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

DOWN, UP = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
BLOCKS = {"down_block_types": DOWN, "up_block_types": UP, "block_out_channels": (8, 8), "norm_num_groups": 4}
WAN = {"base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
FOUR = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 4.0]}
HUNYUAN = {"latent_channels": 4, "layers_per_block": 1, "spatial_compression_ratio": 4}

CONFIGS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {**BLOCKS, "scaling_factor": 0.3611, "shift_factor": 0.1159},
    "AutoencoderKL, Playground": {**BLOCKS, **FOUR, "scaling_factor": 0.5},
    "AsymmetricAutoencoderKL": {
        **{"down_block_types": DOWN, "down_block_out_channels": (8, 8), "norm_num_groups": 4},
        **{"up_block_types": UP, "up_block_out_channels": (8, 16)},
    },
    "AutoencoderTiny": {
        **{"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)},
        **{"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)},
    },
    "AutoencoderDC": {
        **{"latent_channels": 4, "attention_head_dim": 2, "scaling_factor": 0.41407},
        **{f"{half}_block_types": ("ResBlock", "EfficientViTBlock") for half in ("encoder", "decoder")},
        **{f"{half}_block_out_channels": (8, 8) for half in ("encoder", "decoder")},
        **{f"{half}_layers_per_block": (1, 1) for half in ("encoder", "decoder")},
        **{f"{half}_qkv_multiscales": ((), (5,)) for half in ("encoder", "decoder")},
    },
    "VQModel": {**BLOCKS, "latent_channels": 3, "vq_embed_dim": 5, "num_vq_embeddings": 32},
    "ConsistencyDecoderVAE": {
        **{"encoder_block_out_channels": (8, 8), "encoder_down_block_types": DOWN, "encoder_norm_num_groups": 4},
        **{"encoder_layers_per_block": 1, "decoder_layers_per_block": 1, "decoder_norm_num_groups": 4},
        **{"decoder_block_out_channels": (8, 8), "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2},
        **{"decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2},
    },
    "AutoencoderRAE": {
        **{"encoder_hidden_size": 64, "encoder_patch_size": 4, "encoder_num_hidden_layers": 1},
        **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
        **{"decoder_intermediate_size": 16, "patch_size": 8, "encoder_input_size": 32, "scaling_factor": 0.5},
        **{"latents_mean": [[[0.5]]] * 64, "latents_std": [[[2.0]]] * 64},
    },
    "AutoencoderKLFlux2": {**BLOCKS, "latent_channels": 4},
    "AutoencoderKLHunyuanImage": {
        **{"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (32, 32)},
        **{"layers_per_block": 1, "spatial_compression_ratio": 2, "sample_size": 32, "scaling_factor": 0.75289},
    },
    "AutoencoderKLKVAE": {"channels": 32, "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4, "ch_mult": (1, 1)},
    "AutoencoderKLTemporalDecoder": {"down_block_types": DOWN, "block_out_channels": (32, 32)},
    "AutoencoderKLWan": {**WAN, **FOUR, "z_dim": 4},
    "AutoencoderKLWan, 2.2": {
        **{**WAN, "decoder_base_dim": 8, "z_dim": 4, "is_residual": True, "temperal_downsample": [False, True, True]},
        **{"in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16, **FOUR},
    },
    "AutoencoderKLQwenImage": {**WAN, **FOUR, "z_dim": 4},
    "AutoencoderKLQwenImage21": {**WAN, **FOUR, "decoder_base_dim": 4, "z_dim": 4, "dim_mult": [1] * 5},
    "AutoencoderKLLTXVideo": {
        **{"latent_channels": 8, "block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4},
        **{"layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5, "timestep_conditioning": True},
        **{"decoder_inject_noise": (True, True, True, True, False)},
    },
    "AutoencoderKLLTX2Video": {
        **{"latent_channels": 8, "block_out_channels": (8, 16, 32, 64), "decoder_block_out_channels": (8, 16, 32)},
        **{"layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 4},
    },
    "AutoencoderKLCosmos": {
        **{"latent_channels": 4, "encoder_block_out_channels": (8,) * 4, "decode_block_out_channels": (8,) * 4},
        **{"attention_resolutions": (8,), "resolution": 64, "num_layers": 1},
        **{"latents_mean": [0.1, 9.0, -0.2, 9.0, 0.3, 9.0, 0.0, 9.0], "latents_std": [1.0, 9.0, 2.0, 9.0] * 2},
    },
    "AutoencoderKLMochi": {
        **{"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4},
        **{"layers_per_block": (1,) * 5, "add_attention_block": (False,) * 5},
    },
    "AutoencoderKLHunyuanVideo": {
        **{"down_block_types": ("HunyuanVideoDownBlock3D",) * 4, "up_block_types": ("HunyuanVideoUpBlock3D",) * 4},
        **{"latent_channels": 4, "layers_per_block": 1, "block_out_channels": (8,) * 4, "norm_num_groups": 4},
    },
    "AutoencoderKLHunyuanVideo15": {**HUNYUAN, "block_out_channels": (32,) * 3, "temporal_compression_ratio": 2},
    "AutoencoderKLHunyuanImageRefiner": {**HUNYUAN, "block_out_channels": (32,) * 3, "temporal_compression_ratio": 2},
    "AutoencoderKLCogVideoX": {
        **{"down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4},
        **{"block_out_channels": (8,) * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2},
    },
    "AutoencoderKLMagvit": {
        **{"latent_channels": 4, "block_out_channels": (8,) * 4, "layers_per_block": 1, "norm_num_groups": 4},
    },
    "AutoencoderKLKVAEVideo": {"ch": 32, "ch_mult": (1, 1, 1, 1), "num_res_blocks": 1, "z_channels": 4},
    "Kandinsky6SRVAE": {
        **{"latent_channels": 4, "layers_per_block": 1},
        **{f"{half}_block_out_channels": (8, 32, 32, 32, 32) for half in ("encoder", "decoder")},
    },
}
"""By class name, with a remark after a comma where a class has more than one."""

EXPECTED: dict[str, tuple[int, int, int]] = {
    **dict.fromkeys(("AutoencoderKL", "AutoencoderKL, Playground", "AsymmetricAutoencoderKL"), (2, 4, 3)),
    **dict.fromkeys(("AutoencoderDC", "ConsistencyDecoderVAE", "AutoencoderKLFlux2"), (2, 4, 3)),
    **dict.fromkeys(("AutoencoderKLHunyuanImage", "AutoencoderKLKVAE", "AutoencoderKLTemporalDecoder"), (2, 4, 3)),
    **dict.fromkeys(("AutoencoderTiny", "AutoencoderKLHunyuanVideo15"), (4, 4, 3)),
    **dict.fromkeys(("AutoencoderKLWan", "AutoencoderKLQwenImage", "AutoencoderKLCosmos"), (8, 4, 3)),
    **dict.fromkeys(("AutoencoderKLHunyuanVideo", "AutoencoderKLCogVideoX", "AutoencoderKLMagvit"), (8, 4, 3)),
    **dict.fromkeys(("AutoencoderKLWan, 2.2", "Kandinsky6SRVAE"), (16, 4, 3)),
    **dict.fromkeys(("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"), (32, 8, 3)),
    "AutoencoderKLHunyuanImageRefiner": (4, 4, 3),
    "AutoencoderKLKVAEVideo": (8, 4, 3),
    "AutoencoderKLQwenImage21": (16, 4, 4),
    "AutoencoderKLMochi": (8, 12, 3),
    "AutoencoderRAE": (8, 64, 3),
    "VQModel": (2, 5, 3),
}
"""f, latent channels and image channels of each."""


def small_diffusers(name: str) -> Any:
    """The model, its statistics of latents and its untrained gates no longer at their neutral values."""
    import diffusers

    class_name = name.partition(",")[0]
    if class_name == "AutoencoderRAE":
        pytest.importorskip("transformers", reason="AutoencoderRAE is built from transformers")
    torch.manual_seed(0)
    model = getattr(diffusers, class_name)(**CONFIGS[name]).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith(("running_mean", "latents_mean", "per_channel_scale1", "per_channel_scale2")):
            tensor.normal_()
        elif key.endswith(("running_var", "latents_std")):
            tensor.uniform_(0.5, 4.0)
    return model


def saved_diffusers(name: str, folder: Path) -> str:
    """The folder that diffusers' own save_pretrained wrote."""
    small_diffusers(name).save_pretrained(folder)
    return str(folder)
