"""scale-factor, bench, demo, weights, vaes, train, and what every command shares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Run
from vaecheck.pixels import to_pixels
from vaecheck.vae.kl_f8 import KLAutoencoder


def test_scale_factor_against_numpy(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("scale-factor", photos, "--vae", vae_folder, "--size", 64, "--json", "--batch-size", 4)
    assert done.code == 0, done.err
    scaling = done.document["scaling"]
    model = KLAutoencoder.load(vae_folder)
    means, variances = [], []
    for path in sorted(photos.rglob("*.png"), key=lambda path: path.relative_to(photos).as_posix()):
        image = Image.open(path).convert("RGB")
        width, height = (max(64, round(side * 64 / min(image.size))) for side in image.size)
        left, top = (width - 64) // 2, (height - 64) // 2
        array = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))[top : top + 64, left : left + 64]
        with torch.no_grad():
            posterior = model.encode(to_pixels(torch.from_numpy(array.copy()).permute(2, 0, 1)[None]))
        assert posterior.log_var is not None
        means.append(posterior.mean.double().numpy())
        variances.append(np.exp(posterior.log_var.double().numpy()))
    mean, variance = np.concatenate(means), np.concatenate(variances)
    std = np.sqrt(mean.var() + variance.mean())
    assert scaling["mean"] == pytest.approx(mean.mean(), rel=1e-5)
    assert scaling["std"] == pytest.approx(std, rel=1e-5)
    assert scaling["std_of_means"] == pytest.approx(mean.std(), rel=1e-5)
    assert scaling["scaling_factor"] == pytest.approx(1 / std, rel=1e-5)
    low, high = scaling["scaling_factor_ci95"]
    assert low <= scaling["scaling_factor"] <= high
    assert scaling["first_batch"]["images"] == 4
    channel_std = np.sqrt(mean.var((0, 2, 3)) + variance.mean((0, 2, 3)))
    assert [channel["std"] for channel in scaling["per_channel"]] == pytest.approx(channel_std.tolist(), rel=1e-5)
    assert scaling["shipped"]["scaling_factor"] == 0.18215
    assert scaling["shipped"]["std_after"] == pytest.approx(std * 0.18215, rel=1e-5)
    assert scaling["verdict"] == "ok" if 0.8 <= std * 0.18215 <= 1.25 else "wrong"


@pytest.mark.parametrize(("off_by", "verdict"), [(1.0, "ok"), (1.3, "wrong"), (0.75, "wrong")])
def test_the_shipped_factor_is_judged(run: Run, photos: Path, vae_folder: Path, off_by: float, verdict: str) -> None:
    first = run("scale-factor", photos, "--vae", vae_folder, "--size", 64, "--json").document["scaling"]
    factor = first["scaling_factor"] * off_by
    arguments = ("scale-factor", photos, "--vae", vae_folder, "--size", 64, "--scaling-factor", factor)
    judged = run(*arguments, "--json").document["scaling"]
    assert (judged["verdict"], judged["shipped"]["std_after"]) == (verdict, pytest.approx(off_by))


def test_scale_factor_table_has_the_snippets(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("scale-factor", photos, "--vae", vae_folder, "--size", 64)
    for words in ("scale_factor:", '"scaling_factor":', "latent_dist.sample()"):
        assert words in done.out


def test_bench_counts_flops_and_speed(run: Run, vae_folder: Path) -> None:
    done = run("bench", "--vae", vae_folder, "--size", 64, "--batches", 2, "--batch-size", 2, "--json")
    assert done.code == 0, done.err
    measures = done.document["measures"]
    assert measures["encode_images_per_second"]["value"] > 0
    assert measures["encode_flops_per_image"]["value"] > 1e6
    assert measures["decode_images_per_second"]["n"] == 4


def test_vaes_lists_the_aliases(run: Run) -> None:
    done = run("vaes")
    assert done.code == 0
    assert {"kl-f8-tiny", "sd-vae-ft-mse"} <= set(done.out.split())


def test_weights_list_names_files_and_remedies(run: Run) -> None:
    done = run("weights", "list", COLUMNS="80")
    assert done.code == 0, done.err
    assert "weights-inception-2015-12-05-6726825d.pth" in done.out
    assert "absent" in done.out
    lines = done.out.splitlines()
    assert any(
        line.startswith("  source  https://") and line.endswith("/weights-inception-2015-12-05-6726825d.pth")
        for line in lines
    )
    assert all(len(line) <= 80 or "/" in line.split()[-1] for line in lines)
    rows = json.loads(run("weights", "list", "--json").out)
    assert {row["name"] for row in rows} == {"inception", "alexnet", "vgg16", "squeezenet1_1"}


def test_weights_import_refuses_what_is_not_published(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "alexnet-owt-7be5be79.pth"
    wrong.write_bytes(b"not the weights")
    done = run("weights", "import", "alexnet", wrong)
    assert done.code == 3
    assert "sha256" in done.err


def test_weights_of_ones_own_are_said_to_be_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"not the weights")
    done = run("weights", "import", "alexnet", mine, VAECHECK_WEIGHTS=str(tmp_path / "own"))
    assert done.code == 0
    assert "lpips_alex will be marked unreliable" in done.err
    done = run("weights", "verify", VAECHECK_WEIGHTS=str(tmp_path / "own"))
    assert done.code == 3
    assert "remove it, or unset VAECHECK_WEIGHTS, then: vaecheck weights fetch alexnet" in done.err


def test_errors_are_wrapped_on_a_terminal_alone(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / ("a" * 90)
    inside = run("reconstruct", missing / "b.png", "--vae", "kl-f8-tiny", FORCE_COLOR="1", COLUMNS="60")
    assert f" {missing}" in " " + inside.err.replace("\n", " ")
    assert len(inside.err.splitlines()) > 2
    assert len(run("reconstruct", missing, "--vae", "kl-f8-tiny", COLUMNS="60").err.splitlines()) <= 2


def test_train_then_check_what_was_trained(run: Run, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        "picture_side = 64\n[model]\nblock_out_channels = [8, 8, 16, 16]\nlayers_per_block = 1\nnorm_num_groups = 4\n"
        "mid_block_add_attention = false\n[[stages]]\ncrop = 32\nbatch_size = 2\nsteps = 3\n"
    )
    out = tmp_path / "mine"
    done = run("train", "vae", photos, "--config", recipe, "--out", out)
    assert done.code == 0, done.err
    checked = run("reconstruct", photos, "--vae", out, "--size", 64, "--metrics", "psnr_db", "--json")
    assert checked.code == 0, checked.err
    assert checked.document["vae"]["latent_channels"] == 4


def test_a_unet_and_the_ceiling_from_the_command_line(run: Run, photos: Path, tmp_path: Path) -> None:
    config = tmp_path / "unet.toml"
    config.write_text(
        "[model]\nblock_out_channels = [16]\nlayers_per_block = 1\nattention_levels = []\nnorm_num_groups = 8\n"
        "[training]\nsteps = 2\nbatch_size = 2\n"
    )
    options = ("--vae", "kl-f8-tiny", "--size", 32, "--config", config)
    trained = run("train", "unet", photos, *options, "--out", tmp_path / "unet", "--scaling", "measured")
    assert trained.code == 0, trained.err
    assert "of std 1.000" in trained.out
    refused = run("train", "unet", photos, *options, "--out", tmp_path / "no", "--scaling-factor", 5)
    assert refused.code == 2
    assert "outside 0.8 to 1.25" in refused.err
    assert "--any-scale" in refused.err
    wrong = run("train", "unet", photos, *options, "--out", tmp_path / "no", "--scaling", "guess")
    assert wrong.code == 2
    done = run(
        *("e2e", photos, *options, "--any-scale", "--samples", 4, "--metrics", "psnr_db,fd_efficientnet_lite0"),
        *("--out", tmp_path / "e2e", "--json"),
    )
    assert done.code == 0, done.err
    assert done.document["kind"] == "e2e"
    again = run("report", tmp_path / "e2e", COLUMNS="80")
    assert again.code == 0, again.err
    assert max(map(len, again.out.splitlines())) <= 80
    assert "Ceiling check" in again.out


def test_an_interrupted_reader_is_no_error(run: Run) -> None:
    assert run("--help").code == 0
    assert run("reconstruct", "--help", COLUMNS="80").code == 0
    assert run("nonsense").code == 2
    assert run().code in (0, 2)


def test_debug_shows_the_traceback(run: Run) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "vaecheck", "--debug", "reconstruct", "nowhere", "--vae", "kl-f8-tiny"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 2
    assert "Traceback" in done.stderr
