"""The node itself is what the other e2e tests take it for."""

from node import Node


def test_systemd_is_pid_1_and_nothing_failed(bare_node: Node) -> None:
    assert bare_node.exec("cat /proc/1/comm").out.strip() == "systemd"
    assert bare_node.exec("systemctl --failed --no-legend").out == ""


def test_inner_docker_is_its_own(bare_node: Node) -> None:
    assert bare_node.exec("docker info --format '{{.Driver}}'").out.strip() == "overlay2"
    # Itself it is a container of the outer one.
    names = bare_node.exec("docker ps --all --format '{{.Names}}'").out.split()
    assert bare_node.name not in names


def test_units_with_users_and_credentials_start(bare_node: Node) -> None:
    # Both fail with private mounts, and the units of the project use both.
    done = bare_node.exec(
        "systemd-run --quiet --wait --pipe -p DynamicUser=yes -p ProtectSystem=strict"
        " -p SetCredential=word:found sh -c 'cat $CREDENTIALS_DIRECTORY/word'"
    )

    assert done.out == "found"
