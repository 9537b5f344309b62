"""Requests that parsers disagree about, through a port and through nginx.

Each is refused, and then neither reaches the engine nor wakes it, or arrives
there with one meaning, which a reader that shares no code with ours agrees about
(tests/strict_http.py).  The requests and what becomes of them are data,
tests/framing/requests.json; those of `raw_requests.json` come on top, aimed at a
path that exists.  The table of all verdicts is printed.

Verdicts: `forwarded`; a status of ours or of nginx; `ended` where the client's
own end of the connection came before the end of its request.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import strict_http
import trio
from activator_process import LIMIT, NAME, Asked, ScriptedRunner, Stage, TinyEngine, ready_script

TESTS = Path(__file__).parents[2]
CASES: list[dict[str, Any]] = json.loads((TESTS / "framing/requests.json").read_text())
RAW: list[dict[str, Any]] = json.loads((TESTS / "unit/http/raw_requests.json").read_text())
# Long enough for an answer of a loaded machine; whoever gets none is waited for.
PATIENCE = 1.0
AT_ONCE = 16


class Recorder(TinyEngine):
    """An engine that records each byte, answers what is a request, and reads on."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, "0a0b0c0d", self.answer)
        self.received: list[bytearray] = []

    async def answer(self, _: Asked) -> None:
        raise NotImplementedError  # `_serve` does it

    async def _serve(self, stream: trio.SocketStream) -> None:
        received = bytearray()
        self.received.append(received)
        answered = False
        async with stream:
            with suppress(trio.BrokenResourceError):
                async for data in stream:
                    received += data
                    if not answered and strict_http.read(bytes(received)) is not None:
                        answered = True
                        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


class Door:
    """A way in: what is asked there, and what came of it."""

    def __init__(self, port: int, recorder: Recorder, aim: Callable[[bytes], bytes]) -> None:
        self.port = port
        self.recorder = recorder
        self.aim = aim

    async def ask(self, raw: bytes) -> str:
        """Send *raw* and say what the answer's status was."""
        received = b""
        with trio.fail_after(2 * LIMIT), suppress(trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as client:
                with suppress(trio.BrokenResourceError):
                    await client.send_all(self.aim(raw))
                with trio.move_on_after(PATIENCE):
                    received = await self._read(client)
                if not received:
                    await client.send_eof()
                    received = await self._read(client)
        statuses = re.findall(rb"^HTTP/1\.1 ([2-5][0-9]{2}) ", received, re.MULTILINE)
        assert len(statuses) <= 1, received
        return statuses[0].decode() if statuses else "ended"

    async def _read(self, client: trio.SocketStream) -> bytes:
        received = b""
        while not self._is_whole(received):
            data = await client.receive_some()
            if not data:
                break
            received += data
        return received

    @staticmethod
    def _is_whole(received: bytes) -> bool:
        # nginx may keep the connection; interim answers are none.
        head, end, _ = received.partition(b"\r\n\r\n")
        return bool(end) and not head.startswith(b"HTTP/1.1 1")


def bytes_of(case: dict[str, Any]) -> bytes:
    text: str = case["bytes"]
    for marker, (piece, count) in case.get("fill", {}).items():
        text = text.replace(marker, piece * count)
    return text.encode("latin-1")


def aimed(case: dict[str, Any]) -> bytes:
    """One of the older requests, to a host and a path that exist."""
    raw = case["bytes"].encode("latin-1")
    raw = re.sub(rb"(?i)(host: ?)a(?=[\r\n:/ ])", rb"\1localhost", raw)
    path = b"/v1/responses/r1" if raw.startswith(b"GET") else b"/v1/audio/transcriptions"
    return re.sub(rb"(?<= )/[a-z0-9]*(?= HTTP|\r\n)", path, raw, count=2)


def through_nginx(raw: bytes) -> bytes:
    """The model is named in the path."""
    return raw.replace(b"/v1/", f"/v1/{NAME}/".encode(), 1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@asynccontextmanager
async def doors(stage: Stage, make_nginx: Any, make_entry: Any) -> AsyncIterator[dict[str, Door]]:
    """A cold activator, and an nginx before it."""
    recorder = Recorder(stage)
    nginx = make_nginx(stage.stderr.parent / "nginx")
    nginx.route({NAME: make_entry(NAME, stage.port)})
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.serve)
        async with stage.activator():
            with nginx.running():
                yield {
                    "port": Door(stage.port, recorder, lambda raw: raw),
                    "nginx": Door(nginx.port, recorder, through_nginx),
                }
        nursery.cancel_scope.cancel()


@pytest.mark.timeout(120)
async def test_collect(stage, make_nginx, make_entry, nursery):
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    out = []
    async with doors(stage, make_nginx, make_entry) as ways:
        for case in CASES + [dict(c, id=c["name"], section="raw", raw=1) for c in RAW]:
            row = [case["section"], case["id"]]
            for name, door in ways.items():
                before = len(door.recorder.received)
                raw = aimed(case) if case.get("raw") else bytes_of(case)
                status = await door.ask(raw)
                got = door.recorder.received[before:]
                try:
                    reads = [strict_http.read(bytes(g)) for g in got]
                except AssertionError as e:
                    reads = repr(e)
                row.append(
                    (
                        status,
                        [(r.method, r.target, r.body, r.rest) if r else None for r in reads]
                        if isinstance(reads, list)
                        else reads,
                    )
                )
            out.append(row)
    with open("/tmp/verdicts.txt", "w") as f:
        for r in out:
            f.write(" | ".join(map(str, r)) + "\n")
