"""A request's body → its prompt: texts and tools, whatever the API calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spark_activator.demo import text as words
from spark_activator.demo.asked import Api, BadRequest

# Of a tool that the client wants called, whichever it is.
ANY = "*"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is shown.

    Attributes:
        parts: The texts of all messages.
        last: What was said last by anybody but the system: all that the demo
            engine remembers.
        answers_tool: Whether that is a tool's result, which is answered by text.
        tools: Names of the functions that may be called.
        forced: The one that must be called, `ANY`, or None.
    """

    parts: list[str]
    last: str
    answers_tool: bool = False
    tools: tuple[str, ...] = ()
    forced: str | None = None

    @property
    def length(self) -> int:
        """The number of tokens."""
        return sum(words.count_tokens(part) for part in self.parts)


def read(body: dict[str, Any], api: Api) -> Prompt:
    """Find the prompt in *body*.

    Raises:
        BadRequest: There is none, or it is not what *api* calls a prompt.
    """
    match api:
        case Api.RESPONSES:
            return _responses(body)
        case Api.MESSAGES:
            return _messages(body)
        case Api.COMPLETIONS:
            text = _completion(body)
            return Prompt([text], text)
        case _:
            return _chat(body)


def _chat(body: dict[str, Any]) -> Prompt:
    messages = _list_of_messages(body.get("messages"))
    last = _last(messages)
    return Prompt(
        [_content(message.get("content")) for message in messages],
        _content(last.get("content")),
        answers_tool=last["role"] in ("tool", "function"),
        **_tools(body, "function"),
    )


def _messages(body: dict[str, Any]) -> Prompt:
    messages = _list_of_messages(body.get("messages"))
    parts = [_content(message.get("content")) for message in messages]
    last = _last(messages).get("content")
    return Prompt(
        [_content(body.get("system")), *parts],
        _content(last),
        answers_tool=isinstance(last, list)
        and any(part.get("type") == "tool_result" for part in last),
        **_tools(body, None),
    )


def _responses(body: dict[str, Any]) -> Prompt:
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise BadRequest("input: expected a string, or a list with at least one item")
    if not all(isinstance(item, dict) for item in given):
        raise BadRequest("input: expected objects")
    said = [item for item in given if item.get("type") not in ("reasoning", "function_call")]
    parts = [_content(item.get("content", item.get("output"))) for item in said or given]
    last = _last(said or given)
    return Prompt(
        [_content(body.get("instructions")), *parts],
        _content(last.get("content", last.get("output"))),
        answers_tool=str(last.get("type")).endswith("call_output"),
        **_tools(body, None),
    )


def _list_of_messages(messages: object) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: expected a list with at least one message")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("messages: expected objects with a role")
    return messages


def _last(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was said last; agents put what the system says behind it."""
    said = [one for one in messages if one.get("role") not in ("system", "developer")]
    return (said or messages)[-1]


def _content(content: object) -> str:
    """Return the text of a message; pictures and sounds are not looked at."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadRequest("content: expected a string or a list of parts")
    parts = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif not isinstance(part, dict):
            raise BadRequest("content: expected parts that are objects")
        elif part.get("type") == "tool_result":
            parts.append(_content(part.get("content")))
        else:
            parts.append(str(part.get("text", "")))
    return "\n".join(parts)


def _tools(body: dict[str, Any], key: str | None) -> dict[str, Any]:
    """Read the tools that are functions, each described below *key*, if any."""
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRequest("tools: expected a list of objects")
    described = [tool.get(key) if key else tool for tool in tools]
    names = tuple(
        tool["name"]
        for tool in described
        if isinstance(tool, dict)
        and isinstance(tool.get("name"), str)
        # The client's own tools, not what a provider would run.
        and ("input_schema" in tool or tool.get("type", "function") == "function")
    )
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        name = (choice.get(key) or {}).get("name") if key else choice.get("name")
        kind = choice.get("type")
        choice = kind if kind in ("auto", "none", "any") else name
    if choice == "none":
        return {}
    forced = {"required": ANY, "any": ANY, "auto": None}.get(str(choice), choice)
    if forced not in (None, ANY, *names):
        raise BadRequest(f"tool_choice: there is no tool `{forced}`")
    return {"tools": names, "forced": forced if names else None}


def _completion(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt:
        if all(isinstance(part, str) for part in prompt):
            return "\n".join(prompt)
        if all(type(part) is int for part in prompt):
            return " ".join(str(part) for part in prompt)
    raise BadRequest("prompt: expected a string, a list of strings or a list of tokens")
