"""Other programs have the GPU, asked for by people who are not root."""

from __future__ import annotations

import json

import pytest
from node import CommandFailed, Node


@pytest.fixture(scope="module")
def people(node: Node) -> Node:
    """`kim` is in the group, `sam` is not."""
    node.exec("useradd --groups spark-activator kim && useradd sam")
    return node


def test_member_runs_a_program_under_a_lease_and_sees_it(people: Node) -> None:
    command = "id -un; spark-model lease show --json; exit 7"
    result = people.exec(
        f"spark-model lease run --memory 1MiB --name job -- sh -c '{command}'",
        user="kim",
        check=False,
    )

    assert result.rc == 7, str(result)
    user, _, shown = result.out.partition("\n")
    assert user == "kim"
    [lease] = json.loads(shown)["leases"]
    assert (lease["model"], lease["memory"], lease["foreign"]) == ("job", 1 << 20, True)
    # Whoever has lent it has it as well, until he has handed it over and left.
    people.wait("! systemctl list-units --plain --no-legend 'spark-lease@*' | grep -q .")
    after = people.exec("spark-model lease show", user="kim")
    assert "nobody has a lease, nobody waits" in after.out
    assert after.err == ""


def test_pause_by_a_member_is_named_to_who_asks(people: Node) -> None:
    people.exec("spark-model pause --for 2h", user="kim")
    refused = people.exec("spark-model lease run --memory 1MiB -- true", user="kim", check=False)
    people.exec("spark-model resume", user="kim")

    assert refused.rc == 75
    assert "the owner has paused the GPU until" in refused.err
    people.exec("spark-model lease run --memory 1MiB -- true", user="kim")


def test_who_is_not_in_the_group_is_told_of_it(people: Node) -> None:
    for command in ("lease run --memory 1MiB -- true", "lease show", "pause"):
        with pytest.raises(CommandFailed, match="spark-activator"):
            people.exec(f"spark-model {command}", user="sam")


def test_more_than_can_wait_are_told_so(people: Node) -> None:
    # 17 of 16 connections: they say nothing, and are closed after 5 s.
    script = (
        "import socket; many = [socket.socket(socket.AF_UNIX) for _ in range(17)]; "
        "[one.connect('/run/spark-activator/lease.sock') for one in many]; print(many[-1].recv(1))"
    )
    result = people.exec(f'python3 -c "{script}"', user="kim")

    assert result.out == "b''\n"
    assert people.exec("systemctl is-active spark-lease.socket").out == "active\n"
