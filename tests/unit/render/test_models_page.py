"""docs/models.md: what it says, and that it is fresh."""

from __future__ import annotations

import re

from catalog_shipped import ROOT

from spark_activator.catalog.model import (
    Capabilities,
    Engine,
    Image,
    Lifecycle,
    Measured,
    Model,
    Sizing,
    Source,
    Status,
    StatusKind,
    Tools,
)
from spark_activator.catalog.retired import Retired
from spark_activator.cli.models_page import text
from spark_activator.render.models_page import page, pairs

GIB = 1 << 30
IMAGE = Image("some-vllm", "some/vllm:1")


def model(name: str, gib: float = 10, **values: object) -> Model:
    given = {"port": 18100, "engine": Engine.VLLM, "image": IMAGE, "source": Source("a/b")}
    return Model(name=name, memory=int(gib * GIB), **given | values)


def written(*models: Model, retired: dict[str, Retired] | None = None) -> str:
    return page({model.name: model for model in models}, retired or {})


def section(page: str, title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}.*?$(.*?)(?=^##|\Z)", page, re.M | re.S)
    return found[1] if found else ""


def test_the_page_is_fresh() -> None:
    # Write it anew: python -m spark_activator.cli.models_page > docs/models.md
    assert (ROOT / "docs/models.md").read_text() == text(ROOT)


def test_every_link_of_the_page_has_its_heading() -> None:
    page = text(ROOT)
    # A heading's anchor is its words in lower case, with neither dots nor spaces.
    anchors = {
        heading.lower().replace(".", "").replace(" ", "-")
        for heading in re.findall(r"^##+ (.*)$", page, re.M)
    }

    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


def test_an_entry_says_what_is_known_and_where_from() -> None:
    entry = section(
        written(
            model(
                "a",
                summary="does it all",
                source=Source("org/a", "0123", origin="a book", drafts=("org/draft",)),
                sizing=Sizing(6 * GIB, 3 * GIB, GIB, 2, 4096, "arithmetic"),
                measured=Measured(12.5, 100, "a stopwatch"),
                issues=("it stutters",),
                aliases=("org/a",),
                context=4096,
            )
        ),
        "a\n",
    )

    for words in (
        "Does it all.",
        "org/a, commit 0123; with org/draft",
        "10 GiB",
        "6 GiB for weights, 3 GiB for keys and values (2 whole contexts, 4 KiB a token)",
        "arithmetic",
        "12.5 tokens a second, reads 100 a second",
        "a stopwatch",
        "image some-vllm",
        "a book",
        "**known problem:** it stutters",
    ):
        assert words in entry


def test_the_fastest_is_named_first() -> None:
    slow = model("a", measured=Measured(41), capabilities=Capabilities(tools=Tools.FULL))
    fast = model("b", measured=Measured(90), capabilities=Capabilities(vision=True))
    page = written(slow, fast)

    assert "| quick answers | [b](#b) (10 GiB, 90), [a](#a) (10 GiB, 41) |" in page
    assert "| images | [b](#b) (10 GiB, 90) |" in page


def test_the_smallest_is_named_first_where_memory_counts() -> None:
    page = written(model("a", 12), model("b", 4.5), model("large", 30))

    assert (
        "| the least memory, beside a larger model | [b](#b) (4.5 GiB), [a](#a) (12 GiB) |" in page
    )


def test_a_coding_agent_needs_tools_and_room_for_them() -> None:
    tools = Capabilities(tools=Tools.FORCED)
    page = written(
        model("agent-coder", capabilities=tools, context=65536),
        model("small-coder", capabilities=tools, context=32768),
        model("deaf-coder", capabilities=Capabilities(tools=Tools.NONE), context=65536),
    )

    assert "| coding agents that call tools | [agent-coder](#agent-coder) (10 GiB) |" in page
    short = "[deaf-coder](#deaf-coder) (10 GiB), [small-coder](#small-coder) (10 GiB)"
    assert f"| code, in short tasks | {short} |" in page


def test_who_is_not_for_opencode_is_not_recommended_for_code() -> None:
    page = written(model("a-coder"), model("b", summary="slow; not for OpenCode"))

    assert "| code, in short tasks | [a-coder](#a-coder) (10 GiB) |" in page


def test_what_cannot_be_had_is_not_recommended() -> None:
    off = Status(StatusKind.DISABLED, "it never worked")
    page = written(
        model("a"), model("off", status=off), model("cpu", image=Image("c", "c", cpu=True))
    )

    assert "| off | it never worked |" in section(page, "Not offered")
    assert "[off]" not in page
    assert "[cpu]" not in page
    assert "### cpu" in page


def test_retired_names_have_their_reason_and_what_to_ask_for() -> None:
    page = written(
        model("a"), retired={"old": Retired("it | broke", "a"), "older": Retired("gone")}
    )

    assert "| old | it \\| broke | [a](#a) |" in page
    assert "| older | gone |  |" in page


def test_a_pair_leaves_room_for_the_host() -> None:
    # 121.69 GiB less 8 for the host and 4 that are in use.
    assert pairs([model("a", 60), model("b", 49.6)]) == [("a", "b"), ("b", "a")]
    assert pairs([model("a", 60), model("b", 49.8)]) == []


def test_an_exclusive_model_is_in_no_pair() -> None:
    assert pairs([model("a"), model("b", lifecycle=Lifecycle.EXCLUSIVE)]) == []


def test_a_helper_is_named_before_larger_ones() -> None:
    helper = model("helper", 1, lifecycle=Lifecycle.UTILITY)
    others = [model(f"m{number}", 5 + number) for number in range(8)]

    beside = [second for first, second in pairs([model("a"), helper, *others]) if first == "a"]

    assert beside == ["helper", "m7", "m6", "m5", "m4", "m3"]
