"""Readers that are slow or stand still, and answers of a known length."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio
import trio.testing

from spark_activator.activator.flow import SharedPipe
from spark_activator.activator.lane import Lane
from spark_activator.activator.relay import Relay, Relayed
from spark_activator.activator.stall import LOOK_EVERY, STALL_LIMIT, end_stalled


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def test_reader_that_takes_nothing_is_left_and_a_slow_one_is_not(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    pipe = SharedPipe()
    with pair() as (down, client), pair() as (up, engine):
        lane = Lane(down, up, 0)

        def fill() -> None:
            while lane.stuck_at is None:
                engine.send(b"x" * 4096)
                lane.serve_upstream(pipe)

        fill()
        nursery.start_soon(end_stalled, lambda: [lane])
        for _ in range(30):
            await trio.sleep(STALL_LIMIT / 2)
            while lane.stuck_at is not None:
                client.recv(65536)
                lane.serve_downstream(select.EPOLLOUT, pipe)
            fill()
        await trio.sleep(STALL_LIMIT - LOOK_EVERY)
        assert not gone(down)
        await trio.sleep(3 * LOOK_EVERY)
        assert gone(down)
        lane.drop()
    pipe.close()


def gone(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


async def test_known_length_ends_the_relay_however_slowly_it_is_read() -> None:
    body, extra = b"x" * 1_000_000, b"not asked for"
    with pair() as (down, client), pair() as (up, engine):
        async with Relay() as relay, trio.open_nursery() as nursery:

            async def answer() -> None:
                rest = body + extra
                while rest:
                    await trio.lowlevel.wait_writable(engine)
                    rest = rest[engine.send(rest) :]

            async def read() -> None:
                while len(received) < len(body):
                    await trio.lowlevel.wait_readable(client)
                    received.extend(client.recv(5000))
                    await trio.lowlevel.checkpoint()

            received = bytearray()
            nursery.start_soon(answer)
            nursery.start_soon(read)
            with trio.fail_after(60):
                relayed = await relay.run(down, up, request_body=0, response_body=len(body))
    assert relayed == Relayed(len(body), 0, "upstream")
    assert received == body
