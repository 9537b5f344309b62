from __future__ import annotations

import pytest

from spark_activator.catalog import hostfile, images
from spark_activator.catalog.host import Gpu, HostSettings
from spark_activator.catalog.model import Image
from spark_activator.errors import FileProblems

DIGEST = "sha256:" + "0a" * 32


def test_host_settings() -> None:
    text = "{gpu: cdi, hub_caches: [/srv/hub], budget: 100GiB, docker_host: /run/d.sock}"

    assert hostfile.parse(text, "host.yaml") == HostSettings(
        Gpu.CDI, ("/srv/hub",), 100 << 30, "/run/d.sock"
    )


@pytest.mark.parametrize(
    "text", ["", "# all defaults\n", "gpu: auto\nbudget: auto", "budget: null"]
)
def test_host_settings_have_defaults(text: str) -> None:
    assert hostfile.parse(text, "host.yaml") == HostSettings()


def test_every_problem_of_host_settings() -> None:
    with pytest.raises(FileProblems) as caught:
        hostfile.parse("{gpu: maybe, budget: 100, hub_caches: [srv], dockerhost: /x}", "host.yaml")

    assert [problem.key for problem in caught.value.problems] == [
        "budget", "dockerhost", "gpu", "hub_caches[0]",
    ]  # fmt: skip
    assert "did you mean 'docker_host'?" in str(caught.value)


def test_images() -> None:
    text = f"""
        a: {{reference: 'nvcr.io/nvidia/vllm:26.01-py3', digest: '{DIGEST}'}}
        b: {{reference: 'localhost:5000/x/y', pinned: false, cpu: true}}
    """

    known, problems = images.parse(text, "images.yaml")

    assert problems == []
    assert {name: entry.image for name, entry in known.items()} == {
        "a": Image("a", "nvcr.io/nvidia/vllm:26.01-py3", DIGEST),
        "b": Image("b", "localhost:5000/x/y", cpu=True),
    }
    assert known["a"].image.pull_spec == f"nvcr.io/nvidia/vllm:26.01-py3@{DIGEST}"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{reference: x}", "expected either 'digest' or 'pinned: false'"),
        ("{reference: x, pinned: true}", "expected either 'digest' or 'pinned: false'"),
        (f"{{reference: x, pinned: false, digest: '{DIGEST}'}}", "expected either"),
        ("{reference: x, digest: 'sha256:0a'}", "a.digest: expected 'sha256:' and 64 hex digits"),
        (f"{{reference: 'x@{DIGEST}', pinned: false}}", "a.reference: expected a reference"),
        ("{pinned: false}", "a.reference: required"),
        ("x:latest", "a: expected keys"),
    ],
)
def test_broken_image_costs_only_itself(entry: str, problem: str) -> None:
    known, problems = images.parse(f"a: {entry}\nb: {{reference: y, pinned: false}}", "images.yaml")

    assert list(known) == ["b"]
    assert [problem in str(found) for found in problems] == [True]


def test_addresses_to_listen_on_are_addresses():
    good = hostfile.parse("listen: [172.17.0.1, 'fd7a:115c::1', 0.0.0.0, '::']", "host.yaml")
    assert good.listen == ("172.17.0.1", "fd7a:115c::1", "0.0.0.0", "::")

    with pytest.raises(FileProblems) as found:
        hostfile.parse("listen: [172.17.0.256, ':::', 172.17.0.1]", "host.yaml")

    assert [problem.key for problem in found.value.problems] == ["listen[0]", "listen[1]"]
