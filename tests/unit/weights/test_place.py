"""Which cache is written to, and whether it has room."""

import errno
import fcntl
import io
import os
import types
from pathlib import Path

import pytest

from spark_activator.cli import hub_token
from spark_activator.errors import UserError
from spark_activator.weights import download, inventory, place
from spark_activator.weights.progress import Progress

GIB = 1 << 30


@pytest.mark.parametrize(("free", "need"), [(10 * GIB, 9 * GIB + 1), (GIB, 1), (0, 1)])
def test_what_does_not_fit_is_refused_with_numbers(tmp_path, monkeypatch, free, need) -> None:
    disk(monkeypatch, free)

    with pytest.raises(UserError, match=r"'a/b' needs .* 1\.0 GiB are to stay free") as refused:
        place.require_room(tmp_path / "not/yet", need, "'a/b'")

    assert refused.value.hint is not None
    assert "spark-model disk" in refused.value.hint


@pytest.mark.parametrize(("free", "need"), [(10 * GIB, 9 * GIB), (0, 0)])
def test_what_fits_is_not(tmp_path, monkeypatch, free, need) -> None:
    disk(monkeypatch, free)

    place.require_room(tmp_path, need, "'a/b'")


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    facts = types.SimpleNamespace(f_bavail=free // 512, f_frsize=512)
    # Only as asked by `place`: pytest writes files too.
    monkeypatch.setattr(place, "os", types.SimpleNamespace(statvfs=lambda _: facts))


def test_disk_that_fills_up_meanwhile_is_said(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    said = download._disk_error(tmp_path / "models--a--b", error)

    assert "is full" in said.message
    assert "what came is kept" in said.message


def test_cache_that_has_a_part_is_gone_on_with(tmp_path: Path) -> None:
    for name in ("one", "two/models--a--b", "three/models--a--draft"):
        (tmp_path / name).mkdir(parents=True)
    places = [str(tmp_path / name) for name in ("one", "two", "three")]

    assert place.writable(places, [("a/b", None), ("a/draft", None)]) == tmp_path / "two"
    assert place.writable(places, [("x/y", None)]) == tmp_path / "one"
    # One that is not there yet is made.
    assert place.writable([str(tmp_path / "new")], [("x/y", None)]) == tmp_path / "new"


def test_no_cache_that_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="none of the hub caches may be written"):
        place.writable([str(tmp_path / "file/hub")], [("a/b", None)])


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb", "ä", "\x1b[2J"])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)

    with pytest.raises(UserError, match="expected a token") as refused:
        hub_token.read(str(tmp_path / "token"))

    assert "two words" not in refused.value.message


def test_token_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_abc\n")

    assert hub_token.read(str(tmp_path / "token")) == "hf_abc"
    assert hub_token.read(None) is None
    with pytest.raises(UserError, match="No such file"):
        hub_token.read(str(tmp_path / "none"))


def test_progress_is_lines_where_nobody_looks() -> None:
    stream = io.StringIO()
    progress = Progress(4096, 1024, stream)
    progress.add(3072)
    progress.end()

    assert stream.getvalue() == "    4.0 KiB of 4.0 KiB, 100%\n"


def test_progress_is_a_bar_at_a_terminal() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]  # a terminal, as far as is asked
    progress = Progress(4096, 0, stream)
    progress.add(2048)
    progress.end()

    assert "\r" in stream.getvalue()
    assert "[############............] 2.0 KiB of 4.0 KiB, 50%" in stream.getvalue()


def test_sizes_count_content_once_and_follow_no_links(tmp_path: Path) -> None:
    root = tmp_path / "models--a--b"
    (root / "blobs").mkdir(parents=True)
    (root / "snapshots/1").mkdir(parents=True)
    (root / "blobs/x").write_bytes(b"x" * 100_000)
    (root / "snapshots/1/model.safetensors").symlink_to("../../blobs/x")
    os.link(root / "blobs/x", root / "snapshots/1/again")

    [entry] = inventory.stored((str(tmp_path), "/nowhere"), {"a/b": ("m",)})

    assert (entry.repository, entry.users, entry.partial) == ("a/b", ("m",), False)
    assert entry.size is not None
    assert 100_000 <= entry.size < 120_000


def test_what_is_just_being_downloaded_is_not_deleted(tmp_path: Path) -> None:
    blobs = tmp_path / "models--a--b/blobs"
    blobs.mkdir(parents=True)
    growing = blobs / "x.incomplete"
    growing.write_bytes(b"x")
    [entry] = inventory.stored([str(tmp_path)], {})

    with growing.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="a download into it is running"):
            inventory.delete(entry)
    assert growing.exists()

    inventory.delete(entry)
    assert list(tmp_path.iterdir()) == []
