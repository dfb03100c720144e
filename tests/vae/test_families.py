"""Every diffusers class against diffusers called directly, and its scaling against its pipeline's own code."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.vae.conftest import edit_config
from tests.vae.contract import pictures_for
from tests.vae.small_diffusers import CONFIGS, EXPECTED, saved_diffusers, small_diffusers
from vaecheck.errors import InputError, SetupError
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.adapter import LoadedVAE
from vaecheck.vae.families import REFUSED
from vaecheck.vae.load import load_vae

VIDEO = {name for name in CONFIGS if name.partition(",")[0] in {
    *("AutoencoderKLWan", "AutoencoderKLQwenImage", "AutoencoderKLQwenImage21", "AutoencoderKLLTXVideo"),
    *("AutoencoderKLLTX2Video", "AutoencoderKLCosmos", "AutoencoderKLMochi", "AutoencoderKLHunyuanVideo"),
    *("AutoencoderKLHunyuanVideo15", "AutoencoderKLHunyuanImageRefiner", "AutoencoderKLCogVideoX"),
    *("AutoencoderKLMagvit", "AutoencoderKLKVAEVideo", "Kandinsky6SRVAE"),
}}  # fmt: skip
DETERMINISTIC = {
    *("AutoencoderTiny", "AutoencoderDC", "VQModel", "AutoencoderRAE", "AutoencoderKLCosmos", "AutoencoderKLKVAEVideo"),
}
SAFE = "diffusion_pytorch_model.safetensors"


@torch.no_grad()
def directly(name: str, model: Any, pixels: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """(mean, log variance or None, decoded mean) of one picture, by diffusers' own calls."""
    if name == "AutoencoderRAE":
        latents = model.encode(pixels / 2 + 0.5).latent
        return latents / model.config.scaling_factor, None, 2 * model.decode(latents).sample - 1
    encoded = model.encode(pixels[:, :, None] if name in VIDEO else pixels)
    if hasattr(encoded, "latent_dist"):
        mean = encoded.latent_dist.mode()
        log_var = None if name in DETERMINISTIC else encoded.latent_dist.logvar
    else:
        mean, log_var = getattr(encoded, "latents", None), None
        mean = encoded.latent if mean is None else mean
    more: dict[str, Any] = {}
    if name == "ConsistencyDecoderVAE":
        more["generator"] = torch.Generator().manual_seed(0)
    elif name == "AutoencoderKLTemporalDecoder":
        more["num_frames"] = 1
    elif name == "AutoencoderKLLTXVideo":
        more["temb"] = torch.zeros(1)
    torch.manual_seed(0)
    decoded = model.decode(mean, **more).sample
    if name not in VIDEO:
        return mean, log_var, decoded
    return mean[:, :, 0], None if log_var is None else log_var[:, :, 0], decoded[:, :, 0]


@pytest.mark.parametrize("name", CONFIGS)
def test_as_diffusers_itself(name: str, tmp_path: Path) -> None:
    vae, model = load_vae(saved_diffusers(name, tmp_path)), small_diffusers(name)
    card = vae.card
    assert (card.f, card.latent_channels, card.image_channels) == EXPECTED[name]
    assert card.class_name == name.partition(",")[0]
    assert card.deterministic == (name in DETERMINISTIC)
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    pixels = pictures_for(vae, batch=2)
    posterior = vae.encode(pixels)
    decoded = vae.decode(posterior.mean)
    for i, picture in enumerate(pixels):
        mean, log_var, reconstruction = directly(name, model, picture[None])
        torch.testing.assert_close(posterior.mean[i : i + 1], mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decoded[i : i + 1], reconstruction, rtol=1e-5, atol=1e-4)
        if log_var is not None:
            assert posterior.log_var is not None
            torch.testing.assert_close(posterior.log_var[i : i + 1], log_var, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_of_one_picture_stays_for_the_next(name: str, tmp_path: Path) -> None:
    """Feature caches, schedulers and generators are as they were, inside the model and outside."""
    vae = load_vae(saved_diffusers(name, tmp_path))
    first, second = pictures_for(vae), 0.5 * pictures_for(vae)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    latents = vae.encode(first).mean
    decoded = vae.decode(latents)
    assert torch.equal(torch.get_rng_state(), state)
    vae.decode(vae.encode(second).mean)
    assert torch.equal(vae.encode(first).mean, latents)
    assert torch.equal(vae.decode(latents), decoded)


def test_codes_are_those_that_the_decoder_uses(tmp_path: Path) -> None:
    vae, model = load_vae(saved_diffusers("VQModel", tmp_path)), small_diffusers("VQModel")
    assert vae.card.codebook_size == 32
    posterior = vae.encode(pictures_for(vae, batch=2, height=8, width=6))
    assert posterior.codes is not None
    nearest = torch.cdist(posterior.mean.permute(0, 2, 3, 1).reshape(-1, 5), model.quantize.embedding.weight).argmin(1)
    assert torch.equal(posterior.codes.flatten(), nearest)
    entries = model.quantize.embedding(posterior.codes).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.decoder(model.post_quant_conv(entries))
    torch.testing.assert_close(vae.decode(posterior.mean), expected, rtol=1e-4, atol=1e-5)


# --- scaling ----------------------------------------------------------------------------------------------


def of_pipeline(file: str, name: str) -> Callable[..., Tensor]:
    """A function out of diffusers' own source, without the pipeline, which would need the package transformers."""
    import diffusers

    source = (Path(diffusers.__file__).parent / file).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.decorator_list = []
            scope: dict[str, Any] = {"torch": torch}
            exec(compile(ast.Module([node], []), file, "exec"), scope)
            return scope[name]
    raise AssertionError(f"{file} has no function {name}")


def flux2(latents: Tensor, model: Any) -> Tensor:
    patched = of_pipeline("pipelines/flux2/pipeline_flux2.py", "_patchify_latents")(latents)
    mean = model.bn.running_mean.view(1, -1, 1, 1).double()
    std = torch.sqrt(model.bn.running_var.view(1, -1, 1, 1).double() + model.config.batch_norm_eps)
    return (patched - mean) / std


def ltx(latents: Tensor, model: Any) -> Tensor:
    normalise = of_pipeline("pipelines/ltx/pipeline_ltx.py", "_normalize_latents")
    means, stds = model.latents_mean.double(), model.latents_std.double()
    return normalise(latents[:, :, None], means, stds, model.config.scaling_factor)[:, :, 0]


def per_channel(latents: Tensor, model: Any) -> Tensor:
    """Wan, Qwen-Image and Playground, as their pipelines have it in line."""
    config = model.config
    means, stds = (torch.tensor(config[key]).double().view(1, -1, 1, 1) for key in ("latents_mean", "latents_std"))
    return (latents - means) * config.get("scaling_factor", 1.0) / stds


def cosmos(latents: Tensor, model: Any) -> Tensor:
    config = model.config
    means, stds = (
        torch.tensor(config[key]).double().view(1, config.latent_channels, -1, 1, 1)[:, :, :1, 0]
        for key in ("latents_mean", "latents_std")
    )
    return (latents - means) / stds


def shifted(latents: Tensor, model: Any) -> Tensor:
    """SD3 and Flux.1."""
    return (latents - model.config.shift_factor) * model.config.scaling_factor


def plain(latents: Tensor, model: Any) -> Tensor:
    return latents * model.config.scaling_factor


PIPELINES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "AutoencoderKL": shifted,
    "AutoencoderKL, Playground": per_channel,
    "AutoencoderDC": plain,
    "AutoencoderKLHunyuanImage": plain,
    "AutoencoderKLFlux2": flux2,
    "AutoencoderKLWan": per_channel,
    "AutoencoderKLWan, 2.2": per_channel,
    "AutoencoderKLQwenImage": per_channel,
    "AutoencoderKLQwenImage21": per_channel,
    "AutoencoderKLLTXVideo": ltx,
    "AutoencoderKLLTX2Video": ltx,
    "AutoencoderKLCosmos": cosmos,
    "AutoencoderKLMochi": per_channel,
    "AutoencoderKLHunyuanVideo": plain,
    "AutoencoderKLCogVideoX": plain,
    "Kandinsky6SRVAE": plain,
}


def seen(vae: LoadedVAE, count: int = 5) -> tuple[LatentMoments, Tensor, Tensor]:
    """The moments of some pictures, two a batch, and their posterior means and variances, all at once in float64."""
    metric = LatentMoments(patch=vae.card.scaling.patch)
    means, variances = [], []
    for start in range(0, count, 2):
        part = pictures_for(vae, batch=count, height=6)[start : start + 2] * (0.3 + 0.1 * start)
        posterior = vae.encode(part)
        ids = tuple(str(start + i) for i in range(len(part)))
        metric.update(Batch(ids, torch.zeros(part.shape, dtype=torch.uint8), posterior, posterior.mean))
        means.append(posterior.mean.double())
        variance = 0 * posterior.mean if posterior.log_var is None else posterior.log_var.double().exp()
        variances.append(variance.double())
    return metric, torch.cat(means), torch.cat(variances)


@pytest.mark.parametrize("name", PIPELINES)
def test_scaling_as_its_pipeline(name: str, tmp_path: Path) -> None:
    """Samples mean + s and mean - s have, together, the mean and the variance of the posterior samples, exactly."""
    vae, model = load_vae(saved_diffusers(name, tmp_path)), small_diffusers(name)
    assert vae.warnings == () or "noise" in vae.warnings[0]
    metric, means, variances = seen(vae)
    both = torch.cat([means + variances.sqrt(), means - variances.sqrt()])
    scaled = PIPELINES[name](both, model).numpy()
    after = metric.scaled(vae.card.scaling)
    assert after is not None
    assert after.mean == pytest.approx(scaled.mean(), rel=1e-6, abs=1e-9)
    assert after.std == pytest.approx(scaled.std(), rel=1e-6)
    channels = scaled.std((0, 2, 3))
    worst = np.abs(np.log(channels)).argmax()
    assert (after.worst_channel, after.worst_std) == (worst, pytest.approx(channels[worst], rel=1e-6))


def test_flux2_folds_as_pixel_unshuffle() -> None:
    latents = torch.arange(2 * 3 * 4 * 6, dtype=torch.float64).view(2, 3, 4, 6)
    theirs = of_pipeline("pipelines/flux2/pipeline_flux2.py", "_patchify_latents")(latents)
    assert torch.equal(theirs, torch.nn.functional.pixel_unshuffle(latents, 2))


def test_rae_keeps_its_normalisation_and_hands_over_its_factor(tmp_path: Path) -> None:
    vae, model = load_vae(saved_diffusers("AutoencoderRAE", tmp_path)), small_diffusers("AutoencoderRAE")
    pixels = pictures_for(vae)
    assert (vae.card.scaling_factor, vae.fixed_size) == (0.5, 64)
    assert "normalises" in vae.warnings[0]
    with torch.no_grad():
        seen_by_a_model = model.encode(pixels / 2 + 0.5).latent
    torch.testing.assert_close(vae.encode(pixels).mean * 0.5, seen_by_a_model, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scaling_factor": float("nan")}, "scaling_factor is nan"),
        ({"scaling_factor": 0}, "scaling_factor is 0"),
        ({"scaling_factor": "0.18"}, "scaling_factor is '0.18', no number"),
        ({"scaling_factor": True}, "scaling_factor is True, no number"),
        ({"shift_factor": float("inf")}, "shift_factor is inf"),
        ({"scaling_factor": [0.1]}, "scaling_factor is [0.1], no number"),
        ({"scaling_factor": 10**400}, "..., no number"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 3}, "latents_mean has 3 values for 4 channels"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 3}, "latents_std has 3 values for 4 channels"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0, 0.0, 1.0, 1.0]}, "latents_std is 0 for channel 1"),
        ({"latents_mean": [0.0, 0, 0, float("nan")], "latents_std": [1.0] * 4}, "latents_mean is nan for channel 3"),
        ({"latents_mean": [0.0] * 4}, "latents_mean without latents_std"),
        ({"latents_mean": "zero", "latents_std": [1.0] * 4}, "latents_mean is 'zero', no list of numbers"),
        ({"latents_mean": [[0.0]] * 4, "latents_std": [1.0] * 4}, "no list of numbers"),
    ],
)
def test_a_scaling_that_scales_nothing_is_said_and_not_used(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    folder = saved_diffusers("AutoencoderKL", tmp_path)
    edit_config(Path(folder), **change)
    vae = load_vae(folder)
    scaling = vae.card.scaling
    beside = "latents_mean" in change  # broken lists leave the factor of this folder
    assert (scaling.scaling_factor, scaling.channel_stds) == (0.3611 if beside else None, None)
    assert vae.warnings == (scaling.unusable,)
    assert text in scaling.unusable
    assert scaling.unusable.endswith(": not used")


def test_a_factor_that_the_class_does_not_take_is_said_and_not_used(tmp_path: Path) -> None:
    folder = Path(saved_diffusers("AutoencoderKLWan", tmp_path))
    edit_config(folder, scaling_factor=0.97)
    vae = load_vae(str(folder))
    assert (vae.card.scaling_factor, vae.card.scaling.known) == (None, True)
    edit_config(folder, latents_mean=None, latents_std=None)
    vae = load_vae(str(folder))
    assert not vae.card.scaling.known
    assert vae.warnings == (
        "config.json's scaling_factor 0.97 is not used: AutoencoderKLWan takes latents_mean and latents_std",
    )
    assert len(vae.usage.default.channel_means or ()) == 16


def test_taesd_is_scaled_by_one_by_construction(tmp_path: Path) -> None:
    folder = Path(saved_diffusers("AutoencoderTiny", tmp_path))
    edit_config(folder, scaling_factor=None, shift_factor=None)
    assert load_vae(str(folder)).card.scaling.scaling_factor == 1.0


def test_a_variance_below_zero_is_said(tmp_path: Path) -> None:
    model = small_diffusers("AutoencoderKLFlux2")
    model.bn.running_var[5] = -1.0
    model.save_pretrained(tmp_path)
    vae = load_vae(str(tmp_path))
    assert not vae.card.scaling.known
    assert "BatchNorm statistics' std is nan for channel 5" in vae.warnings[0]


def test_factors_that_diffusers_would_fill_in_stay_unknown(tmp_path: Path) -> None:
    folder = Path(saved_diffusers("AutoencoderKLWan", tmp_path))
    edit_config(folder, latents_mean=None, latents_std=None)
    vae = load_vae(str(folder))
    assert not vae.card.scaling.known
    assert vae.warnings == ()


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_name", REFUSED)
def test_refused_with_the_reason(class_name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": class_name}))
    (tmp_path / SAFE).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be measured on pictures: ") as caught:
        load_vae(str(tmp_path))
    assert REFUSED[class_name] in caught.value.message


def test_every_autoencoder_of_diffusers_is_known() -> None:
    """A new diffusers may bring more: then they go into the table, or among the refused."""
    from diffusers.models import autoencoders

    from vaecheck.vae.families import FAMILIES

    classes = {
        name
        for name, kind in vars(autoencoders).items()
        if isinstance(kind, type) and hasattr(kind, "encode") and hasattr(kind, "decode")
    }
    assert {name.partition(",")[0] for name in CONFIGS} <= set(FAMILIES)
    assert classes <= set(FAMILIES) | set(REFUSED)


def test_rae_without_transformers_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "transformers" else find_spec(name, *rest)
    )
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderRAE"}')
    (tmp_path / SAFE).write_bytes(b"")
    with pytest.raises(SetupError, match="transformers") as caught:
        load_vae(str(tmp_path))
    assert caught.value.hint == "pip install transformers"


def test_another_size_than_the_only_one_is_refused(tmp_path: Path) -> None:
    vae = load_vae(saved_diffusers("AutoencoderRAE", tmp_path))
    with pytest.raises(InputError, match="64x64 pixels alone, not 128x128") as caught:
        vae.encode(torch.zeros(1, 3, 128, 128))
    assert caught.value.hint == "Try --size 64."


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("written_by", ["torch", "pickle"])
def test_no_pickle_runs(name: str, written_by: str, tmp_path: Path) -> None:
    class_name, folder = name.partition(",")[0], tmp_path / "vae"
    if class_name == "AutoencoderRAE":
        pytest.importorskip("transformers", reason="AutoencoderRAE is built from transformers")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": class_name, **CONFIGS[name]}))
    bomb, file = {"weights": Bomb(tmp_path / "ran")}, folder / "diffusion_pytorch_model.bin"
    if written_by == "torch":
        torch.save(bomb, file)
    else:
        file.write_bytes(pickle.dumps(bomb))
    with pytest.raises(InputError, match="mkdir") as caught:
        load_vae(str(folder))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "ran").exists()
