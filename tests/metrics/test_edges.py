"""Seams and borders, against closed forms and scikit-image."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from tests.metrics.laws import check_laws, sliced
from vaecheck.errors import NotEnoughImages
from vaecheck.metrics.edges import BorderPSNR, seam_error_ratio
from vaecheck.metrics.protocol import Batch
from vaecheck.vae.tiling import Seams

SEAMS = Seams(((8, 12),), ((8, 12), (16, 20)))


def batch(error: Tensor, *, first: int = 0, finite: Tensor | None = None, **about: object) -> Batch:
    """Grey originals, and reconstructions that are off by `error` (B, H, W)."""
    original = torch.full((len(error), 3, *error.shape[1:]), 100, dtype=torch.uint8)
    return Batch(
        tuple(f"{first + i}.png" for i in range(len(error))),
        original,
        reconstruction=(original + error[:, None]).to(torch.uint8),
        finite=torch.ones(len(error), dtype=torch.bool) if finite is None else finite,
        **about,
    )


def noise(count: int, height: int, width: int) -> Tensor:
    return torch.randint(1, 30, (count, height, width), generator=torch.Generator().manual_seed(count + height))


class TestSeams:
    def ratio(self, tiled: tuple[int, int], whole: tuple[int, int]) -> float:
        """Of errors (at the seams, elsewhere)."""
        mask = SEAMS.mask(24, 32)
        original = torch.full((1, 3, 24, 32), 100, dtype=torch.uint8)
        sides = [original + torch.where(mask, *error).to(torch.uint8) for error in (tiled, whole)]
        return float(seam_error_ratio(original, *sides, mask))

    def test_the_ratio_of_known_errors(self) -> None:
        assert self.ratio((6, 4), (4, 4)) == pytest.approx(1.5)
        assert self.ratio((6, 4), (3, 4)) == pytest.approx(2)
        assert self.ratio((5, 10), (4, 4)) == pytest.approx(0.5)

    def test_detail_at_the_seams_and_error_everywhere_are_no_seam(self) -> None:
        assert self.ratio((12, 4), (12, 4)) == pytest.approx(1)
        assert self.ratio((24, 8), (12, 4)) == pytest.approx(1)

    @pytest.mark.parametrize(("tiled", "whole"), [((0, 0), (0, 0)), ((3, 0), (3, 1)), ((3, 1), (0, 1))])
    def test_without_error_there_is_no_ratio(self, tiled: tuple[int, int], whole: tuple[int, int]) -> None:
        assert self.ratio(tiled, whole) == math.inf

    def test_each_picture_has_its_own(self) -> None:
        mask = SEAMS.mask(24, 32)
        original = torch.zeros(2, 3, 24, 32, dtype=torch.uint8)
        tiled = original + torch.where(mask, torch.tensor([[[[6]]], [[[2]]]]), 2).to(torch.uint8)
        assert seam_error_ratio(original, tiled, original + 2, mask).tolist() == pytest.approx([3, 1])


class TestBorder:
    @pytest.mark.parametrize("padded", [(3, 5), (3, 0), (0, 5)])
    def test_agrees_with_scikit_image_on_the_strip_cut_out(self, padded: tuple[int, int]) -> None:
        shown = batch(noise(2, 29, 27), padded=padded)
        metric = BorderPSNR(8)
        metric.update(shown)
        border, inside = metric.compute()
        rows, columns = (8 if side else 0 for side in padded)
        strip = torch.zeros(29, 27, dtype=torch.bool)
        strip[29 - rows :] = True
        strip[:, 27 - columns :] = True
        assert int(strip.sum()) == rows * 27 + columns * 29 - rows * columns
        assert shown.reconstruction is not None
        pairs = list(zip(shown.original, shown.reconstruction, strict=True))
        for measure, region in ((border, strip), (inside, ~strip)):
            expected = [
                peak_signal_noise_ratio(a[:, region].numpy(), b[:, region].numpy(), data_range=255) for a, b in pairs
            ]
            assert metric.columns()[measure.name] == pytest.approx(expected, abs=1e-4)
            assert measure.value == pytest.approx(sum(expected) / 2, abs=1e-4)
            assert (measure.unit, measure.better, measure.n) == ("dB", "higher", 2)

    def test_by_hand(self) -> None:
        error = torch.full((1, 32, 30), 1)
        error[:, :, 22:] = 10
        metric = BorderPSNR(8)
        metric.update(batch(error, padded=(0, 2)))
        border, inside = metric.compute()
        assert (border.name, inside.name) == ("psnr_border_db", "psnr_inside_db")
        assert border.value == pytest.approx(28.1308, abs=1e-4)  # 20 log10(25.5)
        assert inside.value == pytest.approx(48.1308, abs=1e-4)

    def test_only_padded_pictures_count(self) -> None:
        metric = BorderPSNR(8)
        metric.update(batch(noise(2, 24, 24)))
        with pytest.raises(NotEnoughImages, match="no picture was padded"):
            metric.compute()
        metric.update(batch(noise(1, 24, 23), first=2, padded=(0, 1)))
        assert [measure.n for measure in metric.compute()] == [1, 1]
        assert metric.columns()["psnr_inside_db"][:2] == (None, None)

    def test_a_picture_that_is_all_border_has_no_inside(self) -> None:
        metric = BorderPSNR(8)
        metric.update(batch(noise(1, 7, 20), padded=(1, 0)))
        border, inside = metric.compute()
        assert border.value is not None
        assert (inside.value, inside.status, inside.counts) == (None, "unavailable", {"too_small": 1})

    def test_laws(self) -> None:
        whole = batch(noise(9, 29, 27), padded=(3, 5), finite=torch.arange(9) != 4)
        parts = [
            sliced(whole, slice(0, 3)),
            sliced(whole, slice(3, 4)),
            sliced(replace(whole, padded=(0, 0)), slice(4, 9)),
        ]
        check_laws(lambda: BorderPSNR(8), parts)
