"""vaecheck reconstruct, from the command line to the files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from diffusers import AutoencoderKL
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from tests.cli.conftest import Run

PIXEL = ("--size", "64", "--metrics", "psnr_db,ssim", "--yardstick", "none")


def test_the_document_the_table_and_the_files(run: Run, photos: Path, vae_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = run("reconstruct", photos, "--vae", vae_folder, "--size", 64, "--offline", "--out", out)
    assert done.code == 0, done.err
    assert {path.name for path in out.iterdir()} == {
        *("result.json", "per_image.csv", "report.html", "report.md", "grid.png", "worst.png", "pictures.png"),
    }
    document = json.loads((out / "result.json").read_text())
    assert (document["kind"], document["schema"], document["data"]["count"]) == ("reconstruct", 1, 10)
    assert (document["vae"]["f"], document["vae"]["latent_channels"]) == (8, 4)
    measures = document["measures"]
    assert measures["rfid"]["status"] == "unavailable"
    assert "vaecheck weights fetch inception" in measures["rfid"]["reason"]
    assert measures["psnr_db"]["status"] == "ok"
    assert measures["psnr_db"]["ci95"][0] < measures["psnr_db"]["value"] < measures["psnr_db"]["ci95"][1]
    assert measures["latent_shape"]["value"] == [4, 8, 8]
    assert {yardstick["name"] for yardstick in document["yardsticks"]} == {"bicubic", "linear"}
    with (out / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows][-2:] == ["inner/08.png", "inner/09.png"]
    mean = np.mean([float(row["psnr_db"]) for row in rows])
    assert measures["psnr_db"]["value"] == pytest.approx(mean)
    for text in ("psnr_db", "linear", "unavailable"):
        assert text in done.out


def test_json_is_the_document_and_nothing_else(run: Run, photos: Path, vae_folder: Path) -> None:
    done = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--json")
    assert done.code == 0, done.err
    assert done.document["settings"]["size"] == 64
    assert set(done.document["measures"]) >= {"psnr_db", "ssim", "encode_images_per_second"}


def test_agrees_with_a_plain_diffusers_loop(run: Run, photos: Path, vae_folder: Path, tmp_path: Path) -> None:
    """The reconstructions, byte by byte up to one grey level, and the PSNR that scikit-image gives them."""
    import torch

    saved = tmp_path / "saved"
    done = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--json", "--save-reconstructions", saved)
    model = AutoencoderKL.from_pretrained(vae_folder).eval()
    expected = []
    for path in sorted(photos.rglob("*.png"), key=lambda path: path.relative_to(photos).as_posix()):
        image = Image.open(path).convert("RGB")
        width, height = (max(64, round(side * 64 / min(image.size))) for side in image.size)
        left, top = (width - 64) // 2, (height - 64) // 2
        original = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))[top : top + 64, left : left + 64]
        pixels = torch.from_numpy(original / np.float32(127.5) - 1).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            decoded = model.decode(model.encode(pixels).latent_dist.mode()).sample[0]
        plain = ((decoded.permute(1, 2, 0).numpy() + 1) * 127.5).clip(0, 255).round().astype(np.uint8)
        ours = np.asarray(Image.open(saved / path.relative_to(photos)))
        assert np.abs(plain.astype(int) - ours).max() <= 1
        expected.append(peak_signal_noise_ratio(original, ours, data_range=255))
    assert done.document["measures"]["psnr_db"]["value"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_batch_size_changes_nothing(run: Run, photos: Path, vae_folder: Path) -> None:
    one, five = (
        run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--posterior", "sample", "--json", "--batch-size", n)
        for n in (1, 5)
    )
    for name in ("psnr_db", "ssim"):
        a, b = (done.document["measures"][name]["value"] for done in (one, five))
        assert a == pytest.approx(b, rel=1e-5)
    assert one.document["data"]["fingerprint"] == five.document["data"]["fingerprint"]


def test_stand_in_weights_give_figures_that_are_marked(
    run: Run, photos: Path, vae_folder: Path, checkpoints: Path
) -> None:
    names = "rfid,kid,lpips_alex,lpips_squeeze"
    arguments = ("reconstruct", photos, "--vae", vae_folder, "--size", 64, "--metrics", names, "--json", "--offline")
    done = run(*arguments, "--limit", 6, VAECHECK_WEIGHTS=str(checkpoints))
    assert done.code == 0, done.err
    for name in names.split(","):
        measure = done.document["measures"][name]
        assert measure["value"] is not None
        assert measure["status"] == "unreliable"
        assert "sha256" in measure["reason"]
    assert "2,048" in done.document["measures"]["rfid"]["reason"]


def test_a_metric_asked_for_by_name_that_cannot_be_had_ends_with_3_after_the_result(
    run: Run, photos: Path, vae_folder: Path
) -> None:
    done = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--metrics", "rfid,psnr_db", "--json", "--offline")
    assert done.code == 3
    assert done.document["measures"]["psnr_db"]["status"] == "ok"
    assert "rfid" in done.err
    assert "vaecheck weights fetch inception" in done.err


def test_one_picture_is_enough_for_all_that_one_picture_can_say(
    run: Run, photos: Path, vae_folder: Path, checkpoints: Path
) -> None:
    arguments = ("reconstruct", photos / "00.png", "--vae", vae_folder, "--size", 64, "--json", "--offline")
    done = run(*arguments, VAECHECK_WEIGHTS=str(checkpoints))
    assert done.code == 0, done.err
    measures = done.document["measures"]
    assert measures["rfid"]["status"] == "unavailable"
    assert "2" in measures["rfid"]["reason"]
    assert measures["psnr_db"]["n"] == 1


def test_pictures_of_their_own_size(run: Run, photos: Path, vae_folder: Path) -> None:
    padded = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--fit", "pad", "--json")
    assert padded.code == 0, padded.err
    assert padded.document["data"]["count"] == 10
    exact = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--fit", "none", "--json")
    skipped = exact.document["data"]["skipped"]
    assert exact.document["data"]["count"] == 2, "only 80x72 and 152x72 are multiples of 8"
    assert "multiples of 8" in skipped[0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-folder", "--vae", "kl-f8-tiny"], 2, "no-such-folder"),
        (["{photos}", "--vae", "sd-vae-ft-msx"], 2, "sd-vae-ft-mse"),
        (["{photos}", "--vae", "{vae}", "--size", "100"], 2, "multiple"),
        (["{photos}", "--vae", "{vae}", "--metrics", "psnr"], 2, "psnr_db"),
        (["{photos}", "--vae", "{vae}", "--batch-size", "many"], 2, "--batch-size"),
        (["{photos}", "--vae", "{vae}", "--fit", "squash"], 2, "--fit"),
        (["{photos}", "--vae", "{vae}", "--device", "cuda:99"], 3, "cuda"),
        (["{photos}", "--vae", "{vae}", "--device", "abacus"], 2, "abacus"),
        (["{photos}", "--vae", "owner/name", "--offline"], 3, "offline"),
        (["{photos}"], 2, "--vae"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    run: Run, photos: Path, vae_folder: Path, arguments: list[str], code: int, words: str
) -> None:
    filled = [argument.format(photos=photos, vae=vae_folder) for argument in arguments]
    done = run("reconstruct", *filled)
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err


def test_bad_pictures_are_skipped_counted_and_warned_of_or_end_the_run(
    run: Run, photos: Path, vae_folder: Path
) -> None:
    (photos / "broken [red].png").write_text("no picture")
    skip = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--json")
    assert skip.code == 0
    assert [image["id"] for image in skip.document["data"]["skipped"]] == ["broken [red].png"]
    assert "broken [red].png" in skip.err
    fail = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--bad-images", "fail")
    assert fail.code == 2
    assert "broken [red].png" in fail.err


def test_without_images_the_samples_are_taken_and_it_says_so(run: Run, vae_folder: Path) -> None:
    done = run("reconstruct", "--vae", vae_folder, *PIXEL, "--limit", 2, "--json")
    assert done.code == 0, done.err
    assert "samples" in done.err


def test_score_of_saved_reconstructions_gives_the_same_figures(
    run: Run, photos: Path, vae_folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    whole = run("reconstruct", photos, "--vae", vae_folder, *PIXEL, "--json", "--save-reconstructions", saved)
    scored = run("score", photos, saved, "--size", 64, "--metrics", "psnr_db,ssim", "--json")
    assert scored.code == 0, scored.err
    for name in ("psnr_db", "ssim"):
        a, b = (done.document["measures"][name]["value"] for done in (whole, scored))
        assert a == pytest.approx(b, abs=1e-9)
    shutil.rmtree(saved / "inner")
    partial = run("score", photos, saved, "--size", 64, "--metrics", "psnr_db", "--json")
    assert partial.document["data"]["count"] == 8
    assert len(partial.document["data"]["skipped"]) == 2
    assert "inner/08.png" in partial.err
    strict = run("score", photos, saved, "--size", 64, "--metrics", "psnr_db", "--bad-images", "fail")
    assert (strict.code, strict.out) == (2, "")
    latent = run("score", photos, saved, "--metrics", "latent_std")
    assert latent.code == 2
