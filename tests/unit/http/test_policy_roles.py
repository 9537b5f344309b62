"""Texts of one piece, and turns that alternate."""

from __future__ import annotations

from typing import Any

import pytest
from policy_requests import ask, chat, sent

from spark_activator.http.endpoints import Endpoint

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "a", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "seen"}


def text(words: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "text": words}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def turns(*messages: Any, endpoint: Endpoint = Endpoint.CHAT, **more: Any) -> list[Any]:
    decision = ask(chat(*messages, **more), endpoint, strict_roles=True)
    messages = sent(decision)["messages"]
    assert isinstance(messages, list)
    return messages


class TestFlatText:
    def flat(self, *messages: Any) -> Any:
        return sent(ask(chat(*messages), flatten_text=True))["messages"]

    def test_texts_are_joined_by_line_ends(self) -> None:
        assert self.flat(user([text("a"), text("b")])) == [user("a\nb")]
        assert self.flat(system([text("a")]), {**RESULT, "content": [text("b")]}) == [
            system("a"),
            {**RESULT, "content": "b"},
        ]

    def test_nothing_is_an_empty_text(self) -> None:
        assert self.flat(user([])) == [user("")]

    @pytest.mark.parametrize(
        "content",
        [
            [text("a"), IMAGE],
            [{"type": "text"}],
            [{"type": "text", "text": None}],
            [{"type": "refusal", "refusal": "no"}],
            [7],
            "a",
            None,
            {"type": "text", "text": "a"},
        ],
    )
    def test_what_is_not_text_alone_stays(self, content: Any) -> None:
        assert ask(chat(user(content)), flatten_text=True).changed == ()

    def test_messages_and_their_system(self) -> None:
        fields = {**chat(user([text("a"), text("b")])), "system": [text("s")]}

        after = sent(ask(fields, Endpoint.MESSAGES, flatten_text=True))

        assert (after["system"], after["messages"]) == ("s", [user("a\nb")])

    def test_items_of_an_answer_keep_their_lists(self) -> None:
        answer = said([text("x", "output_text")], id="msg_1")
        fields = {"input": [user([text("a", "input_text")]), answer], "instructions": "i"}

        after = sent(ask(fields, Endpoint.RESPONSES, flatten_text=True))

        assert after["input"] == [user("a"), answer]

    def test_off_unless_the_file_says_so(self) -> None:
        assert ask(chat(user([text("a")]))).changed == ()

    def test_conversation_that_is_none_is_left_to_the_engine(self) -> None:
        assert ask({"messages": 7}, flatten_text=True).changed == ()
        assert ask({"messages": ["x"]}, flatten_text=True).changed == ()


class TestSystemText:
    def test_goes_before_the_first_users_text(self) -> None:
        assert turns(system("be kind"), "hello") == [user("be kind\n\nhello")]

    def test_all_of_it_from_wherever_it_stands(self) -> None:
        assert turns(system("a"), "hello", said("hi"), system("b", "developer"), "go") == [
            user("a\n\nb\n\nhello"),
            said("hi"),
            user("go"),
        ]

    def test_before_parts_it_is_a_part(self) -> None:
        assert turns(system("a"), user([IMAGE, text("b")])) == [user([text("a"), IMAGE, text("b")])]

    def test_its_own_parts_are_kept(self) -> None:
        assert turns(system([text("a"), IMAGE]), "b") == [user([text("a"), IMAGE, text("b")])]

    def test_alone_it_is_what_the_user_says(self) -> None:
        assert turns(system("a")) == [user("a")]

    def test_before_an_assistant_it_is_a_turn_of_its_own(self) -> None:
        assert turns(system("a"), said("hi"), "go") == [user("a"), said("hi"), user("go")]

    def test_empty_or_null_it_is_nothing(self) -> None:
        assert turns(system(None), system(""), "hello") == [user("hello")]

    def test_messages_have_it_in_a_field(self) -> None:
        fields = {**chat("hello"), "system": [text("a")]}

        after = sent(ask(fields, Endpoint.MESSAGES, strict_roles=True))

        assert after == {"model": "m", "messages": [user([text("a"), text("hello")])]}

    def test_responses_have_it_in_a_field(self) -> None:
        fields = {"input": "hello", "instructions": "a"}
        assert sent(ask(fields, Endpoint.RESPONSES, strict_roles=True)) == {
            "input": [user("a\n\nhello")]
        }
        items = [user([text("x", "input_text")])]
        after = sent(ask({**fields, "input": items}, Endpoint.RESPONSES, strict_roles=True))
        assert after["input"] == [user([text("a", "input_text"), text("x", "input_text")])]

    @pytest.mark.parametrize("messages", [[], ["hello"], [user([IMAGE])]])
    def test_that_the_file_sets_is_there_once(self, messages: list[Any]) -> None:
        keys: dict[str, Any] = {"strict_roles": True, "set": {"system": "a"}}
        body = ask(chat(*messages), Endpoint.MESSAGES, **keys).body

        assert ask(body, Endpoint.MESSAGES, **keys).body == body


class TestRuns:
    def test_of_one_role_become_one_turn(self) -> None:
        assert turns("a", "b", said("c"), said("d"), "e") == [
            user("a\n\nb"),
            said("c\n\nd"),
            user("e"),
        ]

    def test_pictures_are_kept_in_order(self) -> None:
        assert turns(user([IMAGE]), "b", user([IMAGE])) == [user([IMAGE, text("b"), IMAGE])]

    def test_null_is_no_text(self) -> None:
        assert turns("a", said(None), said("b")) == [user("a"), said("b")]
        assert turns("a", said(None)) == [user("a"), said(None)]
        assert turns("a", said(None), said(None)) == [user("a"), said(None)]

    def test_results_of_tools_stay_apart(self) -> None:
        # The seed merged neighbours of any role: the second result was lost.
        second = {**RESULT, "tool_call_id": "2", "content": "heard"}
        conversation = [user("a"), CALL, RESULT, second, said("done")]

        assert turns(*conversation) == conversation

    def test_call_of_a_tool_is_not_merged(self) -> None:
        conversation = [user("a"), CALL, RESULT, said("b")]

        assert turns(*conversation) == conversation

    def test_results_in_messages_stay_apart(self) -> None:
        call = said([{"type": "tool_use", "id": "1", "name": "a", "input": {}}])
        result = user([{"type": "tool_result", "tool_use_id": "1", "content": "x"}])
        conversation = [user("a"), call, result, said("b")]

        assert turns(*conversation, endpoint=Endpoint.MESSAGES) == conversation

    def test_different_speakers_are_not_merged(self) -> None:
        assert turns(user("a", name="x"), user("b", name="y")) == [
            user("a", name="x"),
            said("OK."),
            user("b", name="y"),
        ]
        assert turns(user("a", name="x"), user("b", name="x")) == [user("a\n\nb", name="x")]


class TestAlternation:
    def test_begins_with_a_user(self) -> None:
        assert turns(said("hi"), "hello") == [user("Continue."), said("hi"), user("hello")]

    def test_user_after_the_result_of_a_tool(self) -> None:
        assert turns("a", CALL, RESULT, "b") == [
            user("a"),
            CALL,
            RESULT,
            said("OK."),
            user("b"),
        ]

    def test_assistants_that_cannot_be_merged(self) -> None:
        one, other = said("a", reasoning_content="x"), said("b", reasoning_content="y")

        assert turns("q", one, other) == [user("q"), one, user("Continue."), other]

    def test_assistant_may_go_on_after_the_result_of_a_tool(self) -> None:
        conversation = [user("a"), said("let me see"), CALL, RESULT, said("b")]

        assert turns(*conversation) == conversation

    def test_last_turn_may_be_the_assistants(self) -> None:
        assert ask(chat("a", said("b")), strict_roles=True).changed == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "x"},
        {"messages": None},
        {"messages": ["x"]},
        {"messages": [{"role": "user"}]},
        {"messages": [user("a"), {"role": "assistant"}, system("b")]},
        {"messages": [user(7)]},
        {"messages": []},
        {"messages": [{"content": "a"}]},
        {"messages": [RESULT]},
        {},
    ],
)
def test_conversation_that_is_none_is_left_to_the_engine(fields: dict[str, Any]) -> None:
    assert ask(fields, strict_roles=True).changed == ()


def test_response_with_a_text_is_not_touched() -> None:
    assert ask({"input": "a"}, Endpoint.RESPONSES, strict_roles=True).changed == ()
    odd = {"input": "a", "instructions": 7}
    assert ask(odd, Endpoint.RESPONSES, strict_roles=True).changed == ()


def test_ten_thousand_turns_of_one_user_are_merged_in_one_go() -> None:
    long = "x" * 200
    [turn] = turns(*[long] * 10_000)

    assert turn["content"] == "\n\n".join([long] * 10_000)
