"""One model in every layout and container is the same model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.vae import layout_writers as write
from tests.vae.contract import LAWS
from tests.vae.layout_writers import CONTAINERS, State
from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae import from_checkpoint as from_checkpoint_module
from vaecheck.vae.from_checkpoint import from_checkpoint, model_of
from vaecheck.vae.layouts import find
from vaecheck.vae.load import load_vae
from vaecheck.vae.shapes import Shape, shape_of
from vaecheck.vae.usual import usual_scaling

WIDTHS = (32, 64, 64, 64)
PLAIN: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": WIDTHS,
    "layers_per_block": 1,
}
ATTENTION_BELOW = {
    **PLAIN,
    "down_block_types": (*PLAIN["down_block_types"][:3], "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", *PLAIN["up_block_types"][:3]),
}
WAN = {
    "base_dim": 8,
    "z_dim": 4,
    "num_res_blocks": 2,
    "dim_mult": [1, 2, 4, 4],
    "temperal_downsample": [False, True, True],
}
DC_BLOCKS = ("ResBlock", "ResBlock", "EfficientViTBlock")
DC = {
    "latent_channels": 4,
    "encoder_block_types": DC_BLOCKS,
    "decoder_block_types": DC_BLOCKS,
    "encoder_block_out_channels": (32, 32, 64),
    "decoder_block_out_channels": (32, 32, 64),
    "encoder_layers_per_block": (1, 1, 2),
    "decoder_layers_per_block": (2, 1, 1),
    "encoder_qkv_multiscales": ((), (), (5,)),
    "decoder_qkv_multiscales": ((), (), (5,)),
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
}
DC_UNSHUFFLED = {
    **DC,
    "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_layers_per_block": (0, 1, 2),
    "decoder_layers_per_block": (0, 2, 1),
    "encoder_qkv_multiscales": ((), (), ()),
    "decoder_qkv_multiscales": ((), (), ()),
    "downsample_block_type": "pixel_unshuffle",
    "upsample_block_type": "pixel_shuffle",
    "decoder_norm_types": ("batch_norm", "batch_norm", "rms_norm"),
    "decoder_act_fns": ("relu", "relu", "silu"),
}
ASYMMETRIC = {
    "down_block_types": PLAIN["down_block_types"],
    "up_block_types": PLAIN["up_block_types"],
    "down_block_out_channels": WIDTHS,
    "up_block_out_channels": (64, 64, 96, 96),
    "layers_per_down_block": 1,
    "layers_per_up_block": 2,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "kl": ("AutoencoderKL", PLAIN),
    "kl16": (
        "AutoencoderKL",
        {**PLAIN, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
    ),
    "kl-f16": ("AutoencoderKL", {**ATTENTION_BELOW, "latent_channels": 8, "layers_per_block": 2}),
    "kl-flat": ("AutoencoderKL", {**PLAIN, "mid_block_add_attention": False, "use_quant_conv": False}),
    "flux2": ("AutoencoderKLFlux2", PLAIN),
    "flux2-small": ("AutoencoderKLFlux2", {**PLAIN, "decoder_block_out_channels": (32, 32, 64, 64)}),
    "vq": ("VQModel", {**ATTENTION_BELOW, "num_vq_embeddings": 64, "latent_channels": 4}),
    "movq": ("VQModel", {**ATTENTION_BELOW, "num_vq_embeddings": 64, "latent_channels": 4, "norm_type": "spatial"}),
    "tiny": (
        "AutoencoderTiny",
        {
            "encoder_block_out_channels": (8,) * 4,
            "decoder_block_out_channels": (8,) * 4,
            "num_encoder_blocks": (1, 2, 2, 2),
            "num_decoder_blocks": (2, 2, 2, 1),
        },
    ),
    "asymmetric": ("AsymmetricAutoencoderKL", ASYMMETRIC),
    "dc": ("AutoencoderDC", DC),
    "dc-unshuffled": ("AutoencoderDC", DC_UNSHUFFLED),
    "wan": ("AutoencoderKLWan", WAN),
}
LDM_LIKE = ("kl", "kl16", "kl-f16", "kl-flat", "vq")
LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[Any], State]]] = {
    "diffusers": (tuple(MODELS), write.diffusers),
    "diffusers-old": (LDM_LIKE, write.diffusers_old),
    "diffusers-old-conv": (("kl",), lambda model: write.diffusers_old(model, projection_ndim=4)),
    "ldm": ((*LDM_LIKE, "movq"), write.ldm),
    "ldm-linear": (("kl",), lambda model: write.ldm(model, projection_ndim=2)),
    "ldm-conv1d": (("kl",), lambda model: write.ldm(model, projection_ndim=3)),
    "flux2": (("flux2", "flux2-small"), lambda model: write.ldm(model, quant_inside=True)),
    "full": (LDM_LIKE, lambda model: write.full_checkpoint(write.ldm(model))),
    "full-diffusers": (("kl", "kl16"), lambda model: write.full_checkpoint(write.diffusers(model))),
    "comfy": (("kl16", "flux2"), lambda model: write.full_checkpoint(write.ldm(model), "vae.")),
    "model.first_stage": (("kl",), lambda model: write.full_checkpoint(write.ldm(model), "model.first_stage_model.")),
    "training": (("kl", "vq"), lambda model: write.training_checkpoint(write.ldm(model))),
    "full-training": (("kl",), lambda model: write.full_checkpoint(write.training_checkpoint(write.ldm(model)))),
    "ddp": (("kl",), lambda model: write.under("module.", write.ldm(model))),
    "compiled": (("kl", "vq"), lambda model: write.under("_orig_mod.", write.diffusers(model))),
    "ddp-compiled": (("kl",), lambda model: write.under("module._orig_mod.", write.diffusers(model))),
    "taesd": (("tiny",), write.taesd),
    "dc-ae": (("dc", "dc-unshuffled"), write.dc_ae),
    "wan": (("wan",), write.wan),
}
CASES = [(layout, name) for layout, (names, _) in LAYOUTS.items() for name in names]
# Every container with every layout of the plain model, and each other model once in each container.
WRITTEN = [
    (layout, name, container)
    for layout, name in CASES
    for container in CONTAINERS
    if name == "kl" or container == "safetensors" or layout in ("ldm", "flux2", "taesd", "dc-ae", "wan")
]


@cache
def original(name: str) -> Any:
    """A model with random values in every tensor, the norms' and running statistics too."""
    import diffusers

    class_name, config = MODELS[name]
    torch.manual_seed(0)
    model = getattr(diffusers, class_name)(**config)
    for key, tensor in model.state_dict().items():
        if key.endswith(("running_var",)):
            tensor.uniform_(0.5, 2.0)
        elif tensor.ndim < 2 and tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor), alpha=0.1)
    return model.eval()


@cache
def answers(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, the latents of the original, and what it decodes from them."""
    model = original(name)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        encoded = model.encode(pixels.unsqueeze(2) if name == "wan" else pixels)
        latents = next(encoded[key] for key in ("latent_dist", "latents", "latent") if key in encoded)
        latents = latents.mean if hasattr(latents, "mean") and not isinstance(latents, Tensor) else latents
        decoded = model.decode(latents).sample
    return pixels, latents.reshape(2, -1, *latents.shape[-2:]), decoded.reshape(pixels.shape)


def written(name: str, layout: str, folder: Path, container: str = "safetensors") -> Path:
    file, save = CONTAINERS[container]
    save(LAYOUTS[layout][1](original(name)), folder / file)
    return folder / file


def saved(state: State, folder: Path) -> Path:
    write.save_safetensors(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def refused(state: State, folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        model_of(saved(state, folder))
    assert caught.value.hint
    assert "model.safetensors" in caught.value.message
    return caught.value


@pytest.mark.parametrize(("layout", "name", "container"), WRITTEN)
def test_every_layout_in_every_container_is_the_same_model(
    layout: str, name: str, container: str, tmp_path: Path
) -> None:
    adapted = from_checkpoint(written(name, layout, tmp_path, container))
    assert adapted.module is not None
    expected, loaded = original(name).state_dict(), adapted.module.state_dict()
    assert expected.keys() == loaded.keys()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    pixels, latents, decoded = answers(name)
    with torch.no_grad():
        torch.testing.assert_close(adapted.encode(pixels).mean, latents, rtol=0, atol=1e-6)
        torch.testing.assert_close(adapted.decode(latents), decoded, rtol=0, atol=1e-6)
    assert not any(tensor.is_meta for tensor in (*adapted.module.parameters(), *adapted.module.buffers()))


@pytest.mark.parametrize("name", ["kl", "kl16"])
def test_the_writer_agrees_with_diffusers_own_conversion(name: str) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    model = original(name)
    converted = convert_ldm_vae_checkpoint(write.ldm(model), dict(model.config))
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[key], value) for key, value in expected.items())


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_single_file_keeps_the_contract_of_every_adapter(law: Callable[..., None], tmp_path: Path) -> None:
    law(partial(load_vae, str(written("kl", "full", tmp_path))))


def test_a_buffer_that_no_file_has_is_made_and_not_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("steps", torch.arange(3.0), persistent=False)

    monkeypatch.setattr(from_checkpoint_module, "_made", lambda _: Model())
    weights = {"weight": torch.eye(2), "bias": torch.ones(2)}
    loaded = from_checkpoint_module._loaded(Shape("Linear", {}, 1, 2, ()), weights)
    assert torch.equal(loaded.get_buffer("steps"), torch.arange(3.0))
    assert torch.equal(loaded.get_parameter("weight"), torch.eye(2))


class Reference:
    """LDM's encoder and decoder in functions of a state dict with LDM's names.

    Source: CompVis/latent-diffusion, ldm/modules/diffusionmodules/model.py: GroupNorm of 32 groups and eps 1e-6,
    swish, one-head attention scaled by C**-0.5, downsampling padded on the right and bottom.
    """

    def __init__(self, state: State, levels: int, blocks: int) -> None:
        self.state, self.levels, self.blocks = state, levels, blocks

    def conv(self, name: str, x: Tensor, **options: int) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(
            x, weight, self.state[f"{name}.bias"], padding=options.pop("padding", weight.shape[-1] // 2), **options
        )

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps=1e-6)

    def resnet(self, name: str, x: Tensor) -> Tensor:
        h = x
        for i in (1, 2):
            h = self.norm(f"{name}.norm{i}", h)
            h = self.conv(f"{name}.conv{i}", h * torch.sigmoid(h))
        return (self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.state else x) + h

    def attention(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.q.weight" not in self.state:
            return x
        h = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", h).flatten(2) for part in "qkv")
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * q.shape[1] ** -0.5, dim=2)
        return x + self.conv(f"{name}.proj_out", torch.einsum("bcj,bij->bci", v, weights).reshape(x.shape))

    def level(self, name: str, x: Tensor, blocks: int) -> Tensor:
        for j in range(blocks):
            x = self.attention(f"{name}.attn.{j}", self.resnet(f"{name}.block.{j}", x))
        return x

    def ends(self, half: str, x: Tensor) -> Tensor:
        h = self.norm(f"{half}.norm_out", x)
        return self.conv(f"{half}.conv_out", h * torch.sigmoid(h))

    def middle(self, half: str, x: Tensor) -> Tensor:
        x = self.attention(f"{half}.mid.attn_1", self.resnet(f"{half}.mid.block_1", x))
        return self.resnet(f"{half}.mid.block_2", x)

    def encode(self, x: Tensor) -> Tensor:
        x = self.conv("encoder.conv_in", x)
        for i in range(self.levels):
            x = self.level(f"encoder.down.{i}", x, self.blocks)
            if i < self.levels - 1:
                x = self.conv(f"encoder.down.{i}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        return self.conv("quant_conv", self.ends("encoder", self.middle("encoder", x)))

    def codes(self, z: Tensor) -> Tensor:
        book = self.state["quantize.embedding.weight"]
        distances = ((z.permute(0, 2, 3, 1)[..., None, :] - book) ** 2).sum(-1)
        return distances.argmin(-1)

    def decode(self, z: Tensor) -> Tensor:
        if "quantize.embedding.weight" in self.state:
            z = self.state["quantize.embedding.weight"][self.codes(z)].permute(0, 3, 1, 2)
        x = self.middle("decoder", self.conv("decoder.conv_in", self.conv("post_quant_conv", z)))
        for i in reversed(range(self.levels)):
            x = self.level(f"decoder.up.{i}", x, self.blocks + 1)
            if i:
                x = self.conv(f"decoder.up.{i}.upsample.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.ends("decoder", x)


@pytest.mark.parametrize("name", ["kl", "kl-f16", "vq"])
def test_the_numbers_are_ldms(name: str, tmp_path: Path) -> None:
    adapted = from_checkpoint(written(name, "ldm", tmp_path))
    reference = Reference(write.ldm(original(name)), levels=4, blocks=2 if name == "kl-f16" else 1)
    pixels = answers(name)[0]
    with torch.no_grad():
        ours, theirs = adapted.encode(pixels), reference.encode(pixels)
        latents = theirs[:, : ours.mean.shape[1]]
        torch.testing.assert_close(ours.mean, latents, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(adapted.decode(latents), reference.decode(latents), rtol=1e-4, atol=1e-5)
        if name == "vq":
            assert ours.codes is not None
            assert torch.equal(ours.codes, reference.codes(latents))
            assert len(set(ours.codes.flatten().tolist())) > 5
            assert adapted.codebook_size == 64


class TestRecognised:
    def test_the_line_for_a_full_checkpoint(self, tmp_path: Path) -> None:
        checkpoint = model_of(written("kl", "full", tmp_path))
        assert checkpoint.recognised == (
            "LDM VAE inside a full checkpoint (first_stage_model.*): f8, 4 latent channels, widths 32-64-64-64, "
            "1 block a level; 32 groups in GroupNorm assumed; scaling factor not in the file "
            "(beside it is a model like SD 1's, usually 0.18215)"
        )
        assert checkpoint.warnings == (
            "GroupNorm's groups are not in the file and 32 is a guess; where it is wrong, so are the pictures: "
            "put the VAE's config.json beside the file",
            "the file does not carry its scaling factor: settle it with --scaling-factor (and --shift-factor)",
        )

    @pytest.mark.parametrize(
        ("name", "layout", "words"),
        [
            ("kl16", "ldm", ("LDM VAE alone: f8, 16 latent channels", "no quant convs")),
            ("kl-f16", "ldm", ("attention in level 4", "2 blocks a level")),
            ("vq", "training", ("LDM VQ model alone", "64 codes")),
            ("movq", "diffusers", ("diffusers VQ model alone", "spatial norms (MoVQ)")),
            ("flux2", "flux2", ("LDM Flux.2 VAE alone", "scaling from the BatchNorm statistics")),
            ("tiny", "taesd", ("original TAESD alone: f8", "deterministic")),
            ("asymmetric", "diffusers", ("asymmetric VAE", "64-64-96-96 in the decoder")),
            ("dc", "dc-ae", ("original DC-AE alone: f4", "activations and shortcuts assumed")),
            ("wan", "wan", ("Wan 2.1 or Qwen-Image VAE", "used on one frame")),
            ("kl", "ddp-compiled", ("diffusers VAE alone: f8",)),
        ],
    )
    def test_the_line_says_what_it_is(self, name: str, layout: str, words: tuple[str, ...], tmp_path: Path) -> None:
        checkpoint = model_of(written(name, layout, tmp_path))
        assert all(word in checkpoint.recognised for word in words), checkpoint.recognised
        assert checkpoint.config["_class_name"] == MODELS[name][0]

    def test_the_config_makes_the_same_model(self, tmp_path: Path) -> None:
        import diffusers

        checkpoint = model_of(written("kl-f16", "ldm", tmp_path))
        again = diffusers.AutoencoderKL.from_config(checkpoint.config)
        assert again.state_dict().keys() == original("kl-f16").state_dict().keys()
        assert "scaling_factor" not in checkpoint.config

    @pytest.mark.parametrize(
        ("beside", "family"),
        [
            ("conditioner.embedders.1.model.ln_final.bias", "SDXL's, usually 0.13025"),
            ("cond_stage_model.model.ln_final.bias", "SD 2's, usually 0.18215"),
            ("model.diffusion_model.joint_blocks.0.x_block.attn.proj.bias", "SD 3's, usually 1.5305"),
            ("model.diffusion_model.double_blocks.0.img_attn.proj.bias", "Flux.1's, usually 0.3611"),
        ],
    )
    def test_what_stands_beside_tells_the_family_and_not_the_factor(
        self, beside: str, family: str, tmp_path: Path
    ) -> None:
        state = {**write.under("first_stage_model.", write.ldm(original("kl"))), beside: torch.zeros(4)}
        checkpoint = model_of(saved(state, tmp_path))
        assert f"beside it is a model like {family}" in checkpoint.recognised
        assert checkpoint.scaling == LatentScaling()

    def test_shapes_that_two_families_share(self) -> None:
        config = {"block_out_channels": [128, 256, 512, 512], "use_quant_conv": True}
        said = usual_scaling(Shape("AutoencoderKL", config, 8, 4, ()), [])
        assert said == "this shape is that of SD 1 and 2, 0.18215, and of SDXL, 0.13025"
        said = usual_scaling(Shape("AutoencoderKL", config | {"use_quant_conv": False}, 8, 16, ()), [])
        assert "SD 3, 1.5305" in said
        assert "Flux.1, 0.3611" in said

    def test_averages_give_way_and_are_named(self, tmp_path: Path) -> None:
        state, zeros = write.ldm(original("kl")), {n: torch.zeros_like(t) for n, t in write.ldm(original("kl")).items()}
        both = model_of(saved({**write.under("model_ema.", zeros), **write.under("model.", state)}, tmp_path))
        assert "other copies left out (model_ema.*)" in both.recognised
        assert torch.equal(both.model.get_parameter("encoder.conv_in.bias"), state["encoder.conv_in.bias"])
        alone = model_of(saved(write.under("ema.", state), tmp_path))
        assert "averaged (EMA) weights, the only ones there" in alone.recognised

    def test_half_precision_is_told(self, tmp_path: Path) -> None:
        state = {name: tensor.half() for name, tensor in write.ldm(original("kl")).items()}
        checkpoint = model_of(saved(state, tmp_path))
        assert checkpoint.stored_dtype == torch.float16
        assert any("stored in float16" in warning for warning in checkpoint.warnings)
        assert {tensor.dtype for tensor in checkpoint.model.parameters()} == {torch.float32}


class TestGroups:
    def test_a_width_that_32_does_not_divide_is_a_guess_that_is_said(self, tmp_path: Path) -> None:
        import diffusers

        config = {**PLAIN, "block_out_channels": (24, 48, 48, 48), "norm_num_groups": 8}
        model = diffusers.AutoencoderKL(**config).eval()
        checkpoint = model_of(saved(write.ldm(model), tmp_path))
        assert checkpoint.config["norm_num_groups"] == 8
        assert "8 groups in GroupNorm assumed" in checkpoint.recognised
        assert any("8 is a guess" in warning for warning in checkpoint.warnings)

    def test_a_config_beside_the_file_says_groups_and_scaling(self, tmp_path: Path) -> None:
        import diffusers

        torch.manual_seed(0)
        model = diffusers.AutoencoderKL(**PLAIN | {"norm_num_groups": 4, "scaling_factor": 0.3}).eval()
        path = saved(write.ldm(model), tmp_path)
        assert model_of(path).config["norm_num_groups"] == 32
        model.save_config(tmp_path)
        checkpoint = model_of(path)
        assert checkpoint.warnings == ()
        assert checkpoint.scaling == LatentScaling(0.3, source="config.json beside it")
        assert "4 groups in GroupNorm from config.json beside it" in checkpoint.recognised
        pixels = torch.rand(1, 3, 32, 32) * 2 - 1
        with torch.no_grad():
            expected = model.encode(pixels).latent_dist.mean
            assert torch.equal(checkpoint.model.encode(pixels).latent_dist.mean, expected)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"_class_name": "UNet2DModel", "norm_num_groups": 4}, ""),
            (
                {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [8]},
                "block_out_channels is [8]",
            ),
            ([], ""),
        ],
    )
    def test_a_config_of_something_else_is_not_used(self, tmp_path: Path, config: object, words: str) -> None:
        path = saved(write.ldm(original("kl")), tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(config))
        checkpoint = model_of(path)
        assert checkpoint.config["norm_num_groups"] == 32
        assert not checkpoint.scaling.known
        assert any("config.json beside it is not used" in text for text in checkpoint.warnings) == bool(words)
        assert words in " ".join(checkpoint.warnings)

    def test_32_groups_in_wide_levels_are_the_custom(self, tmp_path: Path) -> None:
        import diffusers

        model = diffusers.AutoencoderKL(**{**PLAIN, "block_out_channels": (64,) * 4})
        checkpoint = model_of(saved(write.ldm(model), tmp_path))
        assert "32 groups in GroupNorm assumed" in checkpoint.recognised
        assert not any("guess" in warning for warning in checkpoint.warnings)

    def test_the_files_own_number_is_taken(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        file = tmp_path / "model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in write.ldm(original("kl")).items()}
        save_file(tensors, file, metadata={"config": '{"norm_num_groups": 16, "scaling_factor": 0.5}'})
        checkpoint = model_of(file)
        assert checkpoint.config["norm_num_groups"] == 16
        assert "GroupNorm" not in checkpoint.recognised
        assert checkpoint.scaling == LatentScaling(0.5, source="config.scaling_factor in the file")


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_pictures_than_rgb(channels: int, tmp_path: Path) -> None:
    import diffusers

    config = {**PLAIN, "in_channels": channels, "out_channels": channels}
    file = saved(write.ldm(diffusers.AutoencoderKL(**config)), tmp_path)
    assert f"{channels} image channel" in model_of(file).recognised
    assert load_vae(str(file)).card.image_channels == channels


@pytest.mark.parametrize("levels", [3, 4, 5, 6])
def test_f_is_read_from_the_levels(levels: int, tmp_path: Path) -> None:
    import diffusers

    config = {
        "block_out_channels": (32,) * levels,
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": 2 * levels,
    }
    card = load_vae(str(saved(write.ldm(diffusers.AutoencoderKL(**config)), tmp_path))).card
    assert (card.f, card.latent_channels) == (2 ** (levels - 1), 2 * levels)
    assert card.recognised.startswith(f"LDM VAE alone: f{card.f}, {card.latent_channels} latent channels")


class TestScaling:
    def test_a_given_factor_settles_it(self, tmp_path: Path) -> None:
        file = written("kl", "full", tmp_path)
        unknown, given = load_vae(str(file)), load_vae(str(file), scaling_factor=0.13025)
        assert not unknown.card.scaling.known
        assert any("--scaling-factor" in warning for warning in unknown.warnings)
        assert given.card.scaling == LatentScaling(0.13025, source="given")
        assert not any("--scaling-factor" in warning for warning in given.warnings)

    def test_the_buffer_of_scale_by_std(self, tmp_path: Path) -> None:
        state = {**write.full_checkpoint(write.ldm(original("kl"))), "scale_factor": torch.tensor(0.25)}
        checkpoint = model_of(saved(state, tmp_path))
        assert checkpoint.scaling == LatentScaling(0.25, source="scale_factor in the file")
        assert checkpoint.config["scaling_factor"] == 0.25
        assert not any("--scaling-factor" in warning for warning in checkpoint.warnings)

    def test_lightnings_hyperparameters(self, tmp_path: Path) -> None:
        state = write.full_checkpoint(write.ldm(original("kl")))
        torch.save({"state_dict": state, "hyper_parameters": {"scale_factor": 0.18215}}, tmp_path / "model.ckpt")
        scaling = model_of(tmp_path / "model.ckpt").scaling
        assert scaling == LatentScaling(0.18215, source="hyper_parameters.scale_factor in the file")

    def test_playgrounds_means_and_stds(self, tmp_path: Path) -> None:
        means, stds = (0.5, -0.25, 1.0, 2.0), (1.0, 2.0, 3.0, 4.0)
        state = write.full_checkpoint(write.ldm(original("kl")))
        state |= {
            "edm_mean": torch.tensor(means).reshape(1, 4, 1, 1),
            "edm_std": torch.tensor(stds).reshape(1, 4, 1, 1),
        }
        checkpoint = model_of(saved(state, tmp_path))
        assert (checkpoint.scaling.scaling_factor, checkpoint.scaling.channel_means) == (0.5, means)
        assert checkpoint.config["latents_std"] == list(stds)

    def test_flux2s_statistics(self, tmp_path: Path) -> None:
        scaling, norm = model_of(written("flux2", "flux2", tmp_path)).scaling, original("flux2").bn
        assert scaling.patch == 2
        assert scaling.scaling_factor is None
        torch.testing.assert_close(torch.tensor(scaling.channel_means), norm.running_mean)
        torch.testing.assert_close(torch.tensor(scaling.channel_stds), torch.sqrt(norm.running_var + 1e-4))

    @pytest.mark.parametrize("value", [float("nan"), 0.0, float("inf")])
    def test_a_factor_that_scales_nothing_counts_as_unknown(self, value: float, tmp_path: Path) -> None:
        state = {**write.full_checkpoint(write.ldm(original("kl"))), "scale_factor": torch.tensor(value)}
        assert not model_of(saved(state, tmp_path)).scaling.known


class TestRefused:
    @pytest.mark.parametrize("half", ["encoder", "decoder"])
    def test_half_a_vae(self, half: str, tmp_path: Path) -> None:
        state = {name: tensor for name, tensor in write.ldm(original("kl")).items() if name.startswith(half)}
        error = refused(state, tmp_path)
        missing = "decoder" if half == "encoder" else "encoder"
        assert f"the {half} of an autoencoder alone; the {missing} is missing" in error.message

    @pytest.mark.parametrize("half", ["encoder", "decoder"])
    def test_half_a_taesd(self, half: str, tmp_path: Path) -> None:
        whole = write.taesd(original("tiny"))
        state = {name.removeprefix(f"{half}."): value for name, value in whole.items() if name.startswith(f"{half}.")}
        assert f"the {half} of an autoencoder alone" in refused(state, tmp_path).message

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("model.diffusion_model.input_blocks.0.0.weight", "a U-Net"),
            ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
            ("control_model.zero_convs.0.0.weight", "a ControlNet"),
            ("double_blocks.0.img_attn.qkv.weight", "a diffusion transformer"),
            ("text_model.encoder.layers.0.mlp.fc1.weight", "a text encoder"),
        ],
    )
    def test_other_models(self, name: str, what: str, tmp_path: Path) -> None:
        error = refused({name: torch.zeros(2, 2)}, tmp_path)
        assert f"it holds {what} and no VAE" in error.message

    def test_tensors_of_nothing_known(self, tmp_path: Path) -> None:
        assert "no encoder and decoder of a VAE" in refused({"fc.weight": torch.zeros(2, 2)}, tmp_path).message

    def test_a_missing_tensor_is_named(self, tmp_path: Path) -> None:
        state = write.ldm(original("kl"))
        del state["decoder.up.1.block.0.conv2.bias"]
        error = refused(state, tmp_path)
        assert "1 missing (decoder.up_blocks.2.resnets.0.conv2.bias)" in error.message
        assert "cut short" in error.hint

    def test_an_unexpected_tensor_is_named(self, tmp_path: Path) -> None:
        state = {**write.ldm(original("kl")), "encoder.extra.weight": torch.zeros(2), "gain": torch.zeros(1)}
        assert "2 unexpected (encoder.extra.weight, gain)" in refused(state, tmp_path).message

    def test_a_tensor_of_another_shape_is_named(self, tmp_path: Path) -> None:
        state = {**write.ldm(original("kl")), "encoder.conv_in.bias": torch.zeros(7)}
        assert "1 of another shape (encoder.conv_in.bias (7,) for (32,))" in refused(state, tmp_path).message

    def test_pictures_of_a_kind_that_nobody_has(self, tmp_path: Path) -> None:
        state = {**write.ldm(original("kl")), "encoder.conv_in.weight": torch.zeros(32, 9, 3, 3)}
        assert "pictures of 9 channels" in refused(state, tmp_path).message

    def test_latents_narrower_than_the_encoder(self, tmp_path: Path) -> None:
        state = write.ldm(original("kl"))
        state |= {"quant_conv.weight": torch.zeros(4, 8, 1, 1), "quant_conv.bias": torch.zeros(4)}
        assert "embed_dim" in refused(state, tmp_path).message

    def test_no_variances_and_no_codebook(self, tmp_path: Path) -> None:
        state = {name: value for name, value in write.ldm(original("vq")).items() if "quantize" not in name}
        assert "no variances, and no codebook" in refused(state, tmp_path).message

    def test_a_taesd_with_pools(self, shared: Path) -> None:
        halves = {half: torch.load(shared / "models/taef2" / f"{half}.pth") for half in ("encoder", "decoder")}
        state = {f"{half}.{name}": value for half, part in halves.items() for name, value in part.items()}
        with pytest.raises(InputError, match="pooled blocks"):
            shape_of(find(state).tensors)

    def test_levels_named_in_no_known_way(self, tmp_path: Path) -> None:
        state = {f"{half}.conv_in.weight": torch.zeros(4, 4, 3, 3) for half in ("encoder", "decoder")}
        assert "named in no way that vaecheck knows" in refused(state, tmp_path).message


@pytest.mark.slow
class TestSpeed:
    def test_only_the_vaes_tensors_are_copied(self, tmp_path: Path) -> None:
        state = write.full_checkpoint(write.ldm(original("kl")))
        state["model.diffusion_model.big.weight"] = torch.zeros(40_000_000)
        file = saved(state, tmp_path)
        code = (
            "import vaecheck.vae.from_checkpoint as c, resource; from pathlib import Path; import diffusers.models;\n"
        )
        code += "from diffusers import AutoencoderKL; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        code += f"c.model_of(Path({str(file)!r}))\n"
        code += "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
        mebibytes = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        assert mebibytes < 100
