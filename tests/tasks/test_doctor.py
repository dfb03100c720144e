"""Each line of `doctor` on machines that lack something; the machine is made by the environment, never assumed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vaecheck import weights
from vaecheck.tasks import doctor


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, an empty hub cache, no token, no flags."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def line(subject: str) -> doctor.Check:
    found = [check for check in doctor.doctor() if check.subject == subject]
    assert found, f"no line for {subject}"
    return found[-1]


def test_every_need_of_the_package_has_a_line_with_its_version() -> None:
    found = {check.subject: check for check in doctor.doctor()}
    for name in ("numpy", "pillow", "torch-fidelity", "typer"):
        assert found[name].mark == "ok"
        assert metadata.version(name) in found[name].state
    assert found["Python"].mark == "ok"
    assert "pytest" not in found


def test_every_note_has_a_remedy_and_nothing_is_missing_here() -> None:
    checks = doctor.doctor()
    assert [check for check in checks if check.mark == "missing"] == []
    assert [check.subject for check in checks if check.mark == "note" and not check.remedy] == []


def test_a_package_that_is_absent_or_too_old_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=999", "no-such-package>=1.2", "no-such-extra>=3; extra == 'data'", "never-asked; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    found = {check.subject: check for check in doctor._packages()}
    assert found["numpy"].mark == found["no-such-package"].mark == "missing"
    assert found["numpy"].remedy == "pip install 'numpy>=999'"
    assert found["no-such-extra"] == doctor.Check(
        "note", "no-such-extra", "not installed; >=3 is wanted (optional)", "pip install 'vaecheck[data]'"
    )
    assert "never-asked" not in found


def test_a_torch_that_cannot_be_imported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = [check for check in doctor.doctor() if check.subject == "torch" and check.mark == "missing"]
    assert len(checks) == 1
    assert "cannot be imported: ModuleNotFoundError" in checks[0].state
    assert checks[0].remedy


@pytest.mark.parametrize(
    ("build", "driver_file", "mark", "words"),
    [
        (None, False, "ok", "no CUDA in this build"),
        (None, True, "note", "no CUDA in this build"),
        ("13.0", False, "ok", "driver absent: runs on the CPU"),
        ("13.0", True, "note", "driver for CUDA 12.4: no CUDA device can be used"),
    ],
)
def test_a_cuda_build_is_held_against_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str | None, driver_file: bool, mark: str, words: str
) -> None:
    file = tmp_path / "version"
    if driver_file:
        file.touch()
    monkeypatch.setattr(doctor, "NVIDIA_DRIVER", str(file))
    torch: Any = SimpleNamespace(
        __version__="9.9",
        version=SimpleNamespace(cuda=build, hip=None),
        cuda=SimpleNamespace(is_available=lambda: False),
        _C=SimpleNamespace(_cuda_getDriverVersion=lambda: 12040 if driver_file else 0),
    )
    check = doctor._cuda(torch)
    assert check.mark == mark
    assert words in check.state
    assert bool(check.remedy) == (mark == "note")


def test_a_cuda_device_has_a_line_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "mem_get_info": lambda place: (60 * doctor.GIB, 80 * doctor.GIB),
        "get_device_name": lambda place: "Some GPU",
        "is_bf16_supported": lambda including_emulation: True,
    }
    for name, answer in found.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    checks = {check.subject: check for check in doctor._torch()}
    assert checks["cuda:0"].mark == "ok"
    assert checks["cuda:0"].state.startswith("Some GPU, 60.0 GiB of 80.0 GiB free, bfloat16 native; Stable Diffusion's")
    assert "a batch of about 31 fits" in checks["cuda:0"].state  # (60 - 0.81) / 1.89 = 31.3


def test_weights_absent_wrong_and_found(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = line("weights alexnet")
    assert absent.mark == "note"
    assert "vaecheck weights fetch alexnet (233 MB)" in absent.remedy
    folder = bare / "own"
    folder.mkdir()
    (folder / weights.TABLE["alexnet"].file_name).write_bytes(b"of my own")
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(folder))
    wrong = line("weights alexnet")
    assert wrong.mark == "note"
    assert "not the published file" in wrong.state
    broken = bare / "torch" / "hub" / "checkpoints" / weights.TABLE["vgg16"].file_name
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half a download")
    assert "sha256" in line("weights vgg16").remedy


def test_the_hub_cache_is_measured_and_a_token_is_never_shown(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line("hub token").state.startswith("not set")
    blob = bare / "hf" / "hub" / "models--a--b" / "blob"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(3 << 20))
    (blob.parent / "link").symlink_to(blob)
    assert line("hub cache").state == f"{bare / 'hf' / 'hub'}, 3.0 MiB"
    (bare / "hf" / "token").write_text("hf_secret")
    assert line("hub token").state == "set"
    monkeypatch.setenv("HF_TOKEN", "hf_other_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://user:hf_third_secret@mirror.invalid")
    checks = doctor.doctor()
    assert "secret" not in repr(checks)
    offline = next(check for check in checks if check.subject == "hub offline")
    assert offline.remedy == "unset HF_HUB_OFFLINE"


def test_the_hub_cache_is_where_the_hub_has_it(bare: Path) -> None:
    code = "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(doctor.hub_cache())


def test_places_that_cannot_be_written(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "file").write_text("")
    for name in ("HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(bare / "file" / "below"))
    for place, variable in (("hub cache", "HF_HOME"), ("metric weights", "TORCH_HOME")):
        check = line(f"disk, {place}")
        assert check.mark == "note"
        assert "cannot be written" in check.state
        assert variable in check.remedy
    monkeypatch.setenv("VAECHECK_WEIGHTS", str(bare / "nowhere"))
    assert line("VAECHECK_WEIGHTS").state == f"{bare / 'nowhere'} is not there"


def test_little_room_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(doctor, "available_memory", lambda: doctor.GIB)
    assert line("disk, this folder").mark == "note"
    assert line("shared memory").remedy.startswith("Loader processes")
    memory = line("memory")
    assert memory.mark == "note"
    assert "which does not fit" in memory.state


def test_memory_of_the_kernel_and_what_fits() -> None:
    psutil = pytest.importorskip("psutil")
    free = doctor.available_memory()
    assert free is not None
    assert 0 < free <= psutil.virtual_memory().total
    ten = doctor.KL_F8_FIXED + 10.5 * doctor.KL_F8_PICTURE
    assert doctor._fits(ten).endswith("takes about 2.7 GiB for a picture: a batch of about 10 fits")


def test_a_check_that_fails_is_a_line_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("no such\ndevice")

    monkeypatch.setattr(weights, "listing", broken)
    check = line("metric weights")
    assert check.state == "could not be looked at: OSError: no such device"
    assert line("text").mark in ("ok", "note")


def test_nothing_is_written_and_no_network_is_asked(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **more: asked.append(address))
    doctor.doctor()
    assert asked == []
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anon 5\ninactive_file 300\n", 300),
        ("inactive_file 3\ntotal_inactive_file 400\n", 400),
        ("anon 5\n", 0),
        ("no numbers here\n", 0),
        (None, 0),
    ],
)
def test_cached_files_of_a_container_are_free_memory(tmp_path: Path, text: str | None, expected: int) -> None:
    if text is not None:
        (tmp_path / "memory.stat").write_text(text)
    assert doctor._reclaimable(tmp_path / "memory.current") == expected
