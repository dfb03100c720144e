from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.weights.conftest import BODY, Publisher
from vaecheck import weights
from vaecheck.errors import InputError, WeightsError

OWN = b"trained by hand"


def store(folder: Path, content: bytes, name: str = "alexnet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / weights.TABLE[name].file_name
    file.write_bytes(content)
    return file


@pytest.fixture
def nowhere(clean: Path, publish: Callable[[str], None]) -> Path:
    """BODY is the published file, but its address must not be asked."""
    publish("http://127.0.0.1:1/must-not-be-asked")
    return clean


def test_names_and_addresses_are_those_of_the_libraries() -> None:
    torchvision = pytest.importorskip("torchvision")
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    enums: dict[str, Any] = {
        "alexnet": torchvision.models.AlexNet_Weights,
        "vgg16": torchvision.models.VGG16_Weights,
        "squeezenet1_1": torchvision.models.SqueezeNet1_1_Weights,
    }
    urls = {name: enum.IMAGENET1K_V1.url for name, enum in enums.items()}
    urls["inception"] = inception.URL_INCEPTION_V3
    assert {name: row.url for name, row in weights.TABLE.items()} == urls
    for row in weights.TABLE.values():
        assert row.url.rsplit("/", 1)[1] == row.file_name
        assert row.file_name.rsplit("-", 1)[1] == f"{row.sha256_prefix}.pth"


def test_checkpoints_folder_is_that_of_torch_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch.hub

    for variables in (
        {},
        {"XDG_CACHE_HOME": str(tmp_path)},
        {"TORCH_HOME": "~/models"},
        {"TORCH_HOME": str(tmp_path / "t"), "XDG_CACHE_HOME": "x"},
    ):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.delenv("TORCH_HOME", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert weights.torch_checkpoints() == Path(torch.hub.get_dir()) / "checkpoints"


def test_importing_the_module_loads_no_torch() -> None:
    code = "import sys, vaecheck.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestSearch:
    def test_option_comes_before_the_folder_and_torch_home(
        self, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        option = tmp_path / "mine.pth"
        option.write_bytes(OWN)
        monkeypatch.setenv("VAECHECK_WEIGHTS", str(tmp_path / "folder"))
        own = store(tmp_path / "folder", OWN)
        torch_home = store(nowhere, BODY)

        found = weights.find("alexnet", path=option)
        assert (found.path, found.origin, found.published) == (option, "option", False)
        assert found.sha256 == hashlib.sha256(OWN).hexdigest()
        found = weights.find("alexnet")
        assert (found.path, found.origin, found.published) == (own, "VAECHECK_WEIGHTS", False)
        own.unlink()
        found = weights.find("alexnet")
        assert (found.path, found.origin, found.published) == (torch_home, "TORCH_HOME", True)

    def test_option_may_be_a_folder(self, nowhere: Path, tmp_path: Path) -> None:
        file = store(tmp_path / "folder", BODY)
        found = weights.find("alexnet", path=tmp_path / "folder")
        assert (found.path, found.published) == (file, True)

    @pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), os.mkfifo], ids=["none", "folder", "pipe"])
    def test_option_that_leads_to_no_file(self, nowhere: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "x")
        with pytest.raises(InputError) as caught:
            weights.find("alexnet", path=tmp_path / "x")
        assert weights.TABLE["alexnet"].file_name in caught.value.hint

    def test_torch_home_takes_the_published_file_alone(self, nowhere: Path) -> None:
        store(nowhere, BODY[:-1])
        with pytest.raises(WeightsError, match="broken download") as caught:
            weights.find("alexnet")
        assert "vaecheck weights fetch alexnet" in caught.value.hint

    def test_offline_names_the_places_and_the_remedy(self, nowhere: Path) -> None:
        with pytest.raises(WeightsError) as caught:
            weights.find("alexnet", offline=True)
        assert str(nowhere) in caught.value.message
        assert "VAECHECK_WEIGHTS (not set)" in caught.value.message
        assert "vaecheck weights fetch alexnet" in caught.value.hint
        assert "vaecheck weights import alexnet FILE" in caught.value.hint
        assert caught.value.exit_code == 3

    def test_unknown_name(self) -> None:
        with pytest.raises(InputError, match="'resnet'"):
            weights.find("resnet")


class TestDownload:
    def test_right_bytes(self, publisher: Publisher, clean: Path) -> None:
        seen: list[tuple[str, int, int | None]] = []
        found = weights.find("alexnet", progress=lambda *step: seen.append(step))
        assert (found.path.parent, found.origin, found.published) == (clean, "downloaded", True)
        assert found.path.read_bytes() == BODY
        assert seen[-1] == ("alexnet", len(BODY), len(BODY))
        assert [step[1] for step in seen] == sorted(step[1] for step in seen)
        assert os.listdir(clean) == [found.path.name]
        assert weights.find("alexnet").origin == "TORCH_HOME"
        assert len(publisher.requests) == 1

    @pytest.mark.parametrize(
        ("answer", "text", "requests"),
        [
            ("wrong", "not the published file", 2),
            ("cut", f"{len(BODY) // 2} of {len(BODY)} bytes", 2),
            (404, "404", 1),
            (403, "403", 1),
            (503, "503", 2),
        ],
    )
    def test_bad_answers(self, publisher: Publisher, clean: Path, answer: str | int, text: str, requests: int) -> None:
        publisher.answers = [answer]
        with pytest.raises(WeightsError, match=text) as caught:
            weights.find("alexnet")
        assert publisher.url in caught.value.message
        assert "vaecheck weights import alexnet FILE" in caught.value.hint
        assert len(publisher.requests) == requests
        assert os.listdir(clean) == []

    @pytest.mark.parametrize("first", ["cut", "wrong", 500])
    def test_second_try(self, publisher: Publisher, first: str | int) -> None:
        publisher.answers = [first, "right"]
        assert weights.find("alexnet").path.read_bytes() == BODY

    def test_silence_costs_seconds(
        self, clean: Path, silent_port: int, publish: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights, "OPEN_SECONDS", 0.5)
        publish(f"http://127.0.0.1:{silent_port}/alexnet.pth")
        start = time.monotonic()
        with pytest.raises(WeightsError, match="no answer"):
            weights.find("alexnet")
        assert time.monotonic() - start < 2
        assert os.listdir(clean) == []

    def test_limits_add_up_to_seconds(self) -> None:
        assert weights.OPEN_SECONDS <= 10
        assert weights.READ_SECONDS <= 10
        assert weights.TRIES <= 2

    def test_refused_connection(self, clean: Path, refused_port: int, publish: Callable[[str], None]) -> None:
        publish(f"http://127.0.0.1:{refused_port}/alexnet.pth")
        start = time.monotonic()
        with pytest.raises(WeightsError, match="refused"):
            weights.find("alexnet")
        assert time.monotonic() - start < 2

    def test_proxy_is_respected(self, publisher: Publisher, publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", publisher.url.rsplit("/", 1)[0])
        publish("http://weights.invalid/alexnet.pth")
        assert weights.find("alexnet").published
        assert publisher.requests == ["http://weights.invalid/alexnet.pth"]

    def test_folder_that_cannot_be_written(
        self, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
        with pytest.raises(WeightsError, match="cannot be written"):
            weights.find("alexnet")
        assert publisher.requests == []


class TestCommands:
    def test_fetch_mends_a_broken_download(self, publisher: Publisher, clean: Path) -> None:
        store(clean, BODY[:10])
        (fetched,) = weights.fetch(("alexnet",))
        assert (fetched.origin, fetched.path.read_bytes()) == ("downloaded", BODY)
        (again,) = weights.fetch(("alexnet",))
        assert again.origin == "TORCH_HOME"
        assert len(publisher.requests) == 1

    def test_fetch_asks_for_nothing_when_one_name_is_unknown(self, publisher: Publisher) -> None:
        with pytest.raises(InputError):
            weights.fetch(("alexnet", "resnet"))
        assert publisher.requests == []

    def test_listing_has_every_row(self, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store(nowhere, BODY)
        store(nowhere, b"half", "vgg16")
        monkeypatch.setenv("VAECHECK_WEIGHTS", str(tmp_path / "own"))
        store(tmp_path / "own", OWN, "squeezenet1_1")
        rows = {row.name: row for row in weights.listing()}
        assert list(rows) == list(weights.TABLE)
        assert rows["alexnet"].found is not None
        assert rows["alexnet"].found.published
        assert rows["vgg16"].found is None
        assert "broken download" in rows["vgg16"].problem
        assert rows["squeezenet1_1"].found is not None
        assert not rows["squeezenet1_1"].found.published
        assert "fetch inception" in rows["inception"].problem

    def test_verify_sees_every_copy(self, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAECHECK_WEIGHTS", str(tmp_path / "own"))
        store(tmp_path / "own", BODY)
        broken = store(nowhere, BODY[:10])
        good, bad = weights.verify()
        assert good.problem == ""
        assert bad.found is not None
        assert bad.found.path == broken
        assert "not the published file" in bad.problem

    def test_import_published(self, nowhere: Path, tmp_path: Path) -> None:
        (tmp_path / "usb.pth").write_bytes(BODY)
        imported = weights.import_file("alexnet", tmp_path / "usb.pth")
        assert imported.origin == "TORCH_HOME"
        assert weights.find("alexnet", offline=True).path == imported.path
        assert os.listdir(nowhere) == [imported.path.name]

    def test_import_of_another_file_needs_a_folder_of_its_own(
        self, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine.pth").write_bytes(OWN)
        with pytest.raises(WeightsError) as caught:
            weights.import_file("alexnet", tmp_path / "mine.pth")
        assert "VAECHECK_WEIGHTS" in caught.value.hint
        assert not nowhere.exists()
        monkeypatch.setenv("VAECHECK_WEIGHTS", str(tmp_path / "own"))
        weights.import_file("alexnet", tmp_path / "mine.pth")
        found = weights.find("alexnet", offline=True)
        assert (found.origin, found.published) == ("VAECHECK_WEIGHTS", False)
        assert weights.import_file("alexnet", found.path).path == found.path
        assert found.path.read_bytes() == OWN
