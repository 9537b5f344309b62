"""Parser and JSON schema give the same verdict on every file of the table below."""

from __future__ import annotations

import copy
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from spark_activator.catalog import document, modelfile, rules
from spark_activator.catalog.model import Image, Model
from spark_activator.catalog.schema import json_schema
from spark_activator.catalog.section import Report, Table
from spark_activator.catalog.settings import MODEL
from spark_activator.errors import FileProblems, Problem

IMAGES = {name: Image(name, f"{name}:latest") for name in ("vllm-0.28", "demo")}
BASES: dict[str, dict[str, Any]] = {
    "base": document.parse(
        "{port: 18100, source: {model: a/b, revision: main}, memory: 24GiB, image: vllm-0.28,"
        " aliases: [based], env: {A: '1', B: '2'}, status: {disabled: too slow}}",
        "base.yaml",
    ),
    "process": document.parse(
        "{port: 18101, source: {model: a/b}, memory: 1GiB, engine: process, command: x}",
        "process.yaml",
    ),
}
MINIMAL = "{source: {model: a/b}, memory: 24GiB, image: vllm-0.28}"
SCHEMA = Draft202012Validator(json_schema())


def vllm(more: str) -> str:
    """A vLLM model with *more* keys."""
    return f"source: {{model: a/b}}\nmemory: 24GiB\nimage: vllm-0.28\n{textwrap.dedent(more)}\n"


def sglang(args: str) -> str:
    """An SGLang model with *args*."""
    return vllm(f"engine: sglang\nargs: {args}")


def process(more: str) -> str:
    """A process model with *more* keys."""
    return f"source: {{model: a/b}}\nmemory: 1GiB\nengine: process\n{textwrap.dedent(more)}\n"


GOOD = {
    "minimal": MINIMAL,
    "the file of the design": """
        # gpt-oss 20B, MXFP4: the everyday assistant.
        summary: everyday assistant, drafting, retrieval answers
        status: experimental
        source: {model: openai/gpt-oss-20b, revision: main, from: "where it was read"}
        aliases: [gpt-oss]
        engine: vllm
        image: vllm-0.28
        args: |
          --kv-cache-dtype fp8 --max-num-seqs 8
        env: {VLLM_NO_USAGE_STATS: "1"}
        container: {mounts: {}, files: {}, devices: [], shm: 10GiB, ulimits: {}, entrypoint: null}
        network: none
        memory: 24GiB
        lifecycle: normal
        keep: idle
        priority: 0
        context: 131072
        capabilities: {tools: full, vision: false, reasoning: true}
        requests: {flatten_text: false, strict_roles: false, clamp_tokens: true,
                   thinking_default: null, stream_tools: pass}
        presets: {gpt-oss-20b-precise: {temperature: 0}}
        timeouts: {idle: 60min, stall: 10min, start: 2h, drain: 2min}
        client: {context: 108000, output: 8192}
        """,
    "every optional key null": vllm("""
        port: null
        summary:
        status: null
        aliases: null
        engine: null
        args: null
        command: null
        container: null
        timeouts: {idle: null}
        presets: null
        env: {A: null}
        """),
    "lowest port": vllm("port: 18300"),
    "highest port": vllm("port: 18399"),
    "port as a whole float": vllm("port: 18300.0"),
    "validated": vllm("status: {validated: '2026-01-05, driver 580.159'}"),
    "disabled": vllm("status: {disabled: the image has no aarch64 build}"),
    "aliases of all sorts": vllm("aliases: [openai/gpt-oss-20b, 'qwen3:30b', Qwen_3.6+x]"),
    "empty lists and mappings": vllm("aliases: []\nenv: {}\npresets: {}\nargs: []"),
    "args as a list": vllm('args: [--max-num-seqs, "8", --kv-cache-dtype=fp8, -tp, "1"]'),
    "args with quotes": vllm("""
        args: |
          --speculative-config '{"method": "mtp", "num": 3}' --x "a \\" b"
        """),
    "args pasted with continued lines": vllm("args: |\n  --a 1 \\\n  --b 2 \\  \n  --c 3\n"),
    "empty args": vllm("args: ''"),
    "a flag that only begins like a computed one": vllm("args: --model-impl auto --portal 3"),
    "a flag of vllm's that is short": vllm("args: -O3"),
    "sglang with flags of its own": sglang(
        "--attention-backend triton --model-impl auto --mm-process-config {}"
    ),
    "vllm's flags that only begin like one": vllm(
        "args: --num-scheduler-steps 1 --config-format hf --kv-events-config {} --mm-ipc 1"
    ),
    "container": vllm("engine: container\nargs: --host 0.0.0.0"),
    "container with an entrypoint": vllm("engine: container\ncontainer: {entrypoint: [python3]}"),
    "process with a block": process("command: '{python} -m x --socket {socket}'"),
    "process with a list": process("command: [./serve, --at, '{socket}']"),
    "process that only speaks TCP": process("command: x\ntcp: 8000"),
    "process with null args": process("command: x\nargs: null\nimage: null"),
    "small memory": "{source: {model: a/b}, memory: 1MiB, image: demo}",
    "memory with a fraction": "{source: {model: a/b}, memory: 1.5 GiB, image: demo}",
    "a directory as source": "{source: {model: /models/tiny}, memory: 1GiB, image: demo}",
    "revision that looks like a date": (
        "{source: {model: a/b, revision: 2024-01-02}, memory: 1GiB, image: demo}"
    ),
    "no and on are words": vllm("env: {A: no, B: on, C: 1:30}"),
    "durations": vllm("timeouts: {idle: 1h 30min, stall: 90s, start: 0.5d, drain: 500ms}"),
    "mounts and devices": vllm(
        """
        container:
          mounts: {/models: /srv/models, /etc/x y: /srv/a b}
          files: {/a: /srv/a, /b: 'sha256:%s'}
          devices: [/dev/infiniband, /dev/fuse]
          shm: 64MiB
          ulimits: {memlock: -1, nofile: 1048576}
        """
        % ("0a" * 32)
    ),
    "presets with anything in them": vllm("""
        presets:
          a: {temperature: 0.5, stop: [x, null], chat_template_kwargs: {thinking: false}}
          org/b: {}
          c: null
        """),
    "utility": vllm("lifecycle: utility\nkeep: idle"),
    "exclusive": vllm("lifecycle: exclusive\nkeep: always\npriority: -100"),
    "no probe": vllm("readiness: {generate: false}"),
    "empty readiness": vllm("readiness: {}"),
    "thinking": vllm("requests: {thinking_default: false, stream_tools: buffer}"),
    "extends alone": "extends: base",
    "extends and changes": "{extends: base, memory: 20GiB, status: experimental}",
    "extends and changes part of the source": "{extends: base, source: {revision: v2}}",
    "extends and removes": "{extends: base, env: {A: null, C: '3'}, status: null}",
    "extends a process": "{extends: process, command: [y]}",
    "extends and becomes a process": "{extends: base, engine: process, command: y, image: null}",
    "quoted keys and values": '{"source": {"model": "a/b"}, "memory": "1GiB", "image": "demo"}',
}

# Each with the keys that have a problem.
BAD = {
    "an unknown key": (vllm("memmory: 1GiB"), ["memmory"]),
    "an unknown key below": (vllm("timeouts: {idel: 1min}"), ["timeouts.idel"]),
    "an unknown key with null": (vllm("timeout: null"), ["timeout"]),
    "nothing required": ("summary: x", ["image", "memory", "source"]),
    "null memory": ("{source: {model: a/b}, memory: null, image: demo}", ["memory"]),
    "no model": ("{source: {revision: main}, memory: 1GiB, image: demo}", ["source.model"]),
    "null source": ("{source: null, memory: 1GiB, image: demo}", ["source"]),
    "source as a word": ("{source: a/b, memory: 1GiB, image: demo}", ["source"]),
    "a model that looks like a flag": (
        "{source: {model: --trust}, memory: 1GiB, image: demo}",
        ["source.model"],
    ),
    "a model with a blank": ("{source: {model: a b}, memory: 1GiB, image: demo}", ["source.model"]),
    "no image": ("{source: {model: a/b}, memory: 1GiB}", ["image"]),
    "null image": ("{source: {model: a/b}, memory: 1GiB, image: null}", ["image"]),
    "an image with upper case": (
        "{source: {model: a/b}, memory: 1GiB, image: vLLM}",
        ["image"],
    ),
    "memory as a number": ("{source: {model: a/b}, memory: 24, image: demo}", ["memory"]),
    "memory in other units": ("{source: {model: a/b}, memory: 24GB, image: demo}", ["memory"]),
    "no memory at all": ("{source: {model: a/b}, memory: 0GiB, image: demo}", ["memory"]),
    "negative memory": ("{source: {model: a/b}, memory: -1GiB, image: demo}", ["memory"]),
    "memory with a last newline": (
        '{source: {model: a/b}, memory: "1GiB\\n", image: demo}',
        ["memory"],
    ),
    "a port of the catalog": (vllm("port: 18100"), ["port"]),
    "a port beyond": (vllm("port: 18400"), ["port"]),
    "a port as text": (vllm("port: '18300'"), ["port"]),
    "a port as a boolean": (vllm("port: true"), ["port"]),
    "a port with a fraction": (vllm("port: 18300.5"), ["port"]),
    "a port that is none in base ten": (vllm("port: 0x477c"), ["port"]),
    "disabled without a reason": (vllm("status: disabled"), ["status"]),
    "validated without a date": (vllm("status: validated"), ["status"]),
    "disabled with an empty reason": (vllm("status: {disabled: ''}"), ["status.disabled"]),
    "two states at once": (vllm("status: {disabled: x, experimental: y}"), ["status"]),
    "an unknown state": (vllm("status: great"), ["status"]),
    "a state that is no word": (vllm("status: [disabled]"), ["status"]),
    "aliases as a word": (vllm("aliases: gpt"), ["aliases"]),
    "an alias with a blank": (vllm("aliases: [a b]"), ["aliases[0]"]),
    "an alias that climbs": (vllm("aliases: [a/../b]"), ["aliases[0]"]),
    "an alias that is a path of the API": (vllm("aliases: [chat/x]"), ["aliases[0]"]),
    "an alias that is a number": (vllm("aliases: [a, 3]"), ["aliases[1]"]),
    "an alias twice": (vllm("aliases: [a, a]"), ["aliases"]),
    "an alias with a last newline": (vllm('aliases: ["a\\n"]'), ["aliases[0]"]),
    "an unknown engine": (vllm("engine: ollama"), ["engine"]),
    "a command for vllm": (vllm("command: x"), ["command"]),
    "a process without a command": (process(""), ["command"]),
    "a process with an empty command": (process("command: []"), ["command"]),
    "a process with a blank command": (process("command: ' '"), ["command"]),
    "a process with an image": (process("command: x\nimage: demo"), ["image"]),
    "a process with tcp and a way out": (
        process("command: x\ntcp: 8000\nnetwork: outbound"),
        ["tcp"],
    ),
    "a process with a privileged tcp port": (process("command: x\ntcp: 80"), ["tcp"]),
    "a process with args": (process("command: x\nargs: y"), ["args"]),
    "a process with container keys": (process("command: x\ncontainer: {}"), ["container"]),
    "args as a number": (vllm("args: 8"), ["args"]),
    "args with a number": (vllm("args: [--max-num-seqs, 8]"), ["args[1]"]),
    "args with flag and value in one item": (vllm("args: [--max-num-seqs 8]"), ["args[0]"]),
    "args with an open quote": (vllm("args: --x 'y"), ["args"]),
    "args with a last backslash": (vllm("args: '--x \\'"), ["args"]),
    "args with a comment": (vllm("args: |\n  --x # y\n"), ["args"]),
    "computed: memory of the cache": (vllm("args: --kv-cache-memory-bytes 9G"), ["args"]),
    "computed: memory": (vllm("args: --gpu-memory-utilization 0.9"), ["args"]),
    "computed: abbreviated": (vllm("args: --gpu-mem=0.9"), ["args"]),
    "computed: underscores": (vllm("args: --max_model_len=4096"), ["args"]),
    "computed: in a list": (vllm('args: ["--served-model-name", x]'), ["args"]),
    "computed: in a list with a value": (vllm("args: [--port=3]"), ["args"]),
    "computed: socket": (vllm("args: --a --uds /x"), ["args"]),
    "computed: host and model": (vllm("args: |\n  --host x\n  --model y\n"), ["args", "args"]),
    "computed: quoted": (vllm("args: '\"--shutdown-timeout\" 3'"), ["args"]),
    "beside the lease, vllm: a config file": (vllm("args: --config /f.yaml"), ["args"]),
    "beside the lease, vllm: blocks": (vllm("args: --num-gpu-blocks-override 9"), ["args"]),
    "beside the lease, vllm: blocks, short": (vllm("args: --num-gpu=9"), ["args"]),
    "beside the lease, vllm: the other name": (
        vllm("args: --device-memory-utilization 0.9"),
        ["args"],
    ),
    "beside the lease, vllm: swap": (vllm("args: --swap-space 9"), ["args"]),
    "beside the lease, vllm: swap with underscores": (vllm("args: --swap_space=9"), ["args"]),
    "beside the lease, vllm: offload": (vllm("args: --cpu-offload-gb 9"), ["args"]),
    "beside the lease, vllm: offload by groups": (vllm("args: --offload-group-size 9"), ["args"]),
    "beside the lease, vllm: a cache on the host": (vllm("args: --kv-offloading-size 9"), ["args"]),
    "beside the lease, vllm: a connector": (vllm("args: --kv-transfer-config {}"), ["args"]),
    "beside the lease, vllm: a connector, by parts": (
        vllm("args: --kv-transfer-config.kv_connector X"),
        ["args"],
    ),
    "beside the lease, vllm: in the entrypoint": (
        vllm("container: {entrypoint: vllm serve --kv-cache-memory-bytes 9G}"),
        ["container.entrypoint"],
    ),
    "beside the lease, vllm: in a list of the entrypoint": (
        vllm("container: {entrypoint: [vllm, --config, /f]}"),
        ["container.entrypoint"],
    ),
    "sglang: memory": (sglang("--mem-fraction-static 0.9"), ["args"]),
    "sglang: memory, short": (sglang("--mem=0.9"), ["args"]),
    "sglang: memory with underscores": (sglang("--mem_fraction_static 1"), ["args"]),
    "sglang: context": (sglang("--context-length 9"), ["args"]),
    "sglang: names": (sglang("--served-model-name x"), ["args"]),
    "sglang: model": (sglang("--model x"), ["args"]),
    "sglang: path": (sglang("--model-path=x"), ["args"]),
    "sglang: host": (sglang("--host x"), ["args"]),
    "sglang: port": (sglang("--port 3"), ["args"]),
    "sglang: chunks": (sglang("--chunked-prefill-size -1"), ["args"]),
    "sglang: graphs": (sglang("--cuda-graph-max-bs 999"), ["args"]),
    "sglang: graph sizes": (sglang("--cuda-graph-bs 1 999"), ["args"]),
    "sglang: graphs of decode": (sglang("--cuda-graph-max-bs-decode 999"), ["args"]),
    "sglang: offload": (sglang("--cpu-offload-gb 9"), ["args"]),
    "sglang: groups": (sglang("--offload-group-size 3"), ["args"]),
    "sglang: host cache": (sglang("--enable-hierarchical-cache"), ["args"]),
    "sglang: host cache, new name": (sglang("--enable-hicache"), ["args"]),
    "sglang: host cache's size": (sglang("--hicache-size 9"), ["args"]),
    "sglang: lmcache": (sglang("--enable-lmcache"), ["args"]),
    "sglang: copies": (sglang("--enable-weights-cpu-backup"), ["args"]),
    "sglang: copies of the draft": (sglang("--enable-draft-weights-cpu-backup"), ["args"]),
    "sglang: experts on the host": (sglang("--kt-weight-path x"), ["args"]),
    "sglang: a config file": (sglang("--config f.yaml"), ["args"]),
    "env as a list": (vllm("env: [A=1]"), ["env"]),
    "env with a number": (vllm("env: {A: 1}"), ["env.A"]),
    "env with a boolean": (vllm("env: {A: true}"), ["env.A"]),
    "env with a strange name": (vllm("env: {A-B: x}"), ["env.A-B"]),
    "a mount over the socket": (
        vllm("container: {mounts: {/run/upstream/x: /srv}}"),
        ["container.mounts./run/upstream/x"],
    ),
    "a mount over everything": (vllm("container: {mounts: {/: /srv}}"), ["container.mounts./"]),
    "a mount from nowhere": (
        vllm("container: {mounts: {/a: srv}}"),
        ["container.mounts./a"],
    ),
    "a mount that climbs": (
        vllm("container: {mounts: {/a: /srv/../etc}}"),
        ["container.mounts./a"],
    ),
    "a file with half a checksum": (
        vllm("container: {files: {/a: 'sha256:0a'}}"),
        ["container.files./a"],
    ),
    "a device elsewhere": (vllm("container: {devices: [/sys/x]}"), ["container.devices[0]"]),
    "an unknown limit": (vllm("container: {ulimits: {files: 3}}"), ["container.ulimits.files"]),
    "a limit below none": (
        vllm("container: {ulimits: {nofile: -2}}"),
        ["container.ulimits.nofile"],
    ),
    "an empty entrypoint": (vllm("container: {entrypoint: []}"), ["container.entrypoint"]),
    "network as a boolean": (vllm("network: false"), ["network"]),
    "an unknown lifecycle": (vllm("lifecycle: forever"), ["lifecycle"]),
    "keep as a boolean": (vllm("keep: true"), ["keep"]),
    "a priority beyond": (vllm("priority: 101"), ["priority"]),
    "a context of none": (vllm("context: 0"), ["context"]),
    "a context in words": (vllm("context: 128k"), ["context"]),
    "tools as a boolean": (vllm("capabilities: {tools: true}"), ["capabilities.tools"]),
    "vision as a word": (vllm("capabilities: {vision: yes}"), ["capabilities.vision"]),
    "a number as switch": (vllm("requests: {clamp_tokens: 1}"), ["requests.clamp_tokens"]),
    "presets as a list": (vllm("presets: [a]"), ["presets"]),
    "a preset that is no mapping": (vllm("presets: {a: 3}"), ["presets.a"]),
    "a preset of the model": (vllm("presets: {a: {model: b}}"), ["presets.a.model"]),
    "a preset with a strange name": (vllm("presets: {a b: {}}"), ["presets.a b"]),
    "a timeout as a number": (vllm("timeouts: {idle: 60}"), ["timeouts.idle"]),
    "a timeout of nothing": (vllm("timeouts: {idle: 0min}"), ["timeouts.idle"]),
    "a timeout in other units": (vllm("timeouts: {idle: 20m}"), ["timeouts.idle"]),
    "two at once": (vllm("timeouts: {idle: 1}\nkeep: 3"), ["keep", "timeouts.idle"]),
    "client tokens below zero": (vllm("client: {output: -1}"), ["client.output"]),
    "readiness as a switch": (vllm("readiness: false"), ["readiness"]),
    "a summary of two lines": (vllm('summary: "a\\nb"'), ["summary"]),
    "extends something strange": ("{extends: [base]}", ["extends", "image", "memory", "source"]),
    "extends and removes what is required": ("{extends: base, memory: null}", ["memory"]),
    "extends and breaks": ("{extends: base, timeouts: 3}", ["timeouts"]),
    "extends and adds a computed flag": ("{extends: base, args: [--port=3]}", ["args"]),
    "extends and only half becomes a process": (
        "{extends: base, engine: process, command: y}",
        ["image"],
    ),
}


def parse(text: str, name: str = "mine") -> Model:
    return modelfile.parse(name, text, file="mine.yaml", images=IMAGES, bases=BASES)


def problems_of(text: str, name: str = "mine") -> list[Problem]:
    with pytest.raises(FileProblems) as caught:
        parse(text, name)
    return list(caught.value.problems)


def schema_accepts(text: str) -> bool:
    """The schema's verdict: on the file, and on what it comes to with what it extends."""
    values = document.parse(text, "mine.yaml")
    merged = modelfile.resolve("mine", values, bases=BASES, report=Report("mine.yaml"))
    merged.pop("extends", None)
    return SCHEMA.is_valid(values) and SCHEMA.is_valid(merged)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())
    Draft202012Validator.check_schema(json_schema(vendor=True))


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_file_is_good_to_both(text: str) -> None:
    assert parse(textwrap.dedent(text)).name == "mine"
    assert schema_accepts(textwrap.dedent(text))


@pytest.mark.parametrize(("text", "keys"), BAD.values(), ids=BAD)
def test_bad_file_is_bad_to_both(text: str, keys: list[str]) -> None:
    problems = problems_of(text)

    assert [problem.key for problem in problems] == keys
    assert all(problem.file == "mine.yaml" for problem in problems)
    assert not schema_accepts(text)


def test_there_are_enough_of_them() -> None:
    assert len(GOOD) + len(BAD) >= 60


# Values that are right for some key and wrong for most.
ODD = st.sampled_from(
    [None, True, False, 0, 1, -1, 8.0, 1.5, 1e300, 18300, "", " ", "x", "X y", "a/b", "/a", "/",
     "..", "20min", "0s", "24GiB", "none", "idle", "full", "process", "container", "vllm",
     "experimental", "disabled", "--port 3", "'", "# x", "\\", "\n", "x\n", [], ["x"], ["x", "x"],
     [3], ["--port"], ["--a b"], {}, {"x": "y"}, {"x": None}, {"/a": "/b"}, {"disabled": "x"},
     {"disabled": None}, {"A": 1}, {"a": {}}, {"a": {"stream": 1}}, {"model": "x"},
     {"idle": "1s"}, {"nofile": 3}]
)  # fmt: skip
DOCUMENTS = [document.parse(textwrap.dedent(text), "good") for text in GOOD.values()]
KEYS = [(key,) for key in MODEL.settings if key != "extends"] + [
    (key, below)
    for key, setting in MODEL.settings.items()
    if isinstance(setting.kind, Table)
    for below in setting.kind.settings
]


@settings(max_examples=500)
@given(
    st.sampled_from([values for values in DOCUMENTS if "extends" not in values]),
    st.lists(st.tuples(st.sampled_from(KEYS), ODD), max_size=3),
)
def test_changed_files_get_the_same_verdict(
    values: dict[str, Any], changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    values = copy.deepcopy(values)
    for path, value in changes:
        below = values
        for key in path[:-1]:
            if not isinstance(below.get(key), dict):
                below[key] = {}
            below = below[key]
        below[path[-1]] = value
    report = Report("changed")

    MODEL.read(values, "", report)
    rules.check(values, report)

    assert SCHEMA.is_valid(values) is (not report.problems), report.problems


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (vllm('args: --kv-"cache-memory-bytes" 9G'), "args"),
        (vllm("env: {VLLM_CPU_KVCACHE_SPACE: '24'}"), "env.VLLM_CPU_KVCACHE_SPACE"),
        (
            vllm("env: {VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS: '0'}"),
            "env.VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS",
        ),
        (sglang("--x").replace("24GiB", "4GiB"), "memory"),
        (sglang("--x\naliases: ['qwen3:30b']"), "aliases"),
    ],
)
def test_what_a_schema_cannot_see_of_the_lease_is_an_error_too(text: str, key: str) -> None:
    assert [problem.key for problem in problems_of(text)] == [key]


def test_what_stays_within_the_lease_is_none() -> None:
    assert parse(vllm("env: {VLLM_CPU_KVCACHE_SPACE: '23'}")).name == "mine"
    assert parse(sglang("--x").replace("24GiB", "6GiB")).name == "mine"


def test_error_names_the_flag_and_what_to_set_instead() -> None:
    (problem,) = problems_of(sglang("--mem=0.9"))
    assert problem.message == "'--mem-fraction-static' is computed by the runner: set 'memory'"
