"""The unit that drops the page cache: for runners alone, and it really does."""

from __future__ import annotations

import pytest
from node import CommandFailed, Node

ASK = """python3 -c '
import socket
asked = socket.socket(socket.AF_UNIX)
asked.connect("/run/spark-activator/drop-caches.sock")
print(asked.makefile().read().strip())
'"""


def test_runner_has_the_page_cache_dropped(node: Node) -> None:
    node.exec("head -c 300M /dev/zero >/var/tmp/read && cat /var/tmp/read >/dev/null")
    before = cached(node)

    assert node.exec(ASK, user="spark-runner").out == "done\n"

    assert cached(node) < before - 200 * 1024
    # Whoever has asked leaves nothing behind.
    node.wait("systemctl list-units --all --no-legend 'spark-drop-caches@*' | wc -l | grep -qx 0")


def test_nobody_else_may_ask(node: Node) -> None:
    with pytest.raises(CommandFailed, match="PermissionError"):
        node.exec(ASK, user="spark-activator")


def cached(node: Node) -> int:
    """The page cache of the machine, in KiB."""
    return int(node.exec("awk '$1 == \"Cached:\" { print $2 }' /proc/meminfo").out)
