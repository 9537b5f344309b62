"""What runners say to the owner's command: the line, and its way to a real socket."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.host import HostSettings
from spark_activator.layout import Layout
from spark_activator.runner import event_command, events
from spark_activator.runner.events import Event

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Roots below a directory of the test, whose owner has a command."""
    made = Layout(*(tmp_path / root for root in ("config", "state", "run", "share")))
    made.frozen_host.parent.mkdir(parents=True)
    made.run.mkdir()
    set_command(made, "cat")
    return made


def set_command(layout: Layout, *command: str) -> None:
    layout.frozen_host.write_text(frozen.dump_host(HostSettings(on_event=command)))


@pytest.fixture
def listener(layout: Layout) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(layout.event_socket))
        sock.listen(1)
        yield sock


def nobody_has_connected(listener: socket.socket) -> bool:
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_line_has_every_key() -> None:
    line = events.line(Event.EVICTED, "a", NOON, message="'b' waits", to="b")

    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "event": "evicted",
        "model": "a",
        "time": "2026-01-02T12:00:00Z",
        "code": "",
        "message": "'b' waits",
        "for": "b",
    }


# One escape of six bytes, one character of four, and half of a pair.
@pytest.mark.parametrize("character", ["\x00", "\U0001f600", "\ud83d", "a", '"'])
def test_any_message_is_one_line_that_the_command_takes(character: str) -> None:
    line = events.line(Event.FAILED, "m" * 60, NOON, code="start_failed", message=character * 5000)

    assert len(line) <= event_command.MAX_LINE
    assert line.count(b"\n") == 1
    assert len(json.loads(line)["message"]) == events.MAX_MESSAGE


def test_told_event_arrives_and_the_connection_ends(
    layout: Layout, listener: socket.socket
) -> None:
    events.tell(layout, Event.BREAKER_OPEN, "a", code="breaker_open", message="for an hour")

    with listener.accept()[0] as taken, taken.makefile("rb") as stream:
        [line] = stream.readlines()
    told = json.loads(line)
    assert (told["event"], told["code"], told["for"]) == ("breaker_open", "breaker_open", "")
    assert datetime.fromisoformat(told["time"]).utcoffset() is not None


def test_without_a_command_nobody_connects(layout: Layout, listener: socket.socket) -> None:
    set_command(layout)

    events.tell(layout, Event.FAILED, "a")

    assert nobody_has_connected(listener)


def test_without_a_socket_it_is_a_word_for_debugging(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        events.tell(layout, Event.FAILED, "a")

    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_full_backlog_is_a_warning_and_no_wait(
    layout: Layout, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    # Nobody accepts.  A backlog of 1 takes two; the third would wait for ever.
    for _ in range(3):
        events.tell(layout, Event.FAILED, "a")

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "'failed'" in caplog.text


def test_socket_that_nobody_listens_on_is_a_warning(
    layout: Layout, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    listener.close()

    events.tell(layout, Event.FAILED, "a")

    assert [record.levelname for record in caplog.records] == ["WARNING"]
