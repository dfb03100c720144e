"""The two simple codecs beside a VAE's figures: their sample, and what is kept of them between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaecheck import feature_cache
from vaecheck.metrics.catalogue import Built, Catalogue
from vaecheck.metrics.per_image import PerImage
from vaecheck.results.types import Yardstick
from vaecheck.tasks import yardsticks
from vaecheck.tasks.reconstruct import reconstruct
from vaecheck.tasks.settings import Settings
from vaecheck.tasks.yardsticks import evenly
from vaecheck.vae.yardsticks import Linear

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

    def observed(bench: Any, chosen: Any, *rest: Any) -> Any:
        seen.append(tuple(chosen))
        return measure(bench, chosen, *rest)

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


def test_every_picture_has_its_own_scores_again(
    pictures: Path, measured: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under other names too, and in another order."""
    built: list[Built] = []
    build = Catalogue.build

    def observed(self: Catalogue, names: Sequence[str]) -> Built:
        built.append(build(self, names))
        return built[-1]

    monkeypatch.setattr(Catalogue, "build", observed)

    def scores() -> list[dict[str, list[float]]]:
        """Of bicubic and linear, PSNR and SSIM of each picture."""
        built.clear()
        of(pictures)
        _, *codecs = built
        rows = [[metric.rows for metric in one.metrics if isinstance(metric, PerImage)] for one in codecs]
        return [{name: [each.of([name])[0, 0] for each in one] for name in one[0].ids} for one in rows]

    first = scores()
    assert len({tuple(values) for one in first for values in one.values()}) == 8
    assert scores() == first
    for i in range(4):
        (pictures / f"{i}.png").rename(pictures / f"renamed-{i}.png")
    assert scores() == [{f"renamed-{name}": values for name, values in one.items()} for one in first]
    assert len(measured) == 1
    (pictures / "renamed-0.png").rename(pictures / "z.png")
    assert scores()[0]["z.png"] == first[0]["0.png"]
    assert len(measured) == 2


def test_distances_alone_are_measured(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    for one in of(pictures, replace(SETTINGS, metrics=("fd_efficientnet_lite0",))):
        assert one.measures["fd_efficientnet_lite0"].value is not None
    assert len(measured) == 1


def test_pictures_that_changed_since_the_walk_are_not_kept(
    pictures: Path, measured: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = yardsticks._measure

    def changed_before(*arguments: Any) -> Any:
        (pictures / "0.png").write_bytes((pictures / "1.png").read_bytes())
        return observed(*arguments)

    monkeypatch.setattr(yardsticks, "_measure", changed_before)
    of(pictures)
    assert len(measured) == 1
    assert feature_cache.facts().entries == 0


def test_a_picture_that_the_linear_codec_was_not_fitted_to_is_not_kept(
    pictures: Path, measured: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Linear.fit

    def without_one(images: Any, f: int, channels: int) -> Linear:
        (pictures / "0.png").rename(pictures / "elsewhere")
        try:
            return fit(images, f, channels)
        finally:
            (pictures / "elsewhere").rename(pictures / "0.png")

    monkeypatch.setattr(Linear, "fit", without_one)
    of(pictures)
    assert len(measured) == 1
    assert feature_cache.facts().entries == 0


def test_padding_is_not_taken_for_picture(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    settings = replace(SETTINGS, fit="pad")
    low = np.random.default_rng(1).integers(0, 256, (57, 64, 3), dtype=np.uint8)
    for path in pictures.iterdir():
        Image.fromarray(low).save(path)
    of(pictures, settings)
    for path in pictures.iterdir():
        Image.fromarray(np.pad(low, ((0, 7), (0, 0), (0, 0)), "edge")).save(path)
    padded_before = of(pictures, settings)
    assert len(measured) == 2
    feature_cache.clear()
    assert of(pictures, settings) == padded_before


@pytest.mark.parametrize(
    "change", [{"fit": "pad"}, {"value_range": (0.0, 9.0)}, {"metrics": ("psnr_db",)}, {"seed": 1}]
)
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


def test_another_f_is_measured_anew(pictures: Path, measured: list[tuple[str, ...]]) -> None:
    of(pictures)
    own = str(Path(__file__).parents[2] / "examples" / "own_vae.py")
    reconstruct(str(pictures), f"{own}:dct_vae", SETTINGS)
    assert len(measured) == 2
