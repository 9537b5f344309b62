"""Nothing of the seed's models is lost: each part is kept, or treated with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from catalog_shipped import ROOT, models
from seed_facts import KINDS, common, facts, kept, parts

from spark_activator.catalog import retired
from spark_activator.catalog.model import Engine, Model, StatusKind, Tools
from spark_activator.catalog.quantities import parse_duration

# 34 that the seed's docker-compose.yml includes, and 8 that were active without that.
SERVED = 42
GIB = 1 << 30
# What the seed's shares were of: MemTotal of a Spark.
SPARK_GIB = 121.69
TOOLS = {"full": Tools.FULL, "none": Tools.NONE, "force-required": Tools.FORCED}
PROFILES = {
    "default": {None, Tools.FULL, Tools.NONE, Tools.FORCED},
    "vl": {Tools.NONE},
    "small-no-tools": {Tools.NONE},
    "coder-force-tools": {Tools.FORCED},
}
# What the control plane knew; a difference is explained in `treated` by the same word.
CONTROL = (
    "context",
    "lifecycle",
    "tools",
    "vision",
    "flatten_text",
    "strict_roles",
    "tool_hints",
    "thinking_default",
    "thinking",
    "clamp_margin",
    "client.context",
    "start",
)

OURS = {name: model for name, model in models().items() if name in facts()}
NAMES = sorted(OURS)
every = pytest.mark.parametrize("name", NAMES)


def test_every_name_that_the_seed_served_is_a_model() -> None:
    assert len(facts()) == SERVED
    assert sum(seed["included"] for seed in facts().values()) == 34
    assert set(facts()) - set(models()) == set()


def test_every_other_name_of_the_seed_is_retired_for_a_model_that_works() -> None:
    # 11 that were commented out, and 3 that were only in its gateway's list.
    file = ROOT / "models/retired.yaml"

    names, problems = retired.parse(file.read_text(), str(file))

    assert problems == []
    assert len(names) == 14
    assert set(names) & set(models()) == set()
    instead = [models()[entry.instead] for entry in names.values() if entry.instead]
    assert len(instead) == len(names)
    assert StatusKind.DISABLED not in {model.status.kind for model in instead}
    assert all(len(entry.reason.split()) >= 4 for entry in names.values())


@every
def test_what_the_seed_served_is_what_is_served(name: str) -> None:
    seed, model = facts()[name], OURS[name]

    assert seed["name"] == name
    assert model.engine is Engine(seed["engine"])
    assert model.source.model == seed["model"]
    # Two models of the same weights cannot both have their name.
    assert seed["model"] in model.aliases or "alias" in treatments(name)


@every
def test_every_part_of_the_seeds_service_is_kept_or_treated_with_a_reason(name: str) -> None:
    treated = treatments(name)

    lost = [
        part
        for part in parts(name)
        if not kept(part, OURS[name]) and not any(key in treated for key in part.keys)
    ]

    assert lost == []


@every
def test_what_the_seeds_control_plane_knew_is_so_or_treated_with_a_reason(name: str) -> None:
    treated = treatments(name)

    different = {key: f"{was!r} is {now!r}" for key, was, now in control(facts()[name], OURS[name])}

    assert {key: says for key, says in different.items() if key not in treated} == {}


@every
def test_treatments_say_why_and_explain_a_difference(name: str) -> None:
    gone = {key for part in parts(name) if not kept(part, OURS[name]) for key in part.keys}
    gone |= {key for key, _, _ in control(facts()[name], OURS[name])}
    gone |= {"memory"} if OURS[name].memory > share(name) else set()
    gone |= {"alias"} if facts()[name]["model"] not in OURS[name].aliases else set()

    assert set(facts()[name]["treated"]) - gone == set()
    for treatment in facts()[name]["treated"].values():
        check_treatment(treatment)


def test_common_treatments_say_why_and_are_needed() -> None:
    everywhere = {key for name in facts() for part in parts(name) for key in part.keys}

    assert set(common()) - everywhere == set()
    for treatment in common().values():
        check_treatment(treatment)


@every
def test_memory_is_within_the_seeds_share_and_holds_what_it_is_for(name: str) -> None:
    model = OURS[name]

    assert model.sizing is not None
    needed = model.sizing.weights + model.sizing.kv + model.sizing.overhead
    assert needed <= model.memory
    assert model.memory <= share(name) or "memory" in treatments(name)


def share(name: str) -> float:
    """How many bytes the seed's share of the memory was."""
    args = facts()[name]["args"]
    fraction = args.get("--gpu-memory-utilization") or args["--mem-fraction-static"]
    return float(fraction) * SPARK_GIB * GIB


def treatments(name: str) -> dict[str, dict[str, str]]:
    return {**common(), **facts()[name]["treated"]}


def check_treatment(treatment: dict[str, str]) -> None:
    ((kind, reason),) = treatment.items()
    assert kind in KINDS
    # A word or two say what computes it; a reason for a change or a loss is a sentence.
    assert len(reason.split()) >= (1 if kind == "computed" else 4)


def control(seed: dict[str, Any], model: Model) -> list[tuple[str, object, object]]:
    """What the seed's control plane knew otherwise than our model file: key, theirs, ours."""
    knew, requests = seed["control"] or {}, model.requests
    args = seed["args"]
    window = args.get("--max-model-len") or args["--context-length"]
    compared: list[tuple[str, object, object]] = [
        ("context", knew.get("context", model.context), model.context),
        ("context", window, str(model.context)),
        ("lifecycle", knew.get("lifecycle", "normal"), str(model.lifecycle)),
        ("start", True, parse_duration(seed["start_period"]) <= model.timeouts.start),
    ]
    if seed["client_context"] is not None:
        compared.append(("client.context", seed["client_context"], model.client.context))
    if "rules" in knew:
        flattened = "flatten-text-content" in knew["rules"]
        compared.append(("flatten_text", flattened, requests.flatten_text))
    if "tools" in knew:
        # Models with these words in their name were made to alternate (T2 of its validator).
        strict = bool(re.search("gemma|llama", seed["name"]))
        compared += [
            ("tools", TOOLS[knew["tools"]], model.capabilities.tools),
            ("tools", True, model.capabilities.tools in PROFILES[knew["profile"]]),
            ("vision", knew["vision"], model.capabilities.vision),
            ("flatten_text", knew["flatten_text"], requests.flatten_text),
            ("strict_roles", strict, requests.strict_roles),
            ("tool_hints", "llama" in seed["name"], requests.tool_hints),
            ("thinking_default", knew["default_non_thinking"], requests.thinking_default is False),
        ]
        if knew["binary_reasoning"]:
            understood = model.capabilities.reasoning or requests.thinking_default is not None
            compared.append(("thinking", True, understood))
        if knew["small_margin"]:
            compared.append(("clamp_margin", 4096, requests.clamp_margin))
    assert {key for key, _, _ in compared} <= set(CONTROL)
    return [(key, was, now) for key, was, now in compared if was != now]
