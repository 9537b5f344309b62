"""Every key of a model file: one record each, from which parser and schema come.

Defaults are those of the dataclasses in `model`.
"""

from __future__ import annotations

from spark_activator.catalog.kinds import (
    LINE,
    Anything,
    Choice,
    ListOf,
    MapOf,
    Positive,
    StatusShape,
    Switch,
    Text,
    Whole,
    duration,
    size,
)
from spark_activator.catalog.model import (
    Capabilities,
    Client,
    ContainerOptions,
    Engine,
    Keep,
    Lifecycle,
    Measured,
    Network,
    Requests,
    Sizing,
    Source,
    Timeouts,
    Tools,
)
from spark_activator.catalog.names import CLIENT_NAME, LONGEST_CLIENT_NAME, NAME
from spark_activator.catalog.section import Setting, Table
from spark_activator.catalog.words import Words

OWNER_PORTS = range(18300, 18400)
VENDOR_PORTS = range(18100, 18300)

# The longest context that a published model claims is ten million tokens.
_TOKENS = Whole(1, 10_000_000, "a number of tokens")
NAME_KIND = Text("a name such as 'gpt-oss-20b'", NAME, 63)
_CLIENT_NAME = Text(
    "a name such as 'openai/gpt-oss-20b' that is no path of the API",
    CLIENT_NAME,
    LONGEST_CLIENT_NAME,
)
# No component may be `..`: a path means what it looks like.
_PATH = r"(?!(?:.*/)?\.\.(?:/|$))[^\n\r]*(?!\n)$"
_HOST_PATH = Text("an absolute path", rf"^/{_PATH}", 4096)
# `/run/upstream` is where the runner mounts the directory of the engine's socket.
_INSIDE = Text(
    "an absolute path in the container, other than '/' and '/run/upstream'",
    rf"^(?!/+(?:run/+upstream(?:/|$)|$))/{_PATH}",
    4096,
)
_ULIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc "
    "rss rtprio rttime sigpending stack"
)


_REPOSITORY = Text(
    "a model of the hub such as 'openai/gpt-oss-20b', or a directory",
    r"^[A-Za-z0-9/][A-Za-z0-9._/+-]*(?!\n)$",
    255,
)

SOURCE = Table(
    {
        "model": Setting(
            _REPOSITORY,
            "The model on the Hugging Face hub, or a directory with its weights.",
            required=True,
        ),
        "revision": Setting(
            Text("a branch, tag or commit", r"^[A-Za-z0-9][A-Za-z0-9._/-]*(?!\n)$", 255),
            "Branch, tag or commit on the hub.",
        ),
        "from": Setting(LINE, "Where recipe and numbers were read.", field="origin"),
        "pinned": Setting(Switch(), "false where no commit was read in full in a source."),
        "drafts": Setting(
            ListOf(_REPOSITORY, 4), "Further models that the engine reads, such as a draft model."
        ),
    },
    Source,
)

SIZING = Table(
    {
        "weights": Setting(size(), "What the weights take once they are loaded.", required=True),
        "kv": Setting(size(), "The key-value cache for `sequences` contexts.", required=True),
        "overhead": Setting(
            size(), "Activations, CUDA graphs and the CUDA context.", required=True
        ),
        "sequences": Setting(
            Positive("a number of contexts"), "How many whole contexts the cache holds."
        ),
        "token": Setting(size(), "Key-value cache that one token takes."),
        "from": Setting(LINE, "Where these numbers come from.", field="origin"),
    },
    Sizing,
)

_SPEED = Positive("a number of tokens a second")
MEASURED = Table(
    {
        "decode": Setting(_SPEED, "Tokens a second that one request gets."),
        "prefill": Setting(_SPEED, "Tokens a second of a prompt."),
        "from": Setting(LINE, "Who measured it, and how.", field="origin"),
    },
    Measured,
)

CONTAINER = Table(
    {
        "mounts": Setting(
            MapOf(_INSIDE, _HOST_PATH), "Path in the container: path on the host; read-only."
        ),
        "files": Setting(
            MapOf(
                _INSIDE,
                Text(
                    "an absolute path, or 'sha256:' and 64 hex digits",
                    rf"^(?:/{_PATH}|sha256:[0-9a-f]{{64}}(?!\n)$)",
                    4096,
                ),
            ),
            "Path in the container: a file on the host, or the checksum of one that was fetched.",
        ),
        "devices": Setting(
            ListOf(Text("a path below /dev", rf"^/dev/{_PATH}", 255)),
            "Devices besides the GPU's, such as /dev/infiniband.",
        ),
        "shm": Setting(size(), "Size of /dev/shm."),
        # -1 is Docker's word for no limit; the rest is what a signed 64-bit number holds.
        "ulimits": Setting(
            MapOf(
                Text(f"one of {_ULIMITS}", rf"^(?:{_ULIMITS.replace(' ', '|')})(?!\n)$"),
                Whole(-1, 2**53),
            ),
            "Resource limits by Docker's names; -1 is none.",
        ),
        "entrypoint": Setting(Words(least=1), "Replaces the image's own entrypoint."),
    },
    ContainerOptions,
)

CAPABILITIES = Table(
    {
        "tools": Setting(Choice(Tools), "How well it calls tools."),
        "vision": Setting(Switch(), "Whether it takes images."),
        "reasoning": Setting(Switch(), "Whether it thinks before it answers."),
    },
    Capabilities,
)

# What a preset cannot set, because it is the request itself.
_REQUEST_ONLY = "input|messages|model|prompt|stream"
_FIELD = Text("a field of a request", r"^[a-z][a-z0-9_]*(?!\n)$", 64)
_SETTABLE = Text(
    "a field of a request other than the request itself",
    rf"^(?!(?:{_REQUEST_ONLY})$)[a-z][a-z0-9_]*(?!\n)$",
    64,
)
_HOST = Text("the name of a host", r"^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?!\n)$", 253)

REQUESTS = Table(
    {
        "flatten_text": Setting(Switch(), "Join text parts of a message into one string."),
        "strict_roles": Setting(Switch(), "Make roles alternate, with system text first."),
        "tool_hints": Setting(
            Switch(), "Tell the model that arrays and objects for tools are raw JSON."
        ),
        "clamp_tokens": Setting(Switch(), "Lower max_tokens to what fits into the context."),
        "clamp_margin": Setting(
            Whole(0, 10_000_000, "a number of tokens"),
            "Tokens of the context that this keeps free; a tenth of it by default.",
        ),
        "thinking_default": Setting(Switch(), "Turn thinking on or off where a client is silent."),
        "stream_tools": Setting(
            Choice(("pass", "buffer")), "Pass streamed tool calls on, or whole ones only."
        ),
        "set": Setting(
            MapOf(_SETTABLE, Anything(), 32), "Fields that every request gets, whatever it says."
        ),
        "strip": Setting(ListOf(_FIELD), "Fields that are taken out of requests."),
        "allow": Setting(ListOf(_FIELD), "Fields that are refused without this."),
        "media_hosts": Setting(
            ListOf(_HOST), "Hosts from which pictures may be fetched, with network: outbound."
        ),
        "most_choices": Setting(Whole(1, 16384), "The largest n that a request may ask for."),
        "most_held": Setting(Whole(1, 60000), "How many requests may wait for the engine."),
        "most_served": Setting(Whole(1, 60000), "How many requests it serves at once."),
        "loading_text": Setting(
            Switch(), "Tell of the load as reasoning text in streams of chats that wait."
        ),
    },
    Requests,
)

TIMEOUTS = Table(
    {
        "idle": Setting(duration(), "The engine goes after this long without a request."),
        "stall": Setting(duration(), "A start fails after this long without progress."),
        "start": Setting(duration(), "A start fails after this long in any case."),
        "drain": Setting(duration(), "How long requests in flight may finish at a stop."),
    },
    Timeouts,
)

CLIENT = Table(
    {
        "context": Setting(_TOKENS, "The context that client configurations are told."),
        "output": Setting(_TOKENS, "The most tokens of an answer that they are told."),
    },
    Client,
)

READINESS = Table(
    {"generate": Setting(Switch(), "Whether ready means that one token was generated.")}
)

MODEL = Table(
    {
        "extends": Setting(
            NAME_KIND,
            "The model (in the catalog: the family) whose keys this file changes.",
        ),
        "port": Setting(
            Whole(OWNER_PORTS.start, OWNER_PORTS.stop - 1, "a port"),
            "Where it listens on 127.0.0.1; one is given and remembered where none is said.",
        ),
        "summary": Setting(LINE, "What it is good for, in a few words."),
        "status": Setting(StatusShape(), "How far this file can be trusted."),
        "source": Setting(SOURCE, "Where the weights and the facts come from.", required=True),
        "aliases": Setting(ListOf(_CLIENT_NAME), "Further names that clients may use."),
        "engine": Setting(Choice(Engine), "What runs the model."),
        "image": Setting(NAME_KIND, "A name in images.yaml."),
        "args": Setting(Words(), "Arguments of the engine: a pasted block, or a list."),
        "extra_args": Setting(Words(), "Arguments behind those of the file that is extended."),
        "command": Setting(
            Words(least=1),
            "The command of a process engine; {socket} and {python} in it are replaced.",
        ),
        "tcp": Setting(
            Whole(1024, 65535, "a port"),
            "Port of a process engine that only speaks TCP, on the loopback of its own network.",
        ),
        "env": Setting(
            MapOf(
                Text("a variable's name", r"^[A-Za-z_][A-Za-z0-9_]*(?!\n)$", 255),
                Text("a string"),
                256,
            ),
            "Environment variables of the engine.",
        ),
        "container": Setting(CONTAINER, "What its container gets beyond what all get."),
        "network": Setting(Choice(Network), "What the engine may reach."),
        "memory": Setting(
            size(), "GPU memory of the whole engine: what it is held to.", required=True
        ),
        "lifecycle": Setting(Choice(Lifecycle), "How it shares the GPU."),
        "keep": Setting(Choice(Keep), "Whether it goes when idle."),
        "priority": Setting(
            Whole(-100, 100), "Orders waiters of the same age class; higher goes first."
        ),
        "context": Setting(_TOKENS, "The context in tokens that the engine is started with."),
        "capabilities": Setting(CAPABILITIES, "What clients may expect of it."),
        "requests": Setting(REQUESTS, "What is done to requests before the engine sees them."),
        "presets": Setting(
            MapOf(
                _CLIENT_NAME,
                MapOf(_SETTABLE, Anything()),
                32,
            ),
            "Extra names for the same engine, each with request fields that it sets.",
        ),
        "timeouts": Setting(TIMEOUTS, "Deadlines."),
        "client": Setting(CLIENT, "What client configurations are told."),
        "readiness": Setting(READINESS, "What makes it ready."),
        "sizing": Setting(SIZING, "How `memory` was worked out."),
        "measured": Setting(MEASURED, "How fast a source saw it."),
        "issues": Setting(ListOf(LINE, 16), "Known problems, a line each."),
    }
)
