"""Who comes in, on a whole machine: keys, a container on Docker's bridge, and what is counted."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator

import pytest
from stack import Demo, Stack

# Long, so that what is to be killed has not left before.
MODEL = Demo("access", 18383, idle=600)
UNIT = f"spark-model@{MODEL.name}"
# An address that is not there yet, as a tailnet's may be.
LATE = "10.99.7.1"

# Prints the status and the error's code of each request: METHOD URL [HEADER...], a line each.
ASK = """
import json, sys, urllib.error, urllib.request
for line in sys.stdin:
    method, url, *headers = json.loads(line)
    body = json.dumps({"model": "access", "messages": [{"role": "user", "content": "hi"}],
                       "max_tokens": 5}).encode() if method == "POST" else None
    request = urllib.request.Request(url, body, method=method)
    for header in headers:
        request.add_header(*header.split(": ", 1))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            print(answer.status, "-", flush=True)
            answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
        code = json.loads(text)["error"]["code"] if text else "-"
        print(error.code, code, flush=True)
    except OSError as error:
        print(0, type(error).__name__, flush=True)
"""


def ask(stack: Stack, *requests: tuple[str, ...], inside: bool = False) -> list[tuple[str, str]]:
    """Send requests from the machine, or from *inside* a container on Docker's bridge."""
    python = ["python3", "-c", ASK]
    if inside:
        python = [
            "docker",
            "run",
            "--rm",
            "-i",
            "--entrypoint",
            "python3",
            "spark-demo",
            *python[1:],
        ]
    text = "".join(json.dumps(request) + "\n" for request in requests)
    told = stack.node.exec(shlex.join(python), stdin=text, timeout=180).out
    answers = [tuple(line.split(" ", 1)) for line in told.splitlines()]
    assert len(answers) == len(requests), told
    return answers  # type: ignore[return-value]  # of two words each


@pytest.fixture(scope="module")
def bridge(stack: Stack) -> str:
    """The machine's address on Docker's bridge."""
    command = "ip -4 -o addr show docker0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'"
    return stack.node.exec(command).out.strip()


@pytest.fixture(scope="module")
def opened(stack: Stack, bridge: str) -> Iterator[str]:
    """A model and nginx that listen on the bridge, and the key for them."""
    node = stack.node
    keys = "/etc/spark-activator/api-keys"
    assert node.exec(f"stat -c '%a %U:%G' {keys}").out.strip() == "640 root:spark-keys"
    with stack.enabled(MODEL):
        settings = {"listen": [bridge, LATE]}
        node.write("/etc/spark-activator/host.yaml", json.dumps(settings) + "\n")
        assert "waits for an API key" in node.exec("spark-model apply").out
        assert f"{bridge}:{MODEL.port}" not in node.exec("ss -Hltn").out

        added = node.exec("spark-model key add laptop")
        assert "sudo spark-model apply" in added.err
        told = node.exec("spark-model apply").out
        assert f"sudo spark-model update {MODEL.name}" in told
        assert "sudo spark-model update --nginx" in told
        node.exec(f"spark-model update {MODEL.name} && spark-model update --nginx")
        try:
            yield added.out.strip()
        finally:
            node.exec(f"spark-model stop {MODEL.name}", check=False)
            node.exec(f"rm /etc/spark-activator/host.yaml; : >{keys}; spark-model apply")
            node.exec(f"spark-model update {MODEL.name}; spark-model update --nginx")
            assert bridge not in node.exec("ss -Hltn").out


def entries(bridge: str) -> list[str]:
    """Every way to the model: its port and nginx, from this machine and from the bridge."""
    return [
        f"http://{host}:{port}" for host in ("127.0.0.1", bridge) for port in (MODEL.port, 8009)
    ]


def test_without_a_valid_key_nothing_is_started_whatever_the_entry(
    stack: Stack, opened: str, bridge: str
) -> None:
    node = stack.node
    stack.wait_for_nothing(MODEL.name)
    containers = node.exec("docker ps -aq").out.split()
    wrong = "Authorization: Bearer " + opened[:-1]
    asked = []
    for entry in entries(bridge):
        for headers in ((), (wrong,), ("x-api-key: dummy", "Origin: http://localhost:1")):
            asked += [
                ("POST", f"{entry}/v1/chat/completions", *headers),
                ("POST", f"{entry}/v1/responses", *headers),
                ("POST", f"{entry}/v1/messages?beta=true", *headers),
            ]
        if entry.endswith(str(MODEL.port)):
            paths = ("/health", "/metrics", "/v1/models", "/v1/models/access", "/debug/state", "/x")
            asked += [("GET", entry + path) for path in paths]
            asked += [("POST", entry + path) for path in ("/debug/warm", "/debug/stop")]
        else:
            paths = (
                "/v1/models",
                "/v1/models/access",
                "/v1/responses/r_1",
                "/debug/state",
                "/healthz",
            )
            asked += [("GET", entry + path) for path in paths]
            paths = ("/debug/touch/access", "/v1/nowhere/completions", "/v1/access/nowhere")
            asked += [("POST", entry + path) for path in paths]

    assert set(ask(stack, *asked)) == {("401", "invalid_api_key")}
    from_bridge = [request for request in asked if bridge in request[1]]
    assert set(ask(stack, *from_bridge, inside=True)) == {("401", "invalid_api_key")}

    runner = f"systemctl show -P ActiveEnterTimestampMonotonic spark-runner@{MODEL.name}.service"
    assert node.exec(runner).out.strip() == "0"
    # One that an earlier test has left may have gone meanwhile.
    assert set(node.exec("docker ps -aq").out.split()) <= set(containers)


def test_container_on_the_bridge_is_served_with_its_key(
    stack: Stack, opened: str, bridge: str
) -> None:
    asked = [
        ("POST", f"http://{bridge}:{port}/v1/chat/completions", f"Authorization: Bearer {opened}")
        for port in (MODEL.port, 8009)
    ]

    assert ask(stack, *asked, inside=True) == [("200", "-")] * 2
    # A page that another machine has, under a name that points here.
    renamed = (
        "GET",
        f"http://{bridge}:{MODEL.port}/health",
        f"x-api-key: {opened}",
        "Host: evil.example",
    )
    assert ask(stack, renamed, inside=True) == [("403", "invalid_host")]
    stack.node.exec("spark-model host add evil.example")
    assert ask(stack, renamed, inside=True) == [("200", "-")]
    stack.node.exec("spark-model host remove evil.example")
    assert ask(stack, renamed, inside=True) == [("403", "invalid_host")]


def test_address_that_comes_later_is_listened_on(stack: Stack, opened: str) -> None:
    asked = [
        ("GET", f"http://{LATE}:{MODEL.port}/v1/models", f"x-api-key: {opened}"),
        ("POST", f"http://{LATE}:8009/v1/chat/completions", f"x-api-key: {opened}"),
    ]
    stack.node.exec(f"ip addr add {LATE}/32 dev lo")
    try:
        assert ask(stack, *asked) == [("200", "-")] * 2
    finally:
        stack.node.exec(f"ip addr del {LATE}/32 dev lo")


def test_no_worker_of_nginx_waits_in_an_accept(stack: Stack, opened: str) -> None:
    # systemd hands sockets over blocking: of two workers that see one client the second
    # would sit there until another one comes, and neither serve nor stop.
    # The first descriptors are those of systemd.
    script = (
        "pid=$(systemctl show -P MainPID spark-nginx.service); "
        "sed -n 's/^flags:[[:space:]]*//p' /proc/$pid/fdinfo/3 /proc/$pid/fdinfo/4"
    )
    flags = [int(told, 8) for told in stack.node.exec(script).out.split()]

    assert len(flags) == 2
    assert all(told & os.O_NONBLOCK for told in flags)


def test_what_a_key_has_had_survives_kills(stack: Stack, opened: str) -> None:
    def used() -> dict[str, int]:
        [one] = json.loads(stack.node.exec("spark-model key list --json").out)
        return {name: one[name] for name in ("requests", "input_tokens", "output_tokens")}

    # Whoever leaves has told all: what was asked before is counted.
    stack.node.exec(f"spark-model stop {MODEL.name}")
    before = used()
    request = ("POST", MODEL.url, f"x-api-key: {opened}")
    assert ask(stack, request, request) == [("200", "-")] * 2
    # After two seconds the runner is told, at the latest.
    stack.node.wait(
        f"spark-model key list --json | jq -e '.[0].requests == {before['requests'] + 2}'"
    )
    counted = used()
    assert counted["output_tokens"] == before["output_tokens"] + 10
    assert counted["input_tokens"] > before["input_tokens"]
    for unit in (f"{UNIT}.service", f"spark-runner@{MODEL.name}.service"):
        stack.kill(unit)

    assert ask(stack, request) == [("200", "-")]
    stack.node.wait(
        f"spark-model key list --json | jq -e '.[0].requests == {before['requests'] + 3}'"
    )
    assert opened not in stack.node.exec("spark-model key list; journalctl -b -o cat").out


def test_who_is_not_root_is_told_to_use_sudo(stack: Stack, opened: str) -> None:
    for command in ("key list", "key add x", "key remove laptop", "host add x.example"):
        refused = stack.node.exec(f"spark-model {command}", user="nobody", check=False)
        assert refused.rc == 1
        assert f"sudo spark-model {command}" in refused.err
        assert "Traceback" not in refused.err


def test_state_and_history_may_be_read_by_everybody(stack: Stack, opened: str) -> None:
    request = ("POST", MODEL.url, f"x-api-key: {opened}")
    assert ask(stack, request) == [("200", "-")]
    # An activation is written down when it is over.
    stack.node.exec(f"spark-model stop {MODEL.name}")
    assert ask(stack, request) == [("200", "-")]

    for file in (
        f"/run/spark-activator/state/{MODEL.name}.json",
        f"/var/lib/spark-activator/history/{MODEL.name}.jsonl",
        "/etc/spark-activator/api-keys",
    ):
        stack.node.exec(f"cat {file}", user="spark-nginx")
    kept = stack.node.exec("cat /etc/spark-activator/api-keys", user="spark-engine", check=False)
    assert kept.rc != 0


def test_last_key_gone_only_this_machine_is_served(stack: Stack, opened: str, bridge: str) -> None:
    said = stack.node.exec("spark-model key remove laptop").out
    assert "key_required" in said
    asked = [("POST", f"{entry}/v1/chat/completions") for entry in entries(bridge)]

    here, elsewhere = ask(stack, *asked[:2]), ask(stack, *asked[2:], inside=True)

    assert here == [("200", "-")] * 2
    assert elsewhere == [("403", "key_required")] * 2
