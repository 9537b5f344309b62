"""Where the weights of a model are looked for."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.errors import EngineFailed
from spark_activator.runner.machine import find_hub

MODEL = Model("m", 18300, Engine.VLLM, Source("openai/gpt-oss-20b"), 1 << 30)
NOBODY = 65534


@pytest.mark.parametrize("engine", [Engine.VLLM, Engine.SGLANG])
def test_the_cache_that_has_the_weights_is_taken(tmp_path: Path, engine: Engine) -> None:
    model = replace(MODEL, engine=engine)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full/models--openai--gpt-oss-20b").mkdir(parents=True)

    assert find_hub(model, (f"{tmp_path}/empty", f"{tmp_path}/full")) == f"{tmp_path}/full"
    with pytest.raises(EngineFailed, match="gpt-oss-20b") as failed:
        find_hub(model, (f"{tmp_path}/empty", f"{tmp_path}/missing"))
    assert failed.value.code == "weights_missing"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not look")
def test_a_cache_that_we_may_not_look_into_is_taken_at_its_word(tmp_path: Path) -> None:
    # The runner sees nothing below /home, where Hugging Face's cache usually is.
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    (home / "hub").mkdir(parents=True)
    home.chmod(0o700)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            found = find_hub(MODEL, (f"{tmp_path}/missing", f"{home}/hub"))
            status = 0 if found == f"{home}/hub" else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
