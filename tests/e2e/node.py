"""The node: a machine with systemd as PID 1, its own Docker and nginx, in a container.

Tests drive it from outside the package: by `systemctl`, `curl` and the files
that a person would look at.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import registries

ROOT = Path(__file__).parents[2]
# Where the checkout lies inside, and is installed from.
CHECKOUT = "/root/spark-activator"

# Long enough for a machine on which much else runs; nothing that works takes as long.
PATIENCE = 120.0

# `--privileged` asks for more than a restricted machine has; these are what
# systemd, dockerd and the sandboxing of units need.
CAPABILITIES = [
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHOWN", "DAC_OVERRIDE",
    "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE",
    "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN",
    "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO",
    "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """How a command inside ended."""

    command: str
    rc: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}(status {self.rc})"


class CommandFailed(AssertionError):
    """A command inside did not end with 0."""


class Node:
    """One booted node; `close` removes it with everything in it.

    Args:
        name: The name of its container, which must be running.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.set_up: dict[str, float] = {}

    @classmethod
    def boot(cls, suite: str = "bookworm", *, mounts: Mapping[str, str] | None = None) -> Node:
        """Start a node and wait until systemd says that it runs.

        Args:
            suite: The Debian suite; its image is built when it is missing.
            mounts: Directories of this machine, by their path inside, read-only.
        """
        began = time.monotonic()
        subprocess.run([ROOT / "tests/setup_images.sh", suite], check=True)
        node = cls(f"spark-test-node-{uuid.uuid4().hex[:8]}")
        node.set_up["images"] = time.monotonic() - began
        began = time.monotonic()
        start(
            node.name, f"spark-test-node:{suite}",
            # On the container's own overlay the inner dockerd could not use overlay2.
            f"--volume={node.name}:/var/lib/docker",
            "--tmpfs=/run:exec", "--tmpfs=/run/lock", "--env=container=docker",
            "--stop-signal=SIGRTMIN+3",
            *(f"--volume={outside}:{inside}:ro" for inside, outside in (mounts or {}).items()),
        )  # fmt: skip
        try:
            node._wait_for_boot()
        except BaseException:
            node.close()
            raise
        node.set_up["boot"] = time.monotonic() - began
        return node

    def _wait_for_boot(self) -> None:
        self.wait("[ -S /run/systemd/private ]")
        state = self.exec(
            "systemctl is-system-running --wait", check=False, timeout=180
        ).out.strip()
        if state != "running":
            failed = self.exec("systemctl --failed --no-legend --plain; journalctl -b -p3 -n30")
            raise CommandFailed(f"the node is {state!r}\n{failed}")
        # A container's mounts are private, and LoadCredential= needs them shared.
        self.exec("mount --make-rshared /")
        self.trust()

    def trust(self) -> None:
        """Copy the certificates in that this machine trusts."""
        certificates = registries.certificates()
        if certificates is not None:
            self.put(certificates, registries.CERTIFICATES)

    def exec(
        self,
        command: str,
        *,
        check: bool = True,
        timeout: float = PATIENCE,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        user: str = "root",
    ) -> Result:
        """Run a shell command inside.

        Raises:
            CommandFailed: It did not end with 0, and *check* is set.
            subprocess.TimeoutExpired: It took longer than *timeout* seconds.
        """
        done = subprocess.run(
            self._command(command, env or {}, user),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        result = Result(
            command,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if check and result.rc != 0:
            raise CommandFailed(str(result))
        return result

    def start(
        self, command: str, *, env: Mapping[str, str] | None = None, user: str = "root"
    ) -> subprocess.Popen[bytes]:
        """Start a shell command inside whose output is read while it runs.

        Ending the returned process does not end the command: kill it inside.
        """
        return subprocess.Popen(
            self._command(command, env or {}, user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _command(self, command: str, env: Mapping[str, str], user: str) -> list[str]:
        settings = [f"--env={name}={value}" for name, value in env.items()]
        return [
            "docker", "exec", "--interactive", f"--user={user}", "--workdir=/", *settings,
            self.name, "sh", "-c", command,
        ]  # fmt: skip

    def wait(self, condition: str, *, timeout: float = PATIENCE) -> None:
        """Wait until a shell command inside ends with 0, asking ten times a second."""
        loop = f"until {{ {condition}\n}} >/dev/null 2>&1; do sleep 0.1; done"
        result = self.exec(
            f"timeout {timeout} sh -c {shlex.quote(loop)}", check=False, timeout=timeout + 20
        )
        if result.rc != 0:
            last = self.exec(condition, check=False)
            raise CommandFailed(f"not so after {timeout} s: {last}")

    def put(self, source: Path, target: str) -> None:
        """Copy a file of this machine to *target* inside."""
        self.exec(f"cat >{shlex.quote(target)}", stdin=source.read_bytes())

    def write(self, target: str, text: str, *, mode: str = "0644") -> None:
        """Write a file inside, making its directories."""
        path = shlex.quote(target)
        self.exec(f'mkdir -p "$(dirname {path})" && cat >{path} && chmod {mode} {path}', stdin=text)

    def copy_checkout(self) -> None:
        """Copy the working tree in, as git sees it: what is ignored stays out."""
        files = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z",
             "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        archive = subprocess.run(
            ["tar", "-C", ROOT, "-c", "--owner=0", "--group=0", "--ignore-failed-read",
             "--null", "--files-from=-"],
            input=files, check=True, capture_output=True,
        ).stdout  # fmt: skip
        self.exec(
            f"rm -rf {CHECKOUT} && mkdir -p {CHECKOUT} && tar -C {CHECKOUT} -x", stdin=archive
        )

    def install(self, *arguments: str, timeout: float = 600) -> Result:
        """Run ./install.sh from a copy of the checkout; what it said is in the result."""
        began = time.monotonic()
        self.copy_checkout()
        command = f"cd {CHECKOUT} && ./install.sh {shlex.join(arguments)}"
        result = self.exec(command, env=registries.environment(), timeout=timeout)
        self.set_up["install"] = time.monotonic() - began
        return result

    def load_image(self, image: str) -> None:
        """Bring an image of this machine's Docker into the node's."""
        began = time.monotonic()
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            subprocess.run(
                ["docker", "exec", "--interactive", self.name, "docker", "load", "--quiet"],
                stdin=saving.stdout, check=True, capture_output=True, timeout=300,
            )  # fmt: skip
        assert saving.returncode == 0, f"docker save {image} failed"
        self.set_up[f"image {image}"] = time.monotonic() - began

    def journal(self, *units: str, lines: int = 60) -> str:
        """The end of the journal, of some units or of everything."""
        chosen = " ".join(f"-u {shlex.quote(unit)}" for unit in units)
        command = f"journalctl -b --no-pager -o short-precise -n {lines} {chosen}"
        return self.exec(command, check=False).out

    def close(self) -> None:
        """Remove the container, its volume, and with them all that ran inside."""
        if self.kept():
            return
        _docker("rm", "--force", "--volumes", self.name)
        _docker("volume", "rm", "--force", self.name)

    def begin_close(self) -> subprocess.Popen[bytes] | None:
        """Begin to `close`; return what ends when it is done, None where it is kept."""
        if self.kept():
            return None
        remove = 'docker rm --force --volumes "$1" && docker volume rm --force "$1"'
        return subprocess.Popen(["sh", "-c", remove, "sh", self.name], stdout=subprocess.DEVNULL)

    def kept(self) -> bool:
        """Whether SPARK_KEEP_NODE wants it to stay; says how to get in."""
        if os.environ.get("SPARK_KEEP_NODE"):
            print(f"\nkept: docker exec -it {self.name} bash")
            return True
        return False

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def start(name: str, image: str, *arguments: str) -> None:
    """Start a container that may do what a machine may, as far as this one lets it."""
    _docker(
        "run", "--detach", "--name", name, "--hostname", "node",
        *(f"--cap-add={capability}" for capability in CAPABILITIES),
        *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
        "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
        "--device-cgroup-rule=a *:* rwm",
        *(f"--volume={path}:{path}:ro" for path in registries.mounts()),
        *arguments,
        image,
    )  # fmt: skip


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
