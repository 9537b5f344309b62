"""A new user's way: what is typed after the installation until a model answers."""

from __future__ import annotations

import time

import pytest
from stack import Stack

# The issue of a good first hour: install, enable, chat, and one to spare.
MOST_COMMANDS = 4


@pytest.mark.parametrize("name", ["demo-echo", "demo-story"])
def test_a_model_answers_after_three_commands(stack: Stack, name: str) -> None:
    typed = ["sudo ./install.sh"]  # the node was set up by it
    took = []
    try:
        for command in (f"spark-model enable {name}", f"spark-model chat {name} 'Hello, Spark'"):
            began = time.monotonic()
            said = stack.node.exec(command, timeout=120)
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
        stack.node.exec(f"systemctl disable --now spark-model@{name}.socket", timeout=120)


def test_the_doctor_looks_at_a_machine_that_serves(stack: Stack) -> None:
    looked = stack.node.exec("spark-model doctor", check=False)

    # A node has no GPU and little else to complain of, and says what each thing means.
    assert looked.rc in (0, 1)
    for check in ("docker", "nginx", "disk", "ports"):
        assert check in looked.out, looked.out
    assert "Traceback" not in looked.err
