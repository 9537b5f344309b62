"""`spark-model migrate`: a tree of the seed's shape, unchanged and changed."""

import hashlib
import json

import pytest
import seed_tree

from spark_activator.catalog import document
from spark_activator.catalog.load import load_catalog, load_host
from spark_activator.catalog.model import Lifecycle, Tools
from spark_activator.http import keys

CATALOG = {
    "gpt-oss-20b": "vllm",
    "gpt-oss-120b": "vllm",
    "glm-4.7-flash-awq": "vllm",
    "qwen3.5-0.8b": "vllm",
}


@pytest.fixture
def tree(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    (tmp_path / "home/.cache/huggingface/hub").mkdir(parents=True)
    machine.layout.images_file.write_text("vllm-fp4: {reference: 'x/vllm:1', pinned: false}\n")
    machine.layout.vendor_models.mkdir(exist_ok=True)
    for number, (name, engine) in enumerate(CATALOG.items()):
        (machine.layout.vendor_models / f"{name}.yaml").write_text(
            f"port: {18110 + number}\nengine: {engine}\nimage: vllm-fp4\nmemory: 30GiB\n"
            f"context: 131072\nsource: {{model: a/{name}}}\nargs: --max-num-seqs 4\n"
        )
    return seed_tree.build(tmp_path / "stack")


def owners(machine):
    directory = machine.layout.owner_models
    return {path.stem: path.read_text() for path in directory.glob("*")}


def file_of(machine, name):
    return document.parse(owners(machine)[name], name)


def model_of(machine, name):
    catalog = load_catalog(machine.layout)
    assert catalog.problems == []
    return catalog.models[name]


def edit_entry(tree, name, **changes):
    file = tree / "models.json"
    entries = json.loads(file.read_text())
    entries[name] = {**entries.get(name, {}), **changes}
    file.write_text(json.dumps(entries))


def edit_service(tree, model, family, **changes):
    container = json.loads((tree / "models.json").read_text())[model]["container"]
    seed_tree.edit(tree / f"compose/models-{family}.yml", container, **changes)


def words(name):
    return list(seed_tree.FACTS["services"][name][-1]["argv"])


def test_an_unchanged_checkout_needs_no_file_of_the_owner(machine, tree, capsys):
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}

    assert machine.run("migrate", str(tree)) == 0

    out = capsys.readouterr().out
    assert f"= as they are here: {', '.join(sorted(CATALOG))}" in out
    assert owners(machine) == {}
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_the_key_opens_and_only_its_hash_is_kept(machine, tree, capsys):
    machine.run("migrate", str(tree))

    text = machine.layout.api_keys.read_text()
    assert seed_tree.KEY not in text
    assert keys.read(text).find(seed_tree.KEY).digest == (
        hashlib.sha256(seed_tree.KEY.encode()).digest()
    )
    told = capsys.readouterr()
    assert seed_tree.KEY not in told.out + told.err
    # It was shipped, so everybody has it.
    assert "which everybody knows" in told.out


@pytest.mark.parametrize(
    ("env", "taken"),
    [
        ('export VLLM_API_KEY="a secret with blanks"', None),
        ("VLLM_API_KEY=short", None),
        ("VLLM_API_KEY='sixteen-letters-or-more' # mine", "sixteen-letters-or-more"),
        ("VLLM_API_KEY=first-of-two-keys\nVLLM_API_KEY=the-last-of-both", "the-last-of-both"),
        # Then its containers have the one that is shipped.
        ("# VLLM_API_KEY=sixteen-letters-or-more", seed_tree.KEY),
    ],
)  # fmt: skip
def test_the_key_is_what_the_containers_had(machine, tree, env, taken):
    (tree / ".env").write_text(env + "\n")

    machine.run("migrate", str(tree))

    text = machine.layout.api_keys.read_text() if machine.layout.api_keys.exists() else ""
    found = keys.read(text)
    assert bool(found.entries) == (taken is not None)
    assert taken is None or found.find(taken)


def test_caches_are_used_where_they_lie(machine, tree, tmp_path):
    machine.layout.host_file.write_text("# Mine.\nfloor: 4GiB # small\n")

    machine.run("migrate", str(tree))

    assert load_host(machine.layout).hub_caches == (
        str(tree / "models"),
        str(tree / "vllm_cache_huggingface/hub"),
        str(tmp_path / "home/.cache/huggingface/hub"),
    )
    assert machine.layout.host_file.read_text().startswith("# Mine.\nfloor: 4GiB # small\n")
    backup = machine.layout.config / "host.yaml.before-migrate"
    assert backup.read_text() == "# Mine.\nfloor: 4GiB # small\n"


def test_variables_of_env_become_keys(machine, tree):
    (tree / ".env").write_text(
        "GLM_47_FLASH_AWQ_MAX_MODEL_LEN=65536\n"
        "GLM_47_FLASH_AWQ_MAX_NUM_SEQS=2\n"
        "GLM_47_FLASH_AWQ_GPU_MEMORY_UTILIZATION=0.50\n"
    )

    machine.run("migrate", str(tree))

    assert file_of(machine, "glm-4.7-flash-awq") == {
        "extends": "glm-4.7-flash-awq",
        "memory": "60.84GiB",
        "context": 65536,
        "extra_args": ["--max-num-seqs", "2"],
    }
    model = model_of(machine, "glm-4.7-flash-awq")
    assert model.args == ("--max-num-seqs", "4", "--max-num-seqs", "2")
    assert model.port == 18112
    assert list(owners(machine)) == ["glm-4.7-flash-awq"]


def test_changes_of_a_service_become_keys(machine, tree):
    command = [*words("gpt-oss-20b"), "--seed", "7"]
    command[command.index("openai/gpt-oss-20b")] = "me/gpt-oss-20b-tuned"
    command.remove("--enable-prefix-caching")
    edit_service(
        tree,
        "gpt-oss-20b",
        "gpt",
        command=command,
        image="me/vllm:2",
        volumes=["../models:/models", "./templates:/templates:ro", "cache:/x"],
    )

    machine.run("migrate", str(tree))

    file = file_of(machine, "gpt-oss-20b")
    assert file["source"] == {
        "model": "me/gpt-oss-20b-tuned",
        "pinned": False,
        "from": "compose/models-gpt.yml, service vllm-oss20b",
    }
    assert file["extra_args"] == ["--seed", "7"]
    # A path of a compose file is seen from that file.
    assert file["container"] == {"mounts": {"/templates": str(tree / "compose/templates")}}
    assert "# Not taken over: without --enable-prefix-caching." in owners(machine)["gpt-oss-20b"]
    assert model_of(machine, "gpt-oss-20b").image.pull_spec == "me/vllm:2"


def test_changed_entries_of_models_json_become_keys(machine, tree):
    edit_entry(
        tree,
        "gpt-oss-120b",
        toolSupport="none",
        lifecycle="exclusive",
        maxModelLen=65536,
        normalizeTextContent=True,
        notes="mine",
    )

    machine.run("migrate", str(tree))

    model = model_of(machine, "gpt-oss-120b")
    assert model.capabilities.tools is Tools.NONE
    assert model.lifecycle is Lifecycle.EXCLUSIVE
    assert model.requests.flatten_text
    assert model.context == 65536
    assert "vision" not in owners(machine)["gpt-oss-120b"]


def test_own_services_become_whole_files(machine, tree):
    digest = "sha256:" + "ab" * 32
    edit_entry(
        tree, "my-model", container="vllm-mine", maxModelLen=8192, toolSupport="force-required",
        validatorProfile="default", lifecycle="normal",
    )  # fmt: skip
    seed_tree.write(
        tree / "docker-compose.override.yml",
        {
            "services": {
                "vllm-mine": {
                    "image": f"vllm/vllm-openai:v1@{digest}",
                    "command": "serve me/model --served-model-name my-model me:7b\n"
                    "  --gpu-memory-utilization=0.99 --max_model_len 4096 --port 8000\n"
                    "  --hf-overrides '{\"a\": 1}' --download-dir /models",
                    "environment": ["A=no", "VLLM_API_KEY=x", "N=${MISSING:-${ALSO:-1:30}}"],
                }
            }
        },
    )

    machine.run("migrate", str(tree))

    model = model_of(machine, "my-model")
    assert model.source.model == "me/model"
    assert not model.source.pinned
    assert model.image.pull_spec == f"vllm/vllm-openai:v1@{digest}"
    assert (model.context, model.aliases) == (4096, ("me:7b",))
    assert model.args == ("--hf-overrides", '{"a": 1}')
    assert model.env == {"A": "no", "N": "1:30"}
    assert model.capabilities.tools is Tools.FORCED
    # No lease may have all of the machine.
    assert model.memory == 109 << 30


def test_flags_that_no_model_file_may_have_are_said(machine, tree):
    edit_service(
        tree,
        "gpt-oss-20b",
        "gpt",
        command=[*words("gpt-oss-20b"), "--swap-space", "16\n", "--seed", "7"],
    )

    machine.run("migrate", str(tree))

    assert file_of(machine, "gpt-oss-20b")["extra_args"] == ["--seed", "7"]
    assert "--swap-space 16, which takes memory beside the lease" in owners(machine)["gpt-oss-20b"]
    assert model_of(machine, "gpt-oss-20b").args[-2:] == ("--seed", "7")


def test_a_retired_name_is_said_with_its_reason(machine, tree, capsys):
    (machine.layout.vendor_models / "glm-4-9b-chat.yaml").unlink(missing_ok=True)
    (machine.layout.vendor_models / "retired.yaml").write_text(
        "glm-4-9b-chat: {reason: superseded, instead: gpt-oss-20b}\n"
    )

    machine.run("migrate", str(tree))

    out = capsys.readouterr().out
    assert "! glm-4-9b-chat: not taken over: superseded" in out
    assert "! gemma4-31b: not taken over: the catalog has none" in out


def test_twice_is_as_good_as_once(machine, tree, capsys):
    (tree / ".env").write_text("GLM_47_FLASH_AWQ_MAX_NUM_SEQS=2\n")
    edit_service(tree, "gpt-oss-20b", "gpt", image="me/vllm:2")
    machine.layout.host_file.write_text("hub_caches: []\n")
    machine.run("migrate", str(tree))
    before = machine.files()
    capsys.readouterr()

    assert machine.run("migrate", str(tree)) == 0

    assert machine.files() == before
    assert "\n+ " not in capsys.readouterr().out


def test_dry_run_shows_everything_and_writes_nothing(machine, tree, capsys):
    (tree / ".env").write_text("GLM_47_FLASH_AWQ_MAX_NUM_SEQS=2\n")
    before = machine.files()

    assert machine.run("migrate", "--dry-run", str(tree)) == 0

    assert machine.files() == before
    out = capsys.readouterr().out
    for path in (machine.layout.owner_models / "glm-4.7-flash-awq.yaml", machine.layout.host_file):
        assert f"+ {path}" in out
    assert "would be the API key 'migrated'" in out


def test_a_file_of_the_owner_stays_and_the_difference_is_shown(machine, tree, capsys):
    (tree / ".env").write_text("GLM_47_FLASH_AWQ_MAX_NUM_SEQS=2\n")
    machine.model_file("glm-4.7-flash-awq", port=18301)
    before = owners(machine)

    assert machine.run("migrate", str(tree)) == 0

    assert owners(machine) == before
    out = capsys.readouterr().out
    assert "glm-4.7-flash-awq.yaml is there and stays as it is" in out
    assert "-memory: 1GiB" in out


def test_containers_that_return_are_named_with_the_command(machine, tree, capsys):
    machine.run("migrate", str(tree))

    out = capsys.readouterr().out
    assert f"sudo docker compose --project-directory {tree} --profile models down" in out


@pytest.mark.parametrize("lacking", ["docker-compose.yml", "models.json"])
def test_another_directory_is_refused(machine, tree, capsys, lacking):
    (tree / lacking).unlink()

    assert machine.run("migrate", str(tree)) == 1

    assert "is no checkout of dgx-spark-inference-stack" in capsys.readouterr().err
    assert not machine.layout.api_keys.exists()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("models.json", "{", "expected JSON"),
        ("models.json", "[]", "expected an object"),
        ("models.json", b"\xff", "expected UTF-8"),
        ("docker-compose.yml", "a: [", "expected a compose file"),
        ("docker-compose.yml", "- a", "expected a compose file with 'services:'"),
        ("docker-compose.yml", "services: !reset {}", "expected a compose file"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(machine, tree, capsys, file, text, words):
    (tree / file).write_bytes(text if isinstance(text, bytes) else text.encode())

    assert machine.run("migrate", str(tree)) == 1

    assert words in capsys.readouterr().err


def test_an_included_file_that_is_broken_costs_itself_alone(machine, tree, capsys):
    (tree / "compose/models-glm.yml").write_text("services: [")

    assert machine.run("migrate", str(tree)) == 0

    out = capsys.readouterr().out
    assert "models-glm.yml: expected a compose file" in out
    assert "= as they are here: gpt-oss-120b, gpt-oss-20b, qwen3.5-0.8b" in out
