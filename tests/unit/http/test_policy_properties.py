"""What holds for every request, whatever is in it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from policy_requests import FUNCTION, model

from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.endpoints import JSON_BODIES, Endpoint
from spark_activator.http.policy.apply import decide, reclamp
from spark_activator.http.policy.strict import dumps, read

# Every kind of character that JSON, UTF-8 or a rule treats in its own way.
TEXT = st.text('aZ "\\/\n\x00\x7fé漢😀\u2028\ufeff', max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**60), 10**60),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
SHALLOW = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXT, SCALARS, max_size=2)
VALUES = SHALLOW | st.lists(SHALLOW, max_size=2) | st.dictionaries(TEXT, SHALLOW, max_size=2)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
PARTS = st.one_of(
    TEXT.map(lambda text: {"type": "text", "text": text}),
    st.just(PICTURE),
    st.just({"type": "tool_result", "tool_use_id": "1", "content": "x"}),
    st.just({"type": "tool_use", "id": "1", "name": "a", "input": {}}),
)
CONTENT = st.none() | TEXT | st.lists(PARTS, max_size=3)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
            "content": CONTENT,
        },
        optional={
            "name": st.sampled_from(["x", "y"]),
            "tool_calls": st.just([{"id": "1", "function": {"name": "a", "arguments": "{}"}}]),
        },
    ),
    max_size=6,
)
EFFORTS = st.sampled_from(["none", "low", "max", "auto", "strange", None])
ASK = {
    "name": "question",
    "input_schema": {"type": "object", "properties": {"questions": {"type": "array"}}},
}
# What rules look for, in good and in odd shapes.
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["m", "m-precise", "auto", "other"]),
    "messages": MESSAGES | VALUES,
    "input": MESSAGES | TEXT,
    "system": CONTENT | VALUES,
    "instructions": CONTENT,
    "prompt": TEXT | st.lists(st.integers(0, 9)),
    "max_tokens": st.integers(-2, 10_000) | VALUES,
    "max_completion_tokens": st.integers(-2, 10_000),
    "max_output_tokens": st.integers(-2, 10_000),
    "stream": st.booleans() | VALUES,
    "stream_options": st.just({"include_usage": True}) | VALUES,
    "tools": st.sampled_from([[{"type": "function", "function": FUNCTION}], [ASK], [], None]),
    "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "auto"}]) | VALUES,
    "thinking": st.booleans()
    | st.sampled_from([{"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}])
    | VALUES,
    "enable_thinking": st.booleans() | VALUES,
    "reasoning_effort": EFFORTS | VALUES,
    "reasoningEffort": EFFORTS | VALUES,
    "reasoning": st.fixed_dictionaries({"effort": EFFORTS}) | VALUES,
    "chat_template_kwargs": st.dictionaries(
        st.sampled_from(["enable_thinking", "thinking", "reasoning_effort"]), SCALARS
    )
    | SCALARS,
    "seed": VALUES,
    "top_k": VALUES,
    "n": st.integers(0, 17),
}
REQUESTS = st.builds(
    lambda known, unknown: {**unknown, **known},
    st.fixed_dictionaries({}, optional=KNOWN),
    st.dictionaries(TEXT, VALUES, max_size=3),
)
SET = {
    "top_k": 20,
    "chat_template_kwargs": {"thinking": True},
    "reasoningEffort": "max",
    "thinking": False,
    "stream_options": {"include_usage": True},
    "instructions": "be kind",
    "max_tokens": 10**9,
    "seed": 1.0,
}
MODELS = st.builds(
    model,
    tools=st.sampled_from(["full", "forced", "none", None]),
    reasoning=st.booleans(),
    context=st.sampled_from([None, 1000, 4096]),
    presets=st.just({"m-precise": {"temperature": 0, "thinking": True}}),
    flatten_text=st.booleans(),
    strict_roles=st.booleans(),
    tool_hints=st.booleans(),
    thinking_default=st.sampled_from([None, True, False]),
    stream_tools=st.sampled_from(["pass", "buffer"]),
    set=st.dictionaries(st.sampled_from(sorted(SET)), st.none()).map(
        lambda names: {name: SET[name] for name in names}
    ),
    strip=st.lists(st.sampled_from(["seed", "top_k", "user"]), unique=True).map(tuple),
)
ENDPOINTS = st.sampled_from(sorted(JSON_BODIES))
# What rules may change; all else has to be there afterwards.
CHANGEABLE = {*KNOWN, *SET, "temperature", "functions", "function_call", "parallel_tool_calls"}
CHANGEABLE |= {"max_tool_calls", "user"}


@settings(max_examples=60)
@given(REQUESTS, ENDPOINTS, MODELS)
@example(
    {"messages": [{"role": "user", "content": "a"}], "system": "b"},
    Endpoint.MESSAGES,
    model(strict_roles=True, set={"system": "b"}),
)
@example(
    {"messages": [{"role": "user", "content": [PICTURE]}], "tools": [ASK]},
    Endpoint.MESSAGES,
    model(strict_roles=True, tool_hints=True, set={"system": "b"}),
)
@example(
    {"messages": [], "tools": [ASK]},
    Endpoint.MESSAGES,
    model(strict_roles=True, tool_hints=True, set={"system": "b"}),
)
def test_second_time_changes_nothing(
    fields: dict[str, Any], endpoint: Endpoint, model: Model
) -> None:
    body = json.dumps(fields).encode()
    try:
        once = decide(body, endpoint, model)
    except Refusal:
        return

    again = decide(once.body, endpoint, model)

    assert again.body == once.body


@settings(max_examples=60)
@given(REQUESTS, ENDPOINTS, MODELS, st.booleans())
def test_nothing_is_lost(
    fields: dict[str, Any],
    endpoint: Endpoint,
    model: Model,
    ascii: bool,  # noqa: A002  # as json calls it
) -> None:
    body = json.dumps(fields, ensure_ascii=ascii).encode()
    try:
        decision = decide(body, endpoint, model)
    except Refusal:
        return

    if not decision.changed:
        assert decision.body is body
    after = json.loads(decision.body)
    kept = [key for key in fields if key not in CHANGEABLE]
    assert [key for key in after if key not in CHANGEABLE] == kept
    for key in kept:
        assert dumps(after[key]) == dumps(fields[key])


@settings(max_examples=40)
@given(REQUESTS, ENDPOINTS)
def test_model_without_rules_changes_nothing(fields: dict[str, Any], endpoint: Endpoint) -> None:
    body = json.dumps({**fields, "model": "m"}).encode()
    try:
        decision = decide(body, endpoint, model())
    except Refusal:
        return

    assert decision.body is body
    assert decision.changed == ()


@settings(max_examples=40)
@given(REQUESTS, MODELS, st.integers(0, 10_000))
def test_count_changes_the_limit_alone(fields: dict[str, Any], model: Model, counted: int) -> None:
    try:
        before = decide(json.dumps(fields).encode(), Endpoint.CHAT, model)
    except Refusal:
        return

    after = reclamp(before, counted, model)

    limits = {"max_tokens", "max_completion_tokens", "thinking"}
    old, new = json.loads(before.body), json.loads(after.body)
    assert list(old) == list(new)
    assert {k: v for k, v in old.items() if k not in limits} == {
        k: v for k, v in new.items() if k not in limits
    }


def spelt(value: float) -> list[str]:
    """Spell a number in some of its ways."""
    return [repr(value), f"{value:e}", f"{value:E}", f"{value:.3f}"]


@given(
    st.floats(allow_nan=False, allow_infinity=False).flatmap(lambda x: st.sampled_from(spelt(x)))
)
def test_numbers_keep_their_text_when_they_are_written_anew(text: str) -> None:
    source = read(f'{{"a": [{text}]}}'.encode())

    assert source.write({"b": source.fields["a"]}) == f'{{"b": [{text}]}}'.encode()


@settings(max_examples=200)
@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from(list('{}[]",:\\u0dD8aA1e.-+ \t\nN')), max_size=40).map(str.encode)
)
def test_no_body_is_more_than_refused(body: bytes) -> None:
    """What we read, Python's own reader reads alike; what it does not read, we refuse."""
    try:
        source = read(body)
    except Refusal:
        return

    assert json.loads(body) == source.fields


@given(st.binary(max_size=80), st.integers(0, 70))
def test_damaged_request_is_answered_or_refused(junk: bytes, at: int) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "\xc3\xa9"}], "n": 1}'
    body = body[:at] + junk + body[at:]
    with suppress(Refusal):
        decide(body, Endpoint.CHAT, model(strict_roles=True, flatten_text=True, context=1000))
