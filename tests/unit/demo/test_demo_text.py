"""What the demo engine says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.demo.text import answer_tokens, cut_at, is_complete


def story(prompt, *, length=20, limit=None, endless=False, kind="story"):
    return answer_tokens(kind, prompt, length=length, limit=limit, endless=endless)


@given(st.text(), st.integers(2, 200), st.sampled_from(["story", "echo"]))
def test_every_answer_of_two_tokens_can_be_checked(prompt, length, kind):
    tokens, reason = story(prompt, length=length, kind=kind)

    assert is_complete("".join(tokens))
    assert len(tokens) <= length
    assert reason == "stop"


@given(st.text(min_size=1), st.data())
def test_a_lost_character_is_noticed(prompt, data):
    text = "".join(story(prompt)[0])
    lost = data.draw(st.integers(0, len(text) - 1))

    assert not is_complete(text[:lost] + text[lost + 1 :])


def test_same_prompt_gets_the_same_answer():
    assert story("hello") == story("hello")
    assert story("hello") != story("goodbye")


@pytest.mark.parametrize(
    ("limit", "endless", "count", "reason"),
    [
        (None, False, 20, "stop"),
        (5, False, 5, "length"),
        (20, False, 20, "stop"),
        (50, False, 20, "stop"),
        (50, True, 50, "length"),
        (1, False, 1, "length"),
    ],
)
def test_length_and_reason(limit, endless, count, reason):
    tokens, why = story("hello", limit=limit, endless=endless)

    assert (len(tokens), why) == (count, reason)


def test_echo_says_what_it_heard():
    tokens, _ = story("  one two\nthree ", kind="echo")

    assert "".join(tokens[:-1]) == "one two three"


@given(st.lists(st.text(min_size=1, max_size=5), max_size=20), st.text(min_size=1, max_size=4))
def test_nothing_of_the_stop_is_said(tokens, stop):
    text = "".join(tokens)
    kept = "".join(cut_at(tokens, [stop]))

    assert kept == text.partition(stop)[0]
