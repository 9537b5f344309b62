"""Requests that parsers disagree about, through a port and through nginx.

Each is refused, and then neither reaches the engine nor wakes it, or arrives
there with one meaning, which a reader that shares no code with ours agrees about
(tests/strict_http.py).  The requests and what becomes of them are data
(tests/framing/requests.json, which has those of `raw_requests.json` with a host
and a path that exist; as they are they come on top).  All verdicts are printed.

Verdicts: `forwarded`; the status of a refusal; `ended` where the client's own
end of the connection came before the end of its request, which nobody answers.
nginx may always be stricter than the data say: its versions differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import strict_http
import trio
from activator_process import (
    LIMIT,
    NAME,
    Asked,
    ScriptedRunner,
    Stage,
    TinyEngine,
    eventually,
    ready_script,
)

TESTS = Path(__file__).parents[2]
CASES: list[dict[str, Any]] = json.loads((TESTS / "framing/requests.json").read_text())
RAW: list[dict[str, Any]] = json.loads((TESTS / "unit/http/raw_requests.json").read_text())
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

    def requests(self) -> list[strict_http.Request]:
        """All that were complete."""
        found = [strict_http.read(bytes(received)) for received in self.received]
        return [request for request in found if request is not None]


class Door:
    """A way in: what is asked there, and what came of it."""

    def __init__(self, name: str, port: int, recorder: Recorder) -> None:
        self.name = name
        self.port = port
        self.recorder = recorder
        self.verdicts: dict[str, str] = {}

    async def ask(self, key: str, raw: bytes, *, end: bool = False) -> str:
        """Send *raw*, and note and return the status of what came back, or `ended`.

        Args:
            key: Names the request in the table.
            raw: The request.
            end: Whether to say that nothing more comes.
        """
        answer = b""
        if self.name == "nginx":
            # The model is named in the path.
            raw = raw.replace(b"/v1/", f"/v1/{NAME}/".encode(), 1)
        with trio.fail_after(LIMIT), suppress(trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as client:
                with suppress(trio.BrokenResourceError):
                    await client.send_all(raw)
                if end:
                    await client.send_eof()
                answer = await _read_answer(client)
        # nginx refuses HTTP/0.9 in its own way: without a status.
        status = answer[9:12].decode() if answer.startswith(b"HTTP/1.") else "ended"
        self.verdicts[key] = status
        return status


async def _read_answer(client: trio.SocketStream) -> bytes:
    """Read as far as the final answer's head; nginx may keep the connection."""
    received = b""
    while True:
        received = re.sub(rb"^HTTP/1\.1 1.*?\r\n\r\n", b"", received, flags=re.DOTALL)
        if b"\r\n\r\n" in received:
            return received
        data = await client.receive_some()
        if not data:
            return received
        received += data


def bytes_of(case: dict[str, Any]) -> bytes:
    text: str = case["bytes"]
    for marker, (piece, count) in case.get("fill", {}).items():
        text = text.replace(marker, piece * count)
    return text.encode("latin-1")


def key_of(case: dict[str, Any]) -> str:
    return f"{case['section']}: {case['id']}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


Ways = tuple[Recorder, list[Door]]


@asynccontextmanager
async def ways_in(
    stage: Stage, make_nginx: Callable[..., Any], make_entry: Callable[..., Any]
) -> AsyncIterator[Ways]:
    """A cold activator, and an nginx before it."""
    recorder = Recorder(stage)
    nginx = make_nginx(stage.stderr.parent / "nginx")
    nginx.route({NAME: make_entry(NAME, stage.port)})
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.serve)
        async with stage.activator():
            with nginx.running():
                ports = {"port": stage.port, "nginx": nginx.port}
                yield recorder, [Door(name, port, recorder) for name, port in ports.items()]
        nursery.cancel_scope.cancel()


@pytest.mark.timeout(300)
async def test_no_request_has_two_meanings(
    stage: Stage,
    nursery: trio.Nursery,
    make_nginx: Callable[..., Any],
    make_entry: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    await nursery.start(runner.serve)
    async with ways_in(stage, make_nginx, make_entry) as (recorder, doors):
        await ask_what_is_refused(doors)
        assert not runner.claims, "a refused request woke the model"
        assert not recorder.received, "a refused request reached the engine"
        for door in doors:
            for case in CASES:
                if case[door.name] == "forwarded":
                    await ask_what_is_forwarded(door, case)
        complete = recorder.requests()
        await ask_what_ends(doors)
        # Nothing was added to a request, and none of these became one.
        assert recorder.requests() == complete
        assert not any(request.rest for request in complete)
    with capsys.disabled():
        print("\n" + table(doors))
    wrong = [
        f"{door.name}, {key_of(case)}: {verdict}, expected {case[door.name]}"
        for door in doors
        for case in CASES
        if not fits(verdict := door.verdicts[key_of(case)], case[door.name], door.name)
    ]
    assert not wrong, "\n".join(wrong)
    assert "Traceback" not in stage.log()


def fits(verdict: str, expected: str, door: str) -> bool:
    return verdict == expected or (door == "nginx" and verdict not in ("forwarded", "ended"))


async def ask_what_is_refused(doors: list[Door]) -> None:
    turns = trio.CapacityLimiter(AT_ONCE)

    async def ask(door: Door, key: str, raw: bytes) -> None:
        async with turns:
            await door.ask(key, raw)

    async with trio.open_nursery() as asking:
        for door in doors:
            for case in CASES:
                if case[door.name] not in ("forwarded", "ended"):
                    asking.start_soon(ask, door, key_of(case), bytes_of(case))
            for case in RAW:
                # As they are: they ask for what no engine is asked for.
                key = f"as it is: {case['name']}"
                asking.start_soon(ask, door, key, case["bytes"].encode("latin-1"))


async def ask_what_is_forwarded(door: Door, case: dict[str, Any]) -> None:
    recorder, raw = door.recorder, bytes_of(case)
    before = len(recorder.received)
    status = await door.ask(key_of(case), raw)
    if status != "200":
        return
    await eventually(lambda: len(recorder.received) > before)
    [received] = recorder.received[before:]
    request = strict_http.read(bytes(received))
    assert request is not None, (case, received)
    method, target = raw.split()[:2]
    assert request.method == method.decode(), case
    assert request.target == case.get("target", target.decode()), case
    assert request.body == case["body"].encode("latin-1"), case
    door.verdicts[key_of(case)] = "forwarded"


async def ask_what_ends(doors: list[Door]) -> None:
    async with trio.open_nursery() as asking:
        for door in doors:
            for case in CASES:
                if case[door.name] == "ended":
                    ask = partial(door.ask, key_of(case), bytes_of(case), end=True)
                    asking.start_soon(ask)


def table(doors: list[Door]) -> str:
    """All verdicts; those marked differ."""
    keys = sorted({key for door in doors for key in door.verdicts})
    lines = [f"   {'section and request':64} {'port':10} nginx"]
    for key in keys:
        port, nginx = (door.verdicts.get(key, "") for door in doors)
        mark = "≠" if "forwarded" in (port, nginx) and port != nginx else " "
        lines.append(f" {mark} {key:64} {port:10} {nginx}")
    return "\n".join(lines)


def test_no_two_requests_are_the_same() -> None:
    assert len({key_of(case) for case in CASES}) == len({bytes_of(case) for case in CASES})
    assert len(CASES) - len(RAW) >= 60
