"""A publisher on this machine: a table with small files, and a server that can misbehave."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vaecheck import weights

BODY = bytes(range(256)) * 2000


@dataclass
class Publisher:
    """answers: what each request gets in turn, the last one for ever: "right", "wrong", "cut" or a status code."""

    url: str
    answers: list[str | int]
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME, no VAECHECK_WEIGHTS, no proxy."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("VAECHECK_WEIGHTS", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the table's "alexnet" at an address that offers BODY as the published file."""

    def at(url: str) -> None:
        digest = hashlib.sha256(BODY).hexdigest()[:8]
        row = replace(weights.TABLE["alexnet"], url=url, sha256_prefix=digest, file_name=f"alexnet-owt-{digest}.pth")
        monkeypatch.setitem(weights.TABLE, "alexnet", row)

    return at


@pytest.fixture
def publisher(clean: Path, publish: Callable[[str], None]) -> Iterator[Publisher]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = offer.answers.pop(0) if len(offer.answers) > 1 else offer.answers[0]
            offer.requests.append(self.path)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            body = BODY[::-1] if answer == "wrong" else BODY
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if answer == "cut" else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    offer = Publisher(f"http://127.0.0.1:{server.server_port}/alexnet.pth", ["right"])
    publish(offer.url)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield offer
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose connections are accepted by the kernel and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
