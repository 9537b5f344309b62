"""Whatever is asked by the description that we publish, the answers are those that it tells of.

schemathesis makes the requests, right ones and wrong ones, for a port and for nginx in
front of it, with the demo engine behind.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from activator_process import NAME, ScriptedRunner, Stage, ready_script
from demo_engine import DemoEngine
from nginx_process import Nginx, entry

DESCRIPTION = Path(__file__).parents[2] / "docs/openapi.yaml"
# What is there only at the other one; and what would end the activator.
NOT_AT = {
    "port": r"^/(healthz|debug/(state|gpu-stats)|debug/(touch|warm|stop)/|debug/stop$)",
    "nginx": r"^/(health$|metrics|debug/(touch|warm|stop))",
}
# All but those about data: the engine decides what it takes, and a field that is
# unknown here may be one that it knows.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance",
)  # fmt: skip
# `Allow` of nginx is what it hands on, whatever the path.
ALSO_AT = {"port": ("allow_header_conformance",), "nginx": ()}
# A method that nobody knows is a 501 (RFC 9110, 15.6.2).
SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501", "503"]
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, idle=3600)
    yield stage
    stage.close()


@pytest.fixture
def engine(stage: Stage) -> Iterator[DemoEngine]:
    directory = stage.layout.upstream(NAME) / "0a0b0c0d"
    directory.mkdir()
    with DemoEngine(directory, "--served-model-name", NAME, "--max-model-len", "4096") as engine:
        yield engine.ready()


@pytest.mark.parametrize("way", ["port", pytest.param("nginx", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(3, marks=pytest.mark.timeout(300)),
        pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_answers_are_those_of_the_description(
    stage: Stage, engine: DemoEngine, nursery: trio.Nursery, tmp_path: Path, way: str, count: int
) -> None:
    await nursery.start(ScriptedRunner(stage.layout.runner_socket(NAME), ready_script()).serve)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    with ExitStack() as stack:
        port = stage.port
        if way == "nginx":
            nginx = Nginx(tmp_path / "nginx")
            nginx.route({NAME: entry(NAME, port, "tale")})
            nginx.show(NAME, "ready")  # so that it is who is asked for `auto`
            port = stack.enter_context(nginx.running()).port
        async with stage.activator() as process:
            # One that no client has reached leaves after five seconds.
            await stage.post(b'{"prompt": "Hello"}', "/v1/completions")
            done = await trio.run_process(
                [Path(sys.executable).parent / "st", "--no-color", "--config-file", settings,
                 "run", DESCRIPTION, "--url", f"http://127.0.0.1:{port}",
                 "--checks", ",".join(CHECKS + ALSO_AT[way]), "--exclude-path-regex", NOT_AT[way],
                 "--max-examples", str(count), "--seed", "1", "--request-timeout", "60",
                 "--warnings", "off"],
                cwd=tmp_path, capture_stdout=True, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            said = done.stdout.decode()
            print(said)

            assert done.returncode == 0, said
            assert process.poll() is None
    asked = re.search(r"(\d+) generated", said)
    assert asked is not None
    assert int(asked[1]) > 100
    assert "Traceback" not in stage.log()
    # Some of them the engine has answered, with what they asked for.
    assert stage.log().count("outcome=answered code=200") > 3
