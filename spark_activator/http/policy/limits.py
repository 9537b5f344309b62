"""The longest answer: no longer than what the context has left.

The prompt's size is an estimate.  The engine's own count is better where it can
be had: `reclamp` takes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from spark_activator.catalog.model import Model
from spark_activator.http.endpoints import Endpoint
from spark_activator.http.policy.decision import Clamp, Decision
from spark_activator.http.policy.media import is_media
from spark_activator.http.policy.places import CHATS
from spark_activator.http.policy.strict import Fields, Source, read

NAME: Final = "clamp_tokens"

# Tokens: of a picture, of what a template puts around a message, and of what it
# puts before all.
IMAGE: Final = 1500
MESSAGE: Final = 20
REQUEST: Final = 500
LEAST_MARGIN: Final = 512
# Less is no answer but a broken one.  If the estimate leaves less than this, then
# either it is wrong, or the prompt does not fit: the engine can tell.
LEAST_ANSWER: Final = 256
# With a count instead of an estimate: what a template adds that a count may lack.
COUNTED_MARGIN: Final = 16
# An estimate this close to the context is worth a question.
NEAR: Final = (0.8, 1.2)
# vLLM refuses a budget for thinking that is not below the limit, and one below this.
LEAST_THINKING: Final = 1024

_LIMITS = {endpoint: chat.limits for endpoint, chat in CHATS.items() if chat.limits} | {
    Endpoint.COMPLETIONS: ("max_tokens",)
}
# Fields whose text is in the prompt as it stands, as JSON.
_SCHEMAS = ("tools", "functions", "response_format")
_TEXTS = ("messages", "input", "system", "instructions", "prompt")


def clamp(
    fields: Fields, source: Source, endpoint: Endpoint, model: Model
) -> tuple[Fields, Clamp | None]:
    """Lower the limit that the client has set to what the context has left.

    A client that sets none gets what is left anyway: engines count it themselves.
    """
    names = [name for name in _LIMITS.get(endpoint, ()) if _is_limit(fields.get(name))]
    if not names or model.context is None or not model.requests.clamp_tokens or _cut(fields):
        return fields, None
    asked, prompt = int(fields[names[0]]), estimate(fields, source)
    margin = model.requests.clamp_margin
    if margin is None:
        margin = max(LEAST_MARGIN, model.context // 10)
    left = model.context - prompt - margin
    after = fields
    for name in names:
        after = _lowered(after, name, left)
    low, high = (part * model.context for part in NEAR)
    near = not 0 < asked <= left and low <= prompt <= high
    return after, Clamp(names[0], prompt, asked, near=near)


def reclamp(decision: Decision, counted: int, model: Model) -> Decision:
    """Set the limit anew for a prompt of *counted* tokens, as the engine's `/tokenize` has it."""
    found = decision.clamp
    if found is None or found.asked is None or model.context is None:
        return decision
    source = read(decision.body)
    left = model.context - counted - COUNTED_MARGIN
    asked = {**source.fields, found.field: found.asked}
    after = _lowered(asked, found.field, left, least=1)
    changed = tuple(name for name in decision.changed if name != NAME)
    if after is not asked:
        changed = (*changed, NAME)
    return replace(
        decision,
        body=source.write(after) if after != source.fields else decision.body,
        changed=changed,
        clamp=replace(found, estimate=counted, near=False),
    )


def estimate(fields: Fields, source: Source) -> int:
    """Estimate the tokens of the prompt."""
    total = REQUEST
    for name in _TEXTS:
        if name not in fields:
            continue
        total += _tokens(fields[name])
        if isinstance(fields[name], list) and name in ("messages", "input"):
            total += MESSAGE * len(fields[name])
    for name in _SCHEMAS:
        if fields.get(name):
            total += _of_text(source.written(name, fields[name]))
    return total


def _lowered(fields: Fields, name: str, left: int, *, least: int = LEAST_ANSWER) -> Fields:
    limit = fields[name]
    if 0 < limit <= left or left < least:
        return fields
    thinking = fields.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if name == "max_tokens" and isinstance(budget, int) and budget >= left:
        if left <= LEAST_THINKING:
            return fields
        assert isinstance(thinking, dict)  # it has a budget
        fields = {**fields, "thinking": {**thinking, "budget_tokens": left - 1}}
    return {**fields, name: left}


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cut(fields: Fields) -> bool:
    """Whether the engine makes the prompt fit."""
    return bool(fields.get("truncate_prompt_tokens")) or fields.get("truncation") == "auto"


def _tokens(value: Any) -> int:  # noqa: ANN401  # any JSON
    """Estimate all texts in *value*; numbers are tokens already."""
    total, found = 0, [value]
    while found:
        item = found.pop()
        if isinstance(item, str):
            total += _of_text(item)
        elif isinstance(item, dict):
            if is_media(item):
                total += IMAGE
            else:
                found += item.values()
        elif isinstance(item, list):
            if item and isinstance(item[0], int):
                total += len(item)
            else:
                found += item
    return total


def _of_text(text: str) -> int:
    """Estimate a text: four characters a token where they are ASCII.

    Others are a quarter and three eighths for each byte beyond the first in
    UTF-8: 0.6 of a token for Cyrillic or accented letters, 1 for Chinese, 1.4 for
    an emoji.
    """
    if text.isascii():
        return -(-len(text) // 4)
    return -(-(2 * len(text) + 3 * (len(text.encode()) - len(text))) // 8)
