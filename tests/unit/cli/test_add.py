"""`spark-model add`: files for models of a hub, of a folder, and from recipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import COMMIT, Hub, Repo

from spark_activator.catalog.load import check_files, load_catalog
from spark_activator.catalog.model import Model, Tools

Say = Callable[[], str]
ROOT = Path(__file__).parents[3]
SAVED: dict[str, Any] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "tests/catalog/hub").glob("*.json"))
}
GIB = 1 << 30


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    # Read from the environment once, when it is imported.
    from huggingface_hub import constants

    with Hub() as hub:
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield hub


@pytest.fixture
def catalog(machine: Any) -> Any:
    """A machine with the images that are shipped."""
    machine.layout.images_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "images/images.yaml", machine.layout.images_file)
    return machine


def model(machine: Any, name: str) -> Model:
    """Read the file that was written; it has no problem."""
    assert not check_files(machine.layout, [machine.layout.owner_models / f"{name}.yaml"])
    return load_catalog(machine.layout).models[name]


def text(machine: Any, name: str) -> str:
    return (machine.layout.owner_models / f"{name}.yaml").read_text()


def folder(path: Path, saved: dict[str, Any]) -> Path:
    """Make a folder of what was saved of a repository; its weights are holes of their size."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(saved["config"]))
    (path / "model.safetensors.index.json").write_text(json.dumps(saved["index"]))
    for name, size in saved.get("files", {}).items():
        with (path / name).open("wb") as file:
            file.truncate(size)
    return path


# name: (least and most memory in GiB, tool parser, reasoning parser, context, vision)
PLAUSIBLE = {
    "cogito-v1-preview-qwen-14b": (28 + 48, 90, "hermes", "", 131072, False),
    "granite-3.1-1b-a400m-instruct": (5 + 12, 24, "granite", "", 131072, False),
    "medgemma-27b-it": (51 + 20, 109, "", "", 131072, True),
    "qwen3.5-9b-mlx-8bit": (10 + 8, 26, "qwen3_coder", "qwen3", 131072, True),
    "qwen3.6-27b-w4a16": (18 + 16, 44, "qwen3_coder", "qwen3", 131072, True),
}


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_real_repositories(name: str, catalog: Any, tmp_path: Path) -> None:
    least, most, tools, reasoning, context, vision = PLAUSIBLE[name]

    assert catalog.run("add", str(folder(tmp_path / name, SAVED[name]))) == 0

    made = model(catalog, name)
    assert least * GIB <= made.memory <= most * GIB
    assert made.sizing is not None
    assert made.memory >= made.sizing.weights + made.sizing.kv + made.sizing.overhead
    line = " ".join(made.args)
    assert (f"--tool-call-parser {tools}" in line) is bool(tools)
    assert (f"--reasoning-parser {reasoning}" in line) is bool(reasoning)
    assert made.capabilities.reasoning is bool(reasoning)
    assert (made.context, made.capabilities.vision) == (context, vision)
    assert "guess" in text(catalog, name) or not tools


def test_what_no_spark_can_hold_is_refused(
    catalog: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "reflection-llama-3.1-70b"

    assert catalog.run("add", str(folder(tmp_path / name, SAVED[name]))) == 1

    said = capsys.readouterr().err
    assert "more than the 109 GiB" in said
    assert "quantized" in said
    assert not catalog.layout.owner_models.exists()


def tiny(**more: Any) -> dict[str, bytes]:
    """Return the files of the model that tests/tiny_model.py makes, as far as they are read."""
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "bfloat16",
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 1024,
        "vocab_size": 320, **more,
    }  # fmt: skip
    return {"config.json": json.dumps(config).encode(), "model.safetensors": b"x" * 800_000}


def test_a_model_of_the_hub_is_pinned_to_what_was_read(catalog: Any, hub: Hub, out: Say) -> None:
    hub.repos["a/Tiny"] = Repo(tiny())

    assert catalog.run("add", "a/Tiny", "--image", "vllm-cpu") == 0

    made = model(catalog, "tiny")
    assert (made.source.model, made.source.revision) == ("a/Tiny", COMMIT)
    assert made.source.pinned
    assert made.context == 1024
    assert made.capabilities.tools is Tools.FULL
    assert made.env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    # That image has no compiler, and vLLM would want one.
    assert "--enforce-eager" in made.args
    assert made.memory == 4 * GIB
    assert "  sudo spark-model enable tiny\n" in out()
    assert "model.safetensors" not in hub.sent


def test_the_index_is_read_from_the_hub(catalog: Any, hub: Hub) -> None:
    index = {"metadata": {"total_size": 20 * GIB}, "weight_map": {"a": "model.safetensors"}}
    files = tiny() | {"model.safetensors.index.json": json.dumps(index).encode()}
    hub.repos["a/Tiny"] = Repo(files)

    assert catalog.run("add", "a/Tiny", "--name", "big") == 0

    sizing = model(catalog, "big").sizing
    assert sizing is not None
    assert sizing.weights == 20 * GIB
    assert "safetensors index" in sizing.origin


REFUSED = {
    "a/none": "there is no 'a/none' on the hub",
    "a/private": "there is no 'a/private' on the hub, or it is private",
    "a/gated": "'a/gated' is gated",
    "a/empty": "a/empty has no config.json",
    "a/gguf": "a/gguf: expected weights as *.safetensors",
    "a/broken": "a/broken: config.json: expected JSON",
    "a b": "no name of a repository",
    "/nowhere/at/all": "expected a folder with config.json",
}
NEED_TOKEN = {"a/none", "a/private", "a/gated"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_said(
    name: str, catalog: Any, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos |= {
        "a/private": Repo(tiny(), token="hf_secret"),
        "a/gated": Repo(tiny(), token="hf_secret", gated=True),
        "a/empty": Repo({"README.md": b"x"}),
        "a/gguf": Repo({"config.json": tiny()["config.json"], "model.gguf": b"x"}),
        "a/broken": Repo(tiny() | {"config.json": b"{"}),
    }
    assert catalog.run("add", name) == 1

    said = capsys.readouterr().err
    assert REFUSED[name] in said
    assert "Traceback" not in said
    # A hint for another command would lead nowhere.
    assert "spark-model pull" not in said
    assert ("spark-model add … --token-file FILE" in said) is (name in NEED_TOKEN)
    assert not catalog.layout.owner_models.exists()


@pytest.mark.parametrize(
    "says", ["<html>log in</html>", "null", "{}", '{"id": "x", "siblings": 5}']
)
def test_what_answers_and_is_no_hub_is_said(
    says: str, catalog: Any, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.says = says.encode()

    assert catalog.run("add", "a/Tiny") == 1

    assert f"{hub.endpoint} answers as no hub does" in capsys.readouterr().err


def test_a_commit_that_leads_elsewhere_is_refused(
    catalog: Any, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    # A snapshot's directory has its name.
    hub.repos["a/Tiny"] = Repo(tiny(), commit="../../elsewhere")

    assert catalog.run("add", "a/Tiny") == 1

    assert "does not say which commit of 'a/Tiny' it has" in capsys.readouterr().err


def test_a_token_comes_from_a_file(catalog: Any, hub: Hub, tmp_path: Path) -> None:
    hub.repos["a/private"] = Repo(tiny(), token="hf_secret")
    token = tmp_path / "token"
    token.write_text("hf_secret\n")
    token.chmod(0o600)

    assert catalog.run("add", "a/private", "--token-file", str(token)) == 0

    [file] = catalog.layout.owner_models.iterdir()
    assert "hf_secret" not in file.read_text()


def test_an_unknown_architecture_is_written_with_a_comment(catalog: Any, hub: Hub) -> None:
    hub.repos["a/new"] = Repo(tiny(model_type="brandnew", num_hidden_layers=None))

    assert catalog.run("add", "a/new") == 0

    assert model(catalog, "new").capabilities.tools is None
    written = text(catalog, "new")
    assert "The model_type 'brandnew' is not known here" in written
    assert "The cache is a guess: config.json: num_hidden_layers" in written


def test_code_of_a_repository_is_not_run_unless_its_owner_says_so(catalog: Any, hub: Hub) -> None:
    hub.repos["a/own"] = Repo(tiny(auto_map={"AutoModel": "evil.Model"}))

    assert catalog.run("add", "a/own") == 0

    assert "--trust-remote-code" not in model(catalog, "own").args
    assert "needs --trust-remote-code" in text(catalog, "own").replace("\n#", "")


def test_a_file_that_is_there_stays(
    catalog: Any, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["a/Tiny"] = Repo(tiny())
    path = catalog.model_file("tiny")
    before = path.read_text()

    assert catalog.run("add", "a/Tiny") == 1

    assert path.read_text() == before
    assert "is there already" in capsys.readouterr().err
    assert catalog.run("add", "a/Tiny", "--name", "other") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected a model of the hub, a folder, or --from-recipe"),
        (("a/Tiny", "--image", "nothing"), "no image 'nothing'"),
        (("a/Tiny", "--name", "No Name"), "expected a name of at most 63 letters"),
        (("--from-recipe", "/nowhere"), "cannot be read"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...],
    says: str,
    catalog: Any,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.repos["a/Tiny"] = Repo(tiny())
    assert catalog.run("add", *arguments) == 1
    assert says in capsys.readouterr().err


RECIPE = """\
recipe_version: "2"
model: a/Tiny
runtime: vllm
container: registry.example.org/other:latest
defaults: {port: 8000, gpu_memory_utilization: 0.5, max_model_len: 512}
command: |
  vllm serve {model} --port {port} --max-model-len {max_model_len} \\
    --gpu-memory-utilization {gpu_memory_utilization} --max-num-seqs 4
"""


def test_a_recipe_is_filled_up_from_the_hub(
    catalog: Any, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["a/Tiny"] = Repo(tiny())
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)

    assert catalog.run("add", "--from-recipe", str(recipe)) == 0

    made = model(catalog, "tiny")
    assert made.args == ("--max-num-seqs", "4")
    assert (made.context, made.source.revision) == (512, COMMIT)
    assert made.memory == int(60.8 * GIB)
    assert made.sizing is not None
    said = capsys.readouterr().err
    assert "not translated: image registry.example.org/other:latest" in said


def test_a_recipe_needs_no_hub_where_it_says_how_much_memory(
    catalog: Any, hub: Hub, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)

    assert catalog.run("add", "--from-recipe", str(tmp_path)) == 0

    assert "Nobody has worked it out" in text(catalog, "tiny")
    assert model(catalog, "tiny").sizing is None


def test_services_of_a_compose_file(catalog: Any, hub: Hub, tmp_path: Path) -> None:
    hub.repos["a/Tiny"] = Repo(tiny())
    service = {"image": "x", "command": "vllm serve ${MODEL} --gpu-memory-utilization ${G:-0.25}"}
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump({"services": {"one": service, "two": service, "db": {}}}))
    (tmp_path / ".env").write_text("# mine\nMODEL='a/Tiny'\n")

    assert catalog.run("add", "--from-recipe", str(file)) == 0

    assert {"one", "two"} <= set(load_catalog(catalog.layout).models)
    assert model(catalog, "two").memory == int(30.4 * GIB)
    assert catalog.run("add", "--from-recipe", str(file), "--service", "one", "--name", "x") == 0
    assert model(catalog, "x").source.model == "a/Tiny"
