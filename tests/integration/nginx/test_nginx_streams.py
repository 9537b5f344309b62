"""Streams pass as they come, end when the client leaves, and outlive a reload."""

import json
import queue
import random
import select
import signal
import socket
import statistics
import threading
import time

import pytest

PATIENCE = 60.0


def ask_raw(nginx, target: str, body: object) -> socket.socket:
    """Send one request and leave the connection open."""
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE)
    client.sendall(
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return client


def begin_stream(request) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/event-stream")
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()


def send_chunk(request, data: bytes) -> None:
    request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def read_until(client: socket.socket, wanted: bytes, seen: bytes = b"") -> bytes:
    while wanted not in seen:
        data = client.recv(65536)
        assert data, seen
        seen += data
    return seen


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v1/story/chat/completions", {"stream": True}),
        ("/v1/chat/completions", {"stream": True, "model": "story"}),
    ],
)
def test_each_chunk_arrives_before_the_next_is_sent(nginx, story, target, body):
    more: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def answer(request):
        begin_stream(request)
        for data in iter(lambda: more.get(timeout=PATIENCE), b""):
            send_chunk(request, data)
        request.wfile.write(b"0\r\n\r\n")

    story.answer = answer
    with ask_raw(nginx, target, body) as client:
        seen = read_until(client, b"\r\n\r\n")
        assert seen.startswith(b"HTTP/1.1 200 ")
        for number in range(20):
            event = f"data: {number}\n\n".encode()
            # The upstream sends nothing more until this one has been read here.
            more.put(event)
            seen = read_until(client, event, seen)
        more.put(b"")
        assert read_until(client, b"0\r\n\r\n", seen)


def test_stream_that_is_cut_short_is_seen_to_be(nginx, story):
    def answer(request):
        begin_stream(request)
        send_chunk(request, b"data: 1\n\n")
        request.connection.shutdown(socket.SHUT_RDWR)

    story.answer = answer
    with ask_raw(nginx, "/v1/story/completions", {"stream": True}) as client:
        seen = b"".join(iter(lambda: client.recv(65536), b""))

    assert b"data: 1" in seen
    assert not seen.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("begun", [True, False], ids=["mid-stream", "while held"])
def test_client_that_leaves_closes_the_upstream(nginx, story, begun):
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    left: queue.SimpleQueue[float] = queue.SimpleQueue()

    def answer(request):
        if begun:
            begin_stream(request)
            send_chunk(request, b"data: 1\n\n")
        request.close_connection = True
        # As long as the client is there, so is the connection.
        assert not select.select([request.connection], [], [], 0.2)[0]
        asked.put("asked")
        readable, _, _ = select.select([request.connection], [], [], PATIENCE)
        if readable and request.connection.recv(1) == b"":
            left.put(time.monotonic())

    story.answer = answer
    client = ask_raw(nginx, "/v1/chat/completions", {"stream": True, "model": "story"})
    try:
        assert asked.get(timeout=PATIENCE) == "asked"
        if begun:
            read_until(client, b"data: 1")
    finally:
        gone = time.monotonic()
        client.close()

    print(f"upstream closed {(left.get(timeout=PATIENCE) - gone) * 1000:.2f} ms after the client")


def test_each_request_is_a_connection_upstream(nginx, story):
    # An activator is idle when no request is in flight: nginx must keep nothing open.
    ports = []
    story.answer = lambda request: (
        ports.append(request.client_address[1]),
        request.send_response(200),
        request.send_header("Content-Length", "0"),
        request.end_headers(),
    )
    for _ in range(3):
        assert nginx.ask("POST", "/v1/story/completions", {}).status == 200

    assert len(set(ports)) == 3


def test_stream_outlives_a_reload(make_nginx, make_entry, story, tmp_path):
    more: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def answer(request):
        begin_stream(request)
        for data in iter(lambda: more.get(timeout=PATIENCE), b""):
            send_chunk(request, data)
        request.wfile.write(b"0\r\n\r\n")

    story.answer = answer
    story.arrived.clear()
    with make_nginx(tmp_path).running() as nginx:
        nginx.route({"story": make_entry("story", story.port)})
        with ask_raw(nginx, "/v1/story/completions", {"stream": True}) as client:
            more.put(b"data: before\n\n")
            seen = read_until(client, b"before")
            nginx.process.send_signal(signal.SIGHUP)
            # New workers serve beside the old one, which has the stream still.
            assert nginx.ask("GET", "/v1/models").status == 200
            more.put(b"data: after\n\n")
            seen = read_until(client, b"after", seen)
            more.put(b"")
            read_until(client, b"0\r\n\r\n", seen)


def test_large_bodies_at_once_are_bounded(make_nginx, make_entry, story, tmp_path):
    release = threading.Event()
    held: queue.SimpleQueue[int] = queue.SimpleQueue()

    def answer(request):
        held.put(1)
        release.wait(PATIENCE)
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    story.answer = answer
    with make_nginx(tmp_path).running() as nginx:
        nginx.route({"story": make_entry("story", story.port)})
        # Of unknown length counts as large.
        head = (
            b"POST /v1/story/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        clients = []
        try:
            for _ in range(32):
                client = socket.create_connection(("127.0.0.1", nginx.port), timeout=PATIENCE)
                clients.append(client)
                client.sendall(head)
                held.get(timeout=PATIENCE)
            one_more = nginx.say(head)
            story.answer = None
            small = nginx.ask("POST", "/v1/story/completions", {})
        finally:
            release.set()
            for client in clients:
                client.close()

    assert one_more.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 10" in one_more
    assert json.loads(one_more.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
    assert small.status == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cost_of_a_large_body_is_printed(nginx, echo):
    """Print what routing by the body adds to 20 MB, beside a route that is given by the path."""
    code = 'def greet(name: str) -> str:\n    return f"hello, {name}"\n' * 8
    bodies = {
        "a picture": {"input": "A" * 20_000_000},
        "code in messages": {"messages": [{"role": "user", "content": code}] * 36_000},
        "numbers": {"prompt": list(range(100_000, 2_600_000))},
    }

    def took(method: str, target: str, data: bytes, headers: dict[str, str]) -> float:
        began = time.perf_counter()
        assert nginx.ask(method, target, data, headers).status == 200
        return time.perf_counter() - began

    form = {"Content-Type": "multipart/form-data; boundary=1f2e3d4c5b6a"}
    field = b'--1f2e3d4c5b6a\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    sound = b"%s%s--1f2e3d4c5b6a--\r\n" % (
        field % (b"file", random.Random(1).randbytes(20_000_000)),
        field % (b"model", b"echo"),
    )
    sent = [
        (what, json.dumps({**body, "model": "echo"}).encode(), {}) for what, body in bodies.items()
    ]
    for what, data, headers in [*sent, ("a sound in a form", sound, form)]:
        # Interleaved; DELETE as the method whose body is not searched.
        rounds = [
            (
                took("DELETE", "/v1/echo/completions", data, headers),
                took("POST", "/v1/completions", data, headers),
            )
            for _ in range(5)
        ]
        by_path, by_body = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{what}, {len(data) / 1e6:.0f} MB: {by_path * 1000:.0f} ms unsearched, "
            f"{by_body * 1000:.0f} ms by body, ratio {by_body / by_path:.2f}"
        )
