"""install.sh where systemd runs: what it writes, leaves alone and takes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import registries
from node import CHECKOUT, CommandFailed, Node

# Everything that an installation may touch, with owner, mode and time of change.
TREES = (
    "/etc /opt /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d /usr/local"
    " /usr/share/spark-activator /var/lib/spark-activator"
)


@pytest.fixture(scope="module")
def fresh(suite: str) -> Iterator[Node]:
    """A node of our own: these tests take the installation away again."""
    with Node.boot(suite) as node:
        node.copy_checkout()
        yield node


def snapshot(node: Node) -> str:
    return node.exec(
        # systemd-sysusers locks /etc by a file, so times of directories say nothing.
        f"find {TREES} -type d -printf '%p %u:%g %m\\n' -o -printf '%p %u:%g %m %T@\\n' 2>/dev/null"
        " | grep -v -e __pycache__ -e /systemd/timesync | sort",
        check=False,
    ).out


def install(node: Node, *arguments: str) -> str:
    result = node.exec(
        f"cd {CHECKOUT} && ./install.sh {' '.join(arguments)}",
        env=registries.environment(),
        timeout=600,
    )
    return result.out


def test_dry_run_says_and_does_nothing(fresh: Node) -> None:
    before = snapshot(fresh)

    said = install(fresh, "--dry-run")

    assert "would write /usr/lib/systemd/system/spark-model@.socket" in said
    assert snapshot(fresh) == before


def test_install_leaves_docker_and_the_other_nginx_alone(fresh: Node) -> None:
    question = (
        "systemctl show -P MainPID docker.service containerd.service; cat /etc/nginx/nginx.conf"
    )
    fresh.exec("systemctl is-active docker.service")
    before = fresh.exec(question).out

    said = install(fresh)

    assert fresh.exec(question).out == before
    assert "sudo spark-model enable NAME" in said.splitlines()[-2]
    assert 'spark-model chat NAME "Hello"' in said.splitlines()[-1]
    assert fresh.exec("systemctl list-units --plain --no-legend 'spark-model@*'").out == ""
    assert fresh.exec("systemctl is-active nginx.service", check=False).out.strip() != "active"
    assert fresh.exec("curl -sf http://127.0.0.1:8009/healthz").out


def test_second_run_changes_nothing(fresh: Node) -> None:
    before = snapshot(fresh)
    units = fresh.exec("systemctl show -P ActiveEnterTimestampMonotonic spark-nginx.service").out

    said = install(fresh)

    assert "writing" not in said
    assert "daemon-reload" not in said
    assert snapshot(fresh) == before
    after = fresh.exec("systemctl show -P ActiveEnterTimestampMonotonic spark-nginx.service").out
    assert after == units


def test_a_changed_code_is_another_directory_and_the_last_one_stays(fresh: Node) -> None:
    first = fresh.exec("readlink /opt/spark-activator/current").out.strip()
    fresh.exec(f"echo '# changed' >>{CHECKOUT}/spark_activator/__init__.py")

    install(fresh)

    second = fresh.exec("readlink /opt/spark-activator/current").out.strip()
    assert second != first
    assert fresh.exec("ls /opt/spark-activator").out.split() == sorted([first, second, "current"])


def test_members_of_the_group_need_no_sudo(fresh: Node) -> None:
    fresh.exec("useradd --create-home --groups spark-activator member")

    fresh.exec("spark-model list", user="member")
    fresh.exec("spark-model lease run --memory 1MiB -- true", user="member")
    # The journal of a unit that everybody else may not read.
    assert "spark-nginx" in fresh.exec("journalctl -q -u spark-nginx -n 5", user="member").out
    # Whoever has lent leaves a moment after.
    fresh.wait("! systemctl list-units --plain --no-legend 'spark-lease@*' | grep -q .")


def test_verify_is_silent_on_what_was_installed(fresh: Node) -> None:
    # It exits 0 on unknown keys, so any output counts.
    units = " ".join(
        f"spark-{kind}@demo-echo.{suffix}"
        for kind, suffix in (
            ("model", "socket"), ("model", "service"), ("runner", "socket"),
            ("runner", "service"), ("engine", "socket"), ("engine", "service"),
            ("reaper", "timer"), ("reaper", "service"), ("tcp", "socket"), ("tcp", "service"),
        )
    )  # fmt: skip
    done = fresh.exec(
        f"systemd-analyze verify --man=no {units} spark-nginx.service spark-models.path"
        " spark-lease.socket spark-lease@0.service 2>&1"
    )

    assert done.out == ""


def test_tour_of_root_runs_beside_an_installed_system(fresh: Node) -> None:
    before = fresh.exec("systemctl list-units --all --plain --no-legend 'spark-*'").out

    said = install(fresh, "--demo")

    # Without a terminal it ends by itself.
    assert "no process, unit or socket of the tour is left" in said
    assert "left behind: no process, no mount, no cgroup" in said
    assert fresh.exec("systemctl list-units --all --plain --no-legend 'spark-*'").out == before
    assert fresh.exec("find /sys/fs/cgroup -name 'spark-demo*'").out == ""


def test_tour_of_a_user_takes_the_users_own_manager(fresh: Node) -> None:
    fresh.exec(
        "useradd --create-home --home-dir /srv/visitor --uid 4321 visitor"
        " && loginctl enable-linger visitor"
    )
    fresh.wait("[ -S /run/user/4321/systemd/private ]")
    # As a clone of his own, for he cannot read root's.
    fresh.exec(f"cp -r {CHECKOUT} /srv/visitor/clone && chown -R visitor: /srv/visitor/clone")
    settings = {"XDG_RUNTIME_DIR": "/run/user/4321", "HOME": "/srv/visitor"}

    said = fresh.exec(
        "cd ~/clone && ./install.sh --demo --once",
        env=registries.environment() | settings, user="visitor", timeout=600,
    ).out  # fmt: skip

    assert "no process, unit or socket of the tour is left" in said
    left = fresh.exec(
        "ls $XDG_RUNTIME_DIR $XDG_RUNTIME_DIR/systemd; systemctl --user list-units --all 'spark*'",
        env=settings, user="visitor",
    ).out  # fmt: skip
    assert "spark-" not in left


def test_tour_that_fails_shows_why_and_ends_with_1(fresh: Node) -> None:
    model = f"{CHECKOUT}/models/demo-echo.yaml"
    fault = "--socket {socket} --exit-at-start 3 --exit-message no-such-luck"
    fresh.exec(f"cp {model} /tmp/kept && sed -i 's/--socket {{socket}}/{fault}/' {model}")

    with pytest.raises(CommandFailed) as failure:
        install(fresh, "--demo", "--once")

    fresh.exec(f"cp /tmp/kept {model}")
    said = str(failure.value)
    assert "(status 1)" in said
    assert "no-such-luck" in said
    assert "    nothing  " not in said
    assert "left behind: no process, no mount, no cgroup" in said


def test_a_user_without_a_manager_is_told_what_to_run(fresh: Node) -> None:
    fresh.exec(
        "useradd --create-home --home-dir /srv/loner loner"
        " && cp -r /srv/visitor/clone /srv/loner/clone"
    )
    fresh.exec("chown -R loner: /srv/loner/clone")

    done = fresh.exec("cd ~/clone && ./install.sh --demo --once", user="loner", check=False,
                      env={"HOME": "/srv/loner"})  # fmt: skip

    assert done.rc == 1
    assert "run: sudo ./install.sh --demo" in done.err


def test_uninstall_leaves_configuration_and_purge_leaves_nothing(fresh: Node) -> None:
    fresh.exec("systemctl enable --now spark-model@demo-echo.socket")
    # A slip: there is no such model, and systemd makes the link before it says so.
    fresh.exec("systemctl enable --now spark-model@nope.socket", check=False)
    # One that listens, and whose settings have gone since.
    fresh.exec("rm -r /etc/systemd/system/spark-model@demo-echo.socket.d")
    fresh.exec("systemctl daemon-reload && systemctl is-active spark-model@demo-echo.socket")

    install(fresh, "--uninstall")
    kept = fresh.exec("ls /etc/spark-activator").out
    install(fresh, "--uninstall", "--purge")

    assert "frozen" in kept
    left = fresh.exec(
        f"find {TREES} /run -xdev -name '*spark*' -not -path '/run/systemd/*' 2>/dev/null",
        check=False,
    ).out
    assert left == ""
    assert fresh.exec("systemctl list-units --all --plain --no-legend 'spark-*'").out == ""
    assert fresh.exec("getent passwd | grep spark", check=False).out == ""
    # Rights of a group that is gone have its number, which the next group gets.
    journal = fresh.exec("getfacl -nRp /run/log/journal /var/log/journal | grep -E 'group:[0-9]'")
    granted = {line.split(":")[-2] for line in journal.out.splitlines()}
    assert all(fresh.exec(f"getent group {number}").rc == 0 for number in granted)


def test_a_taken_port_is_found_before_anything_is_changed(fresh: Node) -> None:
    fresh.exec("systemd-run --unit=taken -p Type=exec python3 -m http.server -b 127.0.0.1 8009")
    fresh.wait("curl -s http://127.0.0.1:8009/")
    before = snapshot(fresh)

    with pytest.raises(CommandFailed, match=r"something else listens on 127\.0\.0\.1:8009"):
        install(fresh)

    assert snapshot(fresh) == before
    fresh.exec("systemctl stop taken.service")
