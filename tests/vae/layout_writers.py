"""One diffusers model -> its state dict in every layout that people have, written by walking the modules.

Sources of the names: CompVis/latent-diffusion (ldm/modules/diffusionmodules/model.py), black-forest-labs/flux and
flux2 (autoencoder.py), madebyollin/taesd (taesd.py), mit-han-lab/efficientvit (dc_ae.py), Wan-Video/Wan2.1 (vae.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

State = dict[str, Tensor]


class Writer:
    """Collects the parameters and buffers of modules under chosen names."""

    def __init__(self) -> None:
        self.state: State = {}

    def put(self, name: str, module: nn.Module | None, *, ndim: int | None = None) -> None:
        """All tensors of a module; ndim: pad the weight's shape with ones up to it (a matrix as 1x1 convolution)."""
        if module is None:
            return
        for key, value in module.state_dict().items():
            wide = ndim is not None and key == "weight"
            self.state[f"{name}.{key}"] = value.reshape(*value.shape, *[1] * (ndim - value.ndim)) if wide else value


def ldm(model: Any, *, projection_ndim: int = 4, quant_inside: bool = False) -> State:
    """CompVis' layout. quant_inside: Flux.2's, whose quant convs belong to the encoder and decoder."""
    out = Writer()

    def resnet(name: str, module: Any) -> None:
        for part in ("norm1", "conv1", "norm2", "conv2"):
            out.put(f"{name}.{part}", getattr(module, part))
        out.put(f"{name}.nin_shortcut", module.conv_shortcut)

    def attention(name: str, module: Any) -> None:
        out.put(f"{name}.norm", module.group_norm if module.group_norm is not None else module.spatial_norm)
        for part, linear in (
            ("q", module.to_q),
            ("k", module.to_k),
            ("v", module.to_v),
            ("proj_out", module.to_out[0]),
        ):
            out.put(f"{name}.{part}", linear, ndim=projection_ndim)

    def half(name: str, module: Any, levels: list[Any], direction: str) -> None:
        out.put(f"{name}.conv_in", module.conv_in)
        for i, level in enumerate(levels):
            for j, block in enumerate(level.resnets):
                resnet(f"{name}.{direction}.{i}.block.{j}", block)
            for j, block in enumerate(getattr(level, "attentions", None) or ()):
                attention(f"{name}.{direction}.{i}.attn.{j}", block)
            for sampler in getattr(level, f"{direction}samplers") or ():
                out.put(f"{name}.{direction}.{i}.{direction}sample.conv", sampler.conv)
        resnet(f"{name}.mid.block_1", module.mid_block.resnets[0])
        for block in module.mid_block.attentions:
            if block is not None:
                attention(f"{name}.mid.attn_1", block)
        resnet(f"{name}.mid.block_2", module.mid_block.resnets[1])
        out.put(f"{name}.norm_out", module.conv_norm_out)
        out.put(f"{name}.conv_out", module.conv_out)

    half("encoder", model.encoder, list(model.encoder.down_blocks), "down")
    half("decoder", model.decoder, list(model.decoder.up_blocks)[::-1], "up")
    out.put("encoder.quant_conv" if quant_inside else "quant_conv", model.quant_conv)
    out.put("decoder.post_quant_conv" if quant_inside else "post_quant_conv", model.post_quant_conv)
    for part in ("quantize", "bn"):
        out.put(part, getattr(model, part, None))
    return out.state


def diffusers(model: Any) -> State:
    return dict(model.state_dict())


def diffusers_old(model: Any, *, projection_ndim: int = 2) -> State:
    """diffusers before 0.17: attention as query, key, value and proj_attn."""
    state = diffusers(model)
    for path, module in model.named_modules():
        if not hasattr(module, "to_q") or not hasattr(module, "group_norm"):
            continue
        out = Writer()
        for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
            out.put(f"{path}.{old}", module.get_submodule(new), ndim=projection_ndim)
            for tensor in ("weight", "bias"):
                del state[f"{path}.{new}.{tensor}"]
        state |= out.state
    return state


def taesd(model: Any) -> State:
    """madebyollin's nn.Sequential halves; the decoder's begins with a Clamp, so that it is one layer longer."""
    out = Writer()
    for i, layer in enumerate(model.encoder.layers):
        out.put(f"encoder.{i}", layer)
    for i, layer in enumerate(nn.Sequential(nn.Identity(), *model.decoder.layers)):
        out.put(f"decoder.{i}", layer)
    return out.state


def dc_ae(model: Any) -> State:
    """efficientvit's layout: of Sana's DC-AE, or of the ImageNet ones, whose first and last layers resample too."""
    out = Writer()

    def stage(name: str, blocks: Any) -> None:
        for j, block in enumerate(blocks):
            at = f"{name}.op_list.{j}"
            if hasattr(block, "conv1"):
                out.put(f"{at}.main.conv1.conv", block.conv1)
                out.put(f"{at}.main.conv2.conv", block.conv2)
                out.put(f"{at}.main.conv2.norm", block.norm)
            elif hasattr(block, "attn"):
                attention, feed = block.attn, block.conv_out
                qkv = torch.cat([part.weight for part in (attention.to_q, attention.to_k, attention.to_v)])
                out.state[f"{at}.context_module.main.qkv.conv.weight"] = qkv.detach()[:, :, None, None]
                for k, scale in enumerate(attention.to_qkv_multiscale):
                    out.put(f"{at}.context_module.main.aggreg.{k}.0", scale.proj_in)
                    out.put(f"{at}.context_module.main.aggreg.{k}.1", scale.proj_out)
                out.state[f"{at}.context_module.main.proj.conv.weight"] = attention.to_out.weight.detach()[
                    :, :, None, None
                ]
                out.put(f"{at}.context_module.main.proj.norm", attention.norm_out)
                out.put(f"{at}.local_module.main.inverted_conv.conv", feed.conv_inverted)
                out.put(f"{at}.local_module.main.depth_conv.conv", feed.conv_depth)
                out.put(f"{at}.local_module.main.point_conv.conv", feed.conv_point)
                out.put(f"{at}.local_module.main.point_conv.norm", feed.norm)
            elif getattr(block, "stride", 1) == 2:
                out.put(f"{at}.main.conv", block.conv)
            else:
                out.put(f"{at}.main.conv.conv", block.conv)

    out.put("encoder.project_in.conv", model.encoder.conv_in)
    out.put("encoder.project_out.main.op_list.0.conv", model.encoder.conv_out)
    out.put("decoder.project_in.main.conv", model.decoder.conv_in)
    for i, blocks in enumerate(model.encoder.down_blocks):
        stage(f"encoder.stages.{i}", blocks)
    for i, blocks in enumerate(model.decoder.up_blocks):
        stage(f"decoder.stages.{i}", blocks)
    out.put("decoder.project_out.op_list.0", model.decoder.norm_out)
    out.put("decoder.project_out.op_list.2.conv", model.decoder.conv_out)
    return out.state


def wan(model: Any) -> State:
    """Wan 2.1's layout: flat lists; a residual block is nn.Sequential(norm, SiLU, conv, norm, SiLU, -, conv)."""
    out = Writer()

    def block(name: str, module: Any) -> None:
        if hasattr(module, "conv1"):
            for index, part in ((0, module.norm1), (2, module.conv1), (3, module.norm2), (6, module.conv2)):
                out.put(f"{name}.residual.{index}", part)
            if not isinstance(module.conv_shortcut, nn.Identity):
                out.put(f"{name}.shortcut", module.conv_shortcut)
        else:
            out.put(name, module)

    def half(name: str, module: Any) -> None:
        out.put(f"{name}.conv1", module.conv_in)
        middle = module.mid_block
        for index, part in enumerate((middle.resnets[0], middle.attentions[0], middle.resnets[1])):
            block(f"{name}.middle.{index}", part)
        out.put(f"{name}.head.0", module.norm_out)
        out.put(f"{name}.head.2", module.conv_out)

    half("encoder", model.encoder)
    half("decoder", model.decoder)
    for i, part in enumerate(model.encoder.down_blocks):
        block(f"encoder.downsamples.{i}", part)
    ups = [part for level in model.decoder.up_blocks for part in (*level.resnets, *(level.upsamplers or ()))]
    for i, part in enumerate(ups):
        block(f"decoder.upsamples.{i}", part)
    out.put("conv1", model.quant_conv)
    out.put("conv2", model.post_quant_conv)
    return out.state


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def full_checkpoint(
    state: State, prefix: str = "first_stage_model.", text: str = "cond_stage_model.transformer."
) -> State:
    """The VAE among the tensors of a U-Net, its averages and a text encoder, as LDM and A1111 save them."""
    return {
        "betas": torch.linspace(0, 1, 8),
        "model.diffusion_model.input_blocks.0.0.weight": torch.randn(4, 4, 3, 3),
        "model.diffusion_model.out.2.bias": torch.randn(4),
        "model_ema.diffusion_modelinput_blocks00weight": torch.randn(4, 4, 3, 3),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(10),
        f"{text}text_model.embeddings.position_ids": torch.arange(4)[None],
        **under(prefix, state),
    }


def training_checkpoint(state: State) -> State:
    """What LDM's AutoencoderKL saves: its loss with a discriminator and LPIPS, its log variance and averages."""
    return {
        **state,
        "loss.logvar": torch.zeros(()),
        "loss.perceptual_loss.lin0.model.1.weight": torch.randn(1, 4, 1, 1),
        "loss.discriminator.main.0.weight": torch.randn(4, 3, 4, 4),
        **{f"model_ema.{name.replace('.', '')}": torch.zeros_like(tensor) for name, tensor in state.items()},
        "model_ema.decay": torch.tensor(0.999),
        "model_ema.num_updates": torch.tensor(7),
    }


def save_safetensors(state: State, path: Path) -> None:
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, path)


def save_lightning(state: State, path: Path) -> None:
    torch.save({"epoch": 3, "global_step": 17, "state_dict": state, "optimizer_states": []}, path)


def save_bare(state: State, path: Path) -> None:
    torch.save(state, path)


def save_legacy(state: State, path: Path) -> None:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)


CONTAINERS: dict[str, tuple[str, Callable[[State, Path], None]]] = {
    "safetensors": ("model.safetensors", save_safetensors),
    "lightning": ("model.ckpt", save_lightning),
    "legacy": ("model.bin", save_legacy),
    "bare": ("model.pt", save_bare),
}
