"""What a model is told about arguments of tools."""

from __future__ import annotations

from typing import Any

import pytest
from policy_requests import HELLO, TOOL, ask, chat, sent

from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.hints import HINT, MARKER, QUESTION

ARRAY = "Give it as a raw JSON array, not as a string."
OBJECT = "Give it as a raw JSON object, not as a string."
# The same tool as each endpoint spells it, and where its schema is.
FORMS: dict[Endpoint, Any] = {
    Endpoint.CHAT: lambda name, schema: {
        "type": "function",
        "function": {"name": name, "parameters": schema},
    },
    Endpoint.RESPONSES: lambda name, schema: {
        "type": "function",
        "name": name,
        "parameters": schema,
    },
    Endpoint.MESSAGES: lambda name, schema: {"name": name, "input_schema": schema},
    Endpoint.COUNT_TOKENS: lambda name, schema: {"name": name, "input_schema": schema},
}


def takes(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def hinted(fields: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT, **keys: Any) -> Any:
    return sent(ask({"tools": [TOOL], **fields}, endpoint, tool_hints=True, **keys))


def described(**properties: Any) -> Any:
    """Return the schema that the engine gets for a tool with *properties*."""
    tool = FORMS[Endpoint.CHAT]("look", takes(**properties))
    [after] = hinted({**HELLO, "tools": [tool]})["tools"]
    schema = after["function"]["parameters"]
    assert "description" not in schema  # of all arguments together
    return schema["properties"]


class TestSystemText:
    def test_is_made_where_there_is_none(self) -> None:
        assert hinted(chat("hello"))["messages"] == [
            {"role": "system", "content": HINT},
            {"role": "user", "content": "hello"},
        ]

    @pytest.mark.parametrize("role", ["system", "developer"])
    def test_gets_the_hint_at_its_end(self, role: str) -> None:
        first, other = {"role": role, "content": "a"}, {"role": role, "content": "b"}

        after = hinted(chat(first, other, "hello"))["messages"]

        assert after == [{**first, "content": f"a\n\n{HINT}"}, other, *chat("hello")["messages"]]

    def test_of_parts_gets_one_more(self) -> None:
        parts = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
        hint = {"type": "text", "text": HINT}

        after = hinted(chat({"role": "system", "content": parts}, "hello"))
        assert after["messages"][0]["content"] == [*parts, hint]
        after = hinted({**HELLO, "system": parts}, Endpoint.MESSAGES)
        assert after["system"] == [*parts, hint]

    def test_that_is_no_text_is_left_alone(self) -> None:
        null = {"role": "system", "content": None}

        after = hinted(chat(null, "hello"))["messages"]

        assert after == [{"role": "system", "content": HINT}, *chat(null, "hello")["messages"]]
        assert hinted({**HELLO, "system": 7}, Endpoint.MESSAGES)["system"] == 7

    @pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES, Endpoint.COUNT_TOKENS])
    def test_of_messages_is_a_field(self, endpoint: Endpoint) -> None:
        after = hinted({**HELLO, "system": "a"}, endpoint)
        assert (after["system"], after["messages"]) == (f"a\n\n{HINT}", HELLO["messages"])
        assert hinted(HELLO, endpoint)["system"] == HINT

    def test_of_responses_is_a_field(self) -> None:
        assert hinted({"input": "hello"}, Endpoint.RESPONSES)["instructions"] == HINT
        fields = {"input": [{"role": "user", "content": "hello"}], "instructions": "a"}
        after = hinted(fields, Endpoint.RESPONSES)
        assert (after["input"], after["instructions"]) == (fields["input"], f"a\n\n{HINT}")

    def test_goes_into_the_first_turn_with_strict_roles(self) -> None:
        expected = [{"role": "user", "content": f"a\n\n{HINT}\n\nhello"}]

        after = hinted(chat({"role": "system", "content": "a"}, "hello"), strict_roles=True)
        assert after["messages"] == expected
        after = hinted({**HELLO, "system": "a"}, Endpoint.MESSAGES, strict_roles=True)
        assert (after["messages"], "system" in after) == (expected, False)

    def test_that_has_the_sentence_gets_no_other(self) -> None:
        told = chat({"role": "system", "content": f"a {MARKER} b"}, "hello", tools=[TOOL])

        assert ask(told, tool_hints=True).changed == ()


class TestQuestion:
    SCHEMA = takes(questions={"type": "array"})

    @pytest.mark.parametrize("endpoint", FORMS)
    def test_gets_a_sentence_more(self, endpoint: Endpoint) -> None:
        fields: dict[str, Any] = {"input": "hello"} if endpoint is Endpoint.RESPONSES else HELLO
        tools = [FORMS[endpoint]("look", takes()), FORMS[endpoint]("question", self.SCHEMA)]

        text = str(hinted({**fields, "tools": tools}, endpoint))

        assert QUESTION in text

    @pytest.mark.parametrize(
        ("name", "schema"),
        [
            ("questions", SCHEMA),
            ("question", takes(questions={"type": "string"})),
            ("question", takes(text={"type": "array"})),
            ("question", None),
        ],
    )
    def test_of_another_kind_does_not(self, name: str, schema: Any) -> None:
        after = hinted({**HELLO, "tools": [FORMS[Endpoint.CHAT](name, schema)]})

        assert after["messages"][0]["content"] == HINT


class TestSchemas:
    @pytest.mark.parametrize("endpoint", FORMS)
    def test_of_every_endpoint_are_amended(self, endpoint: Endpoint) -> None:
        fields: dict[str, Any] = {"input": "hello"} if endpoint is Endpoint.RESPONSES else HELLO
        form = FORMS[endpoint]
        after = hinted({**fields, "tools": [form("a", takes(x={"type": "array"}))]}, endpoint)

        assert after["tools"] == [form("a", takes(x={"type": "array", "description": ARRAY}))]

    def test_of_functions_are_amended(self) -> None:
        function = {"name": "a", "parameters": takes(x={"type": "object"})}
        after = hinted({**HELLO, "tools": None, "functions": [function]})

        [schema] = [each["parameters"] for each in after["functions"]]
        assert schema == takes(x={"type": "object", "description": OBJECT})

    def test_keep_what_they_say(self) -> None:
        names = {"type": "array", "description": "All names.", "minItems": 1}

        assert described(names=names)["names"] == {**names, "description": f"All names. {ARRAY}"}

    def test_are_amended_at_every_level(self) -> None:
        pair = {"type": "object", "properties": {"a": {"type": "array"}}}
        after = described(x={"anyOf": [{"type": "array", "items": pair}, {"type": "null"}]})

        array, null = after["x"]["anyOf"]
        assert (array["description"], null) == (ARRAY, {"type": "null"})
        assert array["items"]["description"] == OBJECT
        assert array["items"]["properties"]["a"]["description"] == ARRAY

    def test_of_several_types(self) -> None:
        both = "Give it as a raw JSON array or object, not as a string."

        assert described(x={"type": ["object", "array", "null"]})["x"]["description"] == both

    @pytest.mark.parametrize(
        "schema",
        [
            True,
            {"type": "string"},
            {"type": ["array", "string"]},
            {"type": "array", "description": 7},
            {"type": "array", "description": f"Names. {ARRAY}"},
            {"default": {"properties": {"a": {"type": "array"}}}},
            {"enum": [{"type": "array"}]},
        ],
    )
    def test_stay_where_nothing_is_to_be_said(self, schema: Any) -> None:
        assert described(x=schema)["x"] == schema

    def test_with_odd_shapes_of_the_owner_are_left_to_the_engine(self) -> None:
        tools = [7, {"function": 7}, FORMS[Endpoint.CHAT]("a", {"properties": 7, "items": [7]})]

        assert hinted(HELLO, set={"tools": tools})["tools"] == tools

    def test_that_nobody_changed_are_sent_as_they_were(self) -> None:
        body = b'{"tools": [ {"name":"a"} ], "messages": [{"role":"user","content":"x"}]}'

        assert b'"tools": [ {"name":"a"} ]' in ask(body, tool_hints=True).body


@pytest.mark.parametrize(
    ("fields", "endpoint", "keys"),
    [
        ({**HELLO, "tools": [TOOL]}, Endpoint.CHAT, {"tool_hints": False}),
        (HELLO, Endpoint.CHAT, {}),
        ({**HELLO, "tools": []}, Endpoint.CHAT, {}),
        ({**HELLO, "tools": [TOOL], "tool_choice": "none"}, Endpoint.CHAT, {}),
        ({**HELLO, "tools": [TOOL], "tool_choice": {"type": "none"}}, Endpoint.MESSAGES, {}),
        ({"prompt": "x", "tools": [TOOL]}, Endpoint.COMPLETIONS, {}),
        ({"messages": [], "tools": [TOOL]}, Endpoint.CHAT, {}),
        ({"messages": "x", "tools": [TOOL]}, Endpoint.CHAT, {}),
        ({"messages": ["x"], "tools": [TOOL]}, Endpoint.CHAT, {}),
        ({"tools": [TOOL]}, Endpoint.RESPONSES, {}),
    ],
)
def test_nothing_is_said(fields: dict[str, Any], endpoint: Endpoint, keys: dict[str, Any]) -> None:
    assert ask(fields, endpoint, **{"tool_hints": True, **keys}).changed == ()


def test_nothing_is_said_about_tools_that_were_taken_out() -> None:
    decision = ask({**HELLO, "tools": [TOOL]}, tools="none", tool_hints=True)

    assert decision.changed == ("tools",)
    assert sent(decision) == HELLO
