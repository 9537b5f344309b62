"""Conversations as narrow chat templates want them: text, and turns that alternate."""

from __future__ import annotations

from typing import Any, Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.places import CHATS, Chat
from spark_activator.http.policy.strict import Fields

_Message = dict[str, Any]

_TEXTS = ("text", "input_text", "output_text")
_SYSTEM = ("system", "developer")
# What somebody says who has to say something: templates refuse two turns of one side.
FILLERS: Final = {"user": "Continue.", "assistant": "OK."}
_SPEAKERS = frozenset({*_SYSTEM, *FILLERS})
# Parts of a turn that is part of a call of tools.
_OF_CALLS = ("tool_use", "tool_result")
_BLANK = "\n\n"


def flatten_text(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Join the parts of a message into one string, where all of them are text."""
    chat = CHATS.get(endpoint)
    if chat is None or not model.requests.flatten_text:
        return fields
    result = dict(fields)
    messages = fields.get(chat.messages)
    if isinstance(messages, list):
        flat = [_flattened(message, chat) for message in messages]
        if any(new is not old for new, old in zip(flat, messages, strict=True)):
            result[chat.messages] = flat
    if chat.system is not None and chat.system in fields:
        system = _joined(fields[chat.system])
        result[chat.system] = fields[chat.system] if system is None else system
    return fields if all(result[key] is fields[key] for key in fields) else result


def strict_roles(fields: Fields, endpoint: Endpoint, model: Model) -> Fields:
    """Make user and assistant alternate, with the system's text in the first user's turn."""
    chat = CHATS.get(endpoint)
    if chat is None or not model.requests.strict_roles:
        return fields
    messages = fields.get(chat.messages)
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    system = fields.get(chat.system) if chat.system is not None else None
    if not isinstance(messages, list) or not all(map(_is_plain, messages)) or not _is(system):
        return fields  # the engine says what is wrong with it
    texts = [system] if system else []
    texts += [each["content"] for each in messages if _role(each) in _SYSTEM and each["content"]]
    turns = [each for each in messages if _role(each) not in _SYSTEM]
    turns = _alternating(_merged(_begun(turns, texts, chat), chat))
    if not system and turns == fields.get(chat.messages):
        return fields
    if turns == [{"role": "user", "content": fields.get(chat.messages)}]:
        return fields
    result = {key: value for key, value in fields.items() if key != chat.system or not value}
    return {**result, chat.messages: turns}


def _flattened(message: object, chat: Chat) -> object:
    if not isinstance(message, dict):
        return message
    # An item of an answer keeps its list: its own text is a list by the API.
    if chat.text != "text" and message.get("role") not in ("user", *_SYSTEM):
        return message
    text = _joined(message.get("content"))
    return message if text is None else {**message, "content": text}


def _joined(content: object) -> str | None:
    if not isinstance(content, list):
        return None
    texts = [_text(part) for part in content]
    return "\n".join(text for text in texts if text is not None) if None not in texts else None


def _text(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in _TEXTS:
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def _is_plain(message: object) -> bool:
    """Whether it is a message, or another item, of which we know what to do with it."""
    if not isinstance(message, dict):
        return False
    if _role(message) not in _SPEAKERS:
        return True
    return "content" in message and _is(message["content"])


def _is(content: object) -> bool:
    return content is None or isinstance(content, str | list)


def _role(message: _Message) -> str | None:
    role = message.get("role")
    return role if isinstance(role, str) else None


def _begun(turns: list[_Message], texts: list[Any], chat: Chat) -> list[_Message]:
    """Put the system's *texts* into the first turn, which is a user's."""
    first = _role(turns[0]) if turns else None
    if first != "user":
        if not texts and first != "assistant":
            return turns
        opening = _together(texts, chat) if texts else FILLERS["user"]
        return [{"role": "user", "content": opening}, *turns]
    if not texts:
        return turns
    said, system = turns[0]["content"], _together(texts, chat)
    if _begins(said, system, chat):
        return turns  # a file that sets the system's text sets it again
    return [{**turns[0], "content": _together([system, said], chat)}, *turns[1:]]


def _begins(content: Any, start: Any, chat: Chat) -> bool:  # noqa: ANN401  # text or parts
    if isinstance(content, list):
        parts = _parts(start, chat)
        if content[: len(parts)] == parts:
            return True
        # The system's text may have got a hint for tools at its end.
        content = content[0].get("text") if content and isinstance(content[0], dict) else None
    if not isinstance(start, str) or not isinstance(content, str):
        return False
    return content == start or content.startswith(start + _BLANK)


def _together(contents: list[Any], chat: Chat) -> Any:  # noqa: ANN401  # text or parts
    """Join contents: texts by blank lines, with lists among them all as parts."""
    there = [content for content in contents if content]
    if not there:
        return contents[0]
    if all(isinstance(content, str) for content in there):
        return _BLANK.join(there)
    return [part for content in there for part in _parts(content, chat)]


def _parts(content: str | list[Any], chat: Chat) -> list[Any]:
    return [{"type": chat.text, "text": content}] if isinstance(content, str) else content


def _merged(turns: list[_Message], chat: Chat) -> list[_Message]:
    """Merge neighbours of one role, where nothing but their content differs."""
    runs: list[list[_Message]] = []
    for turn in turns:
        before = runs[-1][0] if runs else {}
        if _mergeable(turn) and _mergeable(before) and _rest(before) == _rest(turn):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [
        {**run[0], "content": _together([turn["content"] for turn in run], chat)}
        if len(run) > 1
        else run[0]
        for run in runs
    ]


def _mergeable(turn: _Message) -> bool:
    """Whether it is no part of a call of tools, where nothing may come between or be merged."""
    if _role(turn) not in FILLERS or turn.get("tool_calls") or turn.get("function_call"):
        return False
    content = turn.get("content")
    parts = content if isinstance(content, list) else []
    return not any(isinstance(part, dict) and part.get("type") in _OF_CALLS for part in parts)


def _rest(turn: _Message) -> _Message:
    return {key: value for key, value in turn.items() if key != "content"}


def _alternating(turns: list[_Message]) -> list[_Message]:
    """Put a short turn of the other side where two of one side are left."""
    result: list[_Message] = []
    last: str | None = None
    for turn in turns:
        role = _role(turn)
        if _mergeable(turn):
            # After the result of a tool the assistant may go on, but a user may not.
            if role == last and (role == "user" or _role(result[-1]) == role):
                other = "assistant" if role == "user" else "user"
                result.append({"role": other, "content": FILLERS[other]})
            last = role
        result.append(turn)
    return result
