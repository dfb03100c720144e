"""hf:// data sets, from a small hub on this machine that speaks the real one's protocol to the datasets package."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.images.nasty import encode, noise
from vaecheck.errors import InputError, SetupError
from vaecheck.images import hub
from vaecheck.images.entries import Stream
from vaecheck.images.loader import Loader
from vaecheck.images.prepare import Intake
from vaecheck.images.sources import open_images

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")

COMMIT = "c" * 40
SET = "hf://datasets/owner/set"
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def picture(i: int) -> bytes:
    return encode(noise(20, 16, i), "PNG")


def table(first: int, count: int) -> bytes:
    """A parquet file in row groups of 50, with features as the datasets package writes them."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    cells = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(first, first + count)]
    columns = pa.table({"image": pa.array(cells, type=IMAGE), "label": pa.array(range(count))})
    file = io.BytesIO()
    pq.write_table(columns.cast(features.arrow_schema), file, row_group_size=50)
    return file.getvalue()


@dataclass
class FakeHub:
    """files: by data set, then by path. refuse: data set -> (status, X-Error-Code). sent: bytes, by path."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, url: str, request: bytes, span: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, as huggingface.co gives them."""
        parts, query = unquote(urlsplit(url).path).strip("/").split("/"), parse_qs(urlsplit(url).query)
        self.asked.append(url)
        api = parts[:2] == ["api", "datasets"]
        if not api and parts[0] != "datasets":
            return 404, {}, b""
        repo, rest = ("/".join(parts[2:4]), parts[4:]) if api else ("/".join(parts[1:3]), parts[3:])
        if repo in self.refuse:
            return self.refuse[repo][0], {"X-Error-Code": self.refuse[repo][1]}, b""
        if repo not in self.files:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        files = self.files[repo]
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if not api:
            return self._content(repo, "/".join(rest[2:]), span)
        if rest[:1] == ["tree"]:
            return self._tree(files, "/".join(rest[2:]), query.get("recursive") == ["true"])
        if rest[:1] == ["paths-info"]:
            return _json([_described(path, files[path]) for path in json.loads(request)["paths"] if path in files])
        return _json({"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})

    def _content(self, repo: str, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
        body = self.files[repo].get(path)
        if body is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
        if span is None:
            self.sent[path] = self.sent.get(path, 0) + len(body)
            return 200, headers, body
        first, last = (int(number) for number in span.removeprefix("bytes=").split("-"))
        part = body[first : last + 1]
        self.sent[path] = self.sent.get(path, 0) + len(part)
        return 206, headers | {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(body)}"}, part

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> tuple[int, dict[str, str], bytes]:
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, body in files.items():
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                found[name] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
            if recursive or len(parts) == 1:
                found[path] = _described(path, body)
        return _json(list(found.values())) if found else (404, {"X-Error-Code": "EntryNotFound"}, b"")


def _json(document: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


def _described(path: str, body: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": hashlib.sha1(body).hexdigest(), "size": len(body), "path": path}


@pytest.fixture(scope="module")
def tables() -> dict[str, bytes]:
    return {
        "data/train-00000-of-00001.parquet": table(0, 30),
        "data/validation-00000-of-00002.parquet": table(100, 100),
        "data/validation-00001-of-00002.parquet": table(200, 100),
    }


@pytest.fixture
def fake_hub(tmp_path: Path, tables: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import HfFileSystem, constants

    fake = FakeHub({"owner/set": {"README.md": b"---\nlicense: mit\n---\n", **tables}})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = fake.answer(self.path, request, self.headers.get("Range"))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    HfFileSystem.clear_instance_cache()
    yield fake
    HfFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()


class TestStream:
    def test_validation_is_taken_before_train(self, fake_hub: FakeHub) -> None:
        images = open_images(SET)
        entries = list(images)
        assert images.source == f"{SET}@{COMMIT}:default/validation#image"
        assert [entry.id for entry in entries] == [f"validation/{row:08d}" for row in range(200)] == list(images.ids)
        assert [entry.read() for entry in entries] == [picture(i) for i in range(100, 300)]
        assert list(images.files()) == []

    def test_the_source_it_names_is_the_same_set(self, fake_hub: FakeHub) -> None:
        images = open_images(SET + ":train")
        again = open_images(images.source)
        assert again.source == images.source
        assert [entry.read() for entry in again] == [picture(i) for i in range(30)]

    def test_training_takes_train(self, fake_hub: FakeHub) -> None:
        assert open_images(SET, splits=hub.TRAIN_FIRST).source.endswith(":default/train#image")

    def test_the_fingerprint_of_the_same_pictures_in_a_folder(self, fake_hub: FakeHub, tmp_path: Path) -> None:
        (tmp_path / "files").mkdir()
        for i in range(30):
            (tmp_path / "files" / f"{i}.png").write_bytes(picture(i))
        loaders = [Loader(open_images(s), Intake(size=16), batch_size=8) for s in (f"{tmp_path}/files", SET + ":train")]
        assert [sum(len(batch.ids) for batch in loader) for loader in loaders] == [30, 30]
        assert loaders[0].fingerprint == loaders[1].fingerprint

    def test_a_limit_leaves_the_rest_on_the_hub(self, fake_hub: FakeHub, tables: dict[str, bytes]) -> None:
        assert len(list(open_images(SET, limit=3))) == 3
        assert "data/validation-00001-of-00002.parquet" not in fake_hub.sent

    def test_passes_and_choices(self, fake_hub: FakeHub) -> None:
        images = open_images(SET)
        few = images.only(["validation/00000150", "validation/00000004"])
        assert [entry.read() for entry in few] == [picture(104), picture(250)]
        drawn = open_images(SET, sample=70)
        assert isinstance(drawn, Stream)
        assert drawn.count == 70
        ids = [entry.id for entry in drawn]
        assert ids == sorted(set(ids)) == [entry.id for entry in drawn]
        assert len(ids) == 70

    def test_a_stated_size_spares_the_pass_of_a_draw(self, fake_hub: FakeHub, tables: dict[str, bytes]) -> None:
        undrawn = open_images(SET, sample=70)
        readme = b"""---
dataset_info:
  features:
  - {name: image, dtype: image}
  - {name: label, dtype: int64}
  splits:
  - {name: train, num_bytes: 1, num_examples: 30}
  - {name: validation, num_bytes: 1, num_examples: 200}
---
"""
        fake_hub.files["owner/stated"] = {"README.md": readme, **tables}
        fake_hub.sent.clear()
        drawn = open_images("hf://datasets/owner/stated", sample=70)
        assert "data/validation-00001-of-00002.parquet" not in fake_hub.sent
        assert open_images("hf://datasets/owner/stated").count == 200
        assert [entry.id for entry in drawn] == [entry.id for entry in undrawn]

    def test_a_data_set_of_files(self, fake_hub: FakeHub) -> None:
        """datasets' imagefolder gives paths on the hub; they are read by the loader's threads."""
        fake_hub.files["owner/files"] = {f"test/{i}.png": picture(i) for i in range(4)}
        images = open_images("hf://datasets/owner/files")
        loader = Loader(images, Intake(size=16), batch_size=2, workers=2)
        assert [batch.ids for batch in loader] == [
            ("test/00000000", "test/00000001"),
            ("test/00000002", "test/00000003"),
        ]
        assert [entry.read() for entry in images] == [picture(i) for i in range(4)]
        assert list(images.only(["test/00000001"]).files()) == []

    def test_nothing_is_printed(self, fake_hub: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
        list(open_images(SET, limit=60))
        assert capfd.readouterr().out == ""
        assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS

    def test_a_hub_that_goes_away(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("STREAMING_READ_MAX_RETRIES", "STREAMING_OPEN_MAX_RETRIES"):
            monkeypatch.setattr(datasets.config, name, 1)
        for name in ("STREAMING_READ_RETRY_INTERVAL", "STREAMING_OPEN_RETRY_INTERVAL"):
            monkeypatch.setattr(datasets.config, name, 0)
        stream = iter(open_images(SET))
        assert next(stream).id == "validation/00000000"
        fake_hub.refuse["owner/set"] = (403, "")
        with pytest.raises(SetupError, match=r"the stream broke off after \d+ rows") as caught:
            list(stream)
        assert caught.value.hint


class TestConfigsAndColumns:
    @pytest.fixture
    def configs(self, fake_hub: FakeHub, tables: dict[str, bytes]) -> None:
        fake_hub.files["owner/set"]["README.md"] = b"""---
configs:
- config_name: small
  data_files: [{split: train, path: data/train-*}]
- config_name: large
  data_files: [{split: dev, path: data/validation-*}, {split: extra, path: data/train-*}]
---
"""

    def test_one_of_several_must_be_named(self, configs: None) -> None:
        with pytest.raises(InputError, match=r"owner/set has several configs: small, large") as caught:
            open_images(SET)
        assert caught.value.hint == f"Name one: {SET}:small/"

    def test_named(self, configs: None) -> None:
        assert open_images(SET + ":small/").source == f"{SET}@{COMMIT}:small/train#image"
        assert open_images(SET + ":large/").source == f"{SET}@{COMMIT}:large/dev#image"
        assert open_images(SET + ":large/extra").source == f"{SET}@{COMMIT}:large/extra#image"

    def test_absent(self, configs: None) -> None:
        with pytest.raises(InputError, match="has no config huge: small, large"):
            open_images(SET + ":huge/train")
        with pytest.raises(InputError, match="has no split test: dev, extra") as caught:
            open_images(SET + ":large/test")
        assert caught.value.hint == f"Name one: {SET}:large/dev"

    def test_columns(self, fake_hub: FakeHub) -> None:
        with pytest.raises(InputError, match="column label holds no pictures"):
            open_images(SET + "#label")
        assert open_images(SET + "@main#image").source.endswith("#image")

    def test_splits_without_an_order(self, fake_hub: FakeHub, tables: dict[str, bytes]) -> None:
        with pytest.raises(InputError, match="has several splits: train, validation"):
            open_images(SET, splits=())

    def test_text(self, fake_hub: FakeHub) -> None:
        fake_hub.files["owner/text"] = {"train.txt": b"no picture\n"}
        with pytest.raises(InputError, match=r"owner/text.* no column"):
            open_images("hf://datasets/owner/text")


class TestErrors:
    @pytest.mark.parametrize(
        ("refusal", "error", "says"),
        [
            ((401, "GatedRepo"), SetupError, "owner/set is gated"),
            ((403, ""), SetupError, r"the hub refuses owner/set \(403\)"),
            ((500, ""), SetupError, "answered 500"),
        ],
    )
    def test_refusals(self, fake_hub: FakeHub, refusal: tuple[int, str], error: type[Exception], says: str) -> None:
        fake_hub.refuse["owner/set"] = refusal
        with pytest.raises(error, match=says) as caught:
            open_images(SET)
        assert caught.value.hint

    def test_what_does_not_exist(self, fake_hub: FakeHub) -> None:
        with pytest.raises(InputError, match="there is no data set owner/none"):
            open_images("hf://datasets/owner/none")
        with pytest.raises(InputError, match="owner/set has no revision 'v9'"):
            open_images(SET + "@v9")
        fake_hub.files["owner/empty"] = {"README.md": b""}
        with pytest.raises(InputError, match="owner/empty cannot be read as a data set"):
            open_images("hf://datasets/owner/empty")

    @pytest.mark.parametrize("way", ["option", "variable"])
    def test_offline(self, fake_hub: FakeHub, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", way == "variable")
        with pytest.raises(SetupError, match="the run is offline") as caught:
            open_images(SET, offline=way == "option")
        assert "hf download owner/set --repo-type dataset" in caught.value.hint
        assert fake_hub.asked == []

    def test_nobody_there(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        with pytest.raises(SetupError, match=r"http://127\.0\.0\.1:1 could not be reached"):
            open_images(SET)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(SetupError, match="need the datasets package") as caught:
            open_images(SET)
        assert caught.value.hint == "pip install 'vaecheck[data]'"
