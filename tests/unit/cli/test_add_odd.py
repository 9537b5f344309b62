"""`spark-model add` with folders and files as they lie about: odd names, missing parts."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from spark_activator.catalog.load import check_files, load_catalog
from spark_activator.cli import files

ROOT = Path(__file__).parents[3]
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 128,
    "max_position_embeddings": 1024,
}  # fmt: skip


@pytest.fixture
def catalog(machine: Any) -> Any:
    """A machine with the images that are shipped."""
    machine.layout.images_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "images/images.yaml", machine.layout.images_file)
    return machine


def folder(path: Path, **files: bytes) -> Path:
    path.mkdir(parents=True)
    for name, data in {
        "config.json": json.dumps(CONFIG).encode(), "model.safetensors": b"x" * 4096, **files,
    }.items():  # fmt: skip
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("My Model (v2)", "my-model-v2"),
        ("ümlaut#1", "mlaut-1"),
        ("a'b\"c", "a-b-c"),
        ("-x", "x"),
        ("A" * 200, "a" * 63),
    ],
)
def test_a_folder_with_an_odd_name(name: str, becomes: str, catalog: Any, tmp_path: Path) -> None:
    place = folder(tmp_path / "with blanks" / name)

    assert catalog.run("add", str(place)) == 0

    path = catalog.layout.owner_models / f"{becomes}.yaml"
    assert not check_files(catalog.layout, [path])
    model = load_catalog(catalog.layout).models[becomes]
    assert dict(model.container.mounts) == {model.source.model: str(place)}


BROKEN = {
    "not json": ({"config.json": b"{"}, "config.json: expected JSON"),
    "a list": ({"config.json": b"[]"}, "config.json: expected a JSON object"),
    "no utf-8": ({"config.json": b"\xff\xfe\xff"}, "config.json: expected JSON"),
    "too deep": ({"config.json": b'{"a":' * 100_000}, "config.json: expected JSON"),
    "long number": (
        {"config.json": b'{"a":' + b"9" * 5000 + b"}"},
        "config.json: expected JSON",
    ),
    "index": (
        {"model.safetensors.index.json": b"nonsense"},
        "model.safetensors.index.json: expected JSON",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_a_sentence(
    case: str, catalog: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, says = BROKEN[case]

    assert catalog.run("add", str(folder(tmp_path / "x", **files))) == 1

    assert says in capsys.readouterr().err
    assert not catalog.layout.owner_models.exists()


@pytest.mark.parametrize("files", [["model.gguf"], ["pytorch_model.bin"], []])
def test_weights_that_vllm_does_not_read(
    files: list[str], catalog: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder(tmp_path / "x", **dict.fromkeys(files, b"x"))
    (place / "model.safetensors").unlink()

    assert catalog.run("add", str(place)) == 1

    assert "expected weights as *.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["fifo", "loop", "link"])
def test_a_folder_with_odd_things_in_it(what: str, catalog: Any, tmp_path: Path) -> None:
    place = folder(tmp_path / "x")
    if what == "fifo":
        os.mkfifo(place / "pipe")
    elif what == "loop":
        (place / "loop").symlink_to(place / "loop")
    else:
        (place / "self").symlink_to(place)

    assert catalog.run("add", str(place)) == 0


class Page(BaseHTTPRequestHandler):
    """A server of one page, as a hub of code shows a file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"\n\n<!doctype html>\n<html>vllm serve a/b</html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_folder_is_looked_through_only_where_it_is_a_model(
    catalog: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def look(*_: object, **__: object) -> None:
        raise AssertionError("it may be the whole disk")

    monkeypatch.setattr(os, "scandir", look)

    assert catalog.run("add", str(tmp_path), "--name", "mine") == 1
    assert "has no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENOENT, errno.EIO])
def test_a_folder_with_what_cannot_be_read_is_a_sentence(
    error: int,
    catalog: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.json").write_text("{}")
    closed = tmp_path / "closed"
    closed.mkdir()
    scan = os.scandir

    def look(path: str) -> Any:
        if os.fspath(path) == str(closed):
            raise OSError(error, os.strerror(error), str(closed))
        return scan(path)

    monkeypatch.setattr(os, "scandir", look)

    assert catalog.run("add", str(tmp_path), "--name", "mine") == 1
    assert f"{closed}: cannot be read: {os.strerror(error)}" in capsys.readouterr().err


def test_a_web_page_is_no_recipe(catalog: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        link = f"http://127.0.0.1:{server.server_port}/recipe.yaml"
        assert catalog.run("add", "--from-recipe", link) == 1
        thread.join()

    assert "is a web page (hint: give the link of the raw file)" in capsys.readouterr().err


LINKS = {
    "http://host.invalid/a b": "control characters",
    "http://host.invalid:port/a": "nonnumeric port",
    "http://[/a": "Invalid IPv6 URL",
    "http://me:hunter2@host.invalid/a": "a password in a link is sent to nobody",
    "http://me:hunter2@host.invalid:80/a": "a password in a link is sent to nobody",
    "http://host.invalid/a b?token=hunter2": "control characters",
}


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_cannot_be_fetched_is_a_sentence_without_secrets(
    link: str, catalog: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert catalog.run("add", "--from-recipe", link) == 1

    said = capsys.readouterr().err
    assert LINKS[link] in said
    assert "hunter2" not in said


def test_a_link_is_repeated_without_its_secrets(
    catalog: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"a: [1, 2]"))

    assert catalog.run("add", "--from-recipe", "http://host.invalid/a?token=hunter2") == 1

    said = capsys.readouterr().err
    assert "http://host.invalid/a?token=…: " in said
    assert "hunter2" not in said


@pytest.mark.parametrize("option", [(), ("--from-recipe",)])
@pytest.mark.parametrize(
    ("name", "says"),
    [("~nobody-of-this-name/x", ""), ("/" + "a" * 300, os.strerror(errno.ENAMETOOLONG))],
)
def test_a_path_that_can_be_nowhere_is_a_sentence(
    option: tuple[str, ...], name: str, says: str, catalog: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert catalog.run("add", *option, name) == 1

    said = capsys.readouterr().err
    assert name in said
    assert says in said


def test_a_line_that_was_pasted_as_an_argument_has_its_place_named(
    catalog: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"vllm serve x{' --max-num-seqs 1' * 20}"

    assert catalog.run("add", "--from-recipe", line) == 1

    assert "--from-recipe - <<< 'vllm serve …'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errno.ENOSPC, "no space left on device (hint: make room, "),
        (errno.EACCES, "cannot be written: Permission denied (hint: use sudo)"),
        (errno.EROFS, "cannot be written: Read-only file system\n"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_with_what_helps(
    error: int,
    says: str,
    catalog: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    place = folder(tmp_path / "x")
    monkeypatch.setattr(files, "write", write)

    assert catalog.run("add", str(place)) == 1

    assert says in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--kv-cache-dtype", "--kv_cache_dtype"])
def test_a_type_of_the_cache_that_is_not_said_is_the_engines(
    flag: str, catalog: Any, tmp_path: Path
) -> None:
    place, recipe = folder(tmp_path / "x"), tmp_path / "recipe"
    recipe.write_text(f"vllm serve a/b {flag}")

    assert catalog.run("add", str(place), "--from-recipe", str(recipe), "--name", "mine") == 0


def test_the_type_of_the_cache_counts_however_it_is_spelled(catalog: Any, tmp_path: Path) -> None:
    place, recipe = folder(tmp_path / "x"), tmp_path / "recipe"
    for name, flag in (("a", "--kv-cache-dtype"), ("b", "--kv_cache_dtype")):
        recipe.write_text(f"vllm serve a/b {flag} fp8")
        assert catalog.run("add", str(place), "--from-recipe", str(recipe), "--name", name) == 0

    known = load_catalog(catalog.layout).models
    assert known["a"].sizing is not None
    assert known["a"].sizing == known["b"].sizing


def test_standard_input_that_is_no_text(
    catalog: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"vllm serve \xff")))

    assert catalog.run("add", "--from-recipe", "-") == 1

    assert "expected text in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../etc/x", "expected a name"),
        ("retired", "'retired' is the file"),
        ("chat", "is part of the API's paths"),
        ("-", "expected a name"),
    ],
)
def test_names_that_no_model_may_have(
    name: str, says: str, catalog: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder(tmp_path / "x")

    assert catalog.run("add", str(place), "--name", name) == 1

    assert says in capsys.readouterr().err
    assert not catalog.layout.owner_models.exists()
