"""Which files of a repository are fetched."""

import pytest

from spark_activator.weights import choice
from spark_activator.weights.choice import RemoteFile, choose

SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]


def chosen(*names: str, args: tuple[str, ...] = ()) -> list[str]:
    files = [RemoteFile(name, 100 - n, "d" * 40, lfs=False) for n, name in enumerate(names)]
    result = choose(files, args)
    left = {file.name for group in result.left.values() for file in group}
    # Nothing is lost without a reason.
    assert {file.name for file in result.wanted} | left == set(names)
    assert left.isdisjoint(file.name for file in result.wanted)
    return [file.name for file in result.wanted]


def test_weights_come_last() -> None:
    names = [*SHARDS, "model.safetensors.index.json", "config.json", "tokenizer.json"]

    assert sorted(chosen(*names)[-2:]) == SHARDS


@pytest.mark.parametrize(
    "name",
    [
        "chat_template.jinja", "modeling_own.py", "merges.txt", "tokenizer.model", "LICENSE",
        "1_Pooling/config.json", "generation_config.json", "qwen.tiktoken",
    ],
)  # fmt: skip
def test_what_an_engine_may_read_is_kept(name: str) -> None:
    assert name in chosen("config.json", *SHARDS, name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("original/consolidated.00.pth", choice.IN_FOLDER),
        ("metal/model.bin", choice.IN_FOLDER),
        ("onnx/model.onnx", choice.IN_FOLDER),
        ("Model-Q4_K_M.gguf", choice.GGUF),
        ("pytorch_model.bin", choice.SAME),
        ("pytorch_model.bin.index.json", choice.SAME),
        ("tf_model.h5", choice.SAME),
        ("README.md", choice.FOR_READERS),
        ("assets/picture.PNG", choice.FOR_READERS),
    ],
)
def test_what_it_does_not_is_left_out_with_the_reason(name: str, reason: str) -> None:
    files = [RemoteFile(each, 1, "d" * 40, lfs=False) for each in (*SHARDS, name)]

    assert [file.name for file in choose(files).left[reason]] == [name]


def test_pickles_are_kept_where_there_is_nothing_else() -> None:
    names = ("config.json", "pytorch_model.bin")

    assert sorted(chosen(*names)) == sorted(names)


def test_mistrals_format_is_one_or_the_other() -> None:
    usual = ["config.json", "model.safetensors.index.json", *SHARDS]
    own = ["consolidated.safetensors", "params.json"]

    assert "consolidated.safetensors" not in chosen(*usual, *own)
    taken = chosen(*usual, *own, args=("--load-format", "mistral"))
    assert "consolidated.safetensors" in taken
    assert not [name for name in taken if name.startswith("model")]
    # Where there is only one, it is that one.
    assert "consolidated.safetensors" in chosen(*own)
