"""The description that we publish has the paths, codes and shapes of the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from spark_activator.errors import REFUSALS, Refusal
from spark_activator.http import paths
from spark_activator.http.answers import refusal_answer

DESCRIPTION: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs/openapi.yaml").read_text("utf-8")
)
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
NGINX = "http://127.0.0.1:8009"
# A path for each that has a name in it.
EXAMPLES = {"{id}": "resp_1", "{name}": "story"}


def resolved(value: Any) -> Any:
    """Follow what *value* refers to."""
    while isinstance(value, dict) and "$ref" in value:
        found: Any = DESCRIPTION
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if "$ref" in value else []
        return here + [found for each in value.values() for found in references(each)]
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    return []


def codes(status: int) -> set[str]:
    """The codes that a refusal of *status* is said to have."""
    content = resolved(DESCRIPTION["components"]["responses"][str(status)])["content"]
    _, ours = content["application/json"]["schema"]["allOf"]
    return set(ours["properties"]["error"]["properties"]["code"]["enum"])


def at_a_port(item: dict[str, Any]) -> bool:
    servers = item.get("servers", DESCRIPTION["servers"])
    return any(server["url"] != NGINX for server in servers)


def test_whatever_is_referred_to_is_there() -> None:
    found = references(DESCRIPTION)

    assert len(found) > 100
    for reference in found:
        assert resolved({"$ref": reference})


@pytest.mark.parametrize("status", sorted({kind.status for kind in REFUSALS.values()}))
def test_codes_of_a_status_are_those_of_the_table(status: int) -> None:
    assert codes(status) == {code for code, kind in REFUSALS.items() if kind.status == status}


@pytest.mark.parametrize("code", REFUSALS)
def test_refusals_have_the_shape_that_is_described(code: str) -> None:
    refusal = Refusal(code, "no")
    head, _, body = refusal_answer(refusal, "0123456789abcdef").partition(b"\r\n\r\n")
    described = resolved(DESCRIPTION["components"]["responses"][str(refusal.kind.status)])
    schema = described["content"]["application/json"]["schema"]

    validator = Draft202012Validator({**schema, "components": DESCRIPTION["components"]})
    assert list(validator.iter_errors(json.loads(body))) == []
    fields = {line.partition(b":")[0].decode() for line in head.split(b"\r\n")[1:]}
    ours = {"Content-Type", "Content-Length", "Connection"}
    assert fields - ours <= set(described["headers"])


@pytest.mark.parametrize(
    "path", [path for path, item in DESCRIPTION["paths"].items() if at_a_port(item)]
)
def test_a_port_has_the_path_with_these_methods(path: str) -> None:
    described = {method for method in DESCRIPTION["paths"][path] if method in METHODS}
    for placeholder, example in EXAMPLES.items():
        path = path.replace(placeholder, example)

    assert {word.strip().lower() for word in paths.allowed(path).split(",")} == described


def test_every_path_of_a_port_is_described() -> None:
    described = {path for path, item in DESCRIPTION["paths"].items() if at_a_port(item)}

    assert set(paths._LOCAL) | set(paths._ENGINE) <= described
    patterns = described - set(paths._LOCAL) - set(paths._ENGINE)
    assert len(patterns) == len(paths._PATTERNS)


def test_every_operation_says_how_it_is_refused() -> None:
    for path, item in DESCRIPTION["paths"].items():
        for method in METHODS:
            if method in item:
                statuses = {int(status) for status in item[method]["responses"]}
                assert statuses >= {400, 401, 403, 404, 405, 503}, (method, path)
