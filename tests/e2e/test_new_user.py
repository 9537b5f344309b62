"""A new user's way: what is typed after the installation until a model answers."""

from __future__ import annotations

import json
import time

import pytest
from stack import FRONT, Stack

# The issue of a good first hour: install, enable, chat, and one to spare.
MOST_COMMANDS = 4


@pytest.mark.parametrize("name", ["demo-echo", "demo-story"])
def test_a_model_answers_after_three_commands(stack: Stack, name: str) -> None:
    typed = ["sudo ./install.sh"]  # the node was set up by it
    took = []
    try:
        for command in (f"spark-model enable {name}", f"spark-model chat {name} 'Hello, Spark'"):
            began = time.monotonic()
            said = stack.node.exec(command)
            took.append(f"{time.monotonic() - began:.1f} s  {command}")
            typed.append(command)

        print("\n".join(took))
        assert len(typed) <= MOST_COMMANDS
        # On stdout there is the answer alone; what it waited for was said beside it.
        assert said.out.strip()
        assert "Hello, Spark" in said.out or name == "demo-story"
        # Typed once more it does nothing, and says where the model is.
        since = f"systemctl show -P ActiveEnterTimestampMonotonic spark-model@{name}.socket"
        before = stack.node.exec(since).out
        again = stack.node.exec(f"spark-model enable {name}").out
        assert (stack.node.exec(since).out, "is on" in again) == (before, True)
        listed = stack.node.exec("curl -sf http://127.0.0.1:8009/v1/models").out
        assert name in listed
    finally:
        stack.node.exec(f"systemctl disable --now spark-model@{name}.socket")


def test_the_doctor_looks_at_a_machine_that_serves(stack: Stack) -> None:
    looked = stack.node.exec("spark-model doctor", check=False)

    # A node has no GPU and little else to complain of, and says what each thing means.
    assert looked.rc in (0, 1)
    for check in ("docker", "nginx", "disk", "ports"):
        assert check in looked.out, looked.out
    assert "Traceback" not in looked.err


# Models whose weights and image nobody has; `example.org` is nobody's registry.
MISSING = {
    "no-weights": (
        "source: {model: acme/nowhere}\nimage: spark-demo\nmemory: 256MiB\nport: 18371\n"
        "context: 1024\n"
    ),
    "no-image": "extends: demo-story\nimage: nowhere\nport: 18372\n",
}
NOWHERE = "nowhere: {reference: example.org/nowhere:1, pinned: false, cpu: true}\n"


def test_what_is_missing_is_said_with_the_command_that_brings_it(stack: Stack) -> None:
    node, sockets = stack.node, " ".join(f"spark-model@{name}.socket" for name in MISSING)
    node.write("/etc/spark-activator/images.yaml", NOWHERE)
    for name, text in MISSING.items():
        node.write(f"/etc/spark-activator/models/{name}.yaml", text)
    try:
        node.exec(f"spark-model apply && systemctl enable --now {sockets}")
        for name, code, command in (
            ("no-weights", "weights_missing", "sudo spark-model pull no-weights"),
            ("no-image", "image_missing", "sudo spark-model image pull nowhere"),
        ):
            # By the front door, and in the words of the terminal.
            [told] = stack.ask(FRONT, name)
            assert (told["status"], told["error"]["code"]) == (503, code), told
            assert command in told["error"]["message"]
            said = node.exec(f"spark-model chat {name} Hello", check=False)
            assert (said.rc, said.out) == (1, "")
            assert command in said.err
        # Nobody went to fetch it.
        assert node.exec("ls /var/lib/spark-activator/hub", check=False).out == ""
        assert "nowhere" not in node.exec("docker images").out
    finally:
        node.exec(f"systemctl disable --now {sockets}")
        for name in MISSING:
            node.exec(f"rm /etc/spark-activator/models/{name}.yaml")
        node.exec("rm /etc/spark-activator/images.yaml && spark-model apply")


def test_the_doctors_commands_mend(stack: Stack) -> None:
    node, name = stack.node, "demo-echo"
    node.exec(f"spark-model enable {name}")
    node.exec(f"systemctl stop spark-model@{name}.socket")
    node.exec("systemd-run --quiet --unit squatter python3 -m http.server 18100")
    node.wait("curl -s http://127.0.0.1:18100/ -o /dev/null")
    node.exec("spark-model key add somebody && chmod 0644 /etc/spark-activator/api-keys")
    try:
        problems = problems_of(stack)
        assert [one["check"] for one in problems] == ["ports", "access"], problems
        assert "taken by python3" in problems[0]["says"]
        assert "squatter.service" in problems[0]["says"]
        assert "0644" in problems[1]["says"]

        for one in problems:
            # A node has no sudo, and root needs none.
            node.exec(one["mend"].replace("sudo ", ""))

        assert problems_of(stack) == []
        assert node.exec(f"systemctl is-active spark-model@{name}.socket").out.strip() == "active"
    finally:
        node.exec("spark-model key remove somebody; systemctl stop squatter", check=False)
        node.exec(f"spark-model remove {name}")


def problems_of(stack: Stack) -> list[dict[str, str]]:
    found = json.loads(stack.node.exec("spark-model doctor --json", check=False).out)
    return [one for one in found if one["level"] == "problem"]
