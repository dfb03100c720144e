"""What a file says beside its weights: taken where it is the autoencoder's own, and nowhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.vae import layout_writers as write
from vaecheck.errors import InputError
from vaecheck.results.types import LatentScaling
from vaecheck.vae.from_checkpoint import model_of


@cache
def state() -> dict[str, Tensor]:
    import diffusers

    torch.manual_seed(0)
    return write.ldm(
        diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(64, 64, 64),
            layers_per_block=1,
        )
    )


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "model.ckpt")
    return folder / "model.ckpt"


def scaling_with(folder: Path, hyper_parameters: dict[str, Any]) -> LatentScaling:
    return model_of(saved(folder, {"state_dict": state(), "hyper_parameters": hyper_parameters})).scaling


class TestHyperParameters:
    @pytest.mark.parametrize(
        "others",
        [
            {"lr_scheduler": {"scaling_factor": 0.1}},
            {"cond_stage_config": {"params": {"rope": {"scaling_factor": 8.0}}}},
            {"unet_config": {"params": {"scale_factor": 2}}},
            {"augment": {"shift_factor": 0.9}},
        ],
    )
    def test_what_is_not_the_autoencoders_is_left_alone(self, tmp_path: Path, others: dict[str, Any]) -> None:
        assert not scaling_with(tmp_path, others).known

    def test_the_shift_comes_from_beside_the_factor(self, tmp_path: Path) -> None:
        found = scaling_with(tmp_path, {"scale_factor": 0.2, "augment": {"shift_factor": 0.9}})
        assert (found.scaling_factor, found.shift_factor) == (0.2, None)
        found = scaling_with(tmp_path, {"vae": {"scaling_factor": 0.3, "shift_factor": 0.1}})
        assert (found.scaling_factor, found.shift_factor) == (0.3, 0.1)
        assert found.source == "hyper_parameters.vae.scaling_factor in the file"

    @pytest.mark.parametrize(
        ("hyper_parameters", "groups"),
        [
            ({"vae": {"norm_num_groups": 16}}, 16),
            ({"unet_config": {"norm_num_groups": 16}}, 32),
            ({"unet_config": {"norm_num_groups": 16}, "vae": {"norm_num_groups": 8}}, 8),
            ({"vae": {"norm_num_groups": 16}, "autoencoder": {"norm_num_groups": 8}}, 32),
        ],
    )
    def test_groups(self, tmp_path: Path, hyper_parameters: dict[str, Any], groups: int) -> None:
        path = saved(tmp_path, {"state_dict": state(), "hyper_parameters": hyper_parameters})
        assert model_of(path).config["norm_num_groups"] == groups


class TestBuffers:
    @pytest.mark.parametrize("shift", [torch.zeros(4), torch.tensor(1j), torch.tensor(float("nan"))])
    def test_a_shift_that_is_no_number_makes_the_scaling_unknown(self, tmp_path: Path, shift: Tensor) -> None:
        found = model_of(saved(tmp_path, {**state(), "scale_factor": torch.tensor(0.5), "shift_factor": shift}))
        assert not found.scaling.known
        assert any("shift_factor is not one number" in warning for warning in found.warnings)

    @pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
    def test_edm_statistics_anywhere_beside_the_model(self, tmp_path: Path, prefix: str) -> None:
        tensors = {prefix + name: tensor for name, tensor in state().items()}
        mean, std = torch.arange(4.0).view(1, 4, 1, 1), torch.full((1, 4, 1, 1), 2.0)
        for where in {prefix, ""}:
            beside = {f"{where}edm_mean": mean, f"{where}edm_std": std}
            found = model_of(saved(tmp_path, {**tensors, **beside})).scaling
            assert (found.scaling_factor, found.channel_means) == (0.5, (0.0, 1.0, 2.0, 3.0))
            assert found.channel_stds == (2.0,) * 4

    def test_complex_statistics_are_no_scaling(self, tmp_path: Path) -> None:
        zeros = torch.zeros(1, 4, 1, 1, dtype=torch.complex64)
        found = model_of(saved(tmp_path, {**state(), "edm_mean": zeros, "edm_std": zeros + 1}))
        assert not found.scaling.known
        assert any("no real numbers" in warning for warning in found.warnings)


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        model_of(path)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("names", [["encoder.conv_in.weight"], None])
def test_two_models_under_one_name_are_not_mixed(tmp_path: Path, names: list[str] | None) -> None:
    tensors = state()
    wrapped = {f"module.{name}": tensors[name] + 1 for name in names or tensors}
    assert "two tensors of one name" in refused(saved(tmp_path, {**tensors, **wrapped})).message


def test_a_type_that_torch_cannot_convert_is_refused_by_name(tmp_path: Path) -> None:
    packed = torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    message = refused(saved(tmp_path, {**state(), "decoder.conv_out.bias": packed})).message
    assert "decoder.conv_out.bias" in message
    assert "float4" in message
