"""Tiling, against diffusers' own and against VAEs whose tiles cannot differ from the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from vaecheck.errors import InputError
from vaecheck.vae.adapter import Adapted, LoadedVAE
from vaecheck.vae.protocol import Posterior
from vaecheck.vae.tiling import Grid, Seams, Tiled

SIZES = [(64, 64), (72, 64), (96, 96), (136, 200), (64, 264), (112, 65 * 8)]


class Patches(nn.Module):
    """f = 8 without a receptive field beyond the patch: a matrix for each 8 x 8 patch, and its pseudo-inverse."""

    def __init__(self, quantised: bool = False, longest: int = 10_000) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(6, 192, generator=generator))
        self.quantised = quantised
        self.longest = longest
        self.seen: list[tuple[int, ...]] = []

    def encode(self, pixels: Tensor) -> Posterior:
        self.seen.append(tuple(pixels.shape))
        assert max(pixels.shape[-2:]) <= self.longest
        mean = torch.einsum("cp,bphw->bchw", self.matrix, F.pixel_unshuffle(pixels, 8))
        codes = (mean[:, 0] * 100).long() if self.quantised else None
        return Posterior(mean, None if self.quantised else 0.1 * mean, codes)

    def decode(self, latents: Tensor) -> Tensor:
        assert max(latents.shape[-2:]) * 8 <= self.longest
        return F.pixel_shuffle(torch.einsum("pc,bchw->bphw", torch.linalg.pinv(self.matrix), latents), 8)


def loaded(model: nn.Module) -> LoadedVAE:
    adapted = Adapted(model.encode, model.decode, type(model).__name__, model, None)
    return LoadedVAE("patches", adapted, "cpu", torch.float32)


def noise(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height + width)) * 2 - 1


@pytest.mark.parametrize("side", [32, 40, 64])
@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.no_grad()
def test_a_vae_without_a_receptive_field_gives_the_same_in_tiles(height: int, width: int, side: int) -> None:
    whole, pixels = loaded(Patches()), noise(height, width)
    tiled = Tiled(whole, side)
    a, b = whole.encode(pixels), tiled.encode(pixels)
    assert a.log_var is not None
    assert b.log_var is not None
    assert b.codes is None
    torch.testing.assert_close(b.mean, a.mean, rtol=0, atol=2e-6)
    torch.testing.assert_close(b.log_var, a.log_var, rtol=0, atol=2e-6)
    torch.testing.assert_close(tiled.decode(a.mean), whole.decode(a.mean), rtol=0, atol=2e-6)


@torch.no_grad()
def test_codes_are_whole_numbers_of_a_tile_and_there_is_no_variance() -> None:
    whole, pixels = loaded(Patches(quantised=True)), noise(136, 96)
    found, expected = Tiled(whole, 32).encode(pixels), whole.encode(pixels)
    assert found.log_var is None
    assert found.codes is not None
    assert expected.codes is not None
    assert found.codes.dtype == torch.int64
    assert (found.codes - expected.codes).abs().max() <= 1  # a matrix product rounds differently in another shape


@torch.no_grad()
def test_codes_change_from_tile_to_tile_in_the_middle_of_the_overlap() -> None:
    class Counting(Patches):
        """Codes that say which tile they are of."""

        def encode(self, pixels: Tensor) -> Posterior:
            found = super().encode(pixels)
            return Posterior(found.mean, None, torch.full_like(found.mean[:, 0], len(self.seen)).long())

    model = Counting()
    tiled = Tiled(loaded(model), 64)
    model.seen.clear()
    found = tiled.encode(noise(64, 112, batch=1)).codes
    assert found is not None
    # tiles begin at latents 0, 6, 12, and share 6, 7 and 12, 13
    assert found[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 64), (64, 40), (96, 144), (112, 200)])
@pytest.mark.parametrize("side", [32, 64])
@torch.no_grad()
def test_agrees_with_diffusers_own_tiling(height: int, width: int, side: int) -> None:
    torch.manual_seed(1)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=side,
    ).eval()
    adapted = Adapted(
        lambda pixels: Posterior(*_moments(model, pixels)),
        lambda latents: model.decode(latents).sample,
        "AutoencoderKL",
        model,
        None,
    )
    vae = LoadedVAE("diffusers", adapted, "cpu", torch.float32)
    pixels = noise(height, width)
    whole = vae.decode(vae.encode(pixels).mean)
    tiled = Tiled(vae, side)
    ours = tiled.encode(pixels)
    decoded = tiled.decode(ours.mean)
    model.enable_tiling()
    theirs = model.encode(pixels).latent_dist
    assert ours.log_var is not None
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.log_var, theirs.logvar, rtol=0, atol=1e-5)
    torch.testing.assert_close(decoded, model.decode(ours.mean).sample, rtol=0, atol=1e-5)
    if max(height, width) > side:
        assert (decoded - whole).abs().max() > 1e-3


def _moments(model: AutoencoderKL, pixels: Tensor) -> tuple[Tensor, Tensor]:
    found = model.encode(pixels).latent_dist
    return found.mean, found.logvar


@torch.no_grad()
def test_no_tile_is_larger_than_asked_and_small_pictures_go_whole() -> None:
    model = Patches()
    tiled = Tiled(loaded(model), 64)
    model.longest = 64
    tiled.decode(tiled.encode(noise(200, 328)).mean)
    model.seen.clear()
    tiled.decode(tiled.encode(noise(64, 56)).mean)
    assert model.seen == [(2, 3, 64, 56)]


@torch.no_grad()
def test_what_the_model_keeps_of_its_output_is_not_written_to() -> None:
    class Remembering(Patches):
        def __init__(self) -> None:
            super().__init__()
            self.given = torch.zeros(0)

        def decode(self, latents: Tensor) -> Tensor:
            self.given = super().decode(latents)
            self.copy = self.given.clone()
            return self.given

    model = Remembering()
    tiled = Tiled(loaded(model), 64)
    tiled.decode(torch.randn(1, 6, 12, 12))
    assert torch.equal(model.given, model.copy)


def test_a_vae_of_one_size_is_not_tiled() -> None:
    model = Patches()
    adapted = Adapted(model.encode, model.decode, "Fixed", None, None, fixed_size=64)
    with pytest.raises(InputError, match="64x64 pixels alone"):
        Tiled(LoadedVAE("fixed", adapted, "cpu", torch.float32), 32)


class TestGeometry:
    def test_bands_by_hand(self) -> None:
        tiled = Tiled(loaded(Patches()), 64)  # 8 latents, 2 shared: tiles begin every 48 pixels
        assert (tiled.latents, tiled.pixels) == (Grid(8, 2), Grid(64, 16))
        assert tiled.seams(64, 64) is None
        assert tiled.seams(48, 64) is None
        assert tiled.seams(104, 64) == Seams(((48, 64), (96, 104)), ((48, 64),))

    def test_the_mask_counts_where_tiles_overlap(self) -> None:
        """Every pixel that more than one tile covers, counted by pasting ones."""
        tiled = Tiled(loaded(Patches()), 64)
        height, width = 160, 104
        covered = torch.zeros(height, width)
        for top in range(0, height, 48):
            for left in range(0, width, 48):
                covered[top : top + 64, left : left + 64] += 1
        seams = tiled.seams(height, width)
        assert seams is not None
        assert torch.equal(seams.mask(height, width), covered > 1)

    @pytest.mark.parametrize(
        ("side", "remedy"),
        [
            (100, "--tiling 96 or --tiling 104"),
            (24, "--tiling 32"),
            (7, "--tiling 32"),
            (36, "--tiling 32 or --tiling 40"),
        ],
    )
    def test_a_side_that_does_not_suit(self, side: int, remedy: str) -> None:
        with pytest.raises(InputError, match=f"--tiling {side}") as caught:
            Tiled(loaded(Patches()), side)
        assert caught.value.hint == f"Try {remedy}."
