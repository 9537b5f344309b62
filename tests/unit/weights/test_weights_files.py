"""Files known by their hash: fetched once, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import urllib.error
from pathlib import Path
from typing import IO

import pytest
from catalog_shipped import models

from spark_activator.catalog import filelist
from spark_activator.errors import UserError
from spark_activator.layout import Layout
from spark_activator.weights import files

ROOT = Path(__file__).parents[3]
CONTENT = b"IQ== 0\nIg== 1\n" * 9000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL = "https://files.example.org/small.tiktoken"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "files.yaml").write_text(f"{DIGEST}:\n  name: small.tiktoken\n  url: {URL}\n")
    return Layout(tmp_path, tmp_path / "state", tmp_path, tmp_path)


class Server:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[str] = []

    def get(self, url: str) -> IO[bytes]:
        self.asked.append(url)
        return io.BytesIO(self.content)


def test_it_is_fetched_once(layout: Layout) -> None:
    server = Server(CONTENT)
    path = files.fetch(layout, DIGEST, get=server.get)

    # Where the runner mounts it from, and for the engine's user to read.
    assert path == layout.state / "files" / DIGEST
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert files.fetch(layout, DIGEST, get=server.get) == path
    assert files.fetch(layout, DIGEST.removeprefix("sha256:"), get=server.get) == path
    assert server.asked == [URL]


def test_another_content_is_refused_and_nothing_stays(layout: Layout) -> None:
    with pytest.raises(UserError, match=f"expected {DIGEST}, got sha256:") as caught:
        files.fetch(layout, DIGEST, get=Server(b"<html>log in</html>").get)

    assert URL in caught.value.message
    assert list(layout.fetched_files.iterdir()) == []


def test_what_was_cut_short_here_is_fetched_again(layout: Layout) -> None:
    path = files.place(layout, DIGEST)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:1000])

    assert files.fetch(layout, DIGEST, get=Server(CONTENT).get).read_bytes() == CONTENT


def test_no_way_there(layout: Layout) -> None:
    def get(url: str) -> IO[bytes]:
        raise urllib.error.URLError("Name or service not known")

    with pytest.raises(UserError, match="Name or service not known") as caught:
        files.fetch(layout, DIGEST, get=get)
    assert caught.value.hint is not None
    assert str(layout.fetched_files / DIGEST) in caught.value.hint
    assert list(layout.fetched_files.iterdir()) == []


def shipped(layout: Layout, content: bytes) -> Path:
    """Have the installation bring *content* as the file that is wanted."""
    layout.files_file.write_text(f"{DIGEST}: {{name: small.py, shipped: patches/small.py}}\n")
    path = layout.image_folders / "patches/small.py"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_one_that_is_shipped_needs_no_way(layout: Layout) -> None:
    shipped(layout, CONTENT)
    server = Server(b"")
    path = files.fetch(layout, DIGEST, get=server.get)

    assert path == layout.fetched_files / DIGEST
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert server.asked == []


def test_one_that_is_shipped_and_was_changed_is_refused(layout: Layout) -> None:
    path = shipped(layout, CONTENT + b"# mine\n")

    with pytest.raises(UserError, match=f"expected {DIGEST}, got sha256:") as caught:
        files.fetch(layout, DIGEST)

    assert str(path) in caught.value.message
    assert "install.sh" in str(caught.value.hint)
    assert list(layout.fetched_files.iterdir()) == []


def test_one_that_is_shipped_and_is_not_there(layout: Layout) -> None:
    shipped(layout, CONTENT).unlink()

    with pytest.raises(UserError, match=r"cannot fetch small\.py from .*No such file") as caught:
        files.fetch(layout, DIGEST)

    assert "install.sh" in str(caught.value.hint)


def test_one_that_is_in_no_list(layout: Layout) -> None:
    other = "sha256:" + "0" * 64
    with pytest.raises(UserError, match="nobody says where") as caught:
        files.fetch(layout, other, get=Server(b"").get)
    assert str(layout.fetched_files / other) in str(caught.value.hint)


def test_a_name_that_is_no_hash_leads_nowhere(layout: Layout) -> None:
    with pytest.raises(UserError, match="64 hex digits"):
        files.fetch(layout, "sha256:../../etc/passwd")


def test_the_list_that_is_shipped_is_right() -> None:
    path = ROOT / "images/files.yaml"
    found, problems = filelist.parse(path.read_text(), str(path))

    assert problems == []
    # What openai-harmony looks for below TIKTOKEN_ENCODINGS_BASE.
    assert {file.name for file in found.values() if file.url} == {
        "o200k_base.tiktoken",
        "cl100k_base.tiktoken",
    }
    shipped = {digest: file for digest, file in found.items() if file.shipped}
    assert {file.shipped.partition("/")[0] for file in shipped.values()} == {"patches"}
    for digest, file in shipped.items():
        content = (ROOT / "images" / file.shipped).read_bytes()
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}", file.shipped


def test_each_file_that_a_model_mounts_is_in_the_list() -> None:
    known, _ = filelist.parse((ROOT / "images/files.yaml").read_text(), "files.yaml")
    mounted = {
        file
        for model in models().values()
        for file in model.container.files.values()
        if file.startswith("sha256:")
    }

    # And nothing is in it that no model mounts.
    assert mounted == set(known)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("a: {name: x, url: 'https://x.org/x'}", "a", "64 hex digits"),
        (f"{DIGEST}: {{name: x, url: 'http://x.org/x'}}", f"{DIGEST}.url", "a link"),
        (f"{DIGEST}: {{url: 'https://x.org/x'}}", f"{DIGEST}.name", "required"),
        (f"{DIGEST}: {{name: x}}", DIGEST, "one of 'url' and 'shipped'"),
        (
            f"{DIGEST}: {{name: x, url: 'https://x.org/x', shipped: patches/x}}",
            DIGEST,
            "one of 'url' and 'shipped'",
        ),
        (f"{DIGEST}: {{name: x, shipped: ../x}}", f"{DIGEST}.shipped", "a file of images/"),
        (f"{DIGEST}: {{name: x, shipped: a/../x}}", f"{DIGEST}.shipped", "a file of images/"),
    ],
)
def test_a_list_that_is_wrong_says_where(text: str, key: str, expected: str) -> None:
    found, problems = filelist.parse(text, "files.yaml")

    assert found == {}
    [problem] = problems
    assert problem.key == key
    assert expected in problem.message
