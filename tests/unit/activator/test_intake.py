"""What takes requests in, between two sockets, on a clock that jumps."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from spark_activator.activator.bodies import SMALL, Bodies, Content
from spark_activator.activator.intake import Intake
from spark_activator.activator.request import Request
from spark_activator.activator.wire import ClientGone, Wire
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http.body import body_of

MODEL = Model(name="story", port=0, engine=Engine.PROCESS, source=Source("none"), memory=1)


class Pair:
    """A client and our end of its connection."""

    def __init__(self) -> None:
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.wire = Wire(ours, ClientGone)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    with pair.wire, pair.client:
        yield pair


async def take(pair: Pair, intake: Intake, length: int, more: bytes = b"") -> Request:
    head = heads.parse(
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (length, more)
    )
    return await intake.take(pair.wire, head, body_of(head), b"")


async def test_client_that_stalls_is_told_and_gives_its_room_back(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    bodies = Bodies(1000)
    pair.client.send(b'{"prompt": ')
    with pytest.raises(Refusal) as refused:
        await take(pair, Intake(MODEL, bodies), 1000)
    assert refused.value.code == "request_timeout"
    bodies.take(1000)


async def test_client_that_drips_is_told_before_a_day_is_over(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    async def drip() -> None:
        while True:
            pair.client.send(b" ")
            await trio.sleep(50)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(Refusal) as refused, trio.fail_after(200):
            await take(pair, Intake(MODEL), 1000)
        nursery.cancel_scope.cancel()
    assert refused.value.code == "request_timeout"


async def test_all_bodies_together_have_a_bound(pair: Pair) -> None:
    intake = Intake(MODEL, Bodies(1000))
    pair.client.send(b'{"prompt": "' + b"x" * 486 + b'"}')
    with await take(pair, intake, 500):
        other = Pair()
        with other.wire, other.client:
            other.client.send(b"x" * 501)
            with pytest.raises(Refusal) as refused:
                await take(other, intake, 501)
        assert refused.value.code == "overloaded"
        assert refused.value.retry_after
    pair.client.send(b'{"prompt": "' + b"x" * 986 + b'"}')
    with await take(pair, intake, 1000) as request:
        assert request.content is not None
        assert request.content.size == 1000


async def test_continue_is_said_once_and_only_to_who_waits_for_it(pair: Pair) -> None:
    async def send() -> None:
        await trio.lowlevel.wait_readable(pair.client)
        assert pair.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        pair.client.send(b"{}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with await take(pair, Intake(MODEL), 2, b"Expect: 100-continue\r\n") as request:
            head, _, arrived = request.outgoing()
    assert arrived == b"{}"
    assert not head.wants_continue
    pair.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.client.recv(1)


def test_content_is_the_same_in_memory_and_in_a_file() -> None:
    bodies = Bodies()
    for size in (0, 1, SMALL, SMALL + 1, 3 * SMALL):
        content = Content(bodies)
        data = bytes(range(256)) * (size // 256 + 1)
        for at in range(0, size, 1000):
            content.add(data[at : min(at + 1000, size)])
        assert content.size == size
        assert (content.fd >= 0) is (size > SMALL)
        content.close()
    bodies.take(1 << 30)  # all of it is there again
