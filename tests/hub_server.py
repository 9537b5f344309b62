"""A hub on 127.0.0.1: the part of the Hugging Face hub's HTTP API that a download uses.

Run it with `Hub()` as a context manager; its `faults` say what goes wrong.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Repo:
    """Files of one repository; those whose names end so are large (LFS).

    Attributes:
        token: Without it the hub refuses; None: it does not.
        gated: Whether it says that there are terms to accept.
        listed: Whether it shows to everybody which files there are, and refuses them alone.
    """

    files: dict[str, bytes]
    commit: str = COMMIT
    token: str | None = None
    gated: bool = False
    listed: bool = False

    def digest(self, name: str) -> str:
        """What the hub names the content by."""
        data = self.files[name]
        if _large(name):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """The server, what it has, and what was asked of it.

    Attributes:
        cut_after: Close the connection after so many bytes of a file, by name; once each.
        hold_at: Send so many bytes of a file, then say so (`held`) and wait for `release`.
        wrong: Files of which other bytes are sent.
        says: What it answers whatever is asked, as what is no hub would; None: what was asked.
        mute: Ends of paths that are heard and not answered: it says so (`held`) and waits.
        no_ranges: Whether a range is answered with the whole file.
        asked: Method, path and Range of each request.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    hold_at: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    no_ranges: bool = False
    says: bytes | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Hub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def ranges(self, name: str) -> list[str | None]:
        """Say what was asked of the file *name*, request by request."""
        return [wanted for _, path, wanted in self.asked if path.endswith(f"/{name}")]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:  # the name that http.server asks for
        path = urllib.parse.urlsplit(self.path).path
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        if any(path.endswith(end) for end in self.hub.mute):
            self.hub.held.set()
            self.hub.release.wait(100)
            self.close_connection = True
            return
        if self.hub.says is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.hub.says)))
            self.end_headers()
            self.wfile.write(self.hub.says)
        elif path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/"))
        else:
            repository, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._file(repository, revision, urllib.parse.unquote(name))

    def _repo(self, repository: str, *, listing: bool = False) -> Repo | None:
        repo = self.hub.repos.get(repository)
        if repo is not None and repo.listed and listing:
            return repo
        given = self.headers.get("Authorization")
        if repo is not None and repo.token and given != f"Bearer {repo.token}":
            if repo.gated:
                self._error(403, "GatedRepo")
            else:
                self._error(401, "")
            return None
        if repo is None:
            # The hub does not tell strangers which names there are.
            self._error(404 if given else 401, "RepoNotFound")
        return repo

    def _describe(self, rest: str) -> None:
        repository, _, revision = rest.partition("/revision/")
        repo = self._repo(repository, listing=True)
        if repo is None:
            return
        if revision and urllib.parse.unquote(revision) not in ("main", repo.commit):
            self._error(404, "RevisionNotFound")
            return
        siblings = []
        for name, data in repo.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(data)}
            if _large(name):
                lfs = {"sha256": repo.digest(name), "size": len(data), "pointerSize": 134}
                entry |= {"blobId": "0" * 40, "lfs": lfs}
            else:
                entry["blobId"] = repo.digest(name)
            siblings.append(entry)
        self._json({"id": repository, "sha": repo.commit, "siblings": siblings})

    def _file(self, repository: str, revision: str, name: str) -> None:
        repo = self._repo(repository)
        if repo is None:
            return
        assert revision == repo.commit, "files are asked for by commit"
        data = repo.files[name]
        if name in self.hub.wrong:
            data = bytes(len(data))
        start = 0
        wanted = self.headers.get("Range")
        if wanted and not self.hub.no_ranges:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{repo.digest(name)}"')
        self.send_header("X-Repo-Commit", repo.commit)
        self.end_headers()
        self._send(name, data, start)

    def _send(self, name: str, data: bytes, start: int) -> None:
        end = len(data)
        cut = self.hub.cut_after.pop(name, None)
        hold = self.hub.hold_at.pop(name, None)
        until = cut or hold or end
        self.wfile.write(data[start:until])
        self.wfile.flush()
        self.hub.sent[name] = self.hub.sent.get(name, 0) + until - start
        if cut is not None:
            self.close_connection = True
            return
        if hold is not None:
            self.hub.held.set()
            self.hub.release.wait(100)
            self.close_connection = True

    def _json(self, body: object) -> None:
        self.send_response(200)
        self._body(body)

    def _body(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        else:
            self.send_header("X-Error-Message", "Invalid username or password.")
        self._body({"error": "Access to it is restricted."})


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pth", ".gguf"))
