"""Real activator processes: who comes in, what the others are told, what is counted."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from activator_process import (
    NAME,
    Answer,
    Asked,
    Claim,
    ScriptedRunner,
    Stage,
    TinyEngine,
    answer_ok,
    eventually,
    heard,
    post,
    read_all,
    ready_script,
    wait_exit,
)

from spark_activator import protocol
from spark_activator.http.head import METHODS
from spark_activator.http.keys import Key, digest_of

SECRET = "secret-of-the-laptop"
LAPTOP = Key("laptop", digest_of(SECRET)).line() + "\n"
AUTHORIZED = f"Authorization: Bearer {SECRET}"


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Stage]:
    """A model that listens on another address as well, and goes after a fifth of a second."""
    stage = Stage(tmp_path, idle=0.2, addresses=(own_address(),))
    yield stage
    stage.close()


def request(method: str, path: str, *lines: str) -> bytes:
    length = ["Content-Length: 2"] if method == "POST" else []
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *lines, *length, "", ""]
    return "\r\n".join(head).encode() + (b"{}" if length else b"")


async def start(
    stage: Stage, nursery: trio.Nursery, answer=answer_ok
) -> tuple[ScriptedRunner, TinyEngine]:  # type: ignore[no-untyped-def]  # any engine's answer
    runner = ScriptedRunner(stage.layout.runner_socket(NAME), ready_script())
    engine = TinyEngine(stage, "0a0b0c0d", answer)
    await nursery.start(runner.serve)
    await nursery.start(engine.serve)
    return runner, engine


PATHS = (
    "/health", "/metrics", "/v1/models", "/v1/models/story", "/v1/chat/completions",
    "/v1/completions", "/v1/responses", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel",
    "/v1/messages?beta=true", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/rerank",
    "/v1/score", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/realtime", "/debug/state",
    "/debug/warm", "/debug/touch", "/debug/stop", "/tokenize", "/invocations", "/", "/nowhere",
)  # fmt: skip
SHOWN: tuple[tuple[str, ...], ...] = (
    (),
    ("Authorization: Bearer wrong", "x-api-key: wrong"),
    (f"Authorization: Basic {SECRET}", "Origin: http://localhost:3000"),
    ("Connection: upgrade", "Upgrade: websocket", "Host: localhost"),
    ("Access-Control-Request-Method: POST",),
)


async def test_without_a_valid_key_nothing_but_401_is_told_and_nobody_is_woken(
    stage: Stage, nursery: trio.Nursery
) -> None:
    stage.layout.api_keys.write_text(LAPTOP)
    runner, engine = await start(stage, nursery)
    told: dict[tuple[str, ...], int] = {}

    async def one(method: str, path: str, lines: tuple[str, ...]) -> None:
        lines = tuple(line for line in lines if not line.startswith("Host"))
        answer = await stage.ask(request(method, path, *lines))
        told[(method, path, *lines)] = answer.status
        assert answer.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            assert answer.code == "invalid_api_key"

    async with stage.activator():
        async with trio.open_nursery() as clients:
            for case in itertools.product(sorted(METHODS), PATHS, SHOWN):
                clients.start_soon(one, *case)

        assert set(told.values()) == {401}
        assert len(told) == len(METHODS) * len(PATHS) * len(SHOWN)
        assert not runner.claims
        assert not engine.asked
        assert (await stage.ask(request("GET", "/health", AUTHORIZED))).status == 200
        assert not runner.claims
        assert (await stage.ask(request("POST", "/v1/completions", AUTHORIZED))).status == 200


async def test_keys_are_picked_up_live_and_never_passed_on(
    stage: Stage, nursery: trio.Nursery
) -> None:
    _, engine = await start(stage, nursery)
    ask = request("POST", "/v1/completions", AUTHORIZED, f"x-api-key: {SECRET}")

    async with stage.activator():
        statuses = [(await stage.ask(request("POST", "/v1/completions"))).status]
        for text in (LAPTOP, "a line that is no key\n", ""):
            stage.layout.api_keys.write_text(text)
            statuses.append((await stage.ask(ask)).status)
        stage.layout.api_keys.unlink()
        statuses.append((await stage.ask(request("POST", "/v1/completions"))).status)

    assert statuses == [200, 200, 401, 200, 200]
    assert all(SECRET.encode() not in asked.head for asked in engine.asked)
    assert "line 1 is no API key" in stage.log()


async def test_key_for_another_model_opens_nothing(stage: Stage, nursery: trio.Nursery) -> None:
    runner, _ = await start(stage, nursery)
    stage.layout.api_keys.write_text(Key("k", digest_of(SECRET), frozenset({"other"})).line())

    async with stage.activator():
        refused = await stage.ask(request("POST", "/v1/completions", AUTHORIZED))
        assert (refused.status, refused.code) == (403, "model_not_permitted")
        assert not runner.claims
        # `tale` is its alias.
        stage.layout.api_keys.write_text(Key("k", digest_of(SECRET), frozenset({"tale"})).line())
        assert (await stage.ask(request("POST", "/v1/completions", AUTHORIZED))).status == 200


async def test_without_keys_only_this_machine_is_served(wide: Stage, nursery: trio.Nursery) -> None:
    runner, _ = await start(wide, nursery)
    elsewhere = own_address()
    ask = request("GET", "/v1/models", "Authorization: Bearer dummy")

    async with wide.activator():
        assert (await wide.ask(ask)).status == 200
        refused = await wide.ask(ask, elsewhere)
        assert (refused.status, refused.code) == (403, "key_required")
        assert "spark-model key add" in json.loads(refused.body)["error"]["message"]
        # As nginx says whom it asks for.
        behind = request("GET", "/v1/models", f"X-Forwarded-For: {elsewhere}")
        assert (await wide.ask(behind)).code == "key_required"
        wide.layout.api_keys.write_text(LAPTOP)
        assert (await wide.ask(request("GET", "/v1/models", AUTHORIZED), elsewhere)).status == 200
        assert not runner.claims


async def test_page_of_another_site_is_refused_and_one_of_ours_may_read(
    stage: Stage, nursery: trio.Nursery
) -> None:
    runner, _ = await start(stage, nursery)
    asks = ("POST", "/v1/completions")

    async with stage.activator():
        evil = await stage.ask(request(*asks, "Origin: http://evil.example"))
        assert (evil.status, evil.code) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in evil.headers
        renamed = await stage.ask(post().replace(b"Host: a", b"Host: evil.example"))
        assert (renamed.status, renamed.code) == (403, "invalid_host")
        assert not runner.claims

        page = "http://localhost:3000"
        for answer in (
            await stage.ask(request(*asks, f"Origin: {page}")),
            await stage.ask(request("GET", "/v1/models", f"Origin: {page}")),
            await stage.ask(request("GET", "/nowhere", f"Origin: {page}")),
        ):
            assert answer.headers["access-control-allow-origin"] == page
            assert "Retry-After" in answer.headers["access-control-expose-headers"]


async def test_browser_asks_without_its_key_whether_it_may_send_it(
    stage: Stage, nursery: trio.Nursery
) -> None:
    runner, _ = await start(stage, nursery)
    stage.layout.api_keys.write_text(LAPTOP)
    preflight = (
        "Origin: http://localhost:3000",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,content-type",
    )

    async with stage.activator():
        granted = await stage.ask(request("OPTIONS", "/v1/chat/completions", *preflight))
        assert granted.status == 204
        assert granted.headers["access-control-allow-headers"] == "authorization,content-type"
        assert granted.body == b""
        foreign = ("Origin: http://evil.example", *preflight[1:])
        refused = await stage.ask(request("OPTIONS", "/v1/chat/completions", *foreign))
        assert refused.status == 401
        # With its key it can read the answer; without, why it has none.
        denied = await stage.ask(request("POST", "/v1/completions", preflight[0]))
        assert denied.status == 401
        assert denied.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert not runner.claims


async def test_engine_cannot_say_which_pages_may_read(stage: Stage, nursery: trio.Nursery) -> None:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(
            b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\ncontent-length: 2\r\n\r\n{}"
        )

    await start(stage, nursery, answer)
    async with stage.activator():
        plain = await stage.post()
        assert "access-control-allow-origin" not in plain.headers
        page = request("POST", "/v1/completions", "Origin: http://127.0.0.1:1")
        raw = (await stage.ask(page)).raw.lower()
        assert raw.count(b"access-control-allow-origin") == 1


# Several addresses, and the exit rule on all of them.


async def test_leaves_when_idle_and_nobody_waits_at_any_address(
    wide: Stage, nursery: trio.Nursery
) -> None:
    await start(wide, nursery)
    wide.layout.api_keys.write_text(LAPTOP)
    ask = request("POST", "/v1/completions", AUTHORIZED)

    # Both before it: who came later might find nobody.
    asked = [await wide.knock(ask, address) for address in (own_address(), "127.0.0.1")]
    async with wide.activator() as activator:
        assert [(await heard(client)).status for client in asked] == [200, 200]
        assert await wait_exit(activator) == 0


@pytest.mark.parametrize(
    "rounds", [8, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
async def test_no_client_of_any_address_is_lost_around_idle_exits(
    wide: Stage, nursery: trio.Nursery, rounds: int
) -> None:
    # As systemd does it: a process whenever somebody waits and none is there.
    wide.layout.api_keys.write_text(LAPTOP)
    await start(wide, nursery)
    exits: list[int] = []

    async def wait(listener: socket.socket, scope: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(listener)
        scope.cancel()

    async def keep_starting() -> None:
        while True:
            async with trio.open_nursery() as waiting:
                for listener in wide.listeners:
                    waiting.start_soon(wait, listener, waiting.cancel_scope)
            wide.said()  # else systemd would look deaf
            async with wide.activator() as activator:
                exits.append(await wait_exit(activator, limit=60))

    answered = []
    async with trio.open_nursery() as machine:
        machine.start_soon(keep_starting)
        for turn in range(rounds):
            address = own_address() if turn % 2 else "127.0.0.1"
            answer = await wide.ask(request("POST", "/v1/completions", AUTHORIZED), address)
            answered.append(answer.status)
            # Around the 0.2 s after which it goes.
            await trio.sleep(0.18 + 0.01 * (turn % 5))
        await eventually(lambda: exits)
        machine.cancel_scope.cancel()

    assert answered == [200] * rounds
    assert set(exits) == {0}


# What is counted.


def usage_of(claim: Claim) -> dict[str, list[int]]:
    total: dict[str, list[int]] = {}
    for line in claim.lines:
        for name, counts in (line.get("usage") or {}).items():  # type: ignore[attr-defined]  # JSON
            before = total.get(name, [0, 0, 0])
            total[name] = [one + other for one, other in zip(before, counts, strict=True)]
    return total


USAGE = b'{"choices":[],"usage":{"prompt_tokens":21,"total_tokens":26,"completion_tokens":5}}'


async def answer_with_usage(asked: Asked) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(USAGE)
    # In three pieces: the head's, the relay's, and one that splits a number.
    await asked.stream.send_all(head + USAGE[:5])
    await trio.sleep(0.05)
    at = USAGE.index(b"21") + 1
    await asked.stream.send_all(USAGE[5:at])
    await trio.sleep(0.05)
    await asked.stream.send_all(USAGE[at:])


async def test_tells_the_runner_what_a_key_has_had_before_it_leaves(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    stage = Stage(tmp_path, idle=0.2)
    runner, _ = await start(stage, nursery, answer_with_usage)
    stage.layout.api_keys.write_text(LAPTOP)

    # All before it: who came later might find nobody.
    ask = request("POST", "/v1/completions", AUTHORIZED)
    asked = [await stage.knock(ask) for _ in range(3)]
    async with stage.activator() as activator:
        for client in asked:
            assert (await heard(client)).body == USAGE
        assert await wait_exit(activator) == 0
    stage.close()

    [claim] = runner.claims
    assert await claim.last() == "bye"
    assert usage_of(claim) == {"laptop": [3, 63, 15]}


async def test_tells_it_before_it_gives_way_and_when_it_is_ended(
    stage: Stage, nursery: trio.Nursery
) -> None:
    runner, _ = await start(stage, nursery, answer_with_usage)
    stage.layout.api_keys.write_text(LAPTOP)
    ask = request("POST", "/v1/completions", AUTHORIZED)

    async with stage.activator() as activator:
        await stage.ask(ask)
        [claim] = runner.claims
        await claim.say(protocol.Yield("other"))
        await eventually(lambda: claim.ended)
        assert claim.types[-1] == "yielded"
        assert usage_of(claim) == {"laptop": [1, 21, 5]}
        await stage.ask(ask)
        activator.terminate()
        await wait_exit(activator)
        await eventually(lambda: runner.claims[-1].ended)

    assert sum(counts["laptop"][0] for counts in map(usage_of, runner.claims) if counts) == 2


async def test_stream_without_usage_is_counted_by_its_pieces(
    stage: Stage, nursery: trio.Nursery
) -> None:
    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for n in range(50):
            await asked.stream.send_all(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n)
        await asked.stream.send_all(b"data: [DONE]\n\n")

    runner, _ = await start(stage, nursery, answer)
    stage.layout.api_keys.write_text(LAPTOP)

    async with stage.activator():
        answer_got = await stage.ask(request("POST", "/v1/completions", AUTHORIZED))
        assert answer_got.body.count(b"data:") == 51
        await eventually(lambda: usage_of(runner.claims[0]))

    assert usage_of(runner.claims[0]) == {"laptop": [1, 0, 50]}


async def test_large_answer_passes_a_meter_unchanged(stage: Stage, nursery: trio.Nursery) -> None:
    body = bytes(range(256)) * 40_000 + USAGE

    async def answer(asked: Asked) -> None:
        await asked.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    runner, _ = await start(stage, nursery, answer)
    stage.layout.api_keys.write_text(LAPTOP)

    async with stage.activator():
        async with await stage.connect() as client:
            await client.send_all(request("POST", "/v1/completions", AUTHORIZED))
            received = Answer(await read_all(client))
        await eventually(lambda: usage_of(runner.claims[0]))

    assert received.body == body
    assert usage_of(runner.claims[0]) == {"laptop": [1, 21, 5]}
