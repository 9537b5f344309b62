"""The demo engine as a process of its own, for tests that need one."""

import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

ROOT = Path(__file__).parents[1]
READY = "Application startup complete"
# Longer than anything takes here, shorter than the limit of a test.
LIMIT = 60.0


def gone(pid, limit=LIMIT):
    """Wait until process *pid*, which need not be ours, has exited; tell whether it has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], limit)[0])
    finally:
        os.close(fd)


class Lines:
    """The lines of a pipe, read as they come, to be waited for."""

    def __init__(self, pipe):
        self.seen = []
        self._news = SimpleQueue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                self._news.put(line.decode().rstrip("\n"))
        self._news.put(None)

    def wait_for(self, text):
        """Return the next line with *text* in it."""
        while (line := self._next()) is not None:
            if text in line:
                return line
        raise AssertionError(f"no line with {text!r} in {self.seen}")

    def to_end(self):
        """Return every line, when the pipe has ended."""
        while self._next() is not None:
            pass
        return self.seen

    def _next(self):
        try:
            line = self._news.get(timeout=LIMIT)
        except Empty:
            raise AssertionError(f"nothing more after {self.seen}") from None
        if line is not None:
            self.seen.append(line)
        return line


class DemoEngine:
    """A demo engine on `engine.sock` in *directory*; leave the block and it is gone."""

    def __init__(self, directory, *args, socket_args=("--socket", "engine.sock")):
        self.socket = Path(directory) / "engine.sock"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spark_activator.demo", *socket_args, *args],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.log = Lines(self.process.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait(LIMIT)

    def ready(self):
        self.log.wait_for(READY)
        return self

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT)
        try:
            sock.connect(str(self.socket))
        except OSError:
            sock.close()
            raise
        return sock

    def ask(self, method, path, body=None, headers=None, limit=LIMIT):
        """Ask on a connection of its own; the answer's body is in `.raw`."""
        client = http.client.HTTPConnection("engine")
        client.sock = self.connect()
        client.sock.settimeout(limit)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        client.request(method, path, raw, headers or {})
        answer = client.getresponse()
        answer.raw = answer.read()
        client.close()
        return answer

    def metric(self, name):
        """Read one of `vllm:…` off `/metrics`."""
        for line in self.ask("GET", "/metrics").raw.decode().splitlines():
            if line.startswith(f"vllm:{name}{{"):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")


def chat(text, **more):
    """Make a chat request's body."""
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **more}


def events(raw):
    """Take a stream apart: the data of each event, JSON but for `[DONE]`."""
    found = [part.removeprefix(b"data: ") for part in raw.split(b"\n\n") if part]
    return [event if event == b"[DONE]" else json.loads(event) for event in found]


def said(stream):
    """Put the text of a chat's events together."""
    choices = [event["choices"][0] for event in stream if event != b"[DONE]" and event["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)
