"""What `spark-model add` writes for the tiny model, served by a real vLLM on the CPU.

Run by `tests/run --vllm`, which names its directory in SPARK_VLLM.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from catalog_shipped import SPARK_MEMORY

from spark_activator.catalog.load import load_catalog
from spark_activator.cli.main import main
from spark_activator.layout import Layout
from spark_activator.runner.spec import SOCKET, vllm_args

ROOT = Path(__file__).parents[2]
VLLM = os.environ.get("SPARK_VLLM")

pytestmark = [
    pytest.mark.skipif(VLLM is None, reason="needs a real vLLM: run tests/run --vllm"),
    pytest.mark.timeout(300),
]


class Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


def listens(connection: Connection) -> bool:
    try:
        connection.connect()
    except OSError:
        connection.close()
        return False
    return True


def test_the_file_for_the_tiny_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config", "state", "run", "share"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"SPARK_{name.upper()}", str(tmp_path / name))
    layout = Layout.from_environment(os.environ)
    shutil.copy(ROOT / "images/images.yaml", layout.images_file)
    weights = Path(str(VLLM)) / "tiny"

    assert main(["add", str(weights), "--name", "mine", "--image", "vllm-cpu"]) == 0

    model = load_catalog(layout).models["mine"]
    with tempfile.TemporaryDirectory() as directory:
        # As the runner calls it, but for the places that only a container has.
        there = f"{directory}/socket"
        words = [there if word == SOCKET else word for word in vllm_args(model, SPARK_MEMORY)]
        words = [str(weights) if word == model.source.model else word for word in words]
        if str(weights) not in words:
            words = [str(weights), *words]
        log = Path(directory, "log")
        with log.open("wb") as output:
            engine = subprocess.Popen(
                [Path(str(VLLM)) / "env/bin/vllm", "serve", *words],
                cwd="/",
                env={**os.environ, **model.env},
                stdout=output,
                stderr=output,
            )
        connection = Connection(there)
        try:
            body = json.dumps({"model": "mine", "prompt": "The quick", "max_tokens": 4})
            while not listens(connection):
                assert engine.poll() is None, log.read_text()[-4000:]
                # It listens when it is ready, and nothing else tells of that.
                time.sleep(0.2)  # noqa: TID251  # see above
            connection.request(
                "POST", "/v1/completions", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            assert json.loads(text)["usage"]["completion_tokens"] >= 1
        finally:
            connection.close()
            engine.terminate()
            engine.wait(60)
