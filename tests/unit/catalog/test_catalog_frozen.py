from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.catalog import frozen
from spark_activator.catalog.host import Gpu, HostSettings
from spark_activator.catalog.model import (
    ContainerOptions,
    Engine,
    Image,
    Keep,
    Model,
    Requests,
    Source,
    Status,
    StatusKind,
    Timeouts,
)
from spark_activator.errors import FileProblems

MODEL = Model(
    name="m",
    port=18100,
    engine=Engine.VLLM,
    source=Source("a/b"),
    memory=24 << 30,
    status=Status(StatusKind.DISABLED, "why"),
    aliases=("x", "y"),
    image=Image("i", "i:1", "sha256:00"),
    env={"B": "2", "A": "ü"},
    container=ContainerOptions(ulimits={"memlock": -1}, entrypoint=("a",)),
    keep=Keep.ALWAYS,
    context=4096,
    requests=Requests(thinking_default=False),
    presets={"p": {"temperature": 0.5, "stop": ["a", None]}},
    timeouts=Timeouts(idle=90),
)


def test_model_comes_back_as_it_was() -> None:
    assert frozen.load(frozen.dump(MODEL)) == MODEL


def test_the_text_is_stable_sorted_and_made_of_lines() -> None:
    text = frozen.dump(MODEL)

    assert text == frozen.dump(frozen.load(text))
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    assert text.count("\n") > 60


def test_whole_seconds_are_times_too() -> None:
    loaded = frozen.load(frozen.dump(MODEL))

    assert type(loaded.timeouts.idle) is float


def test_a_key_that_an_older_version_did_not_know_takes_its_default() -> None:
    body = json.loads(frozen.dump(MODEL))
    del body["probe"], body["timeouts"]["stall"], body["image"]["cpu"]

    loaded = frozen.load(json.dumps(body))

    assert loaded.probe
    assert loaded.timeouts.stall == Timeouts().stall


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["port"], "18100", "port: expected int, got str"),
        (["port"], True, "port: expected int, got bool"),
        (["probe"], 1, "probe: expected bool, got int"),
        (["engine"], "ollama", "engine: expected one of vllm, sglang, container, process"),
        (["engine"], [], "engine: expected one of"),
        (["aliases"], "x", "aliases: expected list, got str"),
        (["aliases"], [1], "aliases[0]: expected str, got int"),
        (["env"], {"A": 1}, "env.A: expected str, got int"),
        (["source"], None, "source: expected dict, got NoneType"),
        (["source"], {}, "source.model: required, but not there"),
        (["image", "digest"], 3, "image.digest: expected str, got int"),
        (["timeouts", "idle"], "1h", "timeouts.idle: expected float, got str"),
        (["presets", "p"], [], "presets.p: expected dict, got list"),
        (["timeouts", "x"], 1, "timeouts.x: unknown key"),
    ],
)
def test_broken_file_names_file_and_key(path: list[str], value: Any, problem: str) -> None:
    body = json.loads(frozen.dump(MODEL))
    below = body
    for key in path[:-1]:
        below = below[key]
    below[path[-1]] = value

    with pytest.raises(FileProblems) as caught:
        frozen.load(json.dumps(body), file="/etc/m.json")

    assert str(caught.value).startswith(f"/etc/m.json: {problem}")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"a": 1}'])
def test_what_is_no_frozen_model(text: str) -> None:
    with pytest.raises(FileProblems):
        frozen.load(text)


@given(st.text())
def test_no_text_raises_anything_but_our_error(text: str) -> None:
    for load in (frozen.load, frozen.load_host):
        with pytest.raises(FileProblems):
            load(text and f"[{text}")


def test_hash_names_the_configuration() -> None:
    assert frozen.config_hash(MODEL) == frozen.config_hash(frozen.load(frozen.dump(MODEL)))
    assert len(frozen.config_hash(MODEL)) == 16
    assert frozen.config_hash(MODEL) != frozen.config_hash(replace(MODEL, args=("--x",)))
    assert frozen.config_hash(MODEL) != frozen.config_hash(replace(MODEL, aliases=("y", "x")))


def test_hash_does_not_count_defaults() -> None:
    # An upgrade that brings a new key must not make every running container a stranger.
    plain = Model("m", 18100, Engine.VLLM, Source("a/b"), 1)

    assert frozen.config_hash(plain) == "5fc012d12b7db424"


def test_host_settings_come_back_as_they_were() -> None:
    host = HostSettings(Gpu.CDI, ("/a", "/b"), 100 << 30, "/run/docker.sock")

    assert frozen.load_host(frozen.dump_host(host)) == host
    assert frozen.load_host(frozen.dump_host(HostSettings())) == HostSettings()


def test_reading_it_imports_no_yaml() -> None:
    code = "import sys, spark_activator.catalog.frozen as f; print('yaml' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "False\n"
