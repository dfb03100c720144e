"""Hub ids against a small hub on this machine that speaks the real one's protocol, and against silence."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import load, save

from tests.vae.contract import pictures
from vaecheck.errors import InputError, SetupError
from vaecheck.vae import hub
from vaecheck.vae.load import load_vae

COMMIT = "c" * 40
SAFE = "diffusion_pytorch_model.safetensors"


@dataclass
class FakeHub:
    """files: by repository, then by path. refuse: repository -> (status, X-Error-Code). asked: what was."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, as huggingface.co gives them."""
        self.asked.append(path)
        parts = path.strip("/").split("/")
        listing = parts[:2] == ["api", "models"]
        repo, rest = ("/".join(parts[2:4]), parts[4:]) if listing else ("/".join(parts[:2]), parts[2:])
        revision = rest[1] if len(rest) > 1 else "main"
        if repo not in self.files:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if listing:
            siblings = [{"rfilename": name} for name in self.files[repo]]
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
        if repo in self.refuse:
            status, code = self.refuse[repo]
            return status, {"X-Error-Code": code}, b""
        body = self.files[repo].get("/".join(rest[2:]))
        if body is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no token, and a hub that nothing reaches unless a test says otherwise."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    return tmp_path / "cache"


@pytest.fixture
def fake_hub(cache: Path, kl_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    fake.files["owner/vae"] = {"README.md": b"", **{path.name: path.read_bytes() for path in kl_folder.iterdir()}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = fake.answer(unquote(urlsplit(self.path).path))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield fake
    server.shutdown()
    server.server_close()


def under(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {prefix + name: body for name, body in files.items()}


class TestDownload:
    def test_the_same_model_as_the_folder(self, fake_hub: FakeHub, kl_folder: Path) -> None:
        fetched, local, pixels = load_vae("owner/vae"), load_vae(str(kl_folder)), pictures(1, 64, 64)
        assert torch.equal(fetched.encode(pixels).mean, local.encode(pixels).mean)
        assert fetched.card.ref == "owner/vae"
        assert fetched.card.sha256 == local.card.sha256

    def test_only_what_is_needed_is_fetched(self, fake_hub: FakeHub) -> None:
        half = SAFE.replace(".", ".fp16.", 1)
        fake_hub.files["owner/vae"] |= {half: b"x", SAFE.replace("safetensors", "bin"): b"x", "big.ckpt": b"x"}
        folder = hub.folder_of(hub.HubId("owner/vae"))
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", SAFE]

    def test_subfolder_and_pipeline(self, fake_hub: FakeHub) -> None:
        files = fake_hub.files["owner/vae"]
        fake_hub.files["owner/pipe"] = {"model_index.json": b"{}", "unet/config.json": b"{}", **under("vae/", files)}
        fake_hub.files["owner/many"] = {**under("vae/", {}), **under("parts/first/", files)}
        assert load_vae("owner/pipe").card.f == 8
        assert load_vae("owner/pipe:vae").card.f == 8
        assert load_vae("owner/many:parts/first").card.f == 8

    def test_revision(self, fake_hub: FakeHub) -> None:
        assert load_vae(f"owner/vae@{COMMIT}").card.f == 8

    def test_half_precision_alone(self, fake_hub: FakeHub) -> None:
        from safetensors.torch import load, save

        files = fake_hub.files["owner/vae"]
        tensors = {key: value.half() for key, value in load(files.pop(SAFE)).items()}
        files[SAFE.replace(".", ".fp16.", 1)] = save(tensors, metadata={"format": "pt"})
        assert any("fp16" in warning for warning in load_vae("owner/vae").warnings)

    def test_an_alias_brings_its_publishers_factor(self, fake_hub: FakeHub) -> None:
        files = dict(fake_hub.files["owner/vae"])
        config = json.loads(files["config.json"])
        fake_hub.files["stabilityai/sdxl-vae"] = dict(files)
        del config["scaling_factor"]
        files["config.json"] = json.dumps(config).encode()
        fake_hub.files["stabilityai/sd-vae-ft-mse"] = files
        assert load_vae("sd-vae-ft-mse").card.scaling_factor == 0.18215
        assert load_vae("stabilityai/sd-vae-ft-mse").card.scaling_factor is None
        assert load_vae("sdxl-vae").card.scaling_factor == 0.7

    def test_progress_stays_off_a_file(self, fake_hub: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
        load_vae("owner/vae")
        printed = capfd.readouterr()
        assert printed.out == ""
        assert "%" not in printed.err


class TestSingleFiles:
    def test_one_file_of_a_repository(self, fake_hub: FakeHub, kl_folder: Path) -> None:
        fake_hub.files["owner/files"] = {"a/vae.safetensors": (kl_folder / SAFE).read_bytes(), "big.ckpt": b"x"}
        vae = load_vae("owner/files:a/vae.safetensors")
        assert vae.card.ref == "owner/files:a/vae.safetensors"
        assert vae.card.recognised.startswith("diffusers VAE alone: f8")
        assert not any("big.ckpt" in path for path in fake_hub.asked)
        asked = len(fake_hub.asked)
        assert load_vae("owner/files:a/vae.safetensors", offline=True).card == vae.card
        assert load_vae(f"owner/files:a/vae.safetensors@{COMMIT}", offline=True).card.f == 8
        assert len(fake_hub.asked) == asked

    def test_an_alias_of_one_file_brings_its_publishers_factor(self, fake_hub: FakeHub, kl_folder: Path) -> None:
        name = "vae-ft-mse-840000-ema-pruned.safetensors"
        fake_hub.files["stabilityai/sd-vae-ft-mse-original"] = {name: save(load((kl_folder / SAFE).read_bytes()))}
        vae = load_vae("vae-ft-mse-840000")
        assert vae.card.scaling_factor == 0.18215
        assert not any("--scaling-factor" in warning for warning in vae.warnings)

    def test_a_file_that_is_not_there(self, fake_hub: FakeHub) -> None:
        fake_hub.files["owner/files"] = {"unet.safetensors": b"x", "the_vae.safetensors": b"x"}
        with pytest.raises(InputError, match=r"owner/files on the hub has no file vae\.safetensors") as caught:
            load_vae("owner/files:vae.safetensors")
        assert "owner/files:the_vae.safetensors" in caught.value.hint

    def test_the_config_beside_the_file_comes_with_it(self, fake_hub: FakeHub, kl_folder: Path) -> None:
        names = {"a/vae.safetensors": SAFE, "a/config.json": "config.json"}
        fake_hub.files["owner/both"] = {name: (kl_folder / file).read_bytes() for name, file in names.items()}
        fake_hub.files["owner/both"]["a/vae.safetensors"] = save(load((kl_folder / SAFE).read_bytes()))
        vae = load_vae("owner/both:a/vae.safetensors")
        assert vae.card.scaling.source == "config.json beside it"
        assert load_vae("owner/both:a/vae.safetensors", offline=True).card == vae.card

    def test_a_file_that_was_never_fetched(self, fake_hub: FakeHub) -> None:
        with pytest.raises(SetupError, match="owner/files is not in the hub's cache"):
            load_vae("owner/files:vae.safetensors", offline=True)


class TestCache:
    def test_offline_reads_what_was_fetched(self, fake_hub: FakeHub) -> None:
        load_vae("owner/vae")
        asked = len(fake_hub.asked)
        assert load_vae("owner/vae", offline=True).card.f == 8
        assert len(fake_hub.asked) == asked

    def test_a_hub_that_is_gone_leaves_the_cache(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        load_vae("owner/vae")
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        assert load_vae("owner/vae").card.f == 8

    def test_a_repository_that_was_deleted_leaves_the_cache(self, fake_hub: FakeHub) -> None:
        load_vae("owner/vae")
        del fake_hub.files["owner/vae"]
        assert load_vae("owner/vae").card.f == 8

    @pytest.mark.parametrize("way", ["option", "variable"])
    def test_offline_without_a_copy(self, fake_hub: FakeHub, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", way == "variable")
        with pytest.raises(SetupError, match="no folder or file owner/vae here, and owner/vae is not in the") as caught:
            load_vae("owner/vae", offline=way == "option")
        assert f"Paths count from {Path.cwd()}" in caught.value.hint
        assert caught.value.exit_code == 3
        assert fake_hub.asked == []


class TestErrors:
    def test_gated(self, fake_hub: FakeHub) -> None:
        fake_hub.refuse["owner/vae"] = (401, "GatedRepo")
        with pytest.raises(SetupError, match="owner/vae is gated") as caught:
            load_vae("owner/vae")
        assert f"http://127.0.0.1:{fake_hub.port}/owner/vae" in caught.value.hint
        assert "HF_TOKEN" in caught.value.hint
        assert caught.value.exit_code == 3

    def test_not_found(self, fake_hub: FakeHub) -> None:
        with pytest.raises(InputError, match="no folder or file owner/absent here, and no repository") as caught:
            load_vae("owner/absent")
        assert caught.value.exit_code == 2
        assert "HF_TOKEN" in caught.value.hint

    def test_revision_not_found(self, fake_hub: FakeHub) -> None:
        with pytest.raises(InputError, match="owner/vae has no revision 'v9'"):
            load_vae("owner/vae@v9")

    def test_subfolder_missing(self, fake_hub: FakeHub) -> None:
        fake_hub.files["owner/pipe"] = {"unet/config.json": b"{}", "vae_1/config.json": b"{}"}
        with pytest.raises(InputError, match=r"no subfolder 'vae' with a config\.json") as caught:
            load_vae("owner/pipe:vae")
        assert "unet, vae_1" in caught.value.hint

    def test_single_files_alone(self, fake_hub: FakeHub) -> None:
        fake_hub.files["owner/files"] = {"vae-840000.ckpt": b"x"}
        with pytest.raises(InputError, match=r"owner/files on the hub has no config\.json") as caught:
            load_vae("owner/files")
        assert "Name one: owner/files:vae-840000.ckpt" in caught.value.hint

    def test_no_weights(self, fake_hub: FakeHub) -> None:
        del fake_hub.files["owner/vae"][SAFE]
        with pytest.raises(InputError, match="no diffusers weights"):
            load_vae("owner/vae")

    @pytest.mark.parametrize(("status", "text"), [(503, "answered 503"), (403, "refuses owner/vae")])
    def test_other_refusals(self, fake_hub: FakeHub, status: int, text: str) -> None:
        fake_hub.refuse["owner/vae"] = (status, "")
        with pytest.raises(SetupError, match=text):
            load_vae("owner/vae")

    def test_a_port_that_refuses(self, cache: Path) -> None:
        start = time.monotonic()
        with pytest.raises(SetupError, match=r"http://127\.0\.0\.1:1 could not be reached") as caught:
            load_vae("owner/vae")
        assert caught.value.exit_code == 3
        assert time.monotonic() - start < 5


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """A hub whose connections are accepted by the kernel and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class TestSilence:
    def test_it_costs_seconds(self, cache: Path, silent_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", silent_endpoint)
        monkeypatch.setattr(hub, "_patience", lambda: 0.5)
        start = time.monotonic()
        with pytest.raises(SetupError, match="could not be reached"):
            load_vae("owner/vae")
        assert time.monotonic() - start < 3

    def test_the_limit_is_seconds(self) -> None:
        assert hub._patience() <= 15

    @pytest.mark.slow
    def test_a_whole_process(self, tmp_path: Path, silent_endpoint: str) -> None:
        code = "from vaecheck.vae.load import load_vae; load_vae('owner/vae')"
        variables = {"HF_ENDPOINT": silent_endpoint, "HF_HOME": str(tmp_path), "PATH": ""}
        start = time.monotonic()
        run = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
        assert "owner/vae is not in the hub's cache; http" in run.stderr
        assert time.monotonic() - start < 45


def test_errors_of_the_library_are_mapped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    raised: dict[type[Exception], type[Exception]] = {
        HFValidationError: InputError,
        OfflineModeIsEnabled: SetupError,
        OSError: SetupError,
        TimeoutError: SetupError,
    }
    for error, expected in raised.items():

        def fail(_: hub.HubId, error: type[Exception] = error) -> Path:
            raise error("as the library says")

        monkeypatch.setattr(hub, "_download", fail)
        with pytest.raises(expected, match="owner/vae"):
            load_vae("owner/vae")
