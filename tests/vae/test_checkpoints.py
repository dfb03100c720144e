"""What is a checkpoint in the folder of a training, which step it is of, and when it is written to the end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vaecheck.vae.checkpoints import Settling, find_checkpoints, step_in_name


def write(path: Path, text: str = "weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def diffusers(folder: Path, text: str = "weights") -> Path:
    write(folder / "config.json", "{}")
    write(folder / "diffusion_pytorch_model.safetensors", text)
    return folder


def names(folder: Path, *leave_out: Path) -> list[str]:
    return [one.name for one in find_checkpoints(folder, leave_out)]


def test_every_layout_that_trainers_leave(tmp_path: Path) -> None:
    diffusers(tmp_path / "checkpoint-100" / "vae")
    for name in ("optimizer.bin", "scheduler.bin", "scaler.pt", "random_states_0.pkl", "pytorch_model.bin"):
        write(tmp_path / "checkpoint-100" / name)
    diffusers(tmp_path / "vae-200")
    write(tmp_path / "epoch=3-step=300.ckpt")
    write(tmp_path / "step400.safetensors")
    write(tmp_path / "accelerate" / "checkpoint-500" / "model.safetensors")
    write(tmp_path / "accelerate" / "checkpoint-500" / "optimizer.bin")
    write(tmp_path / "events.out.tfevents.1.host")
    write(tmp_path / "samples" / "0001.png")
    assert names(tmp_path) == [
        "accelerate/checkpoint-500/model.safetensors",
        "checkpoint-100/vae",
        "epoch=3-step=300.ckpt",
        "step400.safetensors",
        "vae-200",
    ]


def test_of_a_pipeline_only_its_vae(tmp_path: Path) -> None:
    diffusers(tmp_path / "step-10" / "vae")
    diffusers(tmp_path / "step-10" / "unet")
    write(tmp_path / "step-10" / "model_index.json", "{}")
    assert names(tmp_path) == ["step-10/vae"]


def test_the_folder_itself_may_be_one_beside_those_in_it(tmp_path: Path) -> None:
    """As diffusers' training scripts leave it, and `train vae`, whose checkpoint.pt is to go on from."""
    folder = diffusers(tmp_path / "run-7")
    write(folder / "checkpoint.pt")
    diffusers(folder / "checkpoint-50")
    found = find_checkpoints(folder)
    assert [one.name for one in found] == ["../run-7", "checkpoint-50"]
    assert (folder / found[0].name).samefile(folder)
    assert step_in_name(found[0].name) is None


def test_links_hidden_and_temporary_files_and_what_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder / "step-1.ckpt")
    (folder / "latest.ckpt").symlink_to("step-1.ckpt")
    diffusers(folder / "checkpoint-2")
    (folder / "latest").symlink_to("checkpoint-2", target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    write(tmp_path / "elsewhere" / "step-3.ckpt")
    (folder / "step-3.ckpt").symlink_to(tmp_path / "elsewhere" / "step-3.ckpt")
    (folder / "dangling.ckpt").symlink_to("nowhere.ckpt")
    write(folder / ".step-4.ckpt.part")
    write(folder / ".hidden" / "step-5.ckpt")
    write(folder / "step-6.ckpt.tmp")
    write(folder / "vaecheck-watch" / "step-7.ckpt")
    assert names(folder, folder / "vaecheck-watch") == ["checkpoint-2", "step-1.ckpt", "step-3.ckpt"]


def test_a_config_without_its_weights_is_no_checkpoint_yet(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-1" / "config.json", "{}")
    assert names(tmp_path) == []
    write(tmp_path / "checkpoint-1" / "diffusion_pytorch_model.safetensors")
    assert names(tmp_path) == ["checkpoint-1"]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert find_checkpoints(tmp_path / "nowhere") == ()


def test_the_stamp_tells_other_content_and_sha256_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", "one")
    os.utime(path, (1000, 1000))
    (first,) = find_checkpoints(tmp_path)
    os.utime(path, (2000, 2000))
    (touched,) = find_checkpoints(tmp_path)
    write(path, "two")
    os.utime(path, (2000, 2000))
    copy = write(tmp_path / "copy.ckpt", "two")
    copied, second = find_checkpoints(tmp_path)
    assert first.written == 1000
    assert first.stamp != touched.stamp
    assert second.sha256() == copied.sha256()
    copy.unlink()
    with pytest.raises(OSError, match="No such file"):
        copied.sha256()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500/vae", 500),
        ("checkpoint-500/model.safetensors", 500),
        ("epoch=3-step=1200.ckpt", 1200),
        ("epoch=3-val_loss=0.123-step=1200.ckpt", 1200),
        ("epoch=3-val_loss=0.123.ckpt", 3),
        ("kl-f8_step_0040000.pt", 40000),
        ("global_step1000/mp_rank_00_model_states.pt", 1000),
        ("last-v1.ckpt", None),
        ("last.ckpt", None),
        ("vae", None),
        ("2026-run/000200.safetensors", 200),
        ("iter_300", 300),
    ],
)
def test_the_step_in_a_name(name: str, step: int | None) -> None:
    assert step_in_name(name) == step


def test_a_checkpoint_settles_when_it_has_stayed_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "step-1.ckpt", "half")
    settling, now = Settling(5), time.time()

    def settled(at: float) -> list[str]:
        return [one.name for one in settling.settled(find_checkpoints(tmp_path), at, now + at)]

    os.utime(path, (now, now))
    assert settled(0) == []
    assert settled(4) == []
    write(path, "half and more")
    os.utime(path, (now + 4.5, now + 4.5))
    assert settled(6) == [], "it has changed since"
    assert settled(9) == []
    assert settled(11) == ["step-1.ckpt"]


def test_an_old_file_is_settled_at_once_and_a_clock_that_is_wrong_only_delays(tmp_path: Path) -> None:
    old, future = write(tmp_path / "step-1.ckpt"), write(tmp_path / "step-2.ckpt")
    now = time.time()
    os.utime(old, (now - 60, now - 60))
    os.utime(future, (now + 3600, now + 3600))
    settling = Settling(5)
    assert [one.name for one in settling.settled(find_checkpoints(tmp_path), 0, now)] == ["step-1.ckpt"]
    assert len(settling.settled(find_checkpoints(tmp_path), 5, now + 5)) == 2
