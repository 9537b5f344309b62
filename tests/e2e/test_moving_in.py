"""Moving in from the seed: its checkout is taken over, and its clients notice nothing."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import seed_tree
from node import Node
from stack import Demo, Stack

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
# The program itself, which needs no Node.
OPENCODE = CACHE / "spark-activator-tests/npm/node_modules/opencode-linux-x64/bin/opencode"

CHECKOUT = "/root/stack"
CONFIG = json.loads((seed_tree.SEED / "opencode.json").read_text())
OPTIONS = CONFIG["provider"]["dgx"]["options"]
# What that file asks for the work and for titles.
BIG, SMALL = (CONFIG[key].removeprefix("dgx/") for key in ("model", "small_model"))


@pytest.fixture(scope="module")
def moved_in(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node after `migrate`, with demo engines that stand in for two of the models."""
    node = stack.node
    put_tree(node, seed_tree.build(tmp_path_factory.mktemp("seed") / "stack"))
    stand_ins = [
        Demo(BIG, 18384, ("--max-tokens", "40"), idle=60),
        Demo(SMALL, 18385, ("--max-tokens", "20"), idle=60),
    ]
    with stack.enabled(*stand_ins):
        try:
            node.exec(f"spark-model migrate {CHECKOUT} && spark-model check && spark-model apply")
            yield node
        finally:
            node.exec(
                f"spark-model key remove migrated; rm -rf {CHECKOUT} /root/opencode "
                "/etc/spark-activator/host.yaml && spark-model apply"
            )


def put_tree(node: Node, tree: Path) -> None:
    """Copy a directory in, as `CHECKOUT`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tree, CHECKOUT.removeprefix("/"))
    node.exec("tar -C / -x", stdin=packed.getvalue())


def test_its_key_and_url_are_those_of_its_clients(moved_in: Node) -> None:
    question = {"model": BIG, "messages": [{"role": "user", "content": "hello"}]}
    ask = f"curl -sS -w '\\n%{{http_code}}' -d @- {OPTIONS['baseURL']}/chat/completions"
    key = f"-H 'Authorization: Bearer {OPTIONS['apiKey']}'"

    answered = moved_in.exec(f"{ask} {key}", stdin=json.dumps(question)).out
    refused = moved_in.exec(ask, stdin=json.dumps(question)).out

    body, _, status = answered.rpartition("\n")
    assert status == "200"
    assert json.loads(body)["choices"][0]["message"]["content"]
    # Its key is one of ours from now on, so that others are kept out.
    assert refused.rpartition("\n")[2] == "401"
    assert "hub_caches" in moved_in.exec("cat /etc/spark-activator/host.yaml").out


@pytest.mark.long
def test_opencode_works_with_its_configuration_unedited(moved_in: Node) -> None:
    if not OPENCODE.exists():
        pytest.skip("OpenCode is not installed: tests/setup_clients.sh does")
    home = "/root/opencode"
    config = f"{home}/.config/opencode/opencode.json"
    moved_in.write(config, (seed_tree.SEED / "opencode.json").read_text())
    moved_in.put(OPENCODE, f"{home}/run")
    # It puts an argument with a space in it into quotes.
    call = '{"command":"touch\\u0020by-the-agent","description":"leave\\u0020a\\u0020mark"}'
    done = moved_in.exec(
        f"mkdir -p {home}/project && cd {home}/project && chmod +x ../run && "
        f"timeout 200 ../run run --print-logs call bash '{call}' 2>&1",
        env={
            "HOME": home,
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            # Nothing listens there: no agent may find its way out.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        check=False,
        timeout=240,
    )

    assert done.rc == 0, done.out
    moved_in.exec(f"test -e {home}/project/by-the-agent")
    # Both models were asked: the one for the work, and the one for titles.
    for name in (BIG, SMALL):
        asked = f"journalctl -b -u spark-model@{name}.service | grep -q asked=POST:/v1/chat"
        moved_in.wait(asked)
