"""An activator as a real process, between a runner and an engine that tests script.

`Stage` makes the directories, listens like systemd does, and starts activators
with the listener as descriptor 3; *constants* of the activator's modules that would
make a test wait, or hurry, may be others in that process.  `ScriptedRunner` speaks the
runner's side of the protocol; `TinyEngine` is an HTTP server on the engine's socket.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

from spark_activator import protocol, protocol_json
from spark_activator.catalog import frozen
from spark_activator.catalog.model import Engine, Model, Requests, Source, Timeouts
from spark_activator.layout import Layout

NAME = "story"
# Everything here takes milliseconds; a loaded machine may take longer.
LIMIT = 60.0
# Limits of an activator that a test's thread could overrun while it stands still; a test
# that is about one of them sets it.
UNHURRIED = {
    "activator.idle.LINGER": 60.0,
    "activator.guests.SILENCE": 30.0,
    "activator.connection.LINGER_LIMIT": 30.0,
    "activator.counting.LIMIT": 30.0,
    "activator.patience.SILENCE_LIMIT": 120.0,
}
# Passed on as it comes: only JSON is read before the engine is asked for.
FORM = "/v1/audio/transcriptions"


class Answer:
    """What a client got, to the end of its connection."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]


class Stage:
    """One model's directories and its listener.

    Attributes:
        constants: What activators that are started from now on have in place of their own.
    """

    def __init__(
        self,
        tmp_path: Path,
        *,
        idle: float = 60.0,
        drain: float = 5.0,
        layout: Layout | None = None,
        constants: Mapping[str, float] | None = None,
        requests: Requests | None = None,
        addresses: tuple[str, ...] = (),
    ) -> None:
        self.constants = {**UNHURRIED, **(constants or {})}
        self.layout = layout or Layout(
            config=tmp_path / "config",
            state=tmp_path / "state",
            run=tmp_path / "run",
            share=tmp_path / "share",
        )
        for directory in (
            self.layout.frozen(NAME).parent,
            self.layout.runner_socket(NAME).parent,
            self.layout.upstream(NAME),
        ):
            directory.mkdir(parents=True, exist_ok=True)
        self.model = Model(
            name=NAME,
            port=0,
            engine=Engine.PROCESS,
            source=Source("none"),
            memory=1,
            aliases=("tale",),
            context=4096,
            timeouts=Timeouts(idle=idle, drain=drain),
            requests=requests or Requests(),
        )
        self.environment: dict[str, str] = {}
        self.change()
        # What requests of tests call it.
        self.layout.hosts_file.write_text("a\n")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self.listener.getsockname()[1]
        # Those that host.yaml has beside loopback.
        more = [socket.create_server((address, self.port)) for address in addresses]
        self.listeners = [self.listener, *more]
        self.stderr = tmp_path / "activator.log"
        self.notify_path = tmp_path / "notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.notify_path))
        self._notify.setblocking(False)

    def change(self, **fields: object) -> None:
        """Have activators that are started from now on find another model."""
        self.model = replace(self.model, **fields)
        self.layout.frozen(NAME).write_text(frozen.dump(self.model))

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        self._notify.close()

    def said(self) -> list[str]:
        """What was said to systemd since the last call."""
        found = []
        while True:
            try:
                found += self._notify.recv(4096).decode().split("\n")
            except BlockingIOError:
                return found

    def log(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start an activator as systemd does."""
        fds = [listener.fileno() for listener in self.listeners]
        command = [sys.executable, "-I", *self._program(), NAME]
        # Out of the way first: one of them may be 3 itself.
        away = " ".join(f"{60 + n}<&{fd}" for n, fd in enumerate(fds))
        passed = " ".join(f"{3 + n}<&{60 + n} {60 + n}<&-" for n in range(len(fds)))
        shell = f"export LISTEN_PID=$$; ulimit -n $(ulimit -Hn); exec {away}; "
        shell += f"exec {shlex.join(command)} {passed}"
        environment = {
            "PATH": os.environ["PATH"],
            "SPARK_CONFIG": str(self.layout.config),
            "SPARK_STATE": str(self.layout.state),
            "SPARK_RUN": str(self.layout.run),
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": ":".join("model" for _ in fds),
            "NOTIFY_SOCKET": str(self.notify_path),
            "MALLOC_ARENA_MAX": "1",
            **self.environment,
        }
        with self.stderr.open("ab") as stderr:
            return subprocess.Popen(
                ["bash", "-c", shell], pass_fds=fds, env=environment, stderr=stderr
            )

    def _program(self) -> list[str]:
        lines = ["import sys, spark_activator.activator.main as main"]
        for name, value in self.constants.items():
            module, _, constant = name.rpartition(".")
            lines.append(f"import spark_activator.{module} as m; m.{constant} = {value}")
        return ["-c", "\n".join([*lines, "sys.exit(main.main(sys.argv[1:]))"])]

    @asynccontextmanager
    async def activator(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        """One activator for the duration of the block."""
        process = self.spawn()
        try:
            yield process
        finally:
            # Killed it is gone at once, so that this may wait although it is cancelled.
            process.kill()
            process.wait()

    async def connect(self, address: str = "127.0.0.1") -> trio.SocketStream:
        return await trio.open_tcp_stream(address, self.port)

    async def ask(self, request: bytes, address: str = "127.0.0.1") -> Answer:
        """Send *request* and read to the end."""
        async with await self.connect(address) as stream:
            await stream.send_all(request)
            return Answer(await read_all(stream))

    async def knock(self, request: bytes, address: str = "127.0.0.1") -> trio.SocketStream:
        """Connect and send *request*, which is there before any activator then."""
        stream = await self.connect(address)
        await stream.send_all(request)
        return stream

    async def post(self, body: bytes = b"{}", path: str = "/v1/chat/completions") -> Answer:
        return await self.ask(post(body, path))

    async def get(self, path: str) -> Answer:
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def post(body: bytes = b"{}", path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read_all(stream: trio.abc.ReceiveStream, limit: float = LIMIT) -> bytes:
    received = bytearray()
    with trio.fail_after(limit):
        async for data in stream:
            received += data
    return bytes(received)


async def heard(stream: trio.SocketStream) -> Answer:
    """Read to the end of *stream*, and close it."""
    async with stream:
        return Answer(await read_all(stream))


async def wait_exit(process: subprocess.Popen[bytes], limit: float = LIMIT) -> int:
    with trio.fail_after(limit):
        while (status := process.poll()) is None:  # noqa: ASYNC110  # Popen has no event
            await trio.sleep(0.01)
    return status


async def eventually(condition: Callable[[], object], limit: float = LIMIT) -> None:
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110  # it is in another process
            await trio.sleep(0.01)


async def says(stage: Stage, *states: str) -> None:
    """Wait until the activator of *stage* says that things are so, in one of these words."""
    with trio.fail_after(LIMIT):
        while json.loads((await stage.get("/health")).body)["state"] not in states:  # noqa: ASYNC110  # it is in another process
            await trio.sleep(0.01)


class Claim:
    """One activator's connection to the runner."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.lines: list[dict[str, object]] = []
        self.ended = False

    async def say(self, line: protocol.Line) -> None:
        await self.stream.send_all(protocol_json.encode(line))

    async def last(self) -> object:
        """Wait until the activator has left; return the type of what it said last."""
        await eventually(lambda: self.ended)
        return self.types[-1]

    @property
    def types(self) -> list[object]:
        return [line.get("type", line.get("role")) for line in self.lines]


class ScriptedRunner:
    """The runner's socket; *script* is run for each activator that connects."""

    def __init__(self, path: Path, script: Callable[[Claim], Awaitable[None]] | None) -> None:
        self.claims: list[Claim] = []
        self._path = path
        self._script = script

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = trio.SocketListener(await _listen(self._path))
        async with listener:
            task_status.started()
            await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, stream: trio.SocketStream) -> None:
        claim = Claim(stream)
        self.claims.append(claim)
        async with stream, trio.open_nursery() as nursery:
            if self._script is not None:
                nursery.start_soon(self._script, claim)
            received = bytearray()
            try:
                async for data in stream:
                    received += data
                    *lines, rest = received.split(b"\n")
                    received = bytearray(rest)
                    claim.lines += [json.loads(line) for line in lines]
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            claim.ended = True
            nursery.cancel_scope.cancel()


async def _listen(path: Path) -> trio.socket.SocketType:
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.bind(str(path))
    sock.listen(4096)
    return sock


class Asked:
    """One request that reached the engine.

    Attributes:
        body: Its body, framed as it came, when it is whole.
        arrived: Bytes of it that have come.
    """

    def __init__(self, stream: trio.SocketStream, head: bytes) -> None:
        self.stream = stream
        self.head = head
        self.body = b""
        self.arrived = 0
        self.ended = trio.Event()


class TinyEngine:
    """An HTTP server on the engine's socket of *activation*; *answer* gets each request."""

    def __init__(
        self, stage: Stage, activation: str, answer: Callable[[Asked], Awaitable[None]]
    ) -> None:
        self.asked: list[Asked] = []
        self._directory = stage.layout.upstream(NAME) / activation
        self._answer = answer

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._directory.mkdir(exist_ok=True)
        listener = trio.SocketListener(await _listen(self._directory / "engine.sock"))
        async with listener:
            task_status.started()
            await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            received = bytearray()
            try:
                while b"\r\n\r\n" not in received:
                    data = await stream.receive_some()
                    if not data:
                        return
                    received += data
                head, _, rest = bytes(received).partition(b"\r\n\r\n")
                asked = Asked(stream, head)
                self.asked.append(asked)
                asked.body = await _read_body(asked, rest)
                await self._answer(asked)
            except trio.BrokenResourceError:
                pass


async def _read_body(asked: Asked, received: bytes) -> bytes:
    length = 0
    head = asked.head.lower()
    chunked = b"transfer-encoding: chunked" in head
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    pieces = [received]
    asked.arrived = len(received)
    tail = received[-8:]
    while asked.arrived < length or (chunked and not tail.endswith(b"0\r\n\r\n")):
        data = await asked.stream.receive_some()
        if not data:
            break
        pieces.append(data)
        asked.arrived += len(data)
        tail = (tail + data)[-8:]
    return b"".join(pieces)


async def answer_ok(asked: Asked) -> None:
    """Answer at once, with a length."""
    await asked.stream.send_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        b"connection: close\r\n\r\n{}"
    )


def in_halves(go_on: trio.Event) -> Callable[[Asked], Awaitable[None]]:
    """Answer `one`, and `two` after *go_on*."""

    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\none")
        await go_on.wait()
        await asked.stream.send_all(b"two")

    return answer


async def first_half(client: trio.SocketStream) -> None:
    """Read the first half of such an answer."""
    received = b""
    while not received.endswith(b"one"):
        received += await client.receive_some()


def ready_script(activation: str = "0a0b0c0d") -> Callable[[Claim], Awaitable[None]]:
    """Be ready at once."""

    async def script(claim: Claim) -> None:
        await claim.say(protocol.Ready(activation))

    return script
