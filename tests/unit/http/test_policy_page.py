"""docs/requests.md says what the code does, where a table or a number can be compared."""

from __future__ import annotations

import re
from pathlib import Path

from spark_activator.catalog.model import Requests
from spark_activator.http.policy import limits, media, refused, schemas, strict
from spark_activator.http.policy.apply import RULES

PAGE = (Path(__file__).parents[3] / "docs" / "requests.md").read_text("utf-8")


def section(title: str) -> str:
    """Return what is below one heading, up to the next of its level."""
    level, _, _ = title.partition(" ")
    return PAGE.partition(f"\n{title}\n")[2].partition(f"\n{level} ")[0]


def test_page_has_every_rule_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("## Rules").partition("###")[0], re.MULTILINE)

    assert rows == ["strip", *RULES, "stream_tools", limits.NAME]


def test_page_has_every_field_that_is_refused_with_its_reason() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section("## What is refused"), re.MULTILINE)

    assert {field: why for field, why in rows if field in refused.REFUSED} == refused.REFUSED
    assert all(f"`{name}`" in section("## Media") for name in (*media.EMBEDS, media.VIDEO))


def test_page_has_the_limits() -> None:
    table = section("## What is refused")
    cells = [str(refused.MOST_LOGPROBS), str(refused.MOST_MESSAGES), str(schemas.MOST_TOOLS)]
    cells += [f"{schemas.LONGEST_SCHEMA} characters", f"{schemas.LONGEST_GRAMMAR} characters"]
    cells += [f"{schemas.LONGEST_REGEX} characters", str(schemas.MOST_REPEATS)]
    cells += [str(schemas.MOST_CHOICES), f"`requests.most_choices`, {Requests().most_choices}"]
    cells.append(", ".join(f"`{name}`" for name in refused.ARGUMENTS))

    assert [cell for cell in cells if f"| {cell} |" not in table] == []


def test_page_has_the_numbers_of_strict_json_and_of_the_estimate() -> None:
    numbers = section("## Strict JSON")
    assert f"{strict.MOST_VALUES:,}" in numbers
    assert f"more than {strict.MOST_DIGITS} digits" in numbers
    assert f"more than {strict.MOST_LEVELS} levels" in numbers

    answer = section("### The longest answer")
    assert f"A picture is {limits.IMAGE}, a message {limits.MESSAGE} more" in answer
    assert f"a request {limits.REQUEST} more" in answer
    assert f"{limits.LEAST_MARGIN} at least" in answer
    assert f"less than {limits.LEAST_ANSWER} tokens" in answer
