"""Whole answers, told as streams.

Every kind of event here was read by the official SDKs of OpenAI and Anthropic,
with their own accumulators: see tests/clients for those that run with them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from spark_activator.errors import Refusal
from spark_activator.http.endpoints import STREAMED, Endpoint
from spark_activator.http.policy.replay import replay

CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"q": "é"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "see", "arguments": "{}"}},
]
USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "héllo\n\n✓",
                "refusal": None,
                "annotations": [],
                "reasoning": "hmm",
                "tool_calls": CALLS,
            },
            "logprobs": {"content": [{"token": "h", "logprob": -0.1}]},
            "finish_reason": "tool_calls",
            "stop_reason": None,
        }
    ],
    "usage": USAGE,
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "hmm", "signature": "sig"},
        {"type": "text", "text": "héllo"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "é"}},
    ],
    "model": "m",
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 4},
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "short"}],
            "content": [{"type": "reasoning_text", "text": "hmm"}],
            "status": None,
        },
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "héllo", "annotations": []}],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "call_id": "call_1",
            "name": "look",
            "arguments": '{"q": "é"}',
            "status": "completed",
        },
    ],
    "usage": {"input_tokens": 5, "output_tokens": 4, "total_tokens": 9},
}


def events(answer: dict[str, Any], endpoint: Endpoint, *, usage: bool = False) -> list[Any]:
    """Read the events as a client does: data alone, the name being in it where there is one."""
    read: list[Any] = []
    for event in replay(json.dumps(answer).encode(), endpoint, usage=usage):
        assert event.endswith(b"\n\n")
        *name, data = event.decode().removesuffix("\n\n").split("\n")
        assert data.startswith("data: ")
        value = data[6:] if data == "data: [DONE]" else json.loads(data[6:])
        read.append(value)
        assert name == ([f"event: {value['type']}"] if "type" in value else [])
    return read


class TestChats:
    def test_deltas_come_in_the_order_in_which_a_model_speaks(self) -> None:
        *chunks, last, done = events(CHAT, Endpoint.CHAT)

        assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
            {"role": "assistant"},
            {"reasoning": "hmm"},
            {"content": "héllo\n\n✓"},
            {"tool_calls": [{"index": 0, **CALLS[0]}]},
            {"tool_calls": [{"index": 1, **CALLS[1]}]},
        ]
        assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}
        assert last["choices"] == [
            {"index": 0, "delta": {}, "finish_reason": "tool_calls", "stop_reason": None}
        ]
        assert done == "[DONE]"

    def test_every_chunk_says_whose_it_is(self) -> None:
        for chunk in events(CHAT, Endpoint.CHAT, usage=True)[:-1]:
            assert chunk["object"] == "chat.completion.chunk"
            assert (chunk["id"], chunk["created"], chunk["model"]) == (
                "chatcmpl-1",
                1_700_000_000,
                "m",
            )
            assert chunk["system_fingerprint"] == "fp"

    def test_usage_is_the_last_chunk_of_who_asked_for_it(self) -> None:
        *_, last, _done = events(CHAT, Endpoint.CHAT, usage=True)
        assert (last["choices"], last["usage"]) == ([], USAGE)

        assert not any("usage" in chunk for chunk in events(CHAT, Endpoint.CHAT)[:-1])

    def test_probabilities_come_with_their_text(self) -> None:
        chunks = [chunk["choices"][0] for chunk in events(CHAT, Endpoint.CHAT)[:-1]]

        assert [chunk["delta"] for chunk in chunks if chunk.get("logprobs")] == [
            {"content": "héllo\n\n✓"}
        ]

    def test_each_choice_is_told(self) -> None:
        choices = [
            {"index": n, "message": {"role": "assistant", "content": str(n)}} for n in (0, 1)
        ]

        chunks = events({**CHAT, "choices": choices}, Endpoint.CHAT)[:-1]

        assert [(c["choices"][0]["index"], c["choices"][0]["delta"]) for c in chunks] == [
            (0, {"role": "assistant"}),
            (0, {"content": "0"}),
            (0, {}),
            (1, {"role": "assistant"}),
            (1, {"content": "1"}),
            (1, {}),
        ]

    def test_what_else_a_message_has_is_not_lost(self) -> None:
        message = {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "h"}

        chunks = events({**CHAT, "choices": [{"index": 0, "message": message}]}, Endpoint.CHAT)

        assert [chunk["choices"][0]["delta"] for chunk in chunks[1:3]] == [
            {"reasoning_content": "h"},
            {"refusal": "no"},
        ]


def test_completions_are_one_chunk_a_choice() -> None:
    choice = {"index": 0, "text": "abc", "logprobs": None, "finish_reason": "stop"}
    answer = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}

    first, last, done = events(
        {**answer, "choices": [choice], "usage": USAGE}, Endpoint.COMPLETIONS, usage=True
    )

    assert first == {**answer, "choices": [choice]}
    assert last == {**answer, "choices": [], "usage": USAGE}
    assert done == "[DONE]"


class TestMessages:
    def test_blocks_begin_empty_and_are_filled(self) -> None:
        start, *blocks, end, stop = events(MESSAGE, Endpoint.MESSAGES)

        assert start["type"] == "message_start"
        assert start["message"]["content"] == []
        assert start["message"]["stop_reason"] is None
        assert start["message"]["usage"] == {"input_tokens": 5, "output_tokens": 0}
        assert [
            (each["index"], each.get("content_block"), each.get("delta")) for each in blocks
        ] == [
            (0, {"type": "thinking", "thinking": "", "signature": ""}, None),
            (0, None, {"type": "thinking_delta", "thinking": "hmm"}),
            (0, None, {"type": "signature_delta", "signature": "sig"}),
            (0, None, None),
            (1, {"type": "text", "text": ""}, None),
            (1, None, {"type": "text_delta", "text": "héllo"}),
            (1, None, None),
            (2, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}, None),
            (2, None, {"type": "input_json_delta", "partial_json": '{"q":"é"}'}),
            (2, None, None),
        ]
        assert [each["type"] for each in blocks[:4]] == [
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
        ]
        assert end["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
        assert end["usage"] == MESSAGE["usage"]
        assert stop == {"type": "message_stop"}

    def test_block_of_another_kind_comes_whole(self) -> None:
        block = {"type": "redacted_thinking", "data": "x"}

        _, begin, stop, *_ = events({**MESSAGE, "content": [block]}, Endpoint.MESSAGES)

        assert (begin["content_block"], stop["type"]) == (block, "content_block_stop")

    def test_answer_without_usage_has_some(self) -> None:
        start, *_ = events({**MESSAGE, "usage": None}, Endpoint.MESSAGES)

        assert start["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}


class TestResponses:
    def test_is_created_and_completed(self) -> None:
        told = events(RESPONSE, Endpoint.RESPONSES)

        assert [each["sequence_number"] for each in told] == list(range(len(told)))
        assert [each["type"] for each in told[:2]] == ["response.created", "response.in_progress"]
        for each in told[:2]:
            assert each["response"] == {
                **RESPONSE,
                "status": "in_progress",
                "output": [],
                "usage": None,
            }
        assert told[-1]["type"] == "response.completed"
        assert told[-1]["response"] == RESPONSE

    @pytest.mark.parametrize("status", ["incomplete", "failed"])
    def test_ends_as_it_ended(self, status: str) -> None:
        told = events({**RESPONSE, "status": status}, Endpoint.RESPONSES)

        assert told[-1]["type"] == f"response.{status}"

    def test_items_are_added_filled_and_done(self) -> None:
        told = [
            (each["type"].removeprefix("response."), each["output_index"])
            for each in events(RESPONSE, Endpoint.RESPONSES)[2:-1]
        ]

        assert told == [
            ("output_item.added", 0),
            ("content_part.added", 0),
            ("reasoning_text.delta", 0),
            ("reasoning_text.done", 0),
            ("content_part.done", 0),
            ("reasoning_summary_part.added", 0),
            ("reasoning_summary_text.delta", 0),
            ("reasoning_summary_text.done", 0),
            ("reasoning_summary_part.done", 0),
            ("output_item.done", 0),
            ("output_item.added", 1),
            ("content_part.added", 1),
            ("output_text.delta", 1),
            ("output_text.done", 1),
            ("content_part.done", 1),
            ("output_item.done", 1),
            ("output_item.added", 2),
            ("function_call_arguments.delta", 2),
            ("function_call_arguments.done", 2),
            ("output_item.done", 2),
        ]

    def test_text_is_in_its_delta_and_at_the_end(self) -> None:
        told = events(RESPONSE, Endpoint.RESPONSES)
        where = {"output_index": 1, "item_id": "msg_1", "content_index": 0, "logprobs": []}
        delta = next(each for each in told if each["type"] == "response.output_text.delta")
        done = next(each for each in told if each["type"] == "response.output_text.done")
        added = [each for each in told if each["type"] == "response.output_item.added"][1]

        assert delta == {**where, "type": delta["type"], "delta": "héllo", "sequence_number": 14}
        assert done == {**where, "type": done["type"], "text": "héllo", "sequence_number": 15}
        assert added["item"] == {**RESPONSE["output"][1], "content": [], "status": "in_progress"}

    def test_probabilities_come_with_their_text(self) -> None:
        part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": [{"token": "a"}]}
        item = {**RESPONSE["output"][1], "content": [part]}

        told = events({**RESPONSE, "output": [item]}, Endpoint.RESPONSES)

        assert [each["logprobs"] for each in told if "logprobs" in each] == [part["logprobs"]] * 2

    def test_arguments_are_in_their_delta_and_at_the_end(self) -> None:
        added, delta, done, finished = events(RESPONSE, Endpoint.RESPONSES)[-5:-1]

        assert added["item"]["arguments"] == ""
        assert (delta["item_id"], delta["delta"]) == ("fc_1", '{"q": "é"}')
        assert (done["name"], done["arguments"]) == ("look", '{"q": "é"}')
        assert finished["item"] == RESPONSE["output"][2]

    def test_item_without_an_id_has_one_within_the_stream(self) -> None:
        item = {"type": "function_call", "id": None, "name": "a", "arguments": "{}", "call_id": "c"}

        told = events({**RESPONSE, "output": [item]}, Endpoint.RESPONSES)

        assert {each["item_id"] for each in told if "item_id" in each} == {"item_0"}


@pytest.mark.parametrize("endpoint", sorted(STREAMED))
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b"null",
        b'{"choices": 7, "content": 7, "output": 7}',
        b'{"choices": [7], "content": [7], "output": [7]}',
        b'{"choices": [{}], "content": [{}], "output": [{"content": [{}]}]}',
        b'{"choices": "x", "content": "x", "output": "x"}',
        b'{"id": "\\ud800", "content": [], "output": [], "choices":'
        b' [{"index": 0, "text": "", "message": {"role": "assistant"}}]}',
        b"[" * 100_000,
    ],
)
def test_answer_that_is_none_is_a_502(endpoint: Endpoint, answer: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        replay(answer, endpoint, usage=True)

    assert raised.value.code == "bad_gateway"
