"""Files known by their hash: fetched once, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import urllib.error
from pathlib import Path
from typing import IO

import pytest

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
    assert {file.name for file in found.values()} == {"o200k_base.tiktoken", "cl100k_base.tiktoken"}


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("a: {name: x, url: 'https://x.org/x'}", "a", "64 hex digits"),
        (f"{DIGEST}: {{name: x, url: 'http://x.org/x'}}", f"{DIGEST}.url", "a link"),
        (f"{DIGEST}: {{url: 'https://x.org/x'}}", f"{DIGEST}.name", "required"),
    ],
)
def test_a_list_that_is_wrong_says_where(text: str, key: str, expected: str) -> None:
    found, problems = filelist.parse(text, "files.yaml")

    assert found == {}
    [problem] = problems
    assert problem.key == key
    assert expected in problem.message
