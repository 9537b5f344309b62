"""`spark-model show`: what is known of one model."""

import json

import pytest

from spark_activator.catalog import frozen

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGES = "some-vllm: {reference: 'some/vllm:1', pinned: false}\n"
FAMILY = """\
engine: vllm
image: some-vllm
args: --kv-cache-dtype fp8
capabilities: {tools: full}
"""
MODEL = """\
extends: some-family
summary: answers everything
port: 18170
source:
  model: org/big
  revision: 0123456789abcdef0123456789abcdef01234567
  drafts: [org/draft]
  from: a recipe
aliases: [org/big]
presets: {big-precise: {temperature: 0}}
extra_args: --max-num-seqs 8
memory: 48GiB
context: 4096
sizing: {weights: 20GiB, kv: 8GiB, overhead: 4GiB, from: a calculation}
measured: {decode: 94.5, from: a stopwatch}
issues: ["it stutters"]
"""


@pytest.fixture
def catalog(machine):
    models = machine.layout.vendor_models
    (models / "families").mkdir(parents=True)
    machine.layout.images_file.write_text(IMAGES)
    (models / "families/some-family.yaml").write_text(FAMILY)
    (models / "big.yaml").write_text(MODEL)
    (models / "retired.yaml").write_text("old: {reason: it never worked, instead: big}\n")
    return machine


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["big", "org/big", "big-precise"])
def test_it_is_found_by_each_of_its_names(catalog, out, name):
    assert catalog.run("show", name) == 0

    said = words(out())
    assert said.startswith("big: answers everything")
    for part in (
        "experimental",
        f"org/big, commit {COMMIT}; with org/draft",
        "memory: 48 GiB",
        "20 GiB for weights",
        "a calculation",
        "94.5 tokens a second",
        "a stopwatch",
        "can: tools",
        "image some-vllm",
        "port: 18170",
        "source: a recipe",
        "known problem: it stutters",
    ):
        assert part in said


def test_resolved_is_what_apply_freezes_with_the_family_in_it(catalog, out):
    assert catalog.run("show", "--resolved", "big") == 0

    text = out()
    model = frozen.load(text)
    assert model.args == ("--kv-cache-dtype", "fp8", "--max-num-seqs", "8")
    assert json.loads(text)["capabilities"]["tools"] == "full"


def test_a_retired_name_has_its_reason_and_another_model(catalog, out):
    assert catalog.run("show", "old") == 0

    assert out() == "model 'old' is no more: it never worked; use 'big'\n"


def test_an_owners_file_of_a_retired_name_is_a_model(catalog, out):
    catalog.model_file("old")

    assert catalog.run("show", "old") == 0
    assert "(yours)" in out()


def test_a_disabled_model_has_its_reason(catalog, out):
    path = catalog.layout.vendor_models / "big.yaml"
    path.write_text(MODEL + "status: {disabled: it never worked}\n")

    assert catalog.run("show", "big") == 0
    assert "status: disabled: it never worked" in words(out())


def test_a_broken_file_is_said_to_be_broken(catalog, capsys):
    (catalog.layout.vendor_models / "big.yaml").write_text(MODEL + "nonsense: 1\n")

    assert catalog.run("show", "big") == 1

    said = capsys.readouterr().err
    assert "big.yaml" in said
    assert "nonsense" in said
    assert "see: spark-model check" in said


def test_an_unknown_name_is_compared_with_all(catalog, capsys):
    assert catalog.run("show", "bgi") == 1

    assert "did you mean big?" in capsys.readouterr().err


def test_it_says_whether_the_file_is_applied(catalog, out):
    catalog.run("show", "big")
    assert "applied: no (run: sudo spark-model apply)" in words(out())

    catalog.run("show", "--resolved", "big")
    path = catalog.layout.frozen("big")
    path.parent.mkdir(parents=True)
    path.write_text(out())
    catalog.run("show", "big")
    said = words(out())
    assert "applied: yes" in said
    assert "now: not enabled" in said

    catalog.freeze("big")
    catalog.run("show", "big")
    assert "applied: differs (see: spark-model update big --dry-run)" in words(out())


def test_it_says_which_weights_are_here(catalog, out, tmp_path):
    hub = tmp_path / "hub"
    snapshot = hub / "models--org--big/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    catalog.layout.host_file.write_text(f"hub_caches: ['{hub}']\n")

    catalog.run("show", "big")
    said = words(out())
    for repository in ("org/big", "org/draft"):
        assert f"weights of {repository}: not whole in any hub cache" in said
    assert "run: sudo spark-model pull big" in said

    (snapshot / "model.safetensors").write_text("")
    catalog.run("show", "big")
    said = words(out())
    assert f"weights of org/big: whole in {hub}" in said
    assert "weights of org/draft: not whole" in said


@pytest.mark.parametrize("record", ['{"commit": "0a1b2c"}', "not JSON"])
def test_it_says_what_the_last_pull_got(catalog, out, record):
    path = catalog.layout.pulled("big")
    path.parent.mkdir()
    path.write_text(record)

    assert catalog.run("show", "big") == 0
    assert ("last pull" in out()) is record.startswith("{")
