"""One function for each client: what it is told, in the format that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spark_activator.catalog.model import Model, Tools
from spark_activator.render.clients.told import KEY, Told, comments, context, output


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        name: What people call it.
        place: Where the text belongs.
        format: `json`, `yaml`, `toml`, `sh` or `env`.
        text: What it is told.
        note: What one has to know besides, in Markdown; empty for nothing.
    """

    name: str
    place: str
    format: str
    text: Callable[[Told], str]
    note: str = ""


# The smallest window that Claude Code 2.1.197 takes from that variable.
_CLAUDE_LEAST = 100_000
_CLAUDE_SMALL = [
    "# It compacts at 100,000 tokens at the earliest, and this model has fewer:",
    "# type /compact in time, or choose another by --main.",
]


def opencode(told: Told) -> str:
    """OpenCode: JSON, so that known problems have no place in it."""
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {
            "spark": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Spark",
                "options": {"baseURL": told.base, "apiKey": f"{{env:{KEY}}}"},
                "models": {model.name: _opencode_model(model) for model in told.models},
            }
        },
        "model": f"spark/{told.main.name}",
        "small_model": f"spark/{told.small.name}",
    }
    return json.dumps(config, indent=2) + "\n"


def _opencode_model(model: Model) -> dict[str, Any]:
    told: dict[str, Any] = {"name": model.name}
    room, longest = context(model), output(model)
    if room and longest:
        told["limit"] = {"context": room, "output": longest}
    if model.capabilities.tools is not None:
        told["tool_call"] = model.capabilities.tools is not Tools.NONE
    if model.capabilities.reasoning:
        told["reasoning"] = True
    if model.capabilities.vision:
        told["attachment"] = True
        told["modalities"] = {"input": ["text", "image"], "output": ["text"]}
    return told


def cline(told: Told) -> str:
    """Cline: a command, and what to fill in where it is a part of an editor."""
    lines = [
        *comments(told, "cline"),
        # It asks for nothing: without key and model it refuses.
        f'cline auth -p openai -k "${{{KEY}:-none}}" -m {told.main.name} -b {told.base}',
        "# In an editor, API Provider is OpenAI Compatible, and:",
        f"#   Base URL: {told.base}",
    ]
    for model in told.models:
        lines.append(f"#   Model ID: {model.name}")
        lines += [f"#     Context Window Size: {room}" for room in (context(model),) if room]
        lines += [f"#     Max Output Tokens: {most}" for most in (output(model),) if most]
        lines.append(f"#     Supports Images: {'yes' if model.capabilities.vision else 'no'}")
    return _joined(lines)


def continue_(told: Told) -> str:
    """Continue: YAML."""
    lines = [
        *comments(told, "continue"),
        "name: Spark",
        "version: 1.0.0",
        "schema: v1",
        "models:",
    ]
    for model in told.models:
        able = ["tool_use"] if model.capabilities.tools in {Tools.FULL, Tools.FORCED} else []
        able += ["image_input"] if model.capabilities.vision else []
        limits = {"contextLength": context(model), "maxTokens": output(model)}
        lines += [
            f"  - name: {_quoted(model.name)}",
            "    provider: openai",
            f"    model: {_quoted(model.name)}",
            f"    apiBase: {_quoted(told.base)}",
            f"    apiKey: {_quoted('${{ secrets.' + KEY + ' }}')}",
            # Without it Continue guesses from the name.
            f"    capabilities: [{', '.join(able)}]",
            *_limits("    ", "defaultCompletionOptions", limits),
        ]
    return _joined(lines)


def openwebui(told: Told) -> str:
    """Open WebUI: environment; it asks for the list of models itself."""
    return _joined(
        [
            *comments(told, "openwebui"),
            "# In a container 127.0.0.1 is the container; host.docker.internal is this machine",
            "# with --add-host=host.docker.internal:host-gateway and `listen` in host.yaml.",
            f"OPENAI_API_BASE_URL={told.base}",
            f"OPENAI_API_KEY=${{{KEY}}}",
            f"DEFAULT_MODELS={told.main.name}",
            f"TASK_MODEL_EXTERNAL={told.small.name}",
        ]
    )


def litellm(told: Told) -> str:
    """LiteLLM's proxy: YAML."""
    lines = [*comments(told, "litellm"), "model_list:"]
    for model in told.models:
        tools = model.capabilities.tools
        facts = {
            "max_input_tokens": context(model),
            "max_output_tokens": output(model),
            "supports_function_calling": None if tools is None else tools is not Tools.NONE,
            "supports_vision": model.capabilities.vision,
            "supports_reasoning": model.capabilities.reasoning,
        }
        lines += [
            f"  - model_name: {_quoted(model.name)}",
            "    litellm_params:",
            f"      model: {_quoted('openai/' + model.name)}",
            f"      api_base: {_quoted(told.base)}",
            f"      api_key: os.environ/{KEY}",
            *_limits("    ", "model_info", facts),
        ]
    # A model that loads may answer 503 with `Retry-After`, and it retries only when told to.
    return _joined([*lines, "litellm_settings:", "  num_retries: 3"])


def codex(told: Told) -> str:
    """Codex: TOML; it is told of one model, and others by `-m`."""
    room = context(told.main)
    others = [model.name for model in told.models if model is not told.main]
    return _joined(
        [
            *comments(told, "codex"),
            *([f"# Others, by -m: {', '.join(others)}"] if others else []),
            f"model = {_quoted(told.main.name)}",
            'model_provider = "spark"',
            *([f"model_context_window = {room}"] if room else []),
            "",
            "[model_providers.spark]",
            'name = "Spark"',
            f"base_url = {_quoted(told.base)}",
            f"env_key = {_quoted(KEY)}",
            'wire_api = "responses"',
        ]
    )


def claude_code(told: Told) -> str:
    """Claude Code: variables of a shell; its paths begin with `/v1` by themselves."""
    longest, room = output(told.main), context(told.main)
    return _joined(
        [
            *comments(told, "claude-code"),
            f"export ANTHROPIC_BASE_URL={told.url}",
            f'export ANTHROPIC_AUTH_TOKEN="${{{KEY}:-none}}"',
            f"export ANTHROPIC_MODEL={told.main.name}",
            # What it calls by these names would else be models that are not here.
            f"export ANTHROPIC_DEFAULT_OPUS_MODEL={told.main.name}",
            f"export ANTHROPIC_DEFAULT_SONNET_MODEL={told.main.name}",
            f"export ANTHROPIC_DEFAULT_HAIKU_MODEL={told.small.name}",
            *([f"export CLAUDE_CODE_MAX_OUTPUT_TOKENS={longest}"] if longest else []),
            # It takes each model that it does not know for one of 200,000 tokens.
            *([f"export CLAUDE_CODE_AUTO_COMPACT_WINDOW={room}"] if room else []),
            *(_CLAUDE_SMALL if room and room < _CLAUDE_LEAST else []),
        ]
    )


def aider(told: Told) -> str:
    """Aider: YAML, and the limits as JSON in a file of their own."""
    limits = {
        f"openai/{model.name}": {
            "max_input_tokens": context(model),
            "max_output_tokens": output(model),
            "litellm_provider": "openai",
            "mode": "chat",
        }
        for model in told.models
        if context(model)
    }
    facts = json.dumps(limits, indent=2).splitlines()
    return _joined(
        [
            *comments(told, "aider"),
            f"# Before it is started: export OPENAI_API_KEY=${KEY}",
            f"openai-api-base: {_quoted(told.base)}",
            f"model: {_quoted('openai/' + told.main.name)}",
            f"weak-model: {_quoted('openai/' + told.small.name)}",
            "# The limits belong into .aider.model.metadata.json:",
            *(f"#| {line}" for line in facts),
        ]
    )


CLIENTS: dict[str, Client] = {
    "opencode": Client(
        "OpenCode", "~/.config/opencode/opencode.json", "json", opencode,
        "It asks the small model for titles while the main one works.",
    ),
    "cline": Client("Cline", "a shell, or the settings of the editor", "sh", cline),
    "continue": Client(
        "Continue", "~/.continue/config.yaml", "yaml", continue_,
        f"It finds `{KEY}` in `~/.continue/.env`.",
    ),
    "openwebui": Client(
        "Open WebUI", "its environment", "env", openwebui,
        "It reads most of these at its first start; later its own settings count.\n"
        "`docker run --env-file` replaces no variables: write the key itself there.",
    ),
    "litellm": Client(
        "LiteLLM", "config.yaml of its proxy", "yaml", litellm,
        "For `anthropic/` it retries only if the package `tenacity` is installed beside it.",
    ),
    "codex": Client("Codex", "~/.codex/config.toml", "toml", codex),
    "claude-code": Client("Claude Code", "a shell", "sh", claude_code),
    "aider": Client("Aider", "~/.aider.conf.yml", "yaml", aider),
}  # fmt: skip


def _quoted(text: str) -> str:
    """Quote *text* as JSON does, which YAML and TOML read alike for names and URLs."""
    return json.dumps(text)


def _limits(indent: str, key: str, values: dict[str, Any]) -> list[str]:
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return []
    return [f"{indent}{key}:", *(f"{indent}  {n}: {json.dumps(v)}" for n, v in known.items())]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
