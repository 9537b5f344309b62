"""The demo engine as a client sees it, over its unix socket."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess
import time

import openai
import pytest
from demo_engine import LIMIT, DemoEngine, chat, events, said

from spark_activator.demo.text import is_complete


@pytest.fixture
def engine(tmp_path):
    with DemoEngine(tmp_path, "--allow-faults", "--max-concurrent", "2") as engine:
        yield engine.ready()


def test_chat_answer_is_whole_and_has_openais_shape(engine):
    answer = engine.ask("POST", "/v1/chat/completions", chat("tell me"))

    body = json.loads(answer.raw)
    assert answer.status == 200
    assert body["object"] == "chat.completion"
    assert is_complete(body["choices"][0]["message"]["content"])
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 64, "total_tokens": 66}


def test_stream_says_the_same_as_the_answer_in_one_piece(engine):
    whole = json.loads(engine.ask("POST", "/v1/chat/completions", chat("tell me")).raw)
    raw = engine.ask(
        "POST",
        "/v1/chat/completions",
        chat("tell me", stream=True, stream_options={"include_usage": True}),
    ).raw

    stream = events(raw)
    assert said(stream) == whole["choices"][0]["message"]["content"]
    assert stream[-1] == b"[DONE]"
    assert stream[-2]["usage"] == whole["usage"]
    assert stream[-3]["choices"][0]["finish_reason"] == "stop"


def test_each_event_is_one_chunk(engine):
    # The relay's bench counts chunks, and clients see what uvicorn would send.
    body = json.dumps(chat("hi", stream=True, max_tokens=5)).encode()
    with engine.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        raw = b"".join(iter(lambda: sock.recv(65536), b""))

    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"content-type: text/event-stream; charset=utf-8" in head
    sizes = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        sizes.append(int(size, 16))
        assert data.count(b"data: ") == (1 if data else 0)
    # The role, five tokens, [DONE], and the end.
    assert len(sizes) == 8
    assert sizes[-1] == 0


def test_completions_take_text_lists_and_tokens(engine):
    for prompt in ("one two", ["one", "two"], [1, 2]):
        body = json.loads(
            engine.ask("POST", "/v1/completions", {"model": "demo", "prompt": prompt}).raw
        )
        assert body["object"] == "text_completion"
        assert is_complete(body["choices"][0]["text"])
        assert body["usage"]["prompt_tokens"] == 2


def test_limit_and_stop_have_their_reasons(engine):
    short = json.loads(engine.ask("POST", "/v1/chat/completions", chat("x", max_tokens=3)).raw)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 3

    text = short["choices"][0]["message"]["content"]
    cut = json.loads(
        engine.ask("POST", "/v1/chat/completions", chat("x", stop=[text.split()[1]])).raw
    )
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["choices"][0]["message"]["content"] == text[: text.index(" ") + 1]

    long = json.loads(
        engine.ask("POST", "/v1/chat/completions", chat("x", max_tokens=500, ignore_eos=True)).raw
    )
    assert long["usage"]["completion_tokens"] == 500


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("POST", "/v1/chat/completions", {**chat("x"), "model": "other"}, 404, "`other`"),
        ("POST", "/v1/chat/completions", b"{", 400, "JSON"),
        ("POST", "/v1/chat/completions", {"model": "demo"}, 400, "messages"),
        ("POST", "/v1/completions", {"model": "demo"}, 400, "prompt"),
        ("POST", "/v1/completions", {"model": "demo", "prompt": "x", "n": 2}, 400, "n:"),
        ("GET", "/v1/chat/completions", None, 405, "GET"),
        ("POST", "/v1/completions", {"prompt": "fault: status 503"}, 503, "told"),
    ],
)
def test_refusals_are_openais(engine, method, path, body, status, words):
    answer = engine.ask(method, path, body)

    error = json.loads(answer.raw)["error"]
    assert answer.status == status
    assert error["code"] == status
    assert words in error["message"]


def test_connection_is_kept_until_somebody_says_close(engine):
    client = http.client.HTTPConnection("engine", timeout=LIMIT)
    client.sock = engine.connect()
    for _ in range(3):
        client.request("GET", "/v1/models")
        assert json.loads(client.getresponse().read())["data"][0]["id"] == "demo"
    client.request("GET", "/health", headers={"Connection": "close"})
    answer = client.getresponse()
    assert answer.getheader("connection") == "close"
    assert answer.read() == b""
    client.close()


def test_http_1_0_gets_a_stream_without_chunks(engine):
    body = json.dumps(chat("hi", stream=True, max_tokens=2)).encode()
    with engine.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        raw = b"".join(iter(lambda: sock.recv(65536), b""))

    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert events(rest)[-1] == b"[DONE]"


def test_two_requests_in_one_segment_are_answered_in_turn(engine):
    with engine.connect() as sock:
        sock.sendall(
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        raw = b"".join(iter(lambda: sock.recv(65536), b""))

    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.endswith(b'{"version":"demo"}')


def test_what_is_no_http_is_a_400(engine):
    with engine.connect() as sock:
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_client_that_expects_100_continue_is_told(engine):
    body = json.dumps(chat("hi")).encode()
    with engine.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert b"HTTP/1.1 200 OK" in sock.recv(65536)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_64_mib_are_read_and_more_is_refused(engine):
    # It takes seconds, ten times as many where others want the CPU, too.
    limit = 250
    frame = json.dumps(chat("")).encode()
    room = 64 * 2**20 - len(frame)
    prompt = json.dumps(chat("word " * (room // 5))).encode()
    answer = json.loads(engine.ask("POST", "/v1/chat/completions", prompt, limit=limit).raw)
    assert answer["usage"]["prompt_tokens"] == room // 5

    answer = engine.ask("POST", "/v1/chat/completions", b" " * (64 * 2**20 + 1), limit=limit)
    assert answer.status == 413


def test_client_that_leaves_stops_its_generation(engine):
    endless = json.dumps(chat("fault: hang after 1", stream=True, max_tokens=5)).encode()
    with engine.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
            % (len(endless), endless)
        )
        assert b"200 OK" in sock.recv(65536)
        assert engine.metric("num_requests_running") == 1
    # It writes its line of the access log when the request is over.
    engine.log.wait_for("POST /v1/chat/completions")
    assert engine.metric("num_requests_running") == 0


def test_more_than_the_concurrent_ones_wait(engine):
    hang = json.dumps(chat("fault: hang after 1", stream=True, max_tokens=5)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(hang),
        hang,
    )
    clients = [engine.connect() for _ in range(3)]
    # Whoever comes at the same time is served in any order.
    for client in clients[:2]:
        client.sendall(request)
    for client in clients[:2]:
        assert b"200 OK" in client.recv(65536)
    clients[2].sendall(request)
    assert engine.metric("num_requests_running") == 2
    # The third has sent its request; how soon the engine reads it is its affair.
    assert any(engine.metric("num_requests_waiting") == 1 for _ in range(100))
    for client in clients:
        client.close()


def test_socket_has_the_mode_of_the_umask_and_stays_behind(tmp_path):
    old = os.umask(0o007)
    try:
        with DemoEngine(tmp_path) as engine:
            engine.ready()
            assert stat.S_IMODE(engine.socket.stat().st_mode) == 0o770
            engine.process.terminate()
            assert engine.process.wait(LIMIT) == 0
    finally:
        os.umask(old)
    assert engine.socket.exists()

    # As vLLM: what lies there is found after the whole load, and is not replaced.
    with DemoEngine(tmp_path, "--load-time", "0.1") as second:
        assert second.process.wait(LIMIT) == 1
        log = second.log.to_end()
        assert any("Address already in use" in line for line in log)
        assert any("Graph capturing finished" in line for line in log)


def test_progress_is_printed_in_vllms_lines(tmp_path):
    with DemoEngine(tmp_path, "--load-time", "0.4", "--graphs-time", "0.1") as engine:
        engine.ready()
    log = "\n".join(engine.log.to_end())

    assert re.search(r"Loading safetensors checkpoint shards: +50% Completed \| 2/4", log)
    assert re.search(r"Loading weights took \d+\.\d\d seconds", log)
    assert re.search(r"torch\.compile takes 0\.10 s in total", log)
    assert re.search(r"Capturing CUDA graphs .*: +50%\|", log)
    assert log.index("Loading weights") < log.index("torch.compile") < log.index("Capturing")


def test_tokens_come_at_the_told_pace(tmp_path):
    with DemoEngine(tmp_path, "--tokens-per-second", "50") as engine:
        began = time.monotonic()
        stream = engine.ready().ask(
            "POST", "/v1/chat/completions", chat("hi", stream=True, max_tokens=20)
        )
    assert len(said(events(stream.raw)).split()) == 20
    # Later is the machine's affair.
    assert time.monotonic() - began >= 19 / 50


def test_tokens_are_sent_when_they_are_there(tmp_path):
    # The next one would come after longer than anything takes here.
    with DemoEngine(tmp_path, "--tokens-per-second", "0.005") as engine:
        engine.ready()
        with engine.connect() as sock:
            body = json.dumps(chat("hi", stream=True, max_tokens=20)).encode()
            sock.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            raw = b""
            # The role's is empty.
            while raw.count(b'"content":') < 2:
                raw += sock.recv(65536)


@pytest.fixture
def tcp(tmp_path):
    with DemoEngine(tmp_path, socket_args=("--port", "0")) as engine:
        line = engine.log.wait_for("Uvicorn running on http")
        engine.url = re.search(r"http://\S+", line)[0]
        yield engine


def test_openais_sdk_works(tcp):
    client = openai.OpenAI(base_url=f"{tcp.url}/v1", api_key="none", timeout=LIMIT)
    with client:
        assert [model.id for model in client.models.list()] == ["demo"]
        messages = [{"role": "user", "content": "tell me"}]
        whole = client.chat.completions.create(model="demo", messages=messages)
        stream = client.chat.completions.create(
            model="demo", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert is_complete(streamed)
        assert streamed == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage
        text = client.completions.create(model="demo", prompt="tell me")
        pieces = client.completions.create(model="demo", prompt="tell me", stream=True)
        assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="other", prompt="x")


def test_curl_sees_a_stream_that_was_cut(engine):
    # 18 is CURLE_PARTIAL_FILE: the last chunk is missing.
    result = subprocess.run(
        ["curl", "-sSN", "--unix-socket", str(engine.socket), "http://x/v1/chat/completions",
         "-d", json.dumps(chat("fault: cut after 3", stream=True))],
        capture_output=True,
        timeout=LIMIT,
    )  # fmt: skip
    assert result.returncode == 18
    assert len(events(result.stdout)) == 4
    assert engine.ask("GET", "/health").status == 200


def test_half_closed_client_has_left(engine):
    # asyncio closes the transport of a client that sent its FIN, and so do we.
    body = json.dumps(chat("fault: hang after 0", stream=True)).encode()
    with engine.connect() as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        assert b"200 OK" in sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert engine.metric("num_requests_running") == 0
