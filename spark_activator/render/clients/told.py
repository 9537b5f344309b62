"""What every client is told: where, with which key, and which models with which limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spark_activator.catalog.model import Lifecycle, Model, Tools
from spark_activator.render.routes import chats

# Where nginx listens.
URL = "http://127.0.0.1:8009"
# The variable that has the key: no key stands in a file.
KEY = "SPARK_KEY"
# OpenCode wants a limit for answers, and a model file may have none: what the
# seed's configurations said, and never more than leaves room for the question.
_OUTPUT, _SHARE = 8192, 4

# How clients are named in known problems; see `issues`.
NAMES = {
    "opencode": "opencode",
    "cline": "cline",
    # The word alone is English.
    "continue": r"continue\.dev",
    "openwebui": "open ?webui",
    "litellm": "litellm",
    "codex": "codex",
    "claude-code": "claude code",
    "aider": "aider",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a configuration is made of.

    Attributes:
        url: Where nginx is asked, without `/v1`.
        models: Those that are told of, all of which chat.
        main: The one for the work.
        small: The one for titles and other chores; the main one where there is no other.
    """

    url: str
    models: tuple[Model, ...]
    main: Model
    small: Model

    @property
    def base(self) -> str:
        """What clients of OpenAI's API call the base URL."""
        return f"{self.url}/v1"


def choose(models: Iterable[Model], *, url: str = URL, default: str | None = None) -> Told | None:
    """Choose who does what among those of *models* that chat; None where none does.

    Args:
        models: The models.
        url: Where nginx is asked.
        default: The name of the main one, if it is among them.
    """
    talking = tuple(sorted((m for m in models if chats(m)), key=lambda model: model.name))
    if not talking:
        return None
    utilities = [model for model in talking if model.lifecycle is Lifecycle.UTILITY]
    # An agent that cannot call tools does nothing.
    normal = [model for model in talking if model not in utilities]
    able = [model for model in normal if model.capabilities.tools is not Tools.NONE]
    named = [model for model in talking if default in model.names]
    main = [*named, *able, *normal, *talking][0]
    return Told(url.rstrip("/").removesuffix("/v1"), talking, main, [*utilities, main][0])


def context(model: Model) -> int | None:
    """Say how many tokens a client may fill; None where nobody has said."""
    return model.client.context or model.context


def output(model: Model) -> int | None:
    """Say how long an answer may be, in tokens; None where no context is known either."""
    room = context(model)
    return model.client.output or (min(_OUTPUT, room // _SHARE) if room else None)


def issues(model: Model, client: str) -> Sequence[str]:
    """Return the known problems of *model*, but for those of other clients alone."""
    return [line for line in model.issues if _concerns(line, client)]


def _concerns(line: str, client: str) -> bool:
    named = {name for name, words in NAMES.items() if re.search(words, line, re.IGNORECASE)}
    return not named or client in named


def comments(told: Told, client: str, sign: str = "#") -> list[str]:
    """Say in comments where the key comes from, and the known problems."""
    lines = [
        f"{sign} {KEY}: the key that `sudo spark-model key add NAME` printed,",
        f"{sign} or any word as long as no key was made.",
    ]
    lines += [
        f"{sign} {model.name}: {issue}" for model in told.models for issue in issues(model, client)
    ]
    return lines
