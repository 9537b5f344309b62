"""A real nginx of our own configuration, and small real upstreams that record what arrives."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import ports
import pytest
from nginx_process import Nginx, entry

# Of models where nobody listens.
NOBODYS = [ports.free_port() for _ in range(2)]


@dataclass
class Arrived:
    """One request as it arrived upstream."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw_headers: list[tuple[str, str]]


@dataclass
class Upstream:
    """A server that records, and answers by `answer` (default: 200 and its own name)."""

    name: str
    arrived: list[Arrived] = field(default_factory=list)
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    port: int = 0

    def __enter__(self) -> "Upstream":
        upstream = self

        class Recorder(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                upstream.arrived.append(
                    Arrived(
                        self.command,
                        self.path,
                        dict(self.headers.items()),
                        self.rfile.read(length),
                        list(self.headers.items()),
                    )
                )
                if upstream.answer is not None:
                    upstream.answer(self)
                    return
                body = json.dumps({"served_by": upstream.name}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815  # the base's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def last(self) -> Arrived:
        return self.arrived[-1]


@pytest.fixture(scope="module")
def story() -> Iterator[Upstream]:
    with Upstream("story") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def echo() -> Iterator[Upstream]:
    with Upstream("echo") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx")).running() as running:
        yield running


@pytest.fixture
def nginx(instance: Nginx, story: Upstream, echo: Upstream) -> Nginx:
    """nginx with two models that are enabled, one that is not, and one that does not listen."""
    for upstream in (story, echo):
        upstream.answer = None
        upstream.arrived.clear()
    instance.forget()
    instance.route(
        {
            "story": entry("story", story.port, "openai/gpt-story", "story-precise"),
            "echo": entry("echo", echo.port),
            "resting": entry("resting", NOBODYS[0], "rest:7b", enabled=False),
            "gone": entry("gone", NOBODYS[1]),
        }
    )
    return instance


@pytest.fixture
def make_nginx(tmp_path: Path) -> type[Nginx]:
    """For tests that need an nginx of their own."""
    return Nginx


@pytest.fixture
def make_entry() -> Callable[..., dict]:
    return entry


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a port on which nobody listens."""
    return ports.free_port
