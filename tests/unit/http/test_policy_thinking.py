"""Every way to ask for thinking, and for none."""

from __future__ import annotations

from typing import Any

import pytest
from policy_requests import HELLO, ask, sent

from spark_activator.catalog.model import Engine
from spark_activator.http.endpoints import Endpoint

ON = {"enable_thinking": True, "thinking": True}
OFF = {"enable_thinking": False, "thinking": False}


def thinks(more: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT, **keys: Any) -> dict[str, Any]:
    """Return what becomes of a request with *more*, less the request itself."""
    fields = sent(ask({**HELLO, **more}, endpoint, **{"reasoning": True, **keys}))
    return {key: value for key, value in fields.items() if key not in HELLO}


class TestOnChats:
    @pytest.mark.parametrize(
        ("asked", "left", "arguments"),
        [
            ({"thinking": True}, {}, ON),
            ({"thinking": False}, {}, OFF),
            ({"thinking": {"type": "enabled"}}, {}, ON),
            ({"thinking": {"type": "disabled"}}, {}, OFF),
            ({"enable_thinking": False}, {}, OFF),
            ({"reasoning_effort": "none"}, {}, OFF),
            ({"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, ON),
            ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}, ON),
            ({"reasoning_effort": "Medium"}, {"reasoning_effort": "medium"}, ON),
            ({"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}, ON),
            ({"reasoning_effort": "max"}, {"reasoning_effort": "high"}, ON),
            ({"reasoning_effort": "auto"}, {}, ON),
            ({"reasoningEffort": "high"}, {"reasoning_effort": "high"}, ON),
            ({"reasoningEffort": "none"}, {}, OFF),
            ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}, ON),
            ({"reasoning": {"effort": "none"}}, {}, OFF),
            ({"reasoning": {"enabled": False}}, {}, OFF),
            (
                {"reasoning": {"effort": "low", "exclude": True}},
                {"reasoning": {"exclude": True}, "reasoning_effort": "low"},
                ON,
            ),
        ],
    )
    def test_spellings(
        self, asked: dict[str, Any], left: dict[str, Any], arguments: dict[str, bool]
    ) -> None:
        assert thinks(asked) == {**left, "chat_template_kwargs": arguments}

    def test_effort_that_nobody_knows_is_taken_out(self) -> None:
        assert thinks({"reasoning_effort": "colossal"}) == {}
        assert thinks({"reasoningEffort": 7}) == {}

    @pytest.mark.parametrize("nothing", [{"thinking": None}, {"reasoning_effort": None}, {}])
    def test_null_is_silence(self, nothing: dict[str, Any]) -> None:
        assert ask({**HELLO, **nothing}, reasoning=True).changed == ()

    def test_arguments_of_the_template_win_and_stay_as_they_are(self) -> None:
        asked = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"}

        assert thinks(asked) == asked
        assert thinks({**asked, "thinking": True}) == asked

    def test_other_arguments_stay_beside_them(self) -> None:
        asked = {"chat_template_kwargs": {"reasoning_effort": "low"}, "thinking": False}

        assert thinks(asked) == {"chat_template_kwargs": {"reasoning_effort": "low", **OFF}}

    def test_flag_is_plainer_than_an_effort(self) -> None:
        assert thinks({"reasoning_effort": "high", "thinking": False}) == {
            "reasoning_effort": "high",
            "chat_template_kwargs": OFF,
        }

    def test_arguments_that_are_none_are_left_to_the_engine(self) -> None:
        assert thinks({"chat_template_kwargs": "x", "thinking": True}) == {
            "chat_template_kwargs": "x"
        }
        assert thinks({"chat_template_kwargs": None, "thinking": True}) == {
            "chat_template_kwargs": ON
        }

    def test_model_that_does_not_think_gets_the_fields_as_they_are(self) -> None:
        asked = {"reasoning_effort": "high", "reasoningEffort": "low", "thinking": True}

        assert thinks(asked, reasoning=False) == asked

    @pytest.mark.parametrize(
        "args", [("--tokenizer-mode", "mistral"), ("--tokenizer_mode=mistral",)]
    )
    def test_mistral_takes_no_arguments(self, args: tuple[str, ...]) -> None:
        assert thinks({"reasoning_effort": "high"}, args=args) == {"reasoning_effort": "high"}

    def test_owner_can_have_an_effort_left_alone(self) -> None:
        asked = {"reasoning_effort": "max"}

        assert thinks(asked, allow=("reasoning_effort",)) == asked
        assert thinks({"thinking": True}, allow=("thinking",)) == {"thinking": True}

    def test_every_engine_is_asked_alike(self) -> None:
        assert thinks({"thinking": True}, engine=Engine.SGLANG) == {"chat_template_kwargs": ON}


class TestOnOtherEndpoints:
    @pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES, Endpoint.COUNT_TOKENS])
    @pytest.mark.parametrize(
        ("kind", "arguments"), [("enabled", ON), ("adaptive", ON), ("disabled", OFF)]
    )
    def test_messages_keep_their_own_field(
        self, endpoint: Endpoint, kind: str, arguments: dict[str, bool]
    ) -> None:
        own = {"thinking": {"type": kind}}

        assert thinks(own, endpoint) == {**own, "chat_template_kwargs": arguments}

    def test_flag_in_its_place_is_no_field_of_messages(self) -> None:
        assert thinks({"thinking": False}, Endpoint.MESSAGES) == {"chat_template_kwargs": OFF}

    def test_responses_keep_their_own_field(self) -> None:
        own = {"reasoning": {"effort": "xhigh", "summary": "auto"}}

        assert thinks(own, Endpoint.RESPONSES) == {**own, "chat_template_kwargs": ON}
        assert thinks({"reasoning": {"summary": "auto"}}, Endpoint.RESPONSES) == {
            "reasoning": {"summary": "auto"}
        }

    def test_prompts_without_a_template_have_no_thinking(self) -> None:
        assert (
            ask({"prompt": "x", "thinking": True}, Endpoint.COMPLETIONS, reasoning=True).changed
            == ()
        )


class TestDefault:
    def test_silent_client_gets_what_the_file_says(self) -> None:
        decision = ask(HELLO, thinking_default=False)

        assert sent(decision) == {**HELLO, "chat_template_kwargs": OFF}
        assert decision.changed == ("thinking_default",)
        assert sent(ask(HELLO, thinking_default=True))["chat_template_kwargs"] == ON

    @pytest.mark.parametrize("keys", [{"reasoning": True}, {"reasoning": False}])
    def test_client_that_speaks_is_heard(self, keys: dict[str, Any]) -> None:
        decision = ask({**HELLO, "reasoning_effort": "high"}, thinking_default=False, **keys)

        assert sent(decision)["chat_template_kwargs"] == ON
        assert decision.changed == ("thinking",)

    def test_unknown_effort_says_nothing(self) -> None:
        assert thinks({"reasoning_effort": "some"}, thinking_default=False) == {
            "chat_template_kwargs": OFF
        }

    def test_one_argument_of_the_two_is_enough_to_have_spoken(self) -> None:
        asked = {"chat_template_kwargs": {"thinking": True}}

        assert thinks(asked, thinking_default=False) == asked

    @pytest.mark.parametrize("endpoint", [Endpoint.EMBEDDINGS, Endpoint.COMPLETIONS])
    def test_only_chats_have_one(self, endpoint: Endpoint) -> None:
        assert ask({"input": "x"}, endpoint, thinking_default=False).changed == ()


class TestAsTheSeedDid:
    """Its own seven cases, less the two about limits (see test_policy_limits)."""

    def test_default_is_not_to_think(self) -> None:
        fields = {"max_tokens": 64, "max_completion_tokens": 64}

        assert thinks(fields, thinking_default=False, context=131072) == {
            **fields,
            "chat_template_kwargs": OFF,
        }

    def test_tools_are_preserved(self) -> None:
        fields = {
            "tools": [{"type": "function", "function": {"name": "a"}}],
            "tool_choice": "auto",
        }

        assert thinks(fields, thinking_default=False) == {**fields, "chat_template_kwargs": OFF}

    def test_effort_none_turns_it_off(self) -> None:
        assert thinks({"reasoning_effort": "none"})["chat_template_kwargs"] == OFF

    def test_effort_high_in_camel_case_turns_it_on(self) -> None:
        kwargs = thinks({"reasoningEffort": "high"}, thinking_default=False)
        assert kwargs["chat_template_kwargs"] == ON

    def test_flag_is_normalized(self) -> None:
        assert thinks({"thinking": False}) == {"chat_template_kwargs": OFF}

    def test_gemma_keeps_its_fields(self) -> None:
        fields = {"reasoning_effort": "high", "thinking": True}

        assert thinks(fields, reasoning=False, strict_roles=True) == fields
