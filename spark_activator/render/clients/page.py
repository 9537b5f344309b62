"""docs/integrations.md: the configuration of each client, for two models that stand for yours."""

from __future__ import annotations

from spark_activator.catalog.model import (
    Capabilities,
    Client,
    Engine,
    Lifecycle,
    Model,
    Source,
    Tools,
)
from spark_activator.render.clients.texts import CLIENTS
from spark_activator.render.clients.told import KEY, Told, choose

# What is no language of its own in Markdown.
_FENCES = {"env": "sh"}
# A sentence a line, as all documents here are written.
_HEAD = "\n".join(
    [
        "# Integrations",
        "",
        "<!-- Made by: python -m spark_activator.render.clients > docs/integrations.md -->",
        "",
        "`spark-model client NAME` prints the configuration of a client for the models that are "
        "enabled, with their limits and what they can do.",
        "Here it is for two models that stand for yours: `big`, which sees, thinks and calls "
        "tools, and `small`, a utility for titles.",
        "",
        "```sh",
        "spark-model client opencode                              # for the enabled models",
        "spark-model client opencode --all                        # for all of the catalog",
        "spark-model client opencode --main gpt-oss-20b           # which one does the work",
        "spark-model client codex --url http://spark.local:8009   # from another machine",
        "```",
        "",
        f"* No key is ever printed: `{KEY}` stands for the one that "
        "`sudo spark-model key add NAME` printed, or for any word as long as no key was made.",
        "* Limits come from `client` and `context` of the model file. Where it has no longest "
        "answer, clients are told 8,192 tokens, or a quarter of the context where that is less.",
        "* Known problems (`issues` of the model file) are comments in the text; for OpenCode, "
        "whose format has none, they are said beside it.",
        "* The tests run OpenCode, Codex and Claude Code with what is printed here "
        "([clients.md](clients.md)); the others are written from their documentation, "
        "and their texts are only parsed.",
        "",
    ]
)


def page() -> str:
    """Return the page."""
    told = _example()
    parts = [_HEAD]
    for key, client in CLIENTS.items():
        place = f"`{client.place}`" if client.place.startswith("~") else client.place
        note = f"\n{client.note}\n" if client.note else ""
        parts.append(
            f"\n## {client.name}\n\n`spark-model client {key}`, for {place}:\n\n"
            f"```{_FENCES.get(client.format, client.format)}\n{client.text(told)}```\n{note}"
        )
    return "".join(parts)


def _example() -> Told:
    source = Source("example/model")
    big = Model(
        name="big",
        port=18300,
        engine=Engine.VLLM,
        source=source,
        memory=1,
        context=131072,
        capabilities=Capabilities(tools=Tools.FULL, vision=True, reasoning=True),
        client=Client(context=108000, output=8192),
    )
    small = Model(
        name="small",
        port=18301,
        engine=Engine.VLLM,
        source=source,
        memory=1,
        context=8192,
        lifecycle=Lifecycle.UTILITY,
        capabilities=Capabilities(tools=Tools.NONE),
    )
    told = choose([big, small])
    assert told is not None
    return told
