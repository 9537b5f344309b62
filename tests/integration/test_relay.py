"""The relay between real sockets: every byte, every ending."""

import os
import resource
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_activator.activator.relay import Relay, RelayError

# More than any socket buffer here takes, so that somebody has to wait.
MUCH = 8 << 20


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay() as relay:
        yield relay


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


PAIRS = {"unix": socket.socketpair, "tcp": tcp_pair}


class Ends:
    """A client, an engine, and between them what the relay gets."""

    def __init__(self, upstream: str = "unix", buffers: int | None = None) -> None:
        client, self.downstream = tcp_pair()
        self.upstream, engine = PAIRS[upstream]()
        for sock in (client, self.downstream, self.upstream, engine):
            if buffers is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            sock.setblocking(False)
        self.client = trio.socket.from_stdlib_socket(client)
        self.engine = trio.socket.from_stdlib_socket(engine)

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self.client, self.downstream, self.upstream, self.engine):
            sock.close()


@pytest.fixture(params=PAIRS)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    with Ends(request.param) as ends:
        yield ends


def reset(sock: trio.socket.SocketType) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def send_all(sock: trio.socket.SocketType, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[await sock.send(view) :]


async def receive_exactly(sock: trio.socket.SocketType, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = await sock.recv(size - len(received))
        assert piece
        received += piece
    return received


async def receive_all(sock: trio.socket.SocketType) -> bytes:
    received = bytearray()
    while piece := await sock.recv(1 << 16):
        received += piece
    return bytes(received)


@contextmanager
def no_new_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


CHUNKS = st.lists(st.integers(1, 30_000), max_size=8)


@given(
    down=CHUNKS, up=CHUNKS, upstream=st.sampled_from(sorted(PAIRS)), read=st.integers(1_000, 70_000)
)
@settings(max_examples=60, deadline=None)
def test_every_byte_arrives_however_it_is_cut(
    down: list[int], up: list[int], upstream: str, read: int
) -> None:
    response = [os.urandom(size) for size in down]
    request = [os.urandom(size) for size in up]

    async def talk() -> None:
        # Buffers of 16 KiB, which the kernel doubles: nearly every chunk has to wait.
        with Ends(upstream, buffers=16384) as ends, trio.fail_after(60):
            await converse(ends)

    async def converse(ends: Ends) -> None:
        async def send(sock: trio.socket.SocketType, chunks: list[bytes]) -> None:
            for chunk in chunks:
                await send_all(sock, chunk)

        async def answer() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, ends.engine, response)
                body = await receive_exactly(ends.engine, sum(up))
            assert body == b"".join(request)
            ends.engine.close()

        async def ask() -> None:
            received = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, ends.client, request)
                while piece := await ends.client.recv(read):
                    received += piece
                    await trio.lowlevel.checkpoint()
            assert received == b"".join(response)

        async with Relay() as relay, trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            nursery.start_soon(ask)
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=sum(up))
            ends.downstream.close()
        assert relayed.ended == "upstream"
        assert (relayed.bytes_down, relayed.bytes_up) == (sum(down), sum(up))
        assert not relayed.cut

    trio.run(talk)


async def test_half_close_reaches_the_engine_after_the_request(relay: Relay, ends: Ends) -> None:
    body = os.urandom(MUCH)

    async def ask() -> None:
        await send_all(ends.client, body)
        ends.client.shutdown(socket.SHUT_WR)

    async def answer() -> None:
        assert await receive_all(ends.engine) == body
        await send_all(ends.engine, b"seen it all")
        ends.engine.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(answer)
        relayed = await relay.run(ends.downstream, ends.upstream, request_body=MUCH + 1)

    assert relayed.ended == "upstream"
    assert await ends.client.recv(100) == b"seen it all"


async def test_what_follows_the_request_is_never_forwarded(relay: Relay, ends: Ends) -> None:
    await ends.client.send(b"bodyGET /v1/secret HTTP/1.1\r\n\r\n")
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=4)
            assert (relayed.bytes_up, relayed.ended) == (4, "upstream")

        nursery.start_soon(run)
        assert await ends.engine.recv(100) == b"body"

        # The rest stays readable for ever: it must neither pass nor keep us awake.
        before = time.process_time()
        with trio.move_on_after(0.5) as silence:
            await ends.engine.recv(1)
        assert silence.cancelled_caught
        assert time.process_time() - before < 0.25

        ends.client.shutdown(socket.SHUT_WR)
        assert await ends.engine.recv(1) == b""
        ends.engine.close()


async def test_client_that_resets_takes_the_engine_along(relay: Relay, ends: Ends) -> None:
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=0)
            assert relayed.ended == "client"
            assert relayed.bytes_down == 5

        nursery.start_soon(run)
        await ends.engine.send(b"token")
        assert await ends.client.recv(5) == b"token"
        reset(ends.client)
        with trio.fail_after(60):
            assert await ends.engine.recv(1) == b""


async def test_client_that_stopped_reading_and_left_ends_it(relay: Relay, ends: Ends) -> None:
    async with trio.open_nursery() as nursery:

        async def flood() -> None:
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await send_all(ends.engine, bytes(64 << 20))

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=0)
            assert relayed.ended == "client"
            ends.upstream.close()

        nursery.start_soon(run)
        nursery.start_soon(flood)
        await trio.sleep(0.1)
        ends.client.close()


async def test_broken_engine_is_a_cut(relay: Relay, ends: Ends) -> None:
    # A unix socket breaks when its owner leaves with something unread.
    await ends.client.send(b"x")
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=1)
            assert (relayed.ended, relayed.cut, relayed.bytes_down) == ("upstream", True, 4)

        nursery.start_soon(run)
        await ends.engine.send(b"half")
        assert await ends.client.recv(4) == b"half"
        await trio.lowlevel.wait_readable(ends.engine)
        reset(ends.engine)


async def test_engine_that_closes_a_client_that_waits_is_no_busy_loop(relay: Relay) -> None:
    with Ends(buffers=4096) as ends:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                relayed = await relay.run(ends.downstream, ends.upstream, request_body=0)
                assert (relayed.ended, relayed.bytes_down) == ("upstream", sent)
                ends.downstream.close()

            nursery.start_soon(run)
            sent = 0
            with trio.move_on_after(0.2):
                while True:
                    sent += await ends.engine.send(bytes(4096))
            ends.engine.close()
            before = time.process_time()
            await trio.sleep(0.5)
            assert time.process_time() - before < 0.25
            assert len(await receive_all(ends.client)) == sent


async def test_answer_to_a_request_that_was_not_read_arrives(relay: Relay, ends: Ends) -> None:
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            with trio.move_on_after(10):
                await send_all(ends.client, bytes(MUCH))

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=MUCH)
            assert relayed.ended == "upstream"
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        nursery.start_soon(upload)
        await ends.engine.recv(10)
        ends.engine.shutdown(socket.SHUT_RD)
        await trio.sleep(0.1)
        await ends.engine.send(b"413")
        assert await ends.client.recv(3) == b"413"
        ends.engine.close()


async def test_cancelled_relay_lets_go_at_once(relay: Relay, ends: Ends) -> None:
    with trio.move_on_after(0.05):
        await relay.run(ends.downstream, ends.upstream, request_body=10)

    # Nobody moves anything any more, and the sockets are as they were.
    await ends.engine.send(b"later")
    await trio.sleep(0.05)
    await trio.lowlevel.wait_readable(ends.upstream)
    assert ends.upstream.recv(10) == b"later"
    await ends.client.send(b"body")
    await trio.sleep(0.05)
    await trio.lowlevel.wait_readable(ends.downstream)
    assert ends.downstream.recv(10) == b"body"


async def test_a_number_that_is_reused_is_another_connection(relay: Relay) -> None:
    for index in range(200):
        with Ends() as ends, trio.move_on_after(0 if index % 2 else 5):
            async with trio.open_nursery() as nursery:

                async def answer(ends: Ends = ends, index: int = index) -> None:
                    await ends.engine.send(b"%d" % index)
                    ends.engine.close()

                nursery.start_soon(answer)
                relayed = await relay.run(ends.downstream, ends.upstream, request_body=0)
            assert relayed.bytes_down == len(str(index))
            assert await ends.client.recv(10) == b"%d" % index


async def test_slow_reader_slows_nobody_else(relay: Relay) -> None:
    with Ends() as slow, Ends() as quick:
        async with trio.open_nursery() as nursery:

            async def run(ends: Ends) -> None:
                await relay.run(ends.downstream, ends.upstream, request_body=0)

            async def flood() -> None:
                await send_all(slow.engine, bytes(MUCH))

            nursery.start_soon(run, slow)
            nursery.start_soon(run, quick)
            nursery.start_soon(flood)
            await trio.sleep(0.1)  # by now nothing more fits into the slow one
            with trio.fail_after(60):
                for _ in range(500):
                    await quick.engine.send(b"chunk")
                    assert await quick.client.recv(10) == b"chunk"
            nursery.cancel_scope.cancel()


async def test_without_descriptors_bytes_are_held_instead(relay: Relay, ends: Ends) -> None:
    data = os.urandom(MUCH)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await send_all(ends.engine, data)
            ends.engine.close()

        async def run() -> None:
            relayed = await relay.run(ends.downstream, ends.upstream, request_body=0)
            assert relayed.bytes_down == MUCH
            ends.downstream.close()

        nursery.start_soon(run)
        with no_new_descriptors():
            nursery.start_soon(send)
            await trio.sleep(0.1)  # long enough to be blocked with nowhere to go
            assert await receive_all(ends.client) == data


async def test_a_thousand_at_once(relay: Relay) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    lanes = [Ends() for _ in range(1000)]
    try:
        async with trio.open_nursery() as nursery:

            async def run(index: int, ends: Ends) -> None:
                relayed = await relay.run(ends.downstream, ends.upstream, request_body=1)
                assert (relayed.bytes_down, relayed.bytes_up) == (len(b"%d" % index), 1)

            async def talk(index: int, ends: Ends) -> None:
                await ends.client.send(b"?")
                assert await ends.engine.recv(2) == b"?"
                await ends.engine.send(b"%d" % index)
                ends.engine.close()
                assert await ends.client.recv(10) == b"%d" % index

            for index, ends in enumerate(lanes):
                nursery.start_soon(run, index, ends)
            # Every one is open before the first one ends.
            for index, ends in enumerate(lanes):
                nursery.start_soon(talk, index, ends)
    finally:
        for ends in lanes:
            ends.__exit__()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_closed_socket_is_that_callers_error_only(relay: Relay) -> None:
    with Ends() as ends:
        ends.upstream.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await relay.run(ends.downstream, ends.upstream, request_body=0)
    with Ends() as ends:
        ends.engine.close()
        assert (await relay.run(ends.downstream, ends.upstream, request_body=0)).bytes_down == 0


async def test_what_cannot_be_watched_is_that_callers_error_only(relay: Relay) -> None:
    with Ends() as ends:
        # Closed behind Python's back: the kernel knows of it first.
        os.close(ends.upstream.fileno())
        try:
            with pytest.raises(OSError, match="Bad file descriptor"):
                await relay.run(ends.downstream, ends.upstream, request_body=0)
        finally:
            ends.upstream.detach()


async def test_death_of_the_thread_is_loud() -> None:
    relay = await Relay().__aenter__()
    relay._epoll.close()

    with Ends() as ends, pytest.raises(RelayError):
        await relay.run(ends.downstream, ends.upstream, request_body=0)
    with pytest.raises(RelayError):
        await relay.__aexit__(None, None, None)


async def test_thread_ends_with_its_relay() -> None:
    async with Relay():
        assert "relay" in {thread.name for thread in threading.enumerate()}
    for thread in threading.enumerate():
        if thread.name == "relay":
            thread.join(timeout=20)
            assert not thread.is_alive()
