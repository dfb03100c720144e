"""The config of an autoencoder, read from the shapes of its tensors under diffusers' names.

Why it can be: diffusers' classes name every level, block and attention, so that counting names gives the depth and
the convolutions' shapes give the widths. What shapes do not show is said as a guess: the groups of GroupNorm (LDM's
32 by convention) and DC-AE's activations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from typing import Any

from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.vae.adapter import one_line
from vaecheck.vae.layouts import some
from vaecheck.vae.pickles import printable

Tensors = Mapping[str, Tensor]
LDM_GROUPS = 32
QUANT_CONVS = ("quant_conv", "post_quant_conv")
FACTORY_HINT = "Wrap the model in a factory, --vae FILE.py:FACTORY."


@dataclass(frozen=True)
class Shape:
    """class_name, config: of diffusers. f: pixels a latent position. traits, guesses: short phrases for the reader.

    unsure: sentences on guesses that no convention backs (32 groups of one channel each are no one's custom).
    """

    class_name: str
    config: dict[str, Any]
    f: int
    latent_channels: int
    traits: tuple[str, ...]
    guesses: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()


def shape_of(tensors: Tensors, groups: int | None = None) -> Shape:
    """The class and config that these tensors are of. groups: of GroupNorm, where the file says it.

    Raises InputError when they are of no class that diffusers has.
    """
    try:
        if "encoder.layers.0.weight" in tensors:
            return _tiny(tensors)
        if any(re.match(r"encoder\.down_blocks\.\d+\.\d+\.", name) for name in tensors):
            return _dc(tensors)
        if tensors["encoder.conv_in.weight"].ndim == 5:
            return _wan(tensors)
        return _ldm(tensors, groups)
    except KeyError as missing:
        raise InputError(
            f"an autoencoder without its tensor {printable(str(missing.args[0]))}: {some(sorted(tensors))}",
            hint="The file may be cut short, or of a model that vaecheck does not know. " + FACTORY_HINT,
        ) from missing
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"an autoencoder with tensors of no known shape: {one_line(error)}",
            hint="The file may be damaged, or of a model that vaecheck does not know. " + FACTORY_HINT,
        ) from error


@dataclass(frozen=True)
class Half:
    """An encoder or decoder of LDM. widths and attention: by level, from the picture down."""

    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    middle: bool


def _ldm(tensors: Tensors, groups: int | None) -> Shape:
    """AutoencoderKL and its relatives, whose encoder and decoder are LDM's."""
    encoder, decoder = _half(tensors, "encoder"), _half(tensors, "decoder")
    class_name = _class_of(tensors)
    channels = int(tensors["decoder.conv_in.weight"].shape[1])
    _check_latents(tensors, channels, class_name == "VQModel")
    if class_name != "AsymmetricAutoencoderKL":
        _check_halves(encoder, decoder, widths_may_differ=class_name == "AutoencoderKLFlux2")
    chosen = groups or _groups({*encoder.widths, *decoder.widths})
    config = {
        "act_fn": "silu",
        "in_channels": int(tensors["encoder.conv_in.weight"].shape[1]),
        "out_channels": int(tensors["decoder.conv_out.weight"].shape[0]),
        "latent_channels": channels,
        "norm_num_groups": chosen,
        "down_block_types": [f"{'Attn' * has}DownEncoderBlock2D" for has in encoder.attention],
        "up_block_types": [f"{'Attn' * has}UpDecoderBlock2D" for has in reversed(decoder.attention)],
        "sample_size": 256,
        **_of_class(tensors, class_name, encoder, decoder),
    }
    guesses = () if groups else (f"{chosen} groups in GroupNorm assumed",)
    likely = chosen == LDM_GROUPS and min(*encoder.widths, *decoder.widths) >= 2 * LDM_GROUPS
    guess = (
        f"GroupNorm's groups are not in the file and {chosen} is a guess; where it is wrong, so are the pictures: "
        "put the VAE's config.json beside the file"
    )
    return Shape(
        class_name,
        config,
        f=2 ** (len(encoder.widths) - 1),
        latent_channels=config.get("vq_embed_dim", channels),
        traits=tuple(_traits(tensors, config, encoder, decoder)),
        guesses=guesses,
        unsure=(guess,) if guesses and not likely else (),
    )


def _class_of(tensors: Tensors) -> str:
    marks = {
        "quantize.embedding.weight": "VQModel",
        "bn.running_mean": "AutoencoderKLFlux2",
        "decoder.condition_encoder.layers.0.weight": "AsymmetricAutoencoderKL",
    }
    return next((class_name for mark, class_name in marks.items() if mark in tensors), "AutoencoderKL")


def _of_class(tensors: Tensors, class_name: str, encoder: Half, decoder: Half) -> dict[str, Any]:
    """The entries of the config that the classes name or have differently."""
    if class_name == "AsymmetricAutoencoderKL":
        return {
            "down_block_out_channels": list(encoder.widths),
            "layers_per_down_block": encoder.layers,
            "up_block_out_channels": list(decoder.widths),
            "layers_per_up_block": decoder.layers - 1,
        }
    entries: dict[str, Any] = {
        "block_out_channels": list(encoder.widths),
        "layers_per_block": encoder.layers,
        "mid_block_add_attention": encoder.middle,
    }
    if class_name == "VQModel":
        codes, width = tensors["quantize.embedding.weight"].shape
        norm_type = "spatial" if "decoder.conv_norm_out.conv_y.weight" in tensors else "group"
        return {**entries, "num_vq_embeddings": codes, "vq_embed_dim": width, "norm_type": norm_type}
    if encoder.widths != decoder.widths:
        entries["decoder_block_out_channels"] = list(decoder.widths)
    return {**entries, **{f"use_{name}": f"{name}.weight" in tensors for name in QUANT_CONVS}}


def _traits(tensors: Tensors, config: dict[str, Any], encoder: Half, decoder: Half) -> list[str]:
    traits = [f"widths {_dashed(encoder.widths)}"]
    if encoder.widths != decoder.widths:
        traits.append(f"{_dashed(decoder.widths)} in the decoder")
    traits.append(f"{encoder.layers} block{'s' * (encoder.layers > 1)} a level")
    if any(encoder.attention):
        levels = [str(i + 1) for i, has in enumerate(encoder.attention) if has]
        traits.append(f"attention in level {' and '.join(levels)}")
    if not encoder.middle:
        traits.append("no attention")
    if "num_vq_embeddings" in config:
        traits.append(f"{config['num_vq_embeddings']} codes")
    if config.get("norm_type") == "spatial":
        traits.append("spatial norms (MoVQ)")
    if not any(f"{name}.weight" in tensors for name in QUANT_CONVS):
        traits.append("no quant convs")
    if config["in_channels"] != 3:
        traits.append(f"{config['in_channels']} image channel{'s' * (config['in_channels'] > 1)}")
    return traits


def _half(tensors: Tensors, half: str) -> Half:
    stem = f"{half}.{'down' if half == 'encoder' else 'up'}_blocks"
    levels = range(_count(tensors, stem))
    layers = {_count(tensors, f"{stem}.{i}.resnets") for i in levels}
    if len(layers) != 1:
        raise InputError(f"the levels of the {half} have {sorted(layers)} blocks, not one number", hint=FACTORY_HINT)
    widths = [int(tensors[f"{stem}.{i}.resnets.0.conv1.weight"].shape[0]) for i in levels]
    attention = [f"{stem}.{i}.attentions.0.to_q.weight" in tensors for i in levels]
    if half == "decoder":
        widths, attention = widths[::-1], attention[::-1]
    middle = f"{half}.mid_block.attentions.0.to_q.weight" in tensors
    return Half(tuple(widths), layers.pop(), tuple(attention), middle)


def _check_latents(tensors: Tensors, channels: int, quantised: bool) -> None:
    """A KL-VAE's encoder ends in means and variances, a quantised one's in latents; both of z channels."""
    moments = tensors["encoder.conv_out.weight"].shape[0]
    if quantised and moments == channels:
        return
    if moments == channels:
        raise InputError(
            f"its encoder gives {moments} channels and its decoder takes {channels}: no variances, and no codebook",
            hint="A deterministic autoencoder of LDM is no class of diffusers. " + FACTORY_HINT,
        )
    if moments != 2 * channels:
        raise InputError(
            f"its encoder gives {moments} channels and its decoder takes {channels}; a KL-VAE's gives {2 * channels}",
            hint=FACTORY_HINT,
        )
    embedded = tensors["quant_conv.weight"].shape[0] // 2 if "quant_conv.weight" in tensors else channels
    if embedded != channels:
        raise InputError(
            f"its latents have {embedded} channels (embed_dim) between an encoder and decoder of {channels} "
            "(z_channels), which diffusers' AutoencoderKL cannot express",
            hint=FACTORY_HINT,
        )


def _check_halves(encoder: Half, decoder: Half, widths_may_differ: bool) -> None:
    for what, a, b in (
        ("widths", encoder.widths, encoder.widths if widths_may_differ else decoder.widths),
        ("blocks a level (the decoder's less one)", encoder.layers, decoder.layers - 1),
        ("attention in the middle", encoder.middle, decoder.middle),
        ("levels", len(encoder.widths), len(decoder.widths)),
    ):
        if a != b:
            raise InputError(
                f"its encoder and decoder differ in {what}: {a} and {b}, which no class of diffusers can express",
                hint=FACTORY_HINT,
            )


def _groups(widths: set[int]) -> int:
    """LDM's 32; where it does not divide every width, the largest power of two that does."""
    common = gcd(*widths)
    return min(LDM_GROUPS, common & -common)


def _tiny(tensors: Tensors) -> Shape:
    if any(".pool." in name for name in tensors):
        raise InputError(
            "a TAESD with pooled blocks (TAEF2), which diffusers' AutoencoderTiny does not have", hint=FACTORY_HINT
        )
    down, up = _bare_layers(tensors, "encoder"), _bare_layers(tensors, "decoder")
    first, last = tensors["encoder.layers.0.weight"], tensors[f"decoder.layers.{up[-1]}.weight"]
    encoder_widths = [int(tensors[f"encoder.layers.{i}.weight"].shape[0]) for i in down[:-1]]
    decoder_widths = [int(tensors[f"decoder.layers.{i}.weight"].shape[1]) for i in up[1:]]
    channels = int(tensors["decoder.layers.0.weight"].shape[1])
    config = {
        "in_channels": int(first.shape[1]),
        "out_channels": int(last.shape[0]),
        "latent_channels": channels,
        "encoder_block_out_channels": encoder_widths,
        "decoder_block_out_channels": decoder_widths,
        "num_encoder_blocks": _blocks_between(tensors, "encoder", down),
        "num_decoder_blocks": _blocks_between(tensors, "decoder", up),
        "act_fn": "relu",
    }
    traits = (f"widths {_dashed(encoder_widths)}", "deterministic")
    return Shape("AutoencoderTiny", config, 2 ** (len(encoder_widths) - 1), channels, traits)


def _bare_layers(tensors: Tensors, half: str) -> list[int]:
    """Which layers of TAESD's half are convolutions of their own, not blocks."""
    found = (re.fullmatch(rf"{half}\.layers\.(\d{{1,3}})\.weight", name) for name in tensors)
    return sorted(int(match[1]) for match in found if match)


def _blocks_between(tensors: Tensors, half: str, bare: list[int]) -> list[int]:
    blocks = {i for i in range(bare[-1]) if f"{half}.layers.{i}.conv.0.weight" in tensors}
    return [len(blocks & set(range(a, b))) for a, b in pairwise(bare)]


def _dc(tensors: Tensors) -> Shape:
    down, up = _dc_half(tensors, "encoder.down_blocks"), _dc_half(tensors, "decoder.up_blocks")
    widths = [level["width"] for level in down]
    channels = int(tensors["decoder.conv_in.weight"].shape[1])
    norms = [level["norm"] for level in up]
    head = next((int(t.shape[1]) for name, t in tensors.items() if "to_qkv_multiscale.0.proj_out" in name), None)
    first = tensors.get("encoder.conv_in.weight", tensors.get("encoder.conv_in.conv.weight"))
    assert first is not None
    resampling = next((level["resampling"] for level in down if level["resampling"]), 1)
    config = {
        "in_channels": int(first.shape[1]),
        "latent_channels": channels,
        "attention_head_dim": head or 32,
        "encoder_block_types": [level["block"] for level in down],
        "decoder_block_types": [level["block"] for level in up],
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": [level["width"] for level in up],
        "encoder_layers_per_block": [level["layers"] for level in down],
        "decoder_layers_per_block": [level["layers"] for level in up],
        "encoder_qkv_multiscales": [level["scales"] for level in down],
        "decoder_qkv_multiscales": [level["scales"] for level in up],
        "downsample_block_type": "conv" if resampling == 1 else "pixel_unshuffle",
        "upsample_block_type": "interpolate" if _dc_interpolates(tensors, up) else "pixel_shuffle",
        "decoder_norm_types": norms,
        "decoder_act_fns": ["relu" if norm == "batch_norm" else "silu" for norm in norms],
    }
    guesses = ("DC-AE's activations and shortcuts assumed", *(() if head else ("32 channels a head assumed",)))
    traits = (f"widths {_dashed(widths)}", "deterministic")
    return Shape("AutoencoderDC", config, 2 ** (len(widths) - 1), channels, traits, guesses)


def _dc_half(tensors: Tensors, stem: str) -> list[dict[str, Any]]:
    """Each level: its blocks and their kind, its width, and the width of its resampling over the next level's."""
    levels: list[dict[str, Any]] = []
    for i in range(_count(tensors, stem)):
        level: dict[str, Any] = {"block": "ResBlock", "width": 0, "layers": 0, "scales": [], "norm": "rms_norm"}
        level["resampling"] = 0
        for j in range(_count(tensors, f"{stem}.{i}")):
            block = f"{stem}.{i}.{j}"
            if f"{block}.conv.weight" in tensors:
                level["resampling"] = int(tensors[f"{block}.conv.weight"].shape[0])
                continue
            level["layers"] += 1
            if f"{block}.conv1.weight" in tensors:
                level["width"] = int(tensors[f"{block}.conv1.weight"].shape[0])
                level["norm"] = "batch_norm" if f"{block}.norm.running_mean" in tensors else "rms_norm"
            else:
                level["block"] = "EfficientViTBlock"
                level["width"] = int(tensors[f"{block}.conv_out.conv_inverted.weight"].shape[1])
                scales = (t for name, t in tensors.items() if name.startswith(f"{block}.attn.to_qkv_multiscale."))
                level["scales"] = sorted({int(t.shape[-1]) for t in scales if t.shape[-1] > 1})
        levels.append(level)
    for this, following in pairwise(levels):
        this["width"] = this["width"] or following["width"]
        if stem.startswith("encoder") and this["resampling"]:
            this["resampling"] = 1 if this["resampling"] == following["width"] else 4
    return levels


def _dc_interpolates(tensors: Tensors, up: list[dict[str, Any]]) -> bool:
    return next((level["resampling"] == level["width"] for level in up if level["resampling"]), False)


def _wan(tensors: Tensors) -> Shape:
    """Wan 2.1's layout, which Qwen-Image shares: residual blocks and resamplings in one list."""
    if "encoder.down_blocks.0.conv1.weight" not in tensors or "post_quant_conv.weight" not in tensors:
        raise InputError(
            f"a video autoencoder of a kind that is not read from single files: {some(sorted(tensors))}",
            hint="Give its diffusers folder, or a factory, --vae FILE.py:FACTORY.",
        )
    first = tensors["encoder.conv_in.weight"]
    widths: list[int] = []
    blocks: list[int] = [0]
    temporal: list[bool] = []
    for i in range(_count(tensors, "encoder.down_blocks")):
        block = f"encoder.down_blocks.{i}"
        if f"{block}.conv1.weight" in tensors:
            blocks[-1] += 1
            if blocks[-1] == 1:
                widths.append(int(tensors[f"{block}.conv1.weight"].shape[0]))
        elif f"{block}.resample.1.weight" in tensors:
            temporal.append(f"{block}.time_conv.weight" in tensors)
            blocks.append(0)
    channels, base = int(tensors["post_quant_conv.weight"].shape[0]), int(first.shape[0])
    config = {
        "base_dim": base,
        "z_dim": channels,
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks[0],
        "attn_scales": [],
        "temperal_downsample": temporal,
        "in_channels": int(first.shape[1]),
        "out_channels": int(tensors["decoder.conv_out.weight"].shape[0]),
    }
    traits = (
        f"widths {_dashed(widths)}",
        f"{blocks[0]} block{'s' * (blocks[0] != 1)} a level",
        "a video VAE, used on one frame",
    )
    return Shape("AutoencoderKLWan", config, 2 ** (len(widths) - 1), channels, traits)


def _count(tensors: Tensors, stem: str) -> int:
    """One more than the highest index right under the stem; 0 where there is none."""
    index = re.compile(re.escape(stem) + r"\.(\d{1,3})\.")
    return max((int(match[1]) + 1 for name in tensors if (match := index.match(name))), default=0)


def _dashed(widths: list[int] | tuple[int, ...]) -> str:
    return "-".join(map(str, widths))
