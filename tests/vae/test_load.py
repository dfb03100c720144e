from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.vae.conftest import SMALL, edit_config
from tests.vae.contract import pictures
from tests.vae.small_diffusers import saved_diffusers
from vaecheck.errors import InputError, SetupError
from vaecheck.results.types import GIVEN, LatentScaling
from vaecheck.vae import load
from vaecheck.vae.aliases import ALIASES, BUNDLED
from vaecheck.vae.hub import HubId
from vaecheck.vae.load import load_vae


@pytest.fixture
def weights(kl_folder: Path, tmp_path: Path) -> Path:
    """The weights of kl_folder as a file that carries no config; its groups are those that one would guess: 8."""
    edit_config(kl_folder, norm_num_groups=8)
    save_file(load_file(kl_folder / "diffusion_pytorch_model.safetensors"), tmp_path / "apart.safetensors")
    (kl_folder / "diffusion_pytorch_model.safetensors").write_bytes((tmp_path / "apart.safetensors").read_bytes())
    return tmp_path / "apart.safetensors"


def refused(ref: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_vae(ref)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


class TestBundled:
    def test_the_card(self, bundled: Path) -> None:
        card = load_vae("kl-f8-tiny").card
        assert (card.ref, card.class_name) == ("kl-f8-tiny", "KLAutoencoder")
        assert (card.f, card.latent_channels) == (SMALL.f, SMALL.latent_channels)
        assert (card.scaling_factor, card.shift_factor) == (0.7, None)

    def test_the_built_in_class_equals_diffusers(self, bundled: Path) -> None:
        ours, theirs, pixels = load_vae("kl-f8-tiny"), load_vae(str(bundled)), pictures(2, 64, 64)
        assert theirs.card.class_name == "AutoencoderKL"
        assert theirs.card.sha256 == ours.card.sha256
        assert theirs.card.parameters == ours.card.parameters
        a, b = ours.encode(pixels), theirs.encode(pixels)
        torch.testing.assert_close(a.mean, b.mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(a.log_var, b.log_var, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.decode(a.mean), theirs.decode(a.mean), rtol=0, atol=1e-5)

    def test_diffusers_is_not_imported(self, bundled: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from vaecheck.vae import load;"
            f"load.BUNDLED_FOLDER = Path({str(bundled)!r}); load.load_vae('kl-f8-tiny');"
            "sys.exit('diffusers' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_a_broken_installation(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "BUNDLED_FOLDER", tmp_path / "absent")
        with pytest.raises(SetupError, match="not in this installation"):
            load_vae("kl-f8-tiny")


class TestWords:
    def test_every_alias_is_a_hub_id_or_bundled_or_a_page(self) -> None:
        import diffusers

        for name, alias in ALIASES.items():
            if alias.target == BUNDLED:
                continue
            assert HubId.parse(alias.target) or alias.target.startswith("https://"), name
            assert hasattr(diffusers, alias.class_name), name
        asked_for = {"kl-f4", "kl-f8", "kl-f16", "vq-f8", "vae-ft-mse-840000", "sdxl-vae", "sdxl-vae-fp16-fix"}
        assert asked_for | {"sd-vae-ft-mse", "sd-vae-ft-ema", "kl-f8-tiny", "flux2", "qwen-image"} <= ALIASES.keys()

    @pytest.mark.parametrize("name", ["kl-f4", "kl-f8", "kl-f16", "kl-f32", "vq-f4", "vq-f8", "vq-f8-n256"])
    def test_what_is_on_no_hub_says_where_it_is(self, name: str) -> None:
        with pytest.raises(SetupError) as caught:
            load_vae(name)
        assert caught.value.exit_code == 3
        assert f"https://ommer-lab.com/files/latent-diffusion/{name}.zip" in caught.value.message
        assert "give the file" in caught.value.hint

    def test_aliases_cost_no_torch(self) -> None:
        code = "import sys, vaecheck.vae.aliases; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    @pytest.mark.parametrize(("word", "meant"), [("sd-vae-ft-msee", "sd-vae-ft-mse"), ("SDXL-VAE", "sdxl-vae")])
    def test_did_you_mean(self, word: str, meant: str) -> None:
        assert meant in refused(word).hint

    @pytest.mark.parametrize("word", ["", " ", "x", "not an alias", "a:b:c", "@", "héllo"])
    def test_words_that_name_nothing(self, word: str) -> None:
        assert "FILE.py:FACTORY" in refused(word).hint

    @pytest.mark.parametrize(
        "path",
        ["./runs/vae", "/nowhere/vae", "~/nowhere", "runs/a/vae", "runs/vae/", "model.safetensors", "runs/vae.ckpt"],
    )
    def test_a_path_that_does_not_exist_says_so(self, path: str) -> None:
        assert f"{path} does not exist" in refused(path).message

    @pytest.mark.parametrize(
        ("text", "parsed"),
        [
            ("a/b", HubId("a/b")),
            ("a/b:vae", HubId("a/b", "vae")),
            ("a/b@refs/pr/1", HubId("a/b", None, "refs/pr/1")),
            ("a-b/c.d_e:x/y@v1.0", HubId("a-b/c.d_e", "x/y", "v1.0")),
            ("a/b:v.safetensors@main", HubId("a/b", "v.safetensors", "main")),
            ("a", None),
            ("a/b/c", None),
            ("a/b:", None),
            ("a/b@", None),
        ],
    )
    def test_hub_ids(self, text: str, parsed: HubId | None) -> None:
        assert HubId.parse(text) == parsed


class TestFiles:
    @pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.vae", "model"])
    def test_a_single_file_is_read_by_its_content(self, weights: Path, name: str) -> None:
        vae, folder = load_vae(str(weights.rename(weights.with_name(name)))), load_vae(str(weights.parent / "kl"))
        pixels = pictures(1, 64, 64)
        assert torch.equal(vae.encode(pixels).mean, folder.encode(pixels).mean)
        assert vae.card.recognised.startswith("diffusers VAE alone: f8, 4 latent channels")
        assert (folder.card.recognised, vae.card.class_name) == ("", "AutoencoderKL")
        assert vae.card.sha256 == folder.card.sha256

    def test_our_own_weights_carry_their_config(self, kl_folder: Path, tmp_path: Path) -> None:
        copy = tmp_path / "copied.safetensors"
        copy.write_bytes((kl_folder / "diffusion_pytorch_model.safetensors").read_bytes())
        alone, folder, pixels = load_vae(str(copy)), load_vae(str(kl_folder)), pictures(1, 64, 64)
        torch.testing.assert_close(alone.encode(pixels).mean, folder.encode(pixels).mean, rtol=1e-6, atol=1e-6)
        assert alone.card.scaling_factor == SMALL.scaling_factor

    @pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "notes.txt"])
    def test_a_file_that_holds_no_weights(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"x")
        assert name in refused(str(tmp_path / name)).message

    def test_the_weights_of_a_diffusers_folder_keep_its_config(self, kl_folder: Path) -> None:
        edit_config(kl_folder, scaling_factor=1.5)
        card = load_vae(str(kl_folder / "diffusion_pytorch_model.safetensors")).card
        assert (card.scaling_factor, card.recognised) == (1.5, "")

    def test_a_folder_with_one_weight_file(self, weights: Path, tmp_path: Path) -> None:
        (tmp_path / "alone").mkdir()
        weights.rename(tmp_path / "alone" / "vae.safetensors")
        (tmp_path / "alone" / "README.md").write_text("")
        assert load_vae(str(tmp_path / "alone")).card.f == 8

    def test_a_folder_with_several_lists_them(self, weights: Path, tmp_path: Path) -> None:
        (tmp_path / "several").mkdir()
        for name in ("b.ckpt", "a.safetensors"):
            (tmp_path / "several" / name).write_bytes(weights.read_bytes())
        error = refused(str(tmp_path / "several"))
        assert "2 weight files and no config.json: a.safetensors, b.ckpt" in error.message
        assert str(tmp_path / "several" / "a.safetensors") in error.hint

    def test_a_python_file_without_its_factory(self, tmp_path: Path) -> None:
        (tmp_path / "own.py").write_text("")
        assert ":FACTORY" in refused(str(tmp_path / "own.py")).hint

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert "holds no VAE" in refused(str(tmp_path)).message

    def test_a_folder_comes_before_the_hub(self, kl_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kl_folder.rename(kl_folder.parent / "owner")
        (kl_folder.parent / "runs").mkdir()
        (kl_folder.parent / "owner").rename(kl_folder.parent / "runs" / "vae")
        monkeypatch.chdir(kl_folder.parent)
        assert load_vae("runs/vae").card.f == 8


class TestFactors:
    def test_those_of_the_folder(self, kl_folder: Path) -> None:
        edit_config(kl_folder, scaling_factor=1.5, shift_factor=0.25)
        card = load_vae(str(kl_folder)).card
        assert (card.scaling_factor, card.shift_factor) == (1.5, 0.25)

    def test_no_default_stands_in(self, kl_folder: Path) -> None:
        edit_config(kl_folder, scaling_factor=None)
        card = load_vae(str(kl_folder)).card
        assert (card.scaling_factor, card.shift_factor) == (None, None)

    def test_those_given_win(self, kl_folder: Path) -> None:
        card = load_vae(str(kl_folder), scaling_factor=2.0, shift_factor=0.0).card
        assert (card.scaling_factor, card.shift_factor) == (2.0, 0.0)

    @pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
    def test_a_factor_that_scales_nothing(self, kl_folder: Path, value: float) -> None:
        with pytest.raises(InputError, match="scales nothing"):
            load_vae(str(kl_folder), scaling_factor=value)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_shift_to_nowhere_is_refused(self, kl_folder: Path, value: float) -> None:
        with pytest.raises(InputError, match="shift factor of"):
            load_vae(str(kl_folder), shift_factor=value)

    def test_a_shift_alone_does_not_throw_away_a_scaling_of_each_channel(self, tmp_path: Path) -> None:
        folder = saved_diffusers("AutoencoderKLWan", tmp_path)
        with pytest.raises(InputError, match="a mean and std for each channel"):
            load_vae(folder, shift_factor=0.1)
        assert load_vae(folder, shift_factor=0.1, scaling_factor=0.5).card.scaling == LatentScaling(
            0.5, 0.1, source=GIVEN
        )

    def test_a_flipped_sign_is_said(self, kl_folder: Path) -> None:
        assert "flips the sign" in load_vae(str(kl_folder), scaling_factor=-0.5).warnings[-1]


def test_moving_to_another_dtype(kl_folder: Path) -> None:
    vae, pixels = load_vae(str(kl_folder)), pictures(1, 64, 64)
    before = vae.encode(pixels).mean
    assert vae.to("cpu", torch.bfloat16) is vae
    assert vae.card.dtype == "bfloat16"
    after = vae.encode(pixels).mean
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    assert vae.to("cpu").card.dtype == "bfloat16"
