"""The two simple codecs beside a VAE's figures: their sample, and what is kept of them between runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaecheck import feature_cache
from vaecheck.results.types import Yardstick
from vaecheck.tasks import yardsticks
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings
from vaecheck.tasks.yardsticks import evenly

IDS = tuple(f"{i:03}.png" for i in range(100))
SETTINGS = Settings(size=64, offline=True, metrics=("psnr_db", "ssim"))


def test_evenly_spaced() -> None:
    assert evenly(IDS, 4) == ("012.png", "037.png", "062.png", "087.png")
    assert evenly(IDS, 1) == ("050.png",)
    assert evenly(IDS, 100) == evenly(IDS, 1000) == IDS
    assert evenly((), 5) == ()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(4):
        coarse = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """The pictures of every measuring of the yardsticks, with a cache."""
    monkeypatch.setenv("VAECHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAECHECK_CACHE_GB", "1")
    seen: list[tuple[str, ...]] = []
    measure = yardsticks._measure

    def observed(bench: Any, chosen: Any, *rest: Any) -> None:
        seen.append(tuple(chosen))
        measure(bench, chosen, *rest)

    monkeypatch.setattr(yardsticks, "_measure", observed)
    return seen


def of(pictures: Path, settings: Settings = SETTINGS) -> tuple[Yardstick, ...]:
    return reconstruct(str(pictures), "kl-f8-tiny", settings)[0].yardsticks


def test_a_second_run_has_them_from_the_cache(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    first = of(pictures)
    assert [one.name for one in first] == ["bicubic", "linear"]
    assert of(pictures) == first
    assert len(measured) == 1
    assert feature_cache.facts().entries == 1


def test_a_cache_that_keeps_nothing_gives_the_same(
    pictures: Path, measured: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = of(pictures)
    monkeypatch.setenv("VAECHECK_CACHE_GB", "0")
    assert of(pictures) == kept
    assert len(measured) == 2


def test_names_of_pictures_do_not_matter_and_their_order_does_not_mix_them(
    pictures: Path, measured: list[tuple[str, ...]]
) -> None:
    first = of(pictures)
    for i in range(4):
        (pictures / f"{i}.png").rename(pictures / f"renamed-{i}.png")
    assert of(pictures) == first
    assert len(measured) == 1
    (pictures / "renamed-0.png").rename(pictures / "z.png")
    reordered = of(pictures)
    assert len(measured) == 2
    assert reordered[0].measures["psnr_db"].value == pytest.approx(first[0].measures["psnr_db"].value)


@pytest.mark.parametrize("change", [{"size": 32}, {"limit": 3}, {"metrics": ("psnr_db",)}, {"seed": 1}])
def test_other_settings_are_measured_anew(
    pictures: Path, measured: list[tuple[str, ...]], change: dict[str, Any]
) -> None:
    of(pictures)
    changed = of(pictures, replace(SETTINGS, **change))
    assert len(measured) == 2
    assert changed == of(pictures, replace(SETTINGS, **change))
    assert len(measured) == 2


def test_one_other_pixel_is_measured_anew(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    first = of(pictures)
    with Image.open(pictures / "2.png") as image:
        image.load()
    image.putpixel((5, 5), (255, 0, 255))
    image.save(pictures / "2.png")
    second = of(pictures)
    assert len(measured) == 2
    assert second[1].measures["psnr_db"].value != first[1].measures["psnr_db"].value


def test_distances_of_all_pictures_are_not_kept(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    settings = replace(SETTINGS, metrics=("psnr_db", "fd_efficientnet_lite0"))
    first = of(pictures, settings)
    assert "fd_efficientnet_lite0" in first[0].measures
    assert of(pictures, settings) == first
    assert len(measured) == 2


def test_a_value_of_another_length_is_measured_anew(
    pictures: Path, measured: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    add = feature_cache.FeatureCache.add
    monkeypatch.setattr(
        feature_cache.FeatureCache, "add", lambda self, values: add(self, {key: v[:-8] for key, v in values.items()})
    )
    first = of(pictures)
    assert of(pictures) == first
    assert len(measured) == 2
