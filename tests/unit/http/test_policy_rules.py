"""What a model's file does to single fields."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from policy_requests import FUNCTION, HELLO, TOOL, ask, chat, sent

from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.decision import Decision

PRESETS = {"m-precise": {"temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}}
CALLED = [
    {"role": "user", "content": "look"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": FUNCTION}]},
    {"role": "tool", "tool_call_id": "1", "content": "seen"},
]


def test_request_without_anything_to_do_is_not_touched() -> None:
    decision = ask(HELLO)

    assert decision == Decision(decision.body)
    assert decision.changed == ()


class TestNames:
    def test_auto_is_the_models_own_name(self) -> None:
        decision = ask({**HELLO, "model": "auto"})

        assert sent(decision) == {**HELLO, "model": "m"}
        assert decision.changed == ("model",)

    def test_auto_stays_where_it_is_a_name_of_the_model(self) -> None:
        assert ask({**HELLO, "model": "auto"}, presets={"auto": {"top_k": 1}}).changed == (
            "preset",
        )


class TestPresets:
    def test_its_fields_are_set_whatever_the_client_says(self) -> None:
        decision = ask({**HELLO, "model": "m-precise", "temperature": 0.7}, presets=PRESETS)

        assert sent(decision) == {
            **HELLO,
            "model": "m-precise",
            "temperature": 0,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        assert decision.changed == ("preset",)

    def test_other_names_of_the_model_get_nothing(self) -> None:
        assert ask(HELLO, presets=PRESETS).changed == ()

    def test_arguments_of_the_template_are_set_one_by_one(self) -> None:
        asked = {"enable_thinking": True, "reasoning_effort": "low"}
        fields = {**HELLO, "model": "m-precise", "chat_template_kwargs": asked}

        assert sent(ask(fields, presets=PRESETS))["chat_template_kwargs"] == {
            "enable_thinking": False,
            "reasoning_effort": "low",
        }

    def test_preset_is_more_special_than_what_every_request_gets(self) -> None:
        fields = {**HELLO, "model": "m-precise"}

        assert sent(ask(fields, presets=PRESETS, set={"temperature": 1}))["temperature"] == 0

    @pytest.mark.parametrize("name", [None, 7, ["m-precise"], {}])
    def test_name_that_is_no_text_is_left_to_the_engine(self, name: object) -> None:
        assert ask({**HELLO, "model": name}, presets=PRESETS).changed == ()


class TestSetAndStrip:
    def test_set_comes_after_the_clients_fields_or_in_their_place(self) -> None:
        decision = ask({**HELLO, "top_p": 0.5}, set={"top_p": 1, "top_k": 20})

        assert list(sent(decision).items())[2:] == [("top_p", 1), ("top_k", 20)]
        assert decision.changed == ("set",)

    def test_what_is_there_already_is_no_change(self) -> None:
        assert ask({**HELLO, "top_k": 20}, set={"top_k": 20}).changed == ()

    @pytest.mark.parametrize("value", [1.0, True, "1", [1], None])
    def test_another_type_is_another_value(self, value: object) -> None:
        assert sent(ask({**HELLO, "x": value}, set={"x": 1}))["x"] == 1

    @pytest.mark.parametrize("here", [1, [1, 2], [True], {"a": 1}, {"a": [2]}, {"a": [1], "b": 1}])
    def test_lists_and_objects_are_compared_to_the_last_value(self, here: object) -> None:
        for value in ([1], {"a": [1]}):
            assert sent(ask({**HELLO, "x": here}, set={"x": value}))["x"] == value
            assert ask({**HELLO, "x": value}, set={"x": value}).changed == ()
        assert ask({**HELLO, "x": 0.1}, set={"x": 0.1}).changed == ()

    def test_strip_takes_fields_out(self) -> None:
        decision = ask({**HELLO, "seed": 1, "user": "me"}, strip=("seed", "logit_bias"))

        assert sent(decision) == {**HELLO, "user": "me"}
        assert decision.changed == ("strip",)

    def test_what_is_stripped_is_not_refused(self) -> None:
        assert sent(ask({**HELLO, "vllm_xargs": {"a": 1}}, strip=("vllm_xargs",))) == HELLO

    def test_owner_may_set_what_clients_may_not(self) -> None:
        owned = {"vllm_xargs": {"a": 1}, "n": 64, "chat_template_kwargs": {"style": "x"}}

        assert sent(ask({**HELLO, "n": 64}, set=owned)) == {**HELLO, "n": 64, **owned}

    def test_options_of_a_stream_are_set_only_for_a_stream(self) -> None:
        usage = {"stream_options": {"include_usage": True}}

        assert ask(HELLO, set=usage).changed == ()
        decision = ask({**HELLO, "stream": True}, set=usage)
        assert sent(decision)["stream_options"] == {"include_usage": True}
        assert decision.usage


class TestTools:
    ALL: ClassVar[dict[str, Any]] = {
        "tools": [TOOL],
        "tool_choice": "auto",
        "functions": [FUNCTION],
        "function_call": "auto",
        "parallel_tool_calls": True,
    }

    def test_model_without_tools_gets_none(self) -> None:
        decision = ask({**HELLO, **self.ALL}, tools="none")

        assert sent(decision) == HELLO
        assert decision.changed == ("tools",)

    @pytest.mark.parametrize("tools", ["full", None])
    def test_others_get_them_untouched(self, tools: str | None) -> None:
        assert ask({**HELLO, **self.ALL}, tools=tools).changed == ()

    @pytest.mark.parametrize("choice", [{}, {"tool_choice": None}, {"tool_choice": "auto"}])
    def test_call_is_forced_where_the_client_leaves_the_choice(
        self, choice: dict[str, Any]
    ) -> None:
        decision = ask({**HELLO, "tools": [TOOL], **choice}, tools="forced")

        assert sent(decision)["tool_choice"] == "required"
        assert decision.changed == ("tool_choice",)

    @pytest.mark.parametrize("choice", ["none", "required", {"type": "function"}])
    def test_choice_of_the_client_stays(self, choice: object) -> None:
        fields = {**HELLO, "tools": [TOOL], "tool_choice": choice}

        assert ask(fields, tools="forced").changed == ()

    def test_call_is_not_forced_without_tools_or_after_a_result(self) -> None:
        assert ask({**HELLO, "tools": []}, tools="forced").changed == ()
        assert ask(chat(*CALLED, tools=[TOOL]), tools="forced").changed == ()

    def test_messages_force_in_their_own_words(self) -> None:
        fields = {**HELLO, "tools": [{"name": "look", "input_schema": {}}]}
        asked = {"type": "auto", "disable_parallel_tool_use": True}

        decision = ask({**fields, "tool_choice": asked}, Endpoint.MESSAGES, tools="forced")

        assert sent(decision)["tool_choice"] == {**asked, "type": "any"}
        bare = sent(ask(fields, Endpoint.MESSAGES, tools="forced"))
        assert bare["tool_choice"] == {"type": "any"}

    def test_results_are_seen_in_messages_and_responses(self) -> None:
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}
        tools = [{"name": "look", "input_schema": {}}]
        assert ask(chat(result, tools=tools), Endpoint.MESSAGES, tools="forced").changed == ()

        fields = {"input": ["odd", {"type": "function_call_output"}], "tools": [FUNCTION]}
        assert ask(fields, Endpoint.RESPONSES, tools="forced").changed == ()
        fields["input"] = "look"
        assert sent(ask(fields, Endpoint.RESPONSES, tools="forced"))["tool_choice"] == "required"


class TestBufferedStreams:
    STREAM: ClassVar[dict[str, Any]] = {
        **HELLO,
        "tools": [TOOL],
        "stream": True,
        "stream_options": {"include_usage": True},
    }

    def test_stream_with_tools_is_asked_for_whole(self) -> None:
        decision = ask(self.STREAM, stream_tools="buffer")

        assert sent(decision) == {**HELLO, "tools": [TOOL], "stream": False}
        assert (decision.stream, decision.replay, decision.usage) == (True, True, True)
        assert decision.changed == ("stream_tools",)

    def test_usage_is_told_only_to_who_wants_it(self) -> None:
        fields = {**self.STREAM, "stream_options": {"include_usage": False}}

        assert not ask(fields, stream_tools="buffer").usage

    @pytest.mark.parametrize(
        "keys", [{}, {"stream_tools": "pass"}, {"stream_tools": "buffer", "tools": "none"}]
    )
    def test_streams_pass_as_they_are_where_no_call_can_be_lost(self, keys: dict[str, Any]) -> None:
        decision = ask(self.STREAM, **keys)

        assert (decision.stream, decision.replay) == (True, False)
        assert sent(decision)["stream"] is True

    @pytest.mark.parametrize(
        "more", [{"tools": []}, {"tool_choice": "none"}, {"tool_choice": {"type": "none"}}]
    )
    def test_so_do_those_that_cannot_call(self, more: dict[str, Any]) -> None:
        assert not ask({**self.STREAM, **more}, stream_tools="buffer").replay

    def test_whole_answers_are_no_stream(self) -> None:
        decision = ask({**self.STREAM, "stream": False}, stream_tools="buffer")

        assert (decision.stream, decision.replay, decision.changed) == (False, False, ())

    def test_response_in_the_background_is_left_alone(self) -> None:
        fields = {"input": "x", "tools": [FUNCTION], "stream": True, "background": True}

        assert not ask(fields, Endpoint.RESPONSES, stream_tools="buffer").replay
        assert ask(
            {**fields, "background": False}, Endpoint.RESPONSES, stream_tools="buffer"
        ).replay

    def test_messages_and_completions(self) -> None:
        fields = {**HELLO, "tools": [{"name": "a", "input_schema": {}}], "stream": True}

        assert ask(fields, Endpoint.MESSAGES, stream_tools="buffer").replay
        assert not ask(fields, Endpoint.COMPLETIONS, stream_tools="buffer").replay


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        *((value, True) for value in (True, 1, 1.0, "true", "ON")),
        *((value, False) for value in (False, None, 0, 2, "no", [1])),
    ],
)
def test_stream_is_what_an_engine_takes_for_true(stream: object, told: bool) -> None:
    assert ask({**HELLO, "stream": stream}).stream is told


def test_only_answers_of_text_stream() -> None:
    assert not ask({"input": "x", "stream": True}, Endpoint.EMBEDDINGS).stream


def test_rules_are_told_in_the_order_in_which_they_are_applied() -> None:
    fields = {**HELLO, "gone": 1, "reasoning_effort": "none", "max_tokens": 10**6, "tools": [TOOL]}

    decision = ask(
        fields,
        strip=("gone",),
        set={"top_k": 1},
        tools="forced",
        reasoning=True,
        context=8192,
    )

    assert decision.changed == ("strip", "set", "tool_choice", "thinking", "clamp_tokens")
