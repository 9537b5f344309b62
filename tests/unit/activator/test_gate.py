"""The gate's files: read when somebody comes, and never trusted further than they can be read."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from spark_activator.activator.gate import Gate
from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http.head import Head
from spark_activator.http.keys import Key, digest_of
from spark_activator.layout import Layout

LINE = Key("laptop", digest_of("secret-of-the-laptop")).line() + "\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, tmp_path, tmp_path, tmp_path)
    layout.frozen_host.parent.mkdir()
    return layout


def request(*lines: str, host: str = "localhost") -> Head:
    text = "\r\n".join(["GET /v1/models HTTP/1.1", f"Host: {host}", *lines, "", ""])
    return heads.parse(text.encode())


def verdict(gate: Gate, *lines: str, host: str = "localhost", peer: str = "127.0.0.1") -> str:
    """The name of the key, or the code of the refusal."""
    try:
        return gate.admit(request(*lines, host=host), peer).key
    except Refusal as refusal:
        return refusal.code


KEY = "Authorization: Bearer secret-of-the-laptop"


def test_keys_come_and_go_between_two_requests(layout: Layout) -> None:
    gate = Gate(layout, ("story",))
    fresh = layout.config / "fresh"
    seen = [verdict(gate)]

    for text in (LINE, "# none\n", LINE.replace("laptop", "tablet")):
        # As `key add` does it, then as an editor might: with the same size and inode.
        fresh.write_text(text)
        os.replace(fresh, layout.api_keys)
        seen.append(verdict(gate, KEY))
    layout.api_keys.write_text(LINE)
    seen.append(verdict(gate, KEY))
    layout.api_keys.unlink()
    seen.append(verdict(gate))

    assert seen == ["", "laptop", "", "tablet", "laptop", ""]


def test_file_that_has_not_changed_is_not_read_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.api_keys.write_text(LINE)
    gate = Gate(layout, ("story",))
    monkeypatch.setattr("spark_activator.activator.gate.SETTLED", 0)
    assert verdict(gate, KEY) == "laptop"

    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("it was read again"))

    assert verdict(gate, KEY) == "laptop"


def test_file_that_cannot_be_read_lets_nobody_in(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(layout, ("story",))
    for make in (
        lambda: layout.api_keys.mkdir(),
        lambda: layout.api_keys.rmdir() or layout.api_keys.write_bytes(b"\xff\xfe"),
        lambda: layout.api_keys.write_text("half a li"),
    ):
        make()
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert verdict(gate, KEY) == "invalid_api_key"
            assert verdict(gate) == "invalid_api_key"
        [record] = caplog.records
        assert str(layout.api_keys) in record.message


def test_damaged_line_does_not_shut_out_the_others(layout: Layout) -> None:
    layout.api_keys.write_text(f"half a li\n{LINE}")

    assert verdict(Gate(layout, ("story",)), KEY) == "laptop"


def test_names_of_the_hosts_file_are_ours(layout: Layout) -> None:
    gate = Gate(layout, ("story",))
    assert verdict(gate, host="llm.example.org") == "invalid_host"

    layout.hosts_file.write_text("llm.example.org\n*.example.org\n")

    assert verdict(gate, host="llm.example.org:18100") == ""
    assert verdict(gate, host="x.example.org") == "invalid_host"
    assert verdict(gate, host=socket.gethostname().partition(".")[0] + ".local") == ""


def test_origins_of_the_host_settings_may_ask(layout: Layout) -> None:
    gate = Gate(layout, ("story",))
    page = "Origin: https://chat.example.org"
    assert verdict(gate, page) == "origin_not_allowed"
    assert gate.cors(request(page)) == {"Vary": "Origin"}

    settings = HostSettings(origins=("https://Chat.example.org",))
    layout.frozen_host.write_text(frozen.dump_host(settings))

    assert verdict(gate, page) == ""
    told = gate.cors(request(page))
    assert told["Access-Control-Allow-Origin"] == "https://chat.example.org"
    layout.frozen_host.write_text("{")
    assert verdict(gate, page) == "origin_not_allowed"
    assert verdict(gate, "Origin: http://localhost:1") == ""


def test_who_has_no_key_learns_nothing_of_hosts_and_origins(layout: Layout) -> None:
    layout.api_keys.write_text(LINE)
    gate = Gate(layout, ("story",))

    assert verdict(gate, "Origin: null", host="evil.example") == "invalid_api_key"
    assert verdict(gate, KEY, host="evil.example") == "invalid_host"
    assert verdict(gate, KEY, "Origin: null") == "origin_not_allowed"
