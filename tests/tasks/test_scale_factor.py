"""What `scale-factor` says of each scaling convention, and the figures behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.vae.small_diffusers import saved_diffusers, small_diffusers
from vaecheck.metrics.latent import LatentMoments
from vaecheck.metrics.protocol import Batch
from vaecheck.pixels import to_pixels
from vaecheck.results.files import from_document, to_document
from vaecheck.results.types import GIVEN, LatentScaling, Scaling, VAECard
from vaecheck.tasks.opening import open_bench
from vaecheck.tasks.scale_factor import scale_factor, scaling_of
from vaecheck.tasks.settings import Listener, Settings
from vaecheck.vae.load import load_vae
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.usage import Usage

STDS = torch.tensor([0.5, 1.0, 2.0, 4.0]).double()


def found(scaling: LatentScaling, usage: Usage = Usage()) -> Scaling:  # noqa: B008
    """Of 50 pictures of four channels with means 0, 1, 2, 3 and those stds, nearly."""
    noise = torch.randn(50, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    mean = (torch.arange(4).view(1, 4, 1, 1) + STDS.view(1, 4, 1, 1) * noise).float()
    metric = LatentMoments(patch=scaling.patch)
    ids = tuple(str(i) for i in range(50))
    metric.update(Batch(ids, torch.zeros(50, 3, 16, 16, dtype=torch.uint8), Posterior(mean), mean))
    card = VAECard("vae", "AutoencoderKL", None, 2, 4, 1, "float32", scaling, deterministic=True)
    return scaling_of(metric, {}, card, usage)


MEANS = (0.0, 1.0, 2.0, 3.0)


def test_one_factor() -> None:
    scaling = found(LatentScaling(0.4))
    assert scaling.verdict == "ok"
    assert scaling.reason.startswith("the shipped 0.4 gives these latents a std of ")
    assert scaling.shipped["std_after"] == pytest.approx(0.4 * scaling.std)
    assert scaling.shipped["mean_after"] == pytest.approx(0.4 * scaling.mean)
    assert (scaling.shipped["scaling_factor"], scaling.shipped["shift_factor"]) == (0.4, None)


def test_a_factor_and_a_shift_that_changes_no_std() -> None:
    scaling = found(LatentScaling(0.4, 1.5, source=GIVEN))
    assert scaling.reason.startswith("the given (z - 1.5) × 0.4 gives these latents a std of ")
    assert scaling.shipped["std_after"] == pytest.approx(found(LatentScaling(0.4)).shipped["std_after"])
    assert scaling.shipped["mean_after"] == pytest.approx(0.4 * (scaling.mean - 1.5))


def test_a_mean_and_std_for_each_channel() -> None:
    scaling = found(LatentScaling(None, None, MEANS, tuple(STDS.tolist())))
    assert scaling.verdict == "ok"
    assert scaling.reason.startswith("the shipped (z - mean) / std of each channel gives these latents a std of 1.0")
    assert "alone" not in scaling.reason
    assert scaling.shipped["mean_after"] == pytest.approx(0.0, abs=0.05)
    assert scaling.shipped["scaling_factor"] is None


def test_one_channel_far_off_is_named_though_the_whole_is_well() -> None:
    scaling = found(LatentScaling(None, None, MEANS, (0.5, 1.0, 2.0, 16.0)))
    assert scaling.verdict == "ok"
    assert "; channel 3 alone comes to 0.25" in scaling.reason
    assert scaling.shipped["worst_channel"] == 3
    assert scaling.shipped["worst_channel_std_after"] == pytest.approx(0.25, rel=0.05)


def test_wrong_for_each_channel() -> None:
    scaling = found(LatentScaling(0.5, None, MEANS, tuple(STDS.tolist())))
    assert scaling.verdict == "wrong"
    assert scaling.reason.startswith("the shipped (z - mean) / std × 0.5 of each channel gives")
    assert scaling.reason.endswith("; use the mean and std of each channel, below")


def test_a_folded_channel_is_told_with_its_place() -> None:
    stds = [std for std in STDS.tolist() for _ in range(4)]
    stds[2 * 4 + 3] *= 10
    scaling = found(LatentScaling(None, None, tuple(m for m in MEANS for _ in range(4)), tuple(stds), patch=2))
    assert "of each channel of 2 × 2 folded latents gives" in scaling.reason
    assert "; channel 2 at row 1, column 1 of its patch alone comes to 0.1" in scaling.reason


@pytest.mark.parametrize(
    ("scaling", "text"),
    [
        (LatentScaling(), "this VAE ships no scaling factor; use 0."),
        (LatentScaling(None, 0.5), "this VAE ships no scaling factor; use 0."),
        (LatentScaling(unusable="config.json's x is y: not used"), "config.json's x is y: not used; use 0."),
        (LatentScaling(None, None, (0.0,), (1.0,)), "the shipped means and stds are not of these latents' channels"),
    ],
)
def test_nothing_to_judge(scaling: LatentScaling, text: str) -> None:
    judged = found(scaling)
    assert (judged.verdict, judged.shipped["std_after"]) == ("unknown", None)
    assert judged.reason.startswith(text)


def test_what_cannot_be_used_stands_before_what_is_judged() -> None:
    told = "config.json's latents_mean has 3 values for 4 channels: not used"
    scaling = found(LatentScaling(0.4, unusable=told))
    assert scaling.verdict == "ok"
    assert scaling.reason.startswith(f"{told}; the shipped 0.4")


def test_what_diffusers_would_take_by_default_is_told() -> None:
    scaling = found(LatentScaling(), Usage(default=LatentScaling(0.18215, source="config.json")))
    assert scaling.verdict == "unknown"
    assert f"diffusers would take its default 0.18215: std after {0.18215 * scaling.std:.2f}" in scaling.reason
    other = found(LatentScaling(), Usage(default=LatentScaling(None, None, (0.0,) * 16, (1.0,) * 16)))
    assert "which is of 16 channels" in other.reason


@pytest.mark.parametrize(
    ("name", "config_keys"),
    [
        ("AutoencoderKL", {"scaling_factor", "shift_factor", "latents_mean", "latents_std"}),
        ("AutoencoderTiny", {"scaling_factor", "shift_factor"}),
        ("AutoencoderDC", {"scaling_factor"}),
        ("VQModel", {"scaling_factor"}),
        ("AutoencoderKLWan", {"latents_mean", "latents_std"}),
        ("AutoencoderKLFlux2", set()),
        ("AutoencoderKLLTXVideo", {"scaling_factor"}),
        ("AutoencoderKLTemporalDecoder", {"scaling_factor"}),
        ("AutoencoderKLKVAEVideo", set()),
    ],
)
def test_snippets_run_with_the_very_class(name: str, config_keys: set[str], tmp_path: Path) -> None:
    """Latents come out with unit variance, pixels come back as without scaling, and config.json takes what is said."""
    import json

    torch.manual_seed(0)
    folder, model = saved_diffusers(name, tmp_path), small_diffusers(name)
    channels = load_vae(folder).card.image_channels
    pixels = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    adapted = load_vae(folder)
    posterior = adapted.encode(pixels)
    metric = LatentMoments()
    metric.update(Batch(("a", "b"), torch.zeros(2, 3, 64, 64, dtype=torch.uint8), posterior, posterior.mean))
    made = scaling_of(metric, {}, adapted.card, adapted.usage).snippets
    configs = [json.loads(f"{{{code.rstrip(',')}}}") for form, code in made.items() if "config.json" in form]
    assert {key for config in configs for key in config} == config_keys
    assert ("LDM config (yaml)" in made) == (name in ("AutoencoderKL", "VQModel"))
    for form in ("training loop", "with a shift (SD3, Flux)", "per channel"):
        scope = {"vae": model, "pixels": pixels, "torch": torch}
        with torch.no_grad():
            exec(made[form], scope)
        latents, back = scope["latents"], scope["pixels"]
        assert float(latents.std()) == pytest.approx(1, rel=0.1)
        assert back.shape == pixels.shape
        if adapted.card.deterministic and name != "AutoencoderKLLTXVideo":
            torch.testing.assert_close(back, adapted.decode(posterior.mean), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["AutoencoderKLWan", "AutoencoderKLFlux2", "AutoencoderKL, Playground"])
def test_from_a_folder_to_the_document(name: str, tmp_path: Path) -> None:
    """The whole task against all latents at once, in float64, folded by hand."""
    folder = saved_diffusers(name, tmp_path)
    settings = Settings(size=64, limit=3, batch_size=2, workers=0)
    result = scale_factor("samples", folder, settings)
    bench = open_bench("samples", folder, settings, Listener())
    posteriors = [bench.vae.encode(to_pixels(images.image)) for images in bench.loader()]
    mean = torch.cat([posterior.mean for posterior in posteriors]).double().numpy()
    log_var = torch.cat([p.log_var for p in posteriors if p.log_var is not None]).double().numpy()
    latents = np.concatenate([mean + np.exp(log_var / 2), mean - np.exp(log_var / 2)])
    scaling = bench.vae.card.scaling
    side = scaling.patch
    batch, channels, height, width = latents.shape
    folded = latents.reshape(batch, channels, height // side, side, width // side, side).transpose(0, 1, 3, 5, 2, 4)
    folded = folded.reshape(batch, channels * side**2, -1)
    means, stds = np.array(scaling.channel_means), np.array(scaling.channel_stds)
    expected = (folded - means[:, None]) / stds[:, None] * (scaling.scaling_factor or 1.0)
    assert result.scaling is not None
    assert result.scaling.shipped["std_after"] == pytest.approx(expected.std(), rel=1e-6)
    assert result.scaling.shipped["mean_after"] == pytest.approx(expected.mean(), rel=1e-6)
    assert from_document(to_document(result)).scaling == result.scaling
