"""Defects of the seed, the stack that this one takes the place of: who shows that ours has none.

The tests that stand here show what no other one does; those that are named in the
table are looked up, and the table is printed.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from activator_process import (
    NAME,
    Answer,
    ScriptedRunner,
    Stage,
    TinyEngine,
    answer_ok,
    read_all,
    ready_script,
)

from spark_activator.catalog.model import Requests

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Defect:
    """One of the seed's, by its number in our notes.

    Attributes:
        was: What it did.
        shown: Tests that would fail here if ours did.
    """

    was: str
    shown: tuple[str, ...]


DEFECTS = {
    1: Defect(
        "idle time was counted from a request's start: a stream of 20 s was ended after 5 s",
        (
            "integration/test_activator_life.py::test_stream_longer_than_the_idle_time_is_not_cut",
            "e2e/test_idle.py::test_a_stream_longer_than_the_idle_time_is_not_cut",
        ),
    ),
    2: Defect(
        "an engine that died in mid-stream left its client waiting for its own time limit",
        (
            "integration/test_activator_forwarding.py::"
            "test_engine_that_dies_mid_stream_is_seen_by_the_client",
            "integration/test_activator_waiting.py::"
            "test_answer_that_breaks_off_does_not_look_complete",
            "integration/nginx/test_nginx_streams.py::test_stream_that_is_cut_short_is_seen_to_be",
            "e2e/test_kills.py::"
            "test_container_killed_mid_stream_is_started_again_by_the_next_request",
        ),
    ),
    3: Defect(
        "two first requests for two models at once started both; an error of Docker's counted"
        " as nothing running",
        (
            "integration/test_runner_interleavings.py::test_every_order_of_the_first_sections",
            "integration/test_runner_interleavings.py::"
            "test_storm_of_first_requests_in_the_same_millisecond",
            "integration/test_runner_containers.py::"
            "test_docker_that_is_away_is_said_at_once_and_asked_anew",
            "e2e/test_sharing.py::test_storm_of_two_first_requests_in_the_same_millisecond",
        ),
    ),
    4: Defect(
        "an idle model never made room, and `Retry-After` was not when it would",
        (
            "integration/test_runner_life.py::test_idle_holder_gives_way_at_once",
            "integration/test_runner_sharing.py::test_only_the_least_recently_used_goes",
            "integration/test_activator_waiting.py::"
            "test_refusal_after_the_wait_says_where_it_stands",
            "e2e/test_sharing.py::test_an_idle_model_goes_after_its_turn_hold",
        ),
    ),
    5: Defect(
        "keys were looked at after the model was loaded, `/debug` by nobody",
        (
            "integration/test_activator_access.py::"
            "test_without_a_valid_key_nothing_but_401_is_told_and_nobody_is_woken",
            "integration/nginx/test_nginx_access.py::test_nothing_is_told_without_a_key",
            "integration/nginx/test_nginx_access.py::test_only_admins_see_debug_once_there_are_keys",
            "e2e/test_access.py::test_without_a_valid_key_nothing_is_started_whatever_the_entry",
        ),
    ),
    6: Defect(
        "bodies were text: letters that two packets shared were lost, forms could not pass",
        (
            "integration/test_seed_defects.py::test_letter_that_packets_share_arrives_whole",
            "integration/test_activator_forwarding.py::test_chunked_form_is_framed_anew",
            "integration/nginx/test_nginx_routing.py::"
            "test_letter_that_is_split_between_packets_arrives_whole",
            "integration/nginx/test_nginx_forms.py::"
            "test_form_goes_to_the_model_that_its_field_names",
        ),
    ),
    7: Defect(
        "chunked requests went on with both `Content-Length` and `Transfer-Encoding`",
        (
            "integration/test_seed_defects.py::test_letter_that_packets_share_arrives_whole",
            "integration/test_activator_forwarding.py::test_chunked_form_is_framed_anew",
            "integration/nginx/test_nginx_routing.py::test_chunked_body_arrives_with_its_length",
            "integration/nginx/test_framing.py::test_no_request_has_two_meanings",
        ),
    ),
    8: Defect(
        "a client that left was not noticed: its answer was generated to the end",
        (
            "integration/test_activator_forwarding.py::test_client_that_leaves_ends_the_generation",
            "integration/test_activator_waiting.py::"
            "test_client_that_leaves_an_opened_stream_ends_the_generation",
            "integration/nginx/test_nginx_streams.py::test_client_that_leaves_closes_the_upstream",
            "e2e/test_idle.py::test_a_client_that_leaves_mid_stream_ends_the_generation",
        ),
    ),
    9: Defect(
        "`GET /v1/models` was a 400",
        (
            "integration/test_activator_life.py::test_asking_how_it_is_wakes_nothing",
            "integration/nginx/test_nginx_routing.py::test_list_of_models",
            "integration/nginx/test_nginx_routing.py::test_models_of_the_openai_sdk",
        ),
    ),
    10: Defect(
        "nginx gave up before a load could be done",
        (
            "integration/nginx/test_nginx_configuration.py::"
            "test_nginx_waits_longer_than_anything_that_it_waits_for",
        ),
    ),
    11: Defect(
        "the next model was started 15 s after the last one, whatever memory was back",
        (
            "integration/test_runner_life.py::test_lease_is_kept_until_the_memory_is_back",
            "integration/test_runner_guard.py::"
            "test_next_start_waits_for_memory_that_the_last_engine_keeps",
        ),
    ),
    12: Defect(
        "a model that never came up kept the machine",
        (
            "integration/test_runner_life.py::"
            "test_start_without_progress_fails_after_the_stall_time",
            "integration/test_runner_life.py::test_start_that_takes_too_long_fails",
        ),
    ),
}


@pytest.mark.parametrize("number", DEFECTS)
def test_there_is_a_test_in_every_run(number: int) -> None:
    defect = DEFECTS[number]
    print(f"{number}. {defect.was}")
    for shown in defect.shown:
        print(f"   {shown}")
        file, _, name = shown.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        [found] = [node for node in ast.walk(tree) if getattr(node, "name", None) == name]
        assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
        # One that only `--long` runs would show it too seldom.
        assert not any(ast.unparse(mark) == "pytest.mark.long" for mark in found.decorator_list)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.mark.parametrize("changed", [False, True], ids=["passed on", "changed"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_letter_that_packets_share_arrives_whole(
    stage: Stage, nursery: trio.Nursery, chunked: bool, changed: bool
) -> None:
    said = {"role": "user", "content": "héllo 世界 🎉"}
    asked = {"model": NAME, "messages": [said], "user": "é"}
    if changed:
        stage.change(requests=Requests(strip=("user",)))
        wanted = {key: value for key, value in asked.items() if key != "user"}
    else:
        wanted = asked
    body = json.dumps(asked, ensure_ascii=False).encode()
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), ready_script()).serve)
    engine = TinyEngine(stage, "0a0b0c0d", answer_ok)
    await nursery.start(engine.serve)

    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    async with stage.activator(), await stage.connect() as client:
        client.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        await client.send_all(head + framing + b"\r\n\r\n")
        for byte in body:
            await client.send_all(b"1\r\n%c\r\n" % byte if chunked else b"%c" % byte)
        await client.send_all(b"0\r\n\r\n" if chunked else b"")
        answer = Answer(await read_all(client))

    assert answer.status == 200
    [arrived] = engine.asked
    assert json.loads(arrived.body) == wanted
    assert ("x-spark-changed" in answer.headers) is changed
    # And framed in one way only.
    framed = [
        line.partition(b":")[0]
        for line in arrived.head.lower().split(b"\r\n")
        if line.startswith((b"content-length:", b"transfer-encoding:"))
    ]
    assert framed == [b"content-length"]
