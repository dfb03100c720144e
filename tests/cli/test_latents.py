"""The command `latents`, as its users and their scripts see it."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run


def test_json_is_the_document(run: Run, photos: Path, vae_folder: Path, tmp_path: Path) -> None:
    done = run("latents", photos, "--vae", vae_folder, "--size", 64, "--offline", "--json", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.document["kind"] == "latents"
    measures = done.document["measures"]
    assert measures["equivariance_rotation"]["role"] == "predicts"
    assert measures["latent_std"]["role"] == "describes"
    assert "arXiv 2502.09509" in measures["equivariance_rotation"]["evidence"]
    assert len(done.document["channels"]) == 4
    assert {plot["about"] for plot in done.document["plots"]} <= set(measures)
    assert (tmp_path / "out" / "result.json").exists()
    assert (tmp_path / "out" / "report.html").exists()


def test_table_for_people(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("latents", photos, "--vae", vae_folder, "--size", 64, "--offline")
    assert done.code == 0, done.err
    for name in ("equivariance_scale", "intrinsic_dimension", "noise_psnr_db_10", "decoder_sensitivity"):
        assert name in done.out
    assert "needs classes" in " ".join(done.out.split())


def test_a_measure_asked_for_that_cannot_be_had_ends_with_3(run: Run, photos: Path, vae_folder: Path) -> None:
    arguments = ("latents", photos, "--vae", vae_folder, "--size", 64, "--offline", "--json")
    done = run(*arguments, "--metrics", "ifid,latent_std")
    assert done.code == 3
    assert done.document["measures"]["latent_std"]["status"] == "ok"
    assert "vaecheck weights fetch inception" in " ".join(done.err.split())
    assert run(*arguments, "--metrics", "latent_std,equivariance_rotation").code == 0


def test_stand_in_weights_are_used_and_said(run: Run, photos: Path, vae_folder: Path, checkpoints: Path) -> None:
    done = run(
        *("latents", photos, "--vae", vae_folder, "--size", 64, "--offline", "--json"),
        *("--metrics", "ifid,noise_lpips_doubling,noise_psnr_db_10"),
        VAECHECK_WEIGHTS=str(checkpoints),
    )
    measures = done.document["measures"]
    assert measures["ifid"]["value"] > 0
    assert "not the published ones" in measures["ifid"]["reason"]
    assert measures["ifid"]["n"] == 10
    lpips = measures["noise_lpips_doubling"]
    assert "LPIPS (alex)" in lpips["definition"]
    assert lpips["value"] is None or "not the published ones" in lpips["reason"]
    assert measures["noise_psnr_db_10"]["status"] == "ok"
    assert done.code == 0, done.err


def test_an_unknown_measure_is_bad_input(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("latents", photos, "--vae", vae_folder, "--metrics", "equivariance")
    assert done.code == 2
    assert "no latent measure named 'equivariance'" in done.err
    assert "equivariance_scale" in done.err


def test_help_names_the_options(run: Run) -> None:
    done = run("latents", "--help")
    assert done.code == 0
    for option in ("--metrics", "--lpips-weights", "--inception-weights", "--posterior"):
        assert option in done.out
