"""What each check says of a good machine, and of bad ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from spark_activator.catalog.host import Gpu, HostSettings
from spark_activator.doctor import serving
from spark_activator.doctor.checks import CHECKS, judge
from spark_activator.doctor.facts import (
    GIB,
    Container,
    DockerFacts,
    Facts,
    Holder,
    KeyFacts,
    Listener,
    Room,
)

ROOT = Path(__file__).parents[3]
RUN = "/run/spark-activator"
DOCKER = DockerFacts("28.0", "systemd", frozenset({"runc", "nvidia"}), True, "/var/lib/docker")
GOOD = Facts(
    run=RUN,
    docker=DOCKER,
    gpu_nodes=("/dev/nvidia0",),
    cdi_spec=True,
    char_links=True,
    driver="580.95.05",
    memory={"MemTotal": 120 * GIB, "MemAvailable": 110 * GIB, "SwapTotal": 16 * GIB},
    swappiness=10,
    rooms=(Room("/var/lib", 900 * GIB, 1000 * GIB),),
    nginx="1.24.0",
    njs=True,
    nginx_runs=True,
    listeners=(
        Listener("nginx", 8009, ("127.0.0.1",), ours=True, enabled=True),
        Listener("mine", 18300, ("127.0.0.1",), ours=True, enabled=True),
        Listener("off", 18301, (), ours=False, enabled=False),
    ),
    keys=KeyFacts("/etc/keys", mode=0o640),
)


def said(facts: Facts, check: str) -> tuple[str, str, str]:
    """Return level, sentence and remedy of the worst that *check* says."""
    rank = {"ok": 0, "note": 1, "problem": 2}
    found = [finding for finding in judge(facts) if finding.check == check]
    worst = max(found, key=lambda finding: rank[finding.level])
    return worst.level, worst.says, worst.mend


def containers(*found: Container) -> Facts:
    return replace(GOOD, docker=replace(DOCKER, containers=found))


def test_good_machine_has_ten_checks_that_are_well() -> None:
    found = judge(GOOD)

    assert [finding.check for finding in found] == list(CHECKS)
    assert {finding.level for finding in found} == {"ok"}
    assert len(CHECKS) == 10


BY_RUNTIME = replace(GOOD, cdi_spec=False)
LITTLE = {"MemTotal": 120 * GIB, "MemAvailable": 7 * GIB}
OURS = {"io.spark-activator.model": "mine", "io.spark-activator.run": RUN}
COMPOSE = {"com.docker.compose.project": "dgx-spark-inference-stack"}

BAD = {
    "docker away": (
        replace(GOOD, docker=None, docker_error="timed out"), "docker",
        "problem", "timed out", "systemctl start docker",
    ),
    "docker only for others": (
        replace(GOOD, docker=None, docker_denied=True, docker_error="permission denied"), "docker",
        "note", "only root", "sudo spark-model doctor",
    ),
    "no GPU": (replace(GOOD, gpu_nodes=()), "gpu-devices", "note", "no GPU", "nvidia-smi"),
    "cdi without a specification": (
        replace(GOOD, cdi_spec=False, host=HostSettings(gpu=Gpu.CDI)), "gpu-devices",
        "problem", "no CDI specification", "nvidia-ctk cdi generate",
    ),
    "cdi with an old Docker": (
        replace(GOOD, docker=replace(DOCKER, cdi=False), host=HostSettings(gpu=Gpu.CDI)),
        "gpu-devices", "problem", "too old", "gpu: runtime",
    ),
    "neither cdi nor runtime": (
        replace(BY_RUNTIME, docker=replace(DOCKER, runtimes=frozenset({"runc"}))), "gpu-devices",
        "problem", "no GPU", "nvidia-ctk runtime configure",
    ),
    "daemon-reload hazard": (
        replace(BY_RUNTIME, char_links=False), "gpu-devices",
        "note", "daemon-reload", "create-dev-char-symlinks",
    ),
    "bad driver": (
        replace(GOOD, driver="590.44.01"), "driver", "problem", "CUDA graphs", "580",
    ),
    "silent driver": (replace(GOOD, driver=None), "driver", "problem", "version", "nvidia-smi"),
    "no memory": (replace(GOOD, memory=LITTLE), "memory", "problem", "8.0 GiB have to", "ps "),
    "no memory beside models": (
        replace(GOOD, memory=LITTLE, leased=frozenset({"mine"})), "memory",
        "note", "while models run", "lease show",
    ),
    "eager swap": (replace(GOOD, swappiness=60), "memory", "note", "is 60", "swappiness=10"),
    "disk full": (
        replace(GOOD, rooms=(Room("/var/lib", GIB, 1000 * GIB),)), "disk",
        "problem", "1.0 GiB of 1000.0 GiB", "spark-model disk",
    ),
    "disk low": (
        replace(GOOD, rooms=(Room("/var/lib", 20 * GIB, 1000 * GIB),)), "disk",
        "note", "large model", "spark-model disk",
    ),
    "no nginx": (replace(GOOD, nginx=None), "nginx", "problem", "nginx is missing", "apt-get"),
    "no njs": (replace(GOOD, njs=False), "nginx", "problem", "(njs) is missing", "http-js"),
    "old nginx": (replace(GOOD, nginx="1.18.0"), "nginx", "problem", "older", "apt-get"),
    "nginx off": (
        replace(GOOD, nginx_runs=False), "nginx", "problem", "does not run", "start spark-nginx",
    ),
    "port taken": (
        replace(GOOD, listeners=(Listener("mine", 18300, ("0.0.0.0",), ours=False, enabled=True),)),
        "ports", "problem", "port 18300 of 'mine'", "ss -ltnp",
    ),
    "socket that failed": (
        replace(GOOD, listeners=(Listener("mine", 18300, (), ours=False, enabled=True),)),
        "ports", "problem", "nobody listens on port 18300 of 'mine'",
        "sudo systemctl restart spark-model@mine.socket",
    ),
    "port of a model that is off": (
        replace(GOOD, listeners=(Listener("x", 18301, ("::",), ours=False, enabled=False),)),
        "ports", "note", "port 18301", "ss -ltnp",
    ),
    "seed runs": (
        containers(Container("vllm-qwen", running=True)), "seed",
        "problem", "vllm-qwen", "sudo docker update --restart=no vllm-qwen && sudo docker stop",
    ),
    "seed comes back": (
        containers(Container("waker", running=False, labels=COMPOSE, restart="unless-stopped")),
        "seed", "problem", "return at boot", "--restart=no waker",
    ),
    "seed left": (
        containers(Container("vllm-old", running=False)), "seed",
        "note", "stopped", "sudo docker rm vllm-old",
    ),
    "container without a lease": (
        containers(Container("spark-mine", running=True, labels=OURS)), "stale",
        "problem", "nobody holds the lease", "spark-reaper@mine.service",
    ),
    "state without a runner": (
        replace(GOOD, stated=("mine",)), "stale", "problem", "runner of 'mine'", "state/mine.json",
    ),
    "paused": (replace(GOOD, paused=True), "stale", "note", "paused", "spark-model resume"),
    "host.yaml": (
        replace(GOOD, host_problem="host.yaml: gpu: wrong", host_file="/etc/host.yaml"), "access",
        "problem", "gpu: wrong", "sudoedit /etc/host.yaml && sudo spark-model apply",
    ),
    "keys not readable": (
        replace(GOOD, keys=KeyFacts("k", readable=False)), "access", "note", "root", "sudo",
    ),
    "keys that are a directory": (
        replace(GOOD, keys=KeyFacts("/etc/keys", problem="is a directory")), "access",
        "problem", "/etc/keys: is a directory", "sudo mv /etc/keys /etc/keys.aside",
    ),
    "keys for everybody": (
        replace(GOOD, keys=KeyFacts("/etc/keys", mode=0o644)), "access",
        "problem", "mode 0644", "chmod 0640 /etc/keys",
    ),
    "broken key": (
        replace(GOOD, keys=KeyFacts("k", 1, wrong=(3,), mode=0o640)), "access",
        "problem", "nothing: 3", "sudoedit k",
    ),
    "exposed": (
        replace(GOOD, listeners=(Listener("nginx", 8009, ("0.0.0.0",), ours=True, enabled=True),)),
        "access", "problem", "nginx on 0.0.0.0:8009", "key add",
    ),
    "listen waits for a key": (
        replace(GOOD, host=HostSettings(listen=("10.0.0.1",))), "access",
        "note", "10.0.0.1", "key add",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_machine_is_told_what_and_how(case: str) -> None:
    facts, check, level, words, mend = BAD[case]

    found = said(facts, check)

    assert found[0] == level
    assert words in found[1]
    assert mend in found[2]


@pytest.mark.parametrize(
    ("holder", "enabled", "who", "mend"),
    [
        (Holder("nc", 7), True, "nc (process 7)", "sudo kill 7 && sudo systemctl restart"),
        (Holder("nc", 7), False, "nc (process 7)", "sudo kill 7"),
        (
            Holder("python3", 7, "web.service"), True, "python3 (process 7 of web.service)",
            "sudo systemctl stop web.service && sudo systemctl restart spark-model@mine.socket",
        ),
        (
            Holder("docker-proxy", 7, "docker.service"), False, "docker-proxy",
            "sudo docker stop $(sudo docker ps -q --filter publish=18300)",
        ),
        (Holder("systemd", 1), True, "systemd (process 1)", "systemctl list-sockets"),
        (None, True, "another program", "sudo ss -ltnp"),
    ],
)  # fmt: skip
def test_who_has_a_port_is_named_and_ended(
    holder: Holder | None, enabled: bool, who: str, mend: str
) -> None:
    taken = Listener("mine", 18300, ("0.0.0.0",), ours=False, enabled=enabled, holder=holder)

    _, says, mends = said(replace(GOOD, listeners=(taken,)), "ports")

    assert f"taken by {who}" in says
    assert serving.free_port(taken).startswith(mend)
    # A model that is off does not need it.
    assert mends == (serving.free_port(taken) if enabled else serving.look(taken))


def test_port_of_nginx_is_given_back_to_nginx() -> None:
    taken = Listener("nginx", 8009, ("0.0.0.0",), False, True, Holder("nc", 7))

    mend = said(replace(GOOD, listeners=(taken,)), "ports")[2]

    assert mend == "sudo kill 7 && sudo systemctl restart spark-nginx.service"


def test_every_check_has_a_bad_case() -> None:
    assert {check for _, check, *_ in BAD.values()} == set(CHECKS)


@pytest.mark.parametrize(
    "facts",
    [
        containers(Container("spark-mine", running=True, labels=OURS | {RUN: ""})),
        containers(Container("x", running=True, labels=OURS | {"io.spark-activator.run": "/tmp"})),
    ],
    ids=["leased", "another installation's"],
)
def test_containers_that_belong_are_not_stale(facts: Facts) -> None:
    assert said(replace(facts, leased=frozenset({"mine"})), "stale")[0] == "ok"


def test_docs_have_a_row_for_each_check() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/doctor.md").read_text(), re.MULTILINE)

    assert rows == list(CHECKS)
