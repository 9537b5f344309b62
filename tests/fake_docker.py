"""Docker's API on a unix socket: what `spark-model image` asks of it, and faults."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class FakeDocker:
    """What it has and what it will say; tests change it between requests.

    Attributes:
        images: What `inspect` answers, by name.
        events: What a pull or a build says, in this order.
        brings: Images that are there once those are said.
        status: The status of a pull's answer; other than 200, *message* is its error.
        asked: Each request to change something: path, query and body.
        holds: Set it to let a pull end; while it is unset, the answer stays open.
        left: Set when the client went in the middle of an answer.
        breaks: End the connection after the events, without an end of the answer.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.brings: dict[str, dict[str, Any]] = {}
        self.status = 200
        self.message = ""
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.holds = threading.Event()
        self.holds.set()
        self.said = threading.Event()
        self.left = threading.Event()
        self.breaks = False


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    docker: FakeDocker


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        docker = self.server.docker
        path = unquote(urlsplit(self.path).path)
        if path.endswith("/version"):
            self._answer(200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        elif path.endswith("/info"):
            self._answer(200, {"DockerRootDir": str(docker.root)})
        else:
            name = path.partition("/images/")[2].removesuffix("/json")
            image = docker.images.get(name)
            missing = {"message": f"No such image: {name}"}
            self._answer(200 if image else 404, image or missing)

    def do_POST(self) -> None:
        docker = self.server.docker
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = "/" + parts.path.split("/", 2)[2]
        docker.asked.append((path, query, self._body()))
        if docker.status != 200:
            self._answer(docker.status, {"message": docker.message})
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in docker.events:
                self._chunk(json.dumps(event).encode() + b"\n")
            docker.said.set()
            while not docker.holds.wait(0.05):
                self._chunk(b"\n")
        except OSError:
            docker.left.set()
            return
        docker.images |= docker.brings
        if docker.breaks:
            self.close_connection = True
            return
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name
        pass


@contextmanager
def serving(socket: Path) -> Iterator[FakeDocker]:
    """Serve at *socket*, below a directory of its own that exists."""
    server = _Server(str(socket), _Handler)
    server.docker = FakeDocker(socket.parent)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.docker
    finally:
        server.docker.holds.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
