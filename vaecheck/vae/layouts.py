"""The names that tensors of an autoencoder have in the wild, brought to those of diffusers.

Five layouts are told apart by their keys: `ldm` (CompVis, Stability AI, Black Forest Labs: encoder.down.0.block.0),
`diffusers` (with new or old attention names), `taesd` (encoder.0), `dc-ae` (encoder.stages.0) and `wan`
(encoder.downsamples.0). Each may lie under any prefix (first_stage_model., vae., module.) among other tensors.

Why diffusers' own conversion of the LDM layout is not used: it forgets attention inside levels (kl-f16, vq-f8) and
Flux.2's quant convs, and drops what it does not know without a word. Those of DC-AE and Wan are used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from vaecheck.errors import InputError
from vaecheck.vae.adapter import one_line
from vaecheck.vae.pickles import printable

Layout = Literal["ldm", "diffusers", "taesd", "dc-ae", "wan"]

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
EMA = re.compile(
    r"(^|[._])(ema|ema_model|model_ema|ema_params|avg|averaged|averaged_model|shadow|shadow_params|swa)([._]|$)"
)
FIRST_CONVOLUTION = re.compile(
    r"(?P<prefix>(?:.+\.)?)(?:"
    r"(?P<encoder>encoder)\.(?:conv_in(?:\.conv)?|conv1|project_in\.conv(?:\.conv)?|layers\.0|0)|"
    r"(?P<decoder>decoder)\.(?:conv_in(?:\.conv)?|conv1|project_in(?:\.main)?\.conv|layers\.0|1)"
    r")\.weight"
)
PREFERRED = ("", "first_stage_model.", "vae.", "model.first_stage_model.", "autoencoder.", "model.")
PARTS = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv|quantize|bn|conv1|conv2)\.")
# What trainers save beside a VAE: the losses of LDM, discriminators, averages, optimisers, counters.
BESIDE = re.compile(
    r"(\w*loss|(\w*_)?discriminator|disc|lpips|perceptual\w*|optimi[sz]er\w*|lr_schedulers?|callbacks|\w*scheduler)\b.*|"
    r"(log_?var|colorize|scale_factor|scaling_factor|shift_factor|decay|num_updates|global_step|step|epoch)|"
    r"(vae_scale|vae_shift|edm_mean|edm_std)|decoder\.up_layers\..*|quantize\.embedding\.(cluster_size|embed_avg)|quantize\.used"
)
LEVEL_MARKS: tuple[tuple[Layout, str], ...] = (
    ("ldm", r"encoder\.(down|mid)\."),
    ("diffusers", r"encoder\.(down_blocks|mid_block|layers)\."),
    ("taesd", r"encoder\.\d+\."),
    ("dc-ae", r"encoder\.stages\."),
    ("wan", r"encoder\.(downsamples|middle)\."),
)
LDM_NAMES = (
    (re.compile(r"^(?:encoder\.)?quant_conv\."), "quant_conv."),
    (re.compile(r"^(?:decoder\.)?post_quant_conv\."), "post_quant_conv."),
    (re.compile(r"^decoder\.encoder\."), "decoder.condition_encoder."),
    (re.compile(r"\.down\.(\d+)\."), r".down_blocks.\1."),
    (re.compile(r"\.mid\.block_1\."), ".mid_block.resnets.0."),
    (re.compile(r"\.mid\.block_2\."), ".mid_block.resnets.1."),
    (re.compile(r"\.mid\.attn_1\."), ".mid_block.attentions.0."),
    (re.compile(r"\.block\.(\d+)\."), r".resnets.\1."),
    (re.compile(r"\.attn\.(\d+)\."), r".attentions.\1."),
    (re.compile(r"\.(down|up)sample\."), r".\1samplers.0."),
    (re.compile(r"\.norm_out\."), ".conv_norm_out."),
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
)
LDM_UP = re.compile(r"\.up\.(\d{1,3})\.")
# LDM's names and diffusers' old ones for the parts of an attention.
ATTENTION_PART = re.compile(
    r"(\.attentions\.\d+\.)(q|k|v|proj_out|norm|query|key|value|proj_attn)\.(?=[^.]+(\.[^.]+)?$)"
)
ATTENTION_NAMES = {
    **{"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"},
    **{"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"},
}
PROJECTION = re.compile(r"\.attentions\.\d+\.(to_q|to_k|to_v|to_out\.0)\.weight$")

WHAT_ELSE = (
    (r"lora_(up|down|A|B|unet|te)|\.lora\.|hada_w|lokr_w", "a LoRA"),
    (r"control_model\.|controlnet_|zero_convs\.", "a ControlNet"),
    (r"(^|\.)(input_blocks|output_blocks)\.|^(down_blocks|up_blocks|mid_block)\..*attn2", "a U-Net"),
    (r"(double_blocks|single_blocks|joint_blocks|transformer_blocks)\.", "a diffusion transformer"),
    (r"text_model\.|resblocks\.|(^|\.)encoder\.block\.|embed_tokens", "a text encoder"),
)
NO_VAE_HINT = "Give a full checkpoint with its VAE baked in, or the VAE's own file."


@dataclass(frozen=True)
class Found:
    """The autoencoder among a file's tensors.

    tensors: under diffusers' names. prefix: where it was ("first_stage_model."), empty at the top.
    beside: how many tensors of the file do not belong to it. ema: these are averaged weights, none else being there;
    other_copies: prefixes of further autoencoders in the file, which are left out.
    """

    layout: Layout
    prefix: str
    tensors: dict[str, Tensor]
    beside: int
    ema: bool = False
    other_copies: tuple[str, ...] = ()


def find(tensors: Mapping[str, Tensor]) -> Found:
    """The autoencoder in a file, by the names and dimensions of its tensors. Raises InputError when there is none.

    Where there are several, an average (EMA) gives way, then a well-known prefix wins, then the shortest.
    """
    unwrapped: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if unwrapped.setdefault(_unwrapped(name), tensor) is not tensor:
            raise InputError(
                f"two tensors of one name, {printable(_unwrapped(name))}: one of them as {printable(name)}",
                hint="The file mixes two models. Save the one that is meant alone.",
            )
    halves = _halves(unwrapped)
    whole = [prefix for prefix, found in halves.items() if found == {"encoder", "decoder"}]
    if not whole:
        raise _nothing_whole(unwrapped, halves)
    prefix = min(whole, key=_rank)
    under = {name.removeprefix(prefix): tensor for name, tensor in unwrapped.items() if name.startswith(prefix)}
    own = {name: tensor for name, tensor in under.items() if _belongs(name, prefix)}
    layout = _layout(own)
    try:
        converted = _CONVERSIONS[layout](own)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise InputError(
            f"tensors named nearly as in the {layout} layout, but not quite: {one_line(error)}",
            hint="The file may be damaged, or of a model that vaecheck does not know.",
        ) from error
    return Found(
        layout,
        prefix,
        converted,
        beside=len(tensors) - len(own),
        ema=bool(EMA.search(prefix)),
        other_copies=tuple(sorted(other for other in whole if other != prefix)),
    )


def _unwrapped(name: str) -> str:
    """The name without what DistributedDataParallel, FSDP and torch.compile put into it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _halves(tensors: Mapping[str, Tensor]) -> dict[str, set[str]]:
    """Prefix -> which of encoder and decoder begin under it."""
    halves: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        if (match := FIRST_CONVOLUTION.fullmatch(name)) and tensor.ndim >= 4:
            halves.setdefault(match["prefix"], set()).add(match["encoder"] or match["decoder"])
    return halves


def _rank(prefix: str) -> tuple[bool, int, int, str]:
    known = PREFERRED.index(prefix) if prefix in PREFERRED else len(PREFERRED)
    return bool(EMA.search(prefix)), known, len(prefix), prefix


def _belongs(name: str, prefix: str) -> bool:
    """Whether a tensor under the prefix is the model's, to be loaded or to be complained about.

    Under no prefix, whatever is not a part of an autoencoder may be another model's; but a name beside the encoder
    and decoder that no trainer is known to save might be a part that we do not know.
    """
    if PARTS.match(name):
        return not BESIDE.fullmatch(name)
    other_model = not prefix and re.match(r"(model|cond_stage_model|conditioner|text_encoders?|unet|denoiser)\.", name)
    return not (other_model or BESIDE.fullmatch(name) or EMA.search(name))


def _layout(tensors: Mapping[str, Tensor]) -> Layout:
    for layout, mark in LEVEL_MARKS:
        if any(re.match(mark, name) for name in tensors):
            return layout
    raise InputError(
        f"an encoder and a decoder whose levels are named in no way that vaecheck knows: {some(sorted(tensors))}",
        hint="Wrap it in a factory, --vae FILE.py:FACTORY, or convert it to diffusers' format.",
    )


def _from_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    top = max((int(match[1]) for name in tensors if (match := LDM_UP.search(name))), default=0)

    def renamed(name: str) -> str:
        name = LDM_UP.sub(lambda match: f".up_blocks.{top - int(match[1])}.", name)
        for pattern, replacement in LDM_NAMES:
            name = pattern.sub(replacement, name)
        return name

    return _from_diffusers({renamed(name): tensor for name, tensor in tensors.items()})


def _from_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention under its new names, its projections as matrices."""
    converted = {}
    for name, tensor in tensors.items():
        name = ATTENTION_PART.sub(_attention_name, name)
        if PROJECTION.search(name) and tensor.ndim > 2 and set(tensor.shape[2:]) == {1}:
            tensor = tensor.flatten(1)
        converted[name] = tensor
    return converted


def _attention_name(match: re.Match[str]) -> str:
    rest = match.string[match.end() :]
    spatial = match[2] == "norm" and rest.startswith(("norm_layer.", "conv_y.", "conv_b."))
    if match[2] == "norm" and rest == "gamma":
        return match[0]
    return f"{match[1]}{'spatial_norm' if spatial else ATTENTION_NAMES[match[2]]}."


def _from_taesd(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's first layer, a clamp without weights, is no layer in diffusers."""
    converted = {}
    for name, tensor in tensors.items():
        half, index, rest = name.split(".", 2)
        if not index.isdecimal():
            raise InputError(f"{name} is no tensor of a TAESD", hint="Wrap the model in a factory, FILE.py:FACTORY.")
        converted[f"{half}.layers.{int(index) - (half == 'decoder')}.{rest}"] = tensor
    return converted


def _from_dc_ae(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_autoencoder_dc_checkpoint_to_diffusers

    return dict(convert_autoencoder_dc_checkpoint_to_diffusers(dict(tensors)))


def _from_wan(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    return dict(convert_wan_vae_to_diffusers(dict(tensors)))


_CONVERSIONS = {
    "ldm": _from_ldm,
    "diffusers": _from_diffusers,
    "taesd": _from_taesd,
    "dc-ae": _from_dc_ae,
    "wan": _from_wan,
}


def _nothing_whole(tensors: Mapping[str, Tensor], halves: Mapping[str, set[str]]) -> InputError:
    """Why there is no autoencoder: a half of one, or something else."""
    if not tensors:
        return InputError("it holds no tensors", hint=NO_VAE_HINT)
    bare = {
        match[1] for name in tensors if (match := re.match(r"(\d+)\.(weight|conv\.0\.weight|pool\.0\.weight)$", name))
    }
    if bare and all(re.match(r"\d+\.", name) for name in tensors):
        half = "encoder" if "0" in bare else "decoder"
    elif halves:
        half = next(iter(halves[min(halves, key=_rank)]))
    else:
        what = what_else(tensors)
        holds = f"it holds {what} and no VAE" if what else "no encoder and decoder of a VAE are in it"
        return InputError(f"{holds}: {len(tensors)} tensors, {some(tensors)}", hint=NO_VAE_HINT)
    missing = "decoder" if half == "encoder" else "encoder"
    return InputError(
        f"it holds the {half} of an autoencoder alone; the {missing} is missing",
        hint=f"Give one file with both halves (names that begin with encoder. and decoder.), or a factory that "
        f"loads the {half} and the {missing}.",
    )


def what_else(names: Iterable[str]) -> str:
    """What the tensors are if they are no VAE's ("a U-Net and a text encoder"), by their names; empty if unknown."""
    hits: Counter[str] = Counter()
    for name in names:
        for pattern, what in WHAT_ELSE:
            if re.search(pattern, name):
                hits[what] += 1
                break
    return " and ".join(what for what, _ in hits.most_common(2))


def some(names: Iterable[str], count: int = 3) -> str:
    """The first few names, for a message."""
    listed = [printable(name) for name in names]
    return ", ".join(listed[:count]) + (", ..." if len(listed) > count else "")
