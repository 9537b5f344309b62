r"""What a model is told that gives arrays and objects to tools as text.

Models of the Llama family do: `{"files": "[\"a\"]"}`, which no tool takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.places import CHATS, Chat
from spark_activator.http.policy.rules import may_call
from spark_activator.http.policy.schemas import LIST, NAMED, ONE
from spark_activator.http.policy.strict import Fields

# By this sentence a hint is known that is there already.
MARKER: Final = "Write the arguments of a tool as JSON that follows its schema."
HINT: Final = (
    f"{MARKER} Arrays and objects among them are raw JSON, never strings:"
    ' {"names": ["a", "b"]}, and not {"names": "[\\"a\\", \\"b\\"]"}.'
)
# Coding agents have a tool of that name; it takes several questions at once, and
# the models mostly ask one.
QUESTION: Final = (
    "For the tool `question`, `questions` is an array with one item for each question,"
    " also when there is only one."
)

_SYSTEM = ("system", "developer")
_KINDS = ("array", "object")
_BLANK = "\n\n"


def tool_hints(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Say in the system's text and in schemas of tools that arguments are raw JSON."""
    chat = CHATS.get(endpoint)
    if chat is None or not model.requests.tool_hints or not may_call(fields):
        return fields
    if not _is_conversation(fields, chat):
        return fields  # the engine says what is wrong with it
    result = dict(fields)
    for key in ("tools", "functions"):
        if isinstance(fields.get(key), list):
            result[key] = _each(fields[key], _tool)
    if not any(_tells(content) for content in _places(fields, chat)):
        asks = any(map(_asks, _tools(fields)))
        _tell(result, chat, f"{HINT} {QUESTION}" if asks else HINT)
    same = result.keys() == fields.keys() and all(result[key] is fields[key] for key in fields)
    return fields if same else result


def _is_conversation(fields: Fields, chat: Chat) -> bool:
    """Whether it is one, or strict roles make it one: of a text, or of the system's alone."""
    messages = fields.get(chat.messages)
    if isinstance(messages, str):
        return chat.system is not None
    system = chat.system is not None and bool(fields.get(chat.system))
    return (
        isinstance(messages, list) and (system or bool(messages)) and all(map(_is_object, messages))
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _places(fields: Fields, chat: Chat) -> Iterator[object]:
    """Find what is told a model before all else; strict roles put it into the first turn."""
    if chat.system is not None:
        yield fields.get(chat.system)
    messages = fields[chat.messages]
    for n, message in enumerate(messages if isinstance(messages, list) else []):
        if message.get("role") in _SYSTEM or (n == 0 and message.get("role") == "user"):
            yield message.get("content")


def _tells(content: object) -> bool:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return any(isinstance(text, str) and MARKER in text for text in texts)


def _tell(fields: dict[str, Any], chat: Chat, hint: str) -> None:
    """Add *hint* to the system's text, where the endpoint has it."""
    if chat.system is not None:
        told = fields.get(chat.system)
        fields[chat.system] = _added("" if told is None else told, hint, chat)
        return
    messages = fields[chat.messages]
    for n, message in enumerate(messages):
        content = message.get("content")
        if message.get("role") in _SYSTEM and isinstance(content, str | list):
            changed = {**message, "content": _added(content, hint, chat)}
            fields[chat.messages] = [*messages[:n], changed, *messages[n + 1 :]]
            return
    fields[chat.messages] = [{"role": "system", "content": hint}, *messages]


def _added(content: Any, hint: str, chat: Chat) -> Any:  # noqa: ANN401  # text or parts
    if isinstance(content, str):
        return f"{content}{_BLANK}{hint}" if content else hint
    # What is neither text nor parts is left to the engine.
    return [*content, {"type": chat.text, "text": hint}] if isinstance(content, list) else content


def _tools(fields: Fields) -> Iterator[dict[str, Any]]:
    """Find the object of each tool that has its name and schema."""
    for key in ("tools", "functions"):
        tools = fields.get(key)
        for tool in tools if isinstance(tools, list) else []:
            function = tool.get("function", tool) if isinstance(tool, dict) else None
            if isinstance(function, dict):
                yield function


def _asks(function: dict[str, Any]) -> bool:
    """Whether it is the tool `question` as agents have it, and no other of that name."""
    schema = function.get("parameters", function.get("input_schema"))
    properties = schema.get("properties") if isinstance(schema, dict) else None
    questions = properties.get("questions") if isinstance(properties, dict) else None
    return (
        function.get("name") == "question"
        and isinstance(questions, dict)
        and questions.get("type") == "array"
    )


def _tool(tool: Any) -> Any:  # noqa: ANN401  # whatever a client has there
    if not isinstance(tool, dict):
        return tool
    changes: dict[str, Callable[[Any], Any]] = {
        "function": _tool,
        "parameters": _below,
        "input_schema": _below,
    }
    return _changed(tool, lambda key, value: changes.get(key, _same)(value))


def _same(value: Any) -> Any:  # noqa: ANN401  # any JSON
    return value


def _below(schema: Any) -> Any:  # noqa: ANN401  # any JSON
    """Amend the schemas in *schema*, but not itself: it is the object of all arguments."""
    return _changed(schema, _keyword) if isinstance(schema, dict) else schema


def _keyword(key: str, value: Any) -> Any:  # noqa: ANN401  # any JSON
    if key in NAMED and isinstance(value, dict):
        return _changed(value, lambda _, schema: _schema(schema))
    if key in LIST and isinstance(value, list):
        return _each(value, _schema)
    return _schema(value) if key in ONE else value


def _schema(schema: Any) -> Any:  # noqa: ANN401  # any JSON
    if not isinstance(schema, dict):
        return schema
    after = _below(schema)
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    wanted = [word for word in _KINDS if word in kinds]
    description = schema.get("description") or ""
    if not wanted or "string" in kinds or not isinstance(description, str):
        return after
    sentence = f"Give it as a raw JSON {' or '.join(wanted)}, not as a string."
    if description.endswith(sentence):
        return after
    return {**after, "description": f"{description} {sentence}".lstrip()}


def _changed(values: dict[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Change each of *values*; the same object, where nothing changed."""
    after = {key: change(key, value) for key, value in values.items()}
    return values if all(after[key] is values[key] for key in values) else after


def _each(values: list[Any], change: Callable[[Any], Any]) -> list[Any]:
    after = [change(value) for value in values]
    return values if all(map(_is, after, values)) else after


def _is(one: object, other: object) -> bool:
    return one is other
