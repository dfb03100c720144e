"""Metrics whose networks know only RGB, on pictures of other channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vaecheck.errors import SetupError
from vaecheck.metrics.catalogue import IMAGE_NAMES, RGB_NAMES, Catalogue, WeightOptions
from vaecheck.metrics.protocol import Batch
from vaecheck.metrics.rgb import rgb_view

CPU = torch.device("cpu")


def batch(original: Tensor, reconstruction: Tensor) -> Batch:
    finite = torch.ones(len(original), dtype=torch.bool)
    ids = tuple(str(i) for i in range(len(original)))
    return Batch(ids, original, reconstruction=reconstruction, finite=finite)


def catalogue(checkpoints: Path, channels: int) -> Catalogue:
    return Catalogue(CPU, WeightOptions(checkpoints, checkpoints, offline=True), image_channels=channels)


def test_rgb_passes_as_the_very_same_tensors() -> None:
    x, y = (torch.zeros(2, 3, 8, 8, dtype=torch.uint8) for _ in range(2))
    original, reconstruction = rgb_view(3)(batch(x, y))
    assert original is x
    assert reconstruction is y


def test_grey_is_replicated_clamped_and_rounded() -> None:
    x, y = torch.tensor([[[[-4.0, 0.6], [99.5, 256.0]]]]), torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    original, reconstruction = rgb_view(1)(batch(x, y))
    assert original.dtype == reconstruction.dtype == torch.uint8
    assert original[0].tolist() == [[[0, 1], [100, 255]]] * 3
    assert reconstruction[0].tolist() == [[[1, 2], [3, 4]]] * 3


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_have_no_rgb(channels: int, checkpoints: Path) -> None:
    with pytest.raises(SetupError, match=f"have {channels} channels"):
        rgb_view(channels)
    built = catalogue(checkpoints, channels).build(IMAGE_NAMES)
    assert {name for names, _ in built.groups for name in names} == {"psnr_db", "ssim"}
    for measure in built.lost:
        assert measure.status == "unavailable"
        assert f"have {channels} channels" in measure.reason
        assert "factory" in measure.reason
    assert {measure.name for measure in built.lost} == set(RGB_NAMES)


def test_grey_has_the_figures_of_grey_saved_as_rgb(checkpoints: Path, pictures: tuple[Tensor, Tensor]) -> None:
    names = ("rfid", "lpips_squeeze")
    x, y = (side[:4, :1] for side in pictures)
    grey, rgb = (catalogue(checkpoints, channels).build(names) for channels in (1, 3))
    for built, channels in ((grey, 1), (rgb, 3)):
        for metric in built.metrics:
            metric.update(batch(x.expand(-1, channels, -1, -1), y.expand(-1, channels, -1, -1)))
    for name in names:
        ours, theirs = grey.measures()[name], rgb.measures()[name]
        assert ours.value == pytest.approx(theirs.value, rel=1e-6)
        assert ours.definition == f"{theirs.definition}; grey replicated to RGB, rounded to 8 bits"


def test_the_definitions_of_pixel_metrics_say_the_data_range() -> None:
    built = {channels: Catalogue(CPU, image_channels=channels).build(["psnr_db", "ssim"]) for channels in (1, 3, 4)}
    words = {channels: [metric.definition for metric in one.metrics] for channels, one in built.items()}
    assert words[3] == [
        "mean over images of 10 log10(255^2 / MSE), 8-bit RGB",
        "Wang 2004: 11x11 Gaussian, sigma 1.5, population covariance, mean over RGB",
    ]
    for text in words[1] + words[4]:
        assert "16-bit pictures: data range 65535, not rounded" in text
        assert "RGB" not in text
