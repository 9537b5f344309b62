"""How long a connection is held, on a clock that jumps."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from spark_activator.activator import hold, opened
from spark_activator.activator.connection import HEAD_LIMIT, Connection
from spark_activator.activator.demand import Demand
from spark_activator.activator.desk import Desk
from spark_activator.activator.gate import Gate
from spark_activator.activator.idle import IdleClock
from spark_activator.activator.presence import Presence
from spark_activator.activator.relay import Relay
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.http.rate import BUCKET
from spark_activator.layout import Layout
from spark_activator.protocol import FromRunner, Starting


@asynccontextmanager
async def client_of(line: FromRunner | None) -> AsyncIterator[tuple[socket.socket, IdleClock]]:
    """A client of an activator whose runner has said *line* and says nothing more."""
    nowhere = Path("/nonexistent")
    clock = IdleClock(60.0, trio.current_time())
    layout = Layout(nowhere, nowhere, nowhere, nowhere)
    demand = Demand("story", layout, clock, lambda: None)
    demand.line = line
    presence = Presence()
    model = Model(name="story", port=0, engine=Engine.PROCESS, source=Source("none"), memory=1)
    # Nothing gets as far as the relay.
    relay = cast("Relay", None)
    gate = Gate(layout, model.names)
    desk = Desk(
        model, nowhere, clock=clock, demand=demand, presence=presence, relay=relay, gate=gate
    )
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.herald.run)
            nursery.start_soon(Connection(Wire(ours, ClientGone), desk, "127.0.0.1").serve)
            yield theirs, clock
            nursery.cancel_scope.cancel()
    presence.close()


REQUEST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


async def test_held_client_hears_from_us_before_it_gives_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_of(Starting("weights", 0.5, 400.0)) as (client, clock):
        client.send(REQUEST)
        await trio.sleep(hold.LIMIT - 1)
        assert clock.in_flight == 1
        await trio.sleep(2)
        answer = client.recv(4096)
        assert clock.in_flight == 0

    assert hold.LIMIT < 300  # what clients and SDKs wait
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code": "model_loading"' in answer
    assert b"\r\nRetry-After: 60\r\n" in answer
    assert b"weights 50%" in answer


async def test_stream_is_opened_after_the_grace_and_held_for_as_long_as_it_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    request = REQUEST.replace(b"Length: 2", b"Length: 15").replace(b"{}", b'{"stream":true}')
    async with client_of(Starting("weights", 0.5, 400.0)) as (client, clock):
        client.setblocking(False)
        client.send(request)
        await trio.sleep(opened.GRACE - 1)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        await trio.sleep(2)
        begun = client.recv(4096)
        await trio.sleep(1800)
        assert clock.in_flight == 1
        signs = client.recv(1 << 20).count(b": starting: weights 50%")

    assert begun.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert begun.count(b": starting: weights 50%, about 400 s left\n\n") == 1
    # One in ten seconds, and the loop looks once a second.
    assert 1800 / 11 <= signs <= 1800 / 10


async def test_client_that_sends_no_head_is_closed_without_a_word(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_of(None) as (client, clock):
        await trio.sleep(HEAD_LIMIT + 1)
        assert client.recv(4096) == b""
        assert clock.in_flight == 0


async def test_client_that_sends_half_a_head_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_of(None) as (client, _clock):
        client.send(REQUEST[:20])
        await trio.sleep(HEAD_LIMIT + 1)
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


async def test_body_that_drips_is_refused_and_wakes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with client_of(None) as (client, clock):
        client.send(REQUEST.replace(b"Length: 2", b"Length: 1000"))
        began = trio.current_time()
        while trio.current_time() < began + 2 * BUCKET:
            await trio.sleep(5)
            with suppress(BrokenPipeError, ConnectionResetError):
                client.send(b" ")
            assert clock.in_flight == 0
        answer = client.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer
