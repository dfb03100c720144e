"""Every form of IMAGES through the command line: the same pictures give the same figures."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import Run

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

QUICK = ("--size", 64, "--metrics", "psnr_db,ssim", "--yardstick", "none", "--json", "--batch-size", 1)


@pytest.fixture
def forms(photos: Path) -> Path:
    """The ten pictures of `photos` as shards, compressed shards, a list and a table, beside it."""
    here = photos.parent
    files = sorted(photos.rglob("*.png"), key=lambda path: path.relative_to(photos).as_posix())
    for name, mode in (("photos.tar", "w"), ("photos.tar.gz", "w:gz")):
        with tarfile.open(here / name, mode) as tar:
            for path in files:
                tar.add(path, path.relative_to(photos).as_posix())
    (here / "names.txt").write_text("\n".join(path.relative_to(here).as_posix() for path in files))
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table({"image": cells}), here / "photos.parquet", row_group_size=4)
    return here


def test_one_set_of_pictures_in_every_form(run: Run, forms: Path, vae_folder: Path) -> None:
    documents, columns = {}, {}
    for form in ("photos", "photos/**/*.png", "names.txt", "photos.tar", "photos.tar.gz", "photos.parquet"):
        done = run("reconstruct", forms / form, "--vae", vae_folder, *QUICK, "--out", forms / "out")
        assert done.code == 0, done.err
        documents[form] = done.document
        with (forms / "out" / "per_image.csv").open() as file:
            rows = list(csv.DictReader(file))
        columns[form] = {row["id"]: (float(row["psnr_db"]), float(row["ssim"])) for row in rows}
    first = documents["photos"]
    for form, document in documents.items():
        assert document["data"]["fingerprint"] == first["data"]["fingerprint"], form
        assert document["data"]["count"] == 10
        for name in ("psnr_db", "ssim"):
            assert document["measures"][name]["value"] == pytest.approx(first["measures"][name]["value"], rel=1e-9)
    for form in ("photos/**/*.png", "names.txt", "photos.tar", "photos.tar.gz"):
        assert columns[form] == columns["photos"]
    assert sorted(columns["photos.parquet"]) == [f"photos.parquet/{row:08d}" for row in range(10)]
    assert sorted(columns["photos.parquet"].values()) == sorted(columns["photos"].values())


def test_yardsticks_pass_a_stream_again(run: Run, forms: Path, vae_folder: Path) -> None:
    arguments = ("--vae", vae_folder, "--size", 64, "--metrics", "psnr_db", "--json")
    listed = run("reconstruct", forms / "photos.tar", *arguments).document
    streamed = run("reconstruct", forms / "photos.tar.gz", *arguments).document
    assert len(streamed["yardsticks"]) == 2
    for left, right in zip(streamed["yardsticks"], listed["yardsticks"], strict=True):
        assert left["measures"]["psnr_db"]["value"] == right["measures"]["psnr_db"]["value"]


def test_a_table_against_its_saved_reconstructions(run: Run, forms: Path, vae_folder: Path) -> None:
    """reconstruct and score agree on the same pairs; the originals stream."""
    saved = forms / "saved"
    table = forms / "photos.parquet"
    made = run("reconstruct", table, "--vae", vae_folder, *QUICK, "--save-reconstructions", saved).document
    assert (saved / "photos.parquet" / "00000003.png").is_file()
    scored = run("score", table, saved, "--size", 64, "--metrics", "psnr_db,ssim", "--json")
    assert scored.code == 0, scored.err
    for name in ("psnr_db", "ssim"):
        assert scored.document["measures"][name]["value"] == pytest.approx(made["measures"][name]["value"], rel=1e-9)
    (saved / "photos.parquet" / "00000003.png").unlink()
    fewer = run("score", table, saved, "--size", 64, "--metrics", "psnr_db", "--json").document
    assert fewer["data"]["count"] == 9
    assert [skipped["id"] for skipped in fewer["data"]["skipped"]] == ["photos.parquet/00000003"]


def test_many_streamed_originals(run: Run, tmp_path: Path) -> None:
    """More than are held at once, so that both sides really pass as streams and files."""
    (tmp_path / "left").mkdir()
    (tmp_path / "right").mkdir()
    for i in range(70):
        Image.new("RGB", (16, 16), (i, 90, 200)).save(tmp_path / "left" / f"{i:02d}.png")
        Image.new("RGB", (16, 16), (i + 2, 90, 200)).save(tmp_path / "right" / f"{i:02d}.png")
    with tarfile.open(tmp_path / "left.tgz", "w:gz") as tar:
        for i in reversed(range(70)):
            tar.add(tmp_path / "left" / f"{i:02d}.png", f"{i:02d}.png")
    arguments = (tmp_path / "right", "--size", 16, "--metrics", "psnr_db", "--json")
    streamed, listed = (run("score", tmp_path / name, *arguments).document for name in ("left.tgz", "left"))
    assert streamed["data"]["count"] == listed["data"]["count"] == 70
    assert streamed["data"]["fingerprint"] == listed["data"]["fingerprint"]
    assert streamed["measures"]["psnr_db"]["value"] == pytest.approx(listed["measures"]["psnr_db"]["value"], rel=1e-12)


def test_training_pictures_may_stream(forms: Path) -> None:
    """What a training is given is the same from a folder, a stream and a table."""
    from vaecheck.tasks.settings import Listener
    from vaecheck.tasks.training_pictures import hold_pictures

    held = [hold_pictures(str(forms / form), 64, Listener()) for form in ("photos", "photos.tar.gz", "photos.parquet")]
    assert [(len(pictures), pictures.skipped) for pictures in held] == [(10, ())] * 3
    assert len({pictures.fingerprint for pictures in held}) == 1
    for pictures in held[1:]:
        assert all(torch.equal(*pair) for pair in zip(pictures.tensors, held[0].tensors, strict=True))


def test_reconstructions_may_not_stream(run: Run, forms: Path) -> None:
    done = run("score", forms / "photos", forms / "photos.tar.gz", "--size", 64)
    assert done.code == 2
    assert "can only be read from its start" in " ".join(done.err.split())


def test_damage_is_counted_or_ends_the_run(run: Run, forms: Path, vae_folder: Path) -> None:
    shard = forms / "photos.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    counted = run("reconstruct", shard, "--vae", vae_folder, *QUICK)
    assert counted.code == 0
    assert [skipped["id"] for skipped in counted.document["data"]["skipped"]] == ["photos.tar"]
    assert 0 < counted.document["data"]["count"] < 10
    ended = run("reconstruct", shard, "--vae", vae_folder, *QUICK, "--bad-images", "fail")
    assert ended.code == 2
    assert "photos.tar is damaged or cut off near byte" in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("pipe:touch ran", 2, "would run a command"),
        ("hf://datasets/owner", 2, "hf://datasets/OWNER/NAME"),
        ("hf://datasets/owner/name", 3, "the run is offline"),
        ("https://host.invalid/data-{000..009}.tar", 3, "the run is offline"),
    ],
)
def test_refusals(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, code: int, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("reconstruct", source, "--vae", "kl-f8-tiny", "--offline")
    assert done.code == code
    assert says in " ".join(done.err.split())
    assert list(tmp_path.iterdir()) == []
