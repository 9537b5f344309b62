"""Fields that no client decides: what is refused unless the model's owner allows it."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from spark_activator.catalog.model import Model
from spark_activator.errors import Refusal
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.media import check_media
from spark_activator.http.policy.places import CHATS
from spark_activator.http.policy.rules import KWARGS
from spark_activator.http.policy.schemas import check_grammars, check_tools
from spark_activator.http.policy.strict import Fields, Source

# Each with why; docs/requests.md has the same table.
REFUSED: Final = {
    "chat_template": "a program that the engine runs, also one without an end (CVE-2026-115911)",
    "prompt_embeds": "tensors that are loaded unread (CVE-2025-62164, CVE-2026-56340)",
    "input_embeds": "the same, in SGLang",
    "media_io_kwargs": "how media are decoded (CVE-2026-105760)",
    "mm_processor_kwargs": "how large media become in memory",
    "kv_transfer_params": "where the engine reads and writes its cache",
    "ec_transfer_params": "the same, for what it has encoded",
    "bootstrap_host": "the same, in SGLang",
    "bootstrap_port": "the same, in SGLang",
    "bootstrap_room": "the same, in SGLang",
    "vllm_xargs": "arguments of extensions",
    "custom_params": "the same, in SGLang",
    "custom_logit_processor": "a program, in SGLang",
    "logits_processors": "a program, in older vLLM",
}
ARGUMENTS: Final = ("enable_thinking", "thinking", "reasoning_effort")
# vLLM's own limit, `--max-logprobs`: every one more is a sort and a line of text a token.
MOST_LOGPROBS: Final = 20
# An agent's longest day has some thousand; a template takes each apart.
MOST_MESSAGES: Final = 10_000

_LOGPROBS = ("logprobs", "top_logprobs", "prompt_logprobs")
_CHOICES = ("n", "best_of")
_NOTHING: tuple[Any, ...] = (None, {}, [], "")


def check(fields: Fields, source: Source, endpoint: Endpoint, model: Model, own: Fields) -> None:
    """Check what a client asks for; *own* are fields that the model's owner sets anyway.

    Raises:
        Refusal: It asks for something that is not served.
    """
    asked = {key: value for key, value in fields.items() if key not in own or key == KWARGS}
    allowed = model.requests.allow
    for key in asked:
        if key in REFUSED and key not in allowed and asked[key] not in _NOTHING:
            _refuse(key, f"not served, unless the model's file has it in {ALLOW}")
    _check_arguments(asked.get(KWARGS), allowed, own)
    for key in _CHOICES:
        if key in asked:
            _check_most(asked[key], key, model.requests.most_choices)
    for key in _LOGPROBS:
        if key in asked:
            _check_most(asked[key], key, MOST_LOGPROBS)
    if endpoint in CHATS:
        key = CHATS[endpoint].messages
        if isinstance(asked.get(key), list) and len(asked[key]) > MOST_MESSAGES:
            _refuse(key, f"at most {MOST_MESSAGES} are served")
    check_tools(asked)
    check_grammars(asked, source)
    check_media(asked, model)


def _check_arguments(given: object, allowed: tuple[str, ...], own: Fields) -> None:
    if not isinstance(given, dict) or KWARGS in allowed:
        return
    set_too = own.get(KWARGS)
    known = {*ARGUMENTS, *allowed, *(set_too if isinstance(set_too, dict) else ())}
    for key in given:
        if key not in known:
            _refuse(
                f"{KWARGS}.{key[:64]}", f"not served, unless the model's file has it in {ALLOW}"
            )


def _check_most(value: object, key: str, most: int) -> None:
    if isinstance(value, str):
        _refuse(key, "expected a number, got text")
    if isinstance(value, int | float) and not 0 <= value <= most:
        _refuse(key, f"expected 0 to {most}")


def _refuse(path: str, what: str) -> NoReturn:
    raise Refusal("unsupported_field", f"{path}: {what}")


ALLOW: Final = "'requests.allow'"
