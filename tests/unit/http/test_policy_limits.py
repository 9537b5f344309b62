"""Answers no longer than what the context has left."""

from __future__ import annotations

from typing import Any

import pytest
from policy_requests import HELLO, TOOL, ask, chat, model, sent

from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.apply import reclamp
from spark_activator.http.policy.decision import Clamp, Decision

CONTEXT = 10_000
# What a request of one word takes: see `estimate`.
SMALL = 500 + 20 + 2 + 1  # hello, user
LEFT = CONTEXT - SMALL - 1000


def clamped(fields: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT, **keys: Any) -> Any:
    """Return the limits that the engine gets."""
    keys = {"context": CONTEXT, **keys}
    after = sent(ask(fields, endpoint, **keys))
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    return {name: after[name] for name in names if name in after}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limit_that_does_not_fit_is_lowered_in_its_own_field(name: str) -> None:
    decision = ask({**HELLO, name: 1_000_000}, context=CONTEXT)

    assert sent(decision) == {**HELLO, name: LEFT}
    assert decision.changed == ("clamp_tokens",)
    assert decision.clamp == Clamp(name, SMALL, 1_000_000, near=False)


def test_limit_that_fits_stays() -> None:
    decision = ask({**HELLO, "max_tokens": LEFT}, context=CONTEXT)

    assert decision.changed == ()
    assert decision.clamp == Clamp("max_tokens", SMALL, LEFT, near=False)
    assert clamped({**HELLO, "max_tokens": LEFT + 1}) == {"max_tokens": LEFT}


def test_both_fields_are_lowered_where_both_are_there() -> None:
    fields = {**HELLO, "max_tokens": 10**6, "max_completion_tokens": 10**6}

    assert clamped(fields) == {"max_tokens": LEFT, "max_completion_tokens": LEFT}


def test_client_without_a_limit_gets_none() -> None:
    # The engine takes all that is left then, and knows how much that is.
    assert ask(HELLO, context=CONTEXT) == Decision(ask(HELLO, context=CONTEXT).body)
    assert ask({**HELLO, "max_tokens": None}, context=CONTEXT).clamp is None


@pytest.mark.parametrize("unlimited", [-1, 0])
def test_no_limit_said_as_a_number_is_all_that_is_left(unlimited: int) -> None:
    assert clamped({**HELLO, "max_tokens": unlimited}) == {"max_tokens": LEFT}


@pytest.mark.parametrize("odd", ["100000", 100000.5, True, [1], {}])
def test_limit_that_is_no_number_is_left_to_the_engine(odd: object) -> None:
    assert ask({**HELLO, "max_tokens": odd}, context=CONTEXT).clamp is None


@pytest.mark.parametrize("keys", [{"context": None}, {"context": 100, "clamp_tokens": False}])
def test_nothing_is_lowered_without_a_context_or_against_the_file(keys: dict[str, Any]) -> None:
    assert clamped({**HELLO, "max_tokens": 10**6}, **keys) == {"max_tokens": 10**6}


@pytest.mark.parametrize("cut", [{"truncate_prompt_tokens": 100}, {"truncation": "auto"}])
def test_nothing_is_lowered_where_the_engine_cuts_the_prompt(cut: dict[str, Any]) -> None:
    assert clamped({**HELLO, **cut, "max_tokens": 10**6}) == {"max_tokens": 10**6}


def test_each_endpoint_has_its_field() -> None:
    prompt = {"prompt": "hello", "max_tokens": 10**6}
    assert clamped(prompt, Endpoint.COMPLETIONS) == {"max_tokens": CONTEXT - 502 - 1000}
    answer = {"input": "hello", "max_output_tokens": 10**6, "max_tokens": 10**6}
    assert clamped(answer, Endpoint.RESPONSES) == {
        "max_output_tokens": CONTEXT - 502 - 1000,
        "max_tokens": 10**6,
    }
    message = {**HELLO, "max_tokens": 10**6, "max_completion_tokens": 10**6}
    assert clamped(message, Endpoint.MESSAGES) == {
        "max_tokens": LEFT,
        "max_completion_tokens": 10**6,
    }
    assert clamped({**HELLO, "max_tokens": 10**6}, Endpoint.COUNT_TOKENS) == {"max_tokens": 10**6}
    assert clamped({"input": "x", "max_tokens": 10**6}, Endpoint.EMBEDDINGS) == {
        "max_tokens": 10**6
    }


class TestMargin:
    def test_is_a_tenth_of_the_context_but_512_at_least(self) -> None:
        assert clamped({**HELLO, "max_tokens": 10**6}, context=4096) == {
            "max_tokens": 4096 - SMALL - 512
        }
        assert clamped({**HELLO, "max_tokens": 10**6}, context=100_000) == {
            "max_tokens": 100_000 - SMALL - 10_000
        }

    def test_is_what_the_file_says(self) -> None:
        assert clamped({**HELLO, "max_tokens": 10**6}, clamp_margin=0) == {
            "max_tokens": CONTEXT - SMALL
        }

    def test_seeds_case_of_a_long_prompt(self) -> None:
        fields = chat({"role": "", "content": "x" * 800_000}, max_tokens=262_144)

        assert clamped(fields, context=262_144, clamp_margin=4096) == {
            "max_tokens": 262_144 - (200_000 + 520) - 4096
        }


class TestWithoutRoom:
    @pytest.mark.parametrize("tokens", [8_300, 9_000, 50_000])
    def test_engine_says_so_instead_of_breaking_the_answer_off(self, tokens: int) -> None:
        # The seed asked for one token.
        fields = chat("x" * tokens * 4, max_tokens=4096)

        assert clamped(fields) == {"max_tokens": 4096}

    def test_256_tokens_are_an_answer(self) -> None:
        words = 4 * (LEFT - 256 + 2)  # two are of "hello"

        assert clamped(chat("x" * words, max_tokens=4096)) == {"max_tokens": 256}
        assert clamped(chat("x" * (words + 4), max_tokens=4096)) == {"max_tokens": 4096}

    def test_short_answer_that_fits_is_nothing_to_lower(self) -> None:
        words = 4 * (LEFT - 100 + 2)

        assert ask(chat("x" * words, max_tokens=64), context=CONTEXT).changed == ()


class TestThinkingBudget:
    def message(self, budget: int) -> dict[str, Any]:
        thinking = {"type": "enabled", "budget_tokens": budget}
        return {**HELLO, "max_tokens": 32_000, "thinking": thinking}

    def test_stays_below_the_limit_as_the_engine_demands(self) -> None:
        decision = ask(self.message(31_999), Endpoint.MESSAGES, context=CONTEXT)

        assert sent(decision)["thinking"] == {"type": "enabled", "budget_tokens": LEFT - 1}
        assert sent(decision)["max_tokens"] == LEFT

    def test_stays_where_it_is_below(self) -> None:
        decision = ask(self.message(2048), Endpoint.MESSAGES, context=CONTEXT)

        assert sent(decision) == {**self.message(2048), "max_tokens": LEFT}

    def test_without_room_for_the_least_of_it_the_engine_says_so(self) -> None:
        fields = {**self.message(2048), **chat("x" * 4 * (LEFT - 1022))}

        assert ask(fields, Endpoint.MESSAGES, context=CONTEXT).changed == ()


class TestEstimate:
    def of(self, fields: dict[str, Any], endpoint: Endpoint = Endpoint.CHAT) -> int:
        limit = "max_output_tokens" if endpoint is Endpoint.RESPONSES else "max_tokens"
        clamp = ask({**fields, limit: 1}, endpoint, context=10**7).clamp
        assert clamp is not None
        return clamp.estimate

    def text(self, words: str) -> int:
        return self.of(chat({"role": "", "content": words})) - 520

    @pytest.mark.parametrize(
        ("words", "tokens"),
        [
            ("a" * 4000, 1000),
            ("a" * 4001, 1001),
            ("Привет" * 1000, 3750),  # five eighths of a token a letter
            ("漢字" * 1000, 2000),  # one a character
            ("😀" * 800, 1100),
            ("", 0),
        ],
    )
    def test_texts(self, words: str, tokens: int) -> None:
        assert self.text(words) == tokens

    def test_pictures_count_as_such_and_not_by_their_data(self) -> None:
        url = "data:image/png;base64," + "A" * 100_000
        part = {"type": "image_url", "image_url": {"url": url}}
        assert self.of(chat({"role": "", "content": [part, part]})) == 520 + 3000

        source = {"type": "base64", "data": "A" * 100_000}
        image = {"type": "image", "source": source}
        fields = chat({"role": "", "content": [image]})
        assert self.of(fields, Endpoint.MESSAGES) == 520 + 1500

    @pytest.mark.parametrize(
        "kind", ["image_url", "input_image", "input_audio", "audio_url", "document", "input_file"]
    )
    def test_whatever_they_are_called(self, kind: str) -> None:
        parts = [{"type": kind, "data": "A" * 10_000}]

        assert self.of(chat({"role": "", "content": parts})) == 520 + 1500

    def test_parts_without_a_type_are_known_by_what_they_have(self) -> None:
        parts = [{"type": None, "image_url": "data:," + "A" * 10_000}, {"type": ["x"], "a": "xxxx"}]

        assert self.of(chat({"role": "", "content": parts})) == 520 + 1500 + 2

    def test_tools_count_as_they_are_written(self) -> None:
        assert self.of({**chat(), "tools": [TOOL]}) - self.of(chat()) == -(
            -len(
                '[{"type": "function", "function": {"name": "look", "parameters": '
                '{"type": "object", "properties": {"where": {"type": "string"}}}}}]'
            )
            // 4
        )

    def test_arguments_of_calls_count(self) -> None:
        call = {"id": "", "function": {"name": "", "arguments": "x" * 400}}

        assert self.of(chat({"role": "", "content": None, "tool_calls": [call]})) == 620

    def test_prompts_of_token_ids_are_counted(self) -> None:
        assert self.of({"prompt": [1] * 300}, Endpoint.COMPLETIONS) == 800
        assert self.of({"prompt": "x" * 400}, Endpoint.COMPLETIONS) == 600

    def test_system_and_instructions_count(self) -> None:
        assert self.of({**chat(), "system": "x" * 400}, Endpoint.MESSAGES) == 600
        fields = {"input": [], "instructions": "x" * 400}
        assert self.of(fields, Endpoint.RESPONSES) == 600


class TestWithACount:
    """The engine was asked how long the prompt is."""

    def prompt(self, tokens: int, **more: Any) -> Decision:
        return ask(chat("x" * 4 * tokens, max_tokens=4096, **more), context=CONTEXT)

    @pytest.mark.parametrize(
        ("tokens", "near"), [(7000, False), (7600, True), (11_400, True), (11_600, False)]
    )
    def test_question_is_worth_it_within_a_fifth_of_the_context(
        self, tokens: int, near: bool
    ) -> None:
        clamp = self.prompt(tokens).clamp

        assert clamp is not None
        assert clamp.near is near

    def test_question_is_not_worth_it_where_the_limit_fits(self) -> None:
        clamp = ask(chat("x" * 4 * 7600, max_tokens=1), context=CONTEXT).clamp

        assert clamp is not None
        assert not clamp.near

    def test_limit_is_what_is_left(self) -> None:
        after = reclamp(self.prompt(9_000), 7_000, model(context=CONTEXT))

        assert sent(after)["max_tokens"] == CONTEXT - 7_000 - 16
        assert after.changed == ("clamp_tokens",)
        assert after.clamp == Clamp("max_tokens", 7_000, 4096, near=False)

    def test_limit_that_fits_after_all_is_the_clients_own(self) -> None:
        before = self.prompt(7_800, seed=1.50)
        assert before.changed == ("clamp_tokens",)

        after = reclamp(before, 5_000, model(context=CONTEXT))

        assert sent(after)["max_tokens"] == 4096
        assert after.changed == ()
        assert b'"seed": 1.5' in after.body

    def test_prompt_that_does_not_fit_is_for_the_engine_to_refuse(self) -> None:
        after = reclamp(self.prompt(7_800), 9_990, model(context=CONTEXT))

        assert sent(after)["max_tokens"] == 4096
        assert after.changed == ()

    def test_even_one_token_is_left_by_a_count(self) -> None:
        after = reclamp(self.prompt(9_000), 9_983, model(context=CONTEXT))

        assert sent(after)["max_tokens"] == 1

    def test_no_limit_stays_no_limit_of_the_clients(self) -> None:
        before = ask(chat("x" * 4 * 7000, max_tokens=-1), context=CONTEXT)

        assert sent(reclamp(before, 7_000, model(context=CONTEXT)))["max_tokens"] == 2984

    def test_nothing_to_clamp_is_nothing_to_count(self) -> None:
        before = ask(HELLO, context=CONTEXT)

        assert reclamp(before, 7, model(context=CONTEXT)) is before

    def test_body_that_is_right_stays_as_it_is(self) -> None:
        before = ask({**HELLO, "max_tokens": 5}, context=CONTEXT)

        assert reclamp(before, 7, model(context=CONTEXT)).body is before.body

    def test_other_rules_that_changed_it_are_still_told(self) -> None:
        before = ask(chat("x" * 4 * 9000, max_tokens=4096), context=CONTEXT, set={"top_k": 1})

        assert reclamp(before, 9000, model(context=CONTEXT)).changed == ("set", "clamp_tokens")
