"""The way to an engine: found once, and looked for anew when it does not lead there any more."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from spark_activator.activator.reach import ENGINE_SOCKET, Engines, EngineUnreachable

FIRST, SECOND = "0badcafe", "1badcafe"


def listen(root: Path, activation: str = FIRST) -> socket.socket:
    """Listen where the engine of *activation* does."""
    (root / activation).mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    # Its path has more than 107 bytes.
    here = os.open(root / activation, os.O_PATH)
    listener.bind(f"/proc/self/fd/{here}/{ENGINE_SOCKET}")
    os.close(here)
    listener.listen()
    return listener


async def reaches(engines: Engines, listener: socket.socket, activation: str = FIRST) -> bool:
    """Whether a connection to the engine of *activation* arrives at *listener*."""
    listener.setblocking(False)
    with await engines.connect(activation) as wire:
        assert not wire.sock.getblocking()
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / ("long" * 30)
    found.mkdir()
    return found


async def test_the_way_is_found_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(root)
    with listen(root) as engine:
        assert await reaches(engines, engine)
        opened = []
        monkeypatch.setattr(os, "open", lambda *told, **_: opened.append(told))
        assert await reaches(engines, engine)
        assert not opened
    engines.close()


async def test_an_engine_that_listens_anew_is_found(root: Path) -> None:
    engines = Engines(root)
    with listen(root) as engine:
        assert await reaches(engines, engine)
    (root / FIRST / ENGINE_SOCKET).unlink()
    with listen(root) as engine:
        assert await reaches(engines, engine)
        assert await reaches(engines, engine)
    engines.close()


async def test_what_lies_there_counts_and_not_who_listens(root: Path) -> None:
    engines = Engines(root)
    path = root / FIRST / ENGINE_SOCKET
    with listen(root) as old:
        assert await reaches(engines, old)
        path.unlink()
        with pytest.raises(EngineUnreachable):
            await engines.connect(FIRST)
        with listen(root) as new:
            assert await reaches(engines, new)
            assert not await reaches(engines, old)
    engines.close()


async def test_each_activation_has_its_own(root: Path) -> None:
    engines = Engines(root)
    with listen(root) as first, listen(root, SECOND) as second:
        assert await reaches(engines, first)
        assert await reaches(engines, second, SECOND)
        assert await reaches(engines, first)
    engines.close()


async def test_a_link_in_the_place_of_a_dead_engine_is_not_followed(root: Path) -> None:
    engines = Engines(root)
    with listen(root) as engine:
        assert await reaches(engines, engine)
    path = root / FIRST / ENGINE_SOCKET
    path.unlink()
    with listen(root, SECOND):
        path.symlink_to(root / SECOND / ENGINE_SOCKET)
        with pytest.raises(EngineUnreachable):
            await engines.connect(FIRST)
    engines.close()


async def test_nothing_stays_open(root: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    engines, before = Engines(root), count()
    with pytest.raises(EngineUnreachable):
        await engines.connect(FIRST)
    (root / FIRST).mkdir()
    (root / FIRST / ENGINE_SOCKET).touch()
    with pytest.raises(EngineUnreachable):
        await engines.connect(FIRST)
    (root / FIRST / ENGINE_SOCKET).unlink()
    with listen(root) as engine:
        assert await reaches(engines, engine)
    with pytest.raises(EngineUnreachable):
        await engines.connect(FIRST)
    assert count() == before
    with listen(root, SECOND) as engine:
        assert await reaches(engines, engine, SECOND)
        engines.close()
    assert count() == before


async def test_a_full_backlog_is_waited_for(root: Path) -> None:
    engines = Engines(root)
    with listen(root) as engine:
        engine.listen(0)
        first = await engines.connect(FIRST)
        # The kernel holds one more than the backlog says.
        async with trio.open_nursery() as nursery:
            connected = trio.Event()

            async def connect() -> None:
                with await engines.connect(FIRST):
                    connected.set()

            nursery.start_soon(connect)
            await trio.testing.wait_all_tasks_blocked()
            assert not connected.is_set()
            engine.accept()[0].close()
            await connected.wait()
        first.sock.close()
    engines.close()
