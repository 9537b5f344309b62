"""Where everything lies, below the roots that the units hand down.

The roots come from the environment of the unit (`SPARK_CONFIG`, `SPARK_STATE`,
`SPARK_RUN`, `SPARK_SHARE`, and `SPARK_PROC` in tests), so that the same code runs
for the system, for a user manager and in tests.  Nothing else in the tree spells
out a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The roots and every path below them.

    Attributes:
        config: Host settings, the owner's models, frozen models.
        state: What survives a reboot: history, caches, remembered ports.
        run: What does not: sockets, locks, leases, state of the moment.
        share: The vendor catalog and unit templates.
        proc: Where the kernel says how much memory there is.
    """

    config: Path
    state: Path
    run: Path
    share: Path
    proc: Path = Path("/proc")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Layout:
        """Take the roots from *environ*, with the system's places as defaults."""
        return cls(
            config=Path(environ.get("SPARK_CONFIG", "/etc/spark-activator")),
            state=Path(environ.get("SPARK_STATE", "/var/lib/spark-activator")),
            run=Path(environ.get("SPARK_RUN", "/run/spark-activator")),
            share=Path(environ.get("SPARK_SHARE", "/usr/share/spark-activator")),
            proc=Path(environ.get("SPARK_PROC", "/proc")),
        )

    @property
    def host_file(self) -> Path:
        """The host settings."""
        return self.config / "host.yaml"

    @property
    def owner_models(self) -> Path:
        """The owner's model files."""
        return self.config / "models"

    @property
    def vendor_models(self) -> Path:
        """The catalog that is shipped."""
        return self.share / "models"

    @property
    def images_file(self) -> Path:
        """The images that model files name."""
        return self.share / "images.yaml"

    @property
    def image_folders(self) -> Path:
        """One folder for each image that is built on this machine, and one of patches."""
        return self.share / "images"

    @property
    def files_file(self) -> Path:
        """Files that engines read and no image brings, and where they are fetched."""
        return self.share / "files.yaml"

    @property
    def fetched_files(self) -> Path:
        """Files that were fetched, each by the name `sha256:…` of its content."""
        return self.state / "files"

    @property
    def hub_cache(self) -> Path:
        """The hub cache that is there without any in host.yaml; looked into last."""
        return self.state / "hub"

    def pulled(self, name: str) -> Path:
        """What the last pull of a model got: commits and digests."""
        return self.state / "pulled" / f"{name}.json"

    def pulled_image(self, name: str) -> Path:
        """What the last pull or build of an image got."""
        return self.state / "pulled" / "images" / f"{name}.json"

    def frozen(self, name: str) -> Path:
        """What runs: the resolved model, as `apply` last froze it."""
        return self.config / "frozen" / f"{name}.json"

    @property
    def owner_images(self) -> Path:
        """The owner's images, in addition to the catalog's."""
        return self.config / "images.yaml"

    @property
    def frozen_host(self) -> Path:
        """The host settings, as `apply` last froze them; no model's name begins with a dot."""
        return self.config / "frozen" / ".host.json"

    @property
    def api_keys(self) -> Path:
        """Hashes of the API keys, a JSON object a line."""
        return self.config / "api-keys"

    @property
    def hosts_file(self) -> Path:
        """Names by which this machine may be asked, beside those that it always may."""
        return self.config / "hosts"

    @property
    def nginx_listen(self) -> Path:
        """The addresses that nginx listens on beside loopback, as it reads them."""
        return self.config / "nginx-listen.conf"

    @property
    def ports_file(self) -> Path:
        """Ports that were given to the owner's models, remembered."""
        return self.state / "ports.json"

    def history(self, name: str) -> Path:
        """Phases, durations and memory of each activation, a JSON object a line."""
        return self.state / "history" / f"{name}.jsonl"

    def usage(self, name: str) -> Path:
        """What each API key has had of a model."""
        return self.state / "usage" / f"{name}.json"

    def breaker(self, name: str) -> Path:
        """The last starts that failed."""
        return self.state / "breaker" / f"{name}.json"

    def hold(self, name: str) -> Path:
        """There while the model is held; a file of its own, so that it cannot be half written."""
        return self.state / "breaker" / f"{name}.held"

    @property
    def event_socket(self) -> Path:
        """Where runners say what happened, for the owner's command."""
        return self.run / "event.sock"

    @property
    def gpu(self) -> Path:
        """Locks, leases and tickets; the only directory that runners share."""
        return self.run / "gpu"

    @property
    def lease_socket(self) -> Path:
        """Where other programs ask for a lease, and the owner for a pause."""
        return self.run / "lease.sock"

    def runner_socket(self, name: str) -> Path:
        """Where the runner of *name* listens."""
        return self.run / "runner" / f"{name}.sock"

    def engine_socket(self, name: str) -> Path:
        """Where the supervisor of a process engine listens."""
        return self.run / "engine" / f"{name}.sock"

    def tcp_socket(self, name: str) -> Path:
        """Where what is sent reaches the TCP port of an engine that has nothing else."""
        return self.run / "tcp" / f"{name}.sock"

    @property
    def drop_caches_socket(self) -> Path:
        """Who connects here has the page cache dropped."""
        return self.run / "drop-caches.sock"

    def upstream(self, name: str) -> Path:
        """Holds one directory an activation, in which the engine makes its socket."""
        return self.run / "upstream" / name

    def state_file(self, name: str) -> Path:
        """What is going on, replaced atomically by the runner."""
        return self.run / "state" / f"{name}.json"

    @property
    def markers(self) -> Path:
        """One empty file for each listening socket, touched by the socket units."""
        return self.run / "sockets"

    @property
    def routes_file(self) -> Path:
        """The list that nginx routes by, written from the markers."""
        return self.run / "nginx" / "routes.json"
