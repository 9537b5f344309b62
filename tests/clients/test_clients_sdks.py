"""OpenAI's and Anthropic's Python SDKs, unchanged, through nginx to a model that is cold."""

from __future__ import annotations

import asyncio  # noqa: TID251  # what the users of these SDKs run on
import io
import json
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import anthropic
import openai
import pytest
from front import Front
from runner_world import until

from spark_activator.demo.text import is_complete

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAME = "sdk"
# Long enough to be cancelled in the middle, short enough for many tests.
PACE = ("--tokens-per-second", "200", "--allow-faults")
# Longer than a busy machine takes to start four processes one after another.
LIMIT = 120.0
ENDLESS = "fault: hang after 3"
CALL = 'call look {"where": "under the bed"}'


@pytest.fixture(scope="module")
def served(stack: Front) -> Front:
    stack.serve(NAME, *PACE)
    return stack


@pytest.fixture
def client(served: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=LIMIT) as client:
        yield client


@pytest.fixture
def claude(served: Front) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.url, api_key="none", timeout=LIMIT) as client:
        yield client


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def left(served: Front, before: float) -> None:
    """See the engine notice that one more client has left."""
    until(lambda: served.aborted(NAME) > before, limit=60, what="the engine goes on for nobody")
    until(lambda: served.running(NAME) == 0, limit=60, what="it goes on with something")


def test_openai_lists_models_and_chats_with_one_that_is_cold(client: openai.OpenAI) -> None:
    assert NAME in [model.id for model in client.models.list()]
    assert client.models.retrieve(NAME).id == NAME

    whole = client.chat.completions.create(model=NAME, messages=user("tell me"))
    stream = client.chat.completions.create(
        model=NAME, messages=user("tell me"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert is_complete(said)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage

    text = client.completions.create(model=NAME, prompt="tell me")
    pieces = client.completions.create(model=NAME, prompt="tell me", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text


def test_openai_calls_tools_whole_and_streamed(client: openai.OpenAI) -> None:
    tools: list[Any] = [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    ]
    whole = client.chat.completions.create(model=NAME, messages=user(CALL), tools=tools)
    message = whole.choices[0].message
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert json.loads(call.function.arguments) == {"where": "under the bed"}

    # The SDK's own accumulation of a stream.
    with client.chat.completions.stream(model=NAME, messages=user(CALL), tools=tools) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    [streamed] = final.choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": "dust"}
    answer = client.chat.completions.create(
        model=NAME, messages=[*user(CALL), message, result], tools=tools
    )
    assert is_complete(answer.choices[0].message.content)


def test_openai_responses_stream_call_functions_and_are_kept(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=NAME, input="tell me")
    assert is_complete(whole.output_text)
    with client.responses.stream(model=NAME, input="tell me") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text
    assert client.responses.retrieve(whole.id).output_text == whole.output_text

    tool: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    with client.responses.stream(model=NAME, input=CALL, tools=[tool]) as stream:
        [item] = stream.get_final_response().output
    assert item.type == "function_call"
    assert json.loads(item.arguments) == {"where": "under the bed"}

    running = client.responses.create(model=NAME, input=ENDLESS, background=True)
    assert client.responses.cancel(running.id).status == "cancelled"


def test_openai_embeds_and_hears_and_speaks(client: openai.OpenAI) -> None:
    # The SDK asks for base64 and unpacks it.
    near = client.embeddings.create(model=NAME, input=["old fox", "fox old"])
    assert near.data[0].embedding == near.data[1].embedding

    # A form: nginx finds the model in it.
    sound = ("a.wav", io.BytesIO(b"RIFF" + bytes(200_000)), "audio/wav")
    heard = client.audio.transcriptions.create(model=NAME, file=sound)
    assert is_complete(heard.text)
    with pytest.warns(DeprecationWarning, match="deprecated"):  # the SDK's own
        translated = client.audio.translations.create(model=NAME, file=sound)
    assert is_complete(translated.text)
    assert client.audio.speech.create(model=NAME, voice="alloy", input="x").content[:4] == b"RIFF"


# How the SDK uses its library is the SDK's affair.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_openai_realtime_hears(client: openai.OpenAI) -> None:
    # The SDK names the model in the query; vLLM's own events are not OpenAI's.
    with client.realtime.connect(model=NAME) as session:

        def say(kind: str, **more: object) -> None:
            session.send({"type": kind, **more})  # type: ignore[arg-type]  # not of its types

        assert json.loads(session.recv_bytes())["type"] == "session.created"
        say("session.update", model=NAME)
        say("input_audio_buffer.commit")
        say("input_audio_buffer.append", audio="AAAA" * 1000)
        say("input_audio_buffer.commit", final=True)
        heard = []
        while (event := json.loads(session.recv_bytes()))["type"] == "transcription.delta":
            heard.append(event["delta"])
    assert event["type"] == "transcription.done"
    assert is_complete("".join(heard))


def test_openai_async_streams_side_by_side(served: Front) -> None:
    async def one(client: openai.AsyncOpenAI, text: str) -> str:
        stream = await client.chat.completions.create(model=NAME, messages=user(text), stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x") as client:
            said = await asyncio.gather(*(one(client, f"story {n}") for n in range(20)))
        assert all(map(is_complete, said))
        assert len(set(said)) == 20

    run(main())


def test_openai_stream_that_is_closed_stops_the_engine(
    served: Front, client: openai.OpenAI
) -> None:
    before = served.aborted(NAME)
    stream = client.chat.completions.create(model=NAME, messages=user(ENDLESS), stream=True)
    for _ in range(3):
        next(stream)
    stream.close()
    left(served, before)


def test_openai_async_task_that_is_cancelled_stops_the_engine(served: Front) -> None:
    before = served.aborted(NAME)

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x") as client:
            # Nothing of the answer has come when it is cancelled.
            asked = asyncio.create_task(
                client.chat.completions.create(model=NAME, messages=user(ENDLESS))
            )
            while not await asyncio.to_thread(served.running, NAME):
                assert not asked.done()
            asked.cancel()
            await asyncio.wait([asked])

    run(main())
    left(served, before)


def test_openai_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=user("x"))
    assert unknown.value.code == "model_not_found"
    # The engine's own, for it was asked.
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=NAME, messages=[])
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).completions.create(
            model=NAME, prompt="fault: status 500"
        )
    # A stream that breaks off is no answer.
    broken = client.chat.completions.create(
        model=NAME, messages=user("fault: cut after 3"), stream=True
    )
    with pytest.raises(openai.APIConnectionError):
        list(broken)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_503_is_retried_by_the_sdk_itself(served: Front, kind: str) -> None:
    name = f"late-{kind}"
    served.serve(name, *PACE, load=0.1)
    with served.runner_away(name) as come_back:
        watching = threading.Thread(
            target=lambda: (
                until(lambda: "runner_unavailable" in served.log(name), limit=60, what="a refusal"),
                come_back(),
            )
        )
        watching.start()
        # It waits as long as `Retry-After` says: 5 s.
        if kind == "openai":
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x") as client:
                chat = client.chat.completions.create(model=name, messages=user("x"))
            said = chat.choices[0].message.content
        else:
            with anthropic.Anthropic(base_url=served.url, api_key="x") as claude:
                told = claude.messages.create(model=name, max_tokens=99, messages=user("x"))
            said = told.content[0].text
        watching.join()
    assert is_complete(said)
    # Once more where the runner's way back took longer than the SDK waits.
    assert "outcome=refused code=runner_unavailable" in served.log(name)


def test_anthropic_streams_what_it_says_at_once(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model=NAME, max_tokens=99, messages=user("tell me"))
    with claude.messages.stream(model=NAME, max_tokens=99, messages=user("tell me")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert is_complete(text)
    assert whole.content[0].text == final.content[0].text == text
    assert whole.usage.output_tokens == final.usage.output_tokens
    count = claude.messages.count_tokens(model=NAME, messages=user("tell me"))
    assert count.input_tokens == whole.usage.input_tokens


def test_anthropic_calls_tools_whole_and_streamed(claude: anthropic.Anthropic) -> None:
    tools: list[Any] = [{"name": "look", "input_schema": {"type": "object"}}]
    asked: dict[str, Any] = {"model": NAME, "max_tokens": 99, "tools": tools}
    whole = claude.messages.create(messages=user(CALL), **asked)
    with claude.messages.stream(messages=user(CALL), **asked) as stream:
        final = stream.get_final_message()
    assert whole.stop_reason == final.stop_reason == "tool_use"
    assert whole.content[0].input == final.content[0].input == {"where": "under the bed"}

    result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "dust"}
    answer = claude.messages.create(
        messages=[
            *user(CALL),
            {"role": "assistant", "content": whole.content},
            {"role": "user", "content": [result]},
        ],
        **asked,
    )
    assert is_complete(answer.content[0].text)


def test_anthropic_async_stream_that_is_left_stops_the_engine(served: Front) -> None:
    before = served.aborted(NAME)

    async def main() -> None:
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="x") as client:
            whole = await client.messages.create(
                model=NAME, max_tokens=99, messages=user("tell me")
            )
            assert is_complete(whole.content[0].text)
            async with client.messages.stream(
                model=NAME, max_tokens=99, messages=user(ENDLESS)
            ) as stream:
                async for _ in stream.text_stream:
                    break

    run(main())
    left(served, before)


def test_anthropic_raises_its_own_errors(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nobody", max_tokens=9, messages=user("x"))
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model=NAME, max_tokens=9, messages=[])
