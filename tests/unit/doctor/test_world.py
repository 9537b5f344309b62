"""Reading a machine: texts of the kernel's shape, files in a directory, a Docker that is not."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from spark_activator.catalog import frozen
from spark_activator.catalog.model import Engine, Model, Source
from spark_activator.cli import doctor
from spark_activator.doctor import checks, containers, holders, serving, world
from spark_activator.doctor.facts import Facts, Finding, Holder, Listener
from spark_activator.layout import Layout

DRIVER = """NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build
GCC version:  gcc version 13.3.0
"""


class NoUnits:
    """A systemd that runs nothing."""

    def enabled(self, name: str) -> bool:
        return False

    def listening(self, name: str) -> bool:
        return False

    def active(self, unit: str) -> bool:
        return False


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    roots = [tmp_path / name for name in ("config", "state", "run", "share")]
    for root in roots:
        root.mkdir()
    return Layout(*roots)


def test_driver_version() -> None:
    assert world.driver_version(DRIVER) == "580.95.05"
    assert world.driver_version("") is None


def test_listening_sockets_of_both_tables() -> None:
    line = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 1\n"
    text = "  sl  local_address rem_address st\n"
    text += line.format("0100007F:1F49", "0A") + line.format("0100007F:1F50", "01")
    six = "head\n" + line.format("00000000000000000000000001000000:0050", "0A")

    assert list(world.listened(text)) == [(8009, "127.0.0.1")]
    assert list(world.listened(six)) == [(80, "::1")]


def test_port_that_somebody_has_is_found_and_its_owner_named(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        model = Model(
            name="mine", port=port, engine=Engine.VLLM, source=Source("a/b"), memory=1 << 30
        )
        layout.frozen("mine").parent.mkdir()
        layout.frozen("mine").write_text(frozen.dump(model))

        found = checks.examine(layout, NoUnits())

    says = [finding.says for finding in found if finding.check == "ports"]
    words = f"port {port} of 'mine' is taken by {own_name()} (process {os.getpid()}"
    assert any(words in sentence for sentence in says), says


def own_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


def test_holder_of_a_port_is_a_service_or_whoever_is_not_systemd(tmp_path: Path) -> None:
    def process(pid: int, name: str, cgroup: str, inode: str) -> None:
        (tmp_path / f"{pid}/fd").mkdir(parents=True)
        (tmp_path / f"{pid}/comm").write_text(f"{name}\n")
        (tmp_path / f"{pid}/cgroup").write_text(f"0::{cgroup}\n")
        (tmp_path / f"{pid}/fd/3").symlink_to(f"socket:[{inode}]")

    process(1, "systemd", "/init.scope", "77")
    process(20, "web", "/system.slice/web.service", "77")
    process(30, "mine", "/user.slice/user-1.slice/user@1.service/app.slice/a.service", "78")
    process(1000, "systemd", "/user.slice/user-1.slice/user@1.service/init.scope", "79")

    def found(inode: str) -> Holder | None:
        return holders.holder(tmp_path, iter([["0:", *["x"] * 8, inode]]))

    assert found("77") == Holder("web", 20, "web.service")
    # Root's systemctl does not stop the services of a user.
    assert found("78") == Holder("mine", 30)
    assert found("80") is None


def test_lease_is_seen_without_touching_its_lock(layout: Layout) -> None:
    layout.gpu.mkdir()
    free, held = layout.gpu / "lease-free.lock", layout.gpu / "lease-held.lock"
    free.touch()
    fd = os.open(held, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert world.leased(layout) == {"held"}
    finally:
        os.close(fd)
    assert world.leased(layout) == frozenset()


def test_state_that_was_left_and_a_pause(layout: Layout) -> None:
    layout.state_file("mine").parent.mkdir()
    layout.state_file("mine").write_text("{}")
    layout.gpu.mkdir()
    (layout.gpu / "pause.json").write_text('{"until": null}')

    facts = world.read(layout, NoUnits())

    assert facts.stated == ("mine",)
    assert facts.paused


def test_keys_that_are_no_text_are_wrong_lines(tmp_path: Path) -> None:
    file = tmp_path / "api-keys"
    file.write_bytes(b"# keys\n\xff\xfe\n")
    file.chmod(0o604)

    found = world.read_keys(file)

    assert found.wrong == (2,)
    assert found.mode == 0o604
    assert world.read_keys(tmp_path / "none").entries == 0


def test_file_that_cannot_be_read_leaves_all_other_findings(layout: Layout) -> None:
    layout.api_keys.mkdir()

    found = [finding for finding in checks.examine(layout, NoUnits()) if finding.check == "access"]

    assert [finding.level for finding in found] == ["problem"]
    assert f"{layout.api_keys}: is a directory" in found[0].says
    assert "nobody is served" in found[0].says
    assert str(layout.api_keys) in found[0].mend


def test_links_in_a_circle_are_no_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "api-keys"
    file.symlink_to(file)

    found = world.read_keys(file)

    assert "symbolic links" in found.problem
    assert found.readable


def test_directory_that_only_others_may_look_into_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    # As with a cache in root's home, where somebody else looks.
    monkeypatch.setattr(Path, "exists", denied)

    assert list(world._rooms([str(tmp_path / "cache")])) == []


def test_docker_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert containers.look(str(tmp_path / "docker.sock")) == (
        None,
        f"there is no {tmp_path}/docker.sock",
    )


def test_docker_that_does_not_listen_is_said(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

    found, error = containers.look(str(path))

    assert found is None
    assert "refused" in error


def test_docker_that_others_may_ask_is_no_docker_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docker.sock"
    assert containers.may_ask(str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert containers.may_ask(str(path))
    # Who runs the tests may be root, who may everything.
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert not containers.may_ask(str(path))
    assert containers.look(str(path)) == (None, f"{path}: permission denied, use sudo")


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 port is ours or free"), (2, "2 ports are ours or free")]
)
def test_ports_are_counted_in_words(count: int, words: str) -> None:
    one = Listener("mine", 18300, ("127.0.0.1",), ours=True, enabled=True)

    [found] = serving.ports(Facts(run="/run", listeners=(one,) * count))

    assert found.says == words


def test_findings_are_counted_in_words() -> None:
    problem, note = (Finding("docker", level, "", "") for level in ("problem", "note"))

    assert doctor.total([problem, note]) == "1 problem, 1 note"
    assert doctor.total([problem] * 2) == "2 problems, 0 notes"
    assert doctor.total([]) == "all is well"


def test_broken_host_settings_are_a_problem_of_access(layout: Layout) -> None:
    layout.host_file.write_text("gpu: maybe\n")

    found = checks.examine(layout, NoUnits())

    assert any("gpu" in one.says and one.mend.startswith("sudoedit") for one in found)
