"""What systemd knows of our units: links on disk, and `systemctl` where only it can say."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from spark_activator.errors import UserError
from spark_activator.render import units

# A question is answered at once; more means that the manager itself hangs.
ASK_TIMEOUT = 10.0
# A stop may wait for a drain: systemd's own TimeoutStopSec= ends it, this is the net.
JOB_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one systemd manager.

    Attributes:
        directory: Where the administrator's units and drop-ins lie.
        user: Whether it is the user's own manager and not the system's.
    """

    directory: Path
    user: bool = False

    @classmethod
    def of(cls, *, user: bool, directory: str | None) -> Units:
        """Take the manager's own directory where none is told."""
        if directory is None:
            config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
            directory = f"{config}/systemd/user" if user else "/etc/systemd/system"
        return cls(Path(directory), user)

    def enabled(self, name: str) -> bool:
        """Whether the socket of *name* listens after the next boot."""
        return (self.directory / "sockets.target.wants" / units.socket_unit(name)).is_symlink()

    def listening(self, name: str) -> bool:
        """Whether the socket of *name* listens now."""
        socket = units.socket_unit(name)
        # Without an address it cannot; and being asked about it systemd would
        # load it, and complain in the journal.
        return (self.directory / f"{socket}.d").is_dir() and self.active(socket)

    def active(self, unit: str) -> bool:
        """Whether *unit* runs or listens; no where no manager answers."""
        return self._run("is-active", "--quiet", unit, timeout=ASK_TIMEOUT) == 0

    def outdated(self, unit: str) -> bool:
        """Whether the manager has *unit* in mind as it was before its files changed."""
        command = [*self._command, "show", "--property=NeedDaemonReload", unit]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=ASK_TIMEOUT
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return False
        return "NeedDaemonReload=yes" in done.stdout

    def call(self, *arguments: str) -> None:
        """Have systemctl do something.

        Raises:
            UserError: It did not; its own words are on stderr.
        """
        status = self._run(*arguments, timeout=JOB_TIMEOUT, quiet=False)
        if status != 0:
            command = " ".join((*self._command, *arguments))
            raise UserError(f"'{command}' failed with {status}", hint="see: journalctl -xe")

    @property
    def _command(self) -> tuple[str, ...]:
        return ("systemctl", "--user") if self.user else ("systemctl",)

    def _run(self, *arguments: str, timeout: float, quiet: bool = True) -> int:
        sink = subprocess.DEVNULL if quiet else None
        try:
            return subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                timeout=timeout,
                check=False,
            ).returncode
        except FileNotFoundError:
            return 127
        except subprocess.TimeoutExpired as error:
            raise UserError(f"systemctl did not answer within {timeout:g} s") from error
