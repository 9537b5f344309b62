"""`chat` and `pull` at a terminal: what is asked for is typed there, and Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading

import pytest
from hub_server import Hub, Repo
from terminal import Terminal

# A process of the command for each.
pytestmark = pytest.mark.slow

SECRET = "sk-spark-secret"


class Slow(http.server.BaseHTTPRequestHandler):
    """Wants a key, says one word, and no more until the client leaves."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        given = self.headers.get("Authorization")
        if self.server.key and given != f"Bearer {self.server.key}":
            error = {"error": {"message": "an API key is needed", "code": "invalid_api_key"}}
            self.answer(401, json.dumps(error))
            return
        question = json.loads(body)["messages"][-1]["content"]
        word = {"choices": [{"delta": {"content": f"word of {question}"}}]}
        self.answer(200, "" if question == "silence" else f"data: {json.dumps(word)}\n\n")
        if question == "end":
            self.wfile.write(b"data: [DONE]\n\n")
            return
        self.server.waits.set()
        # Ends when the other side does, by a reset where it had not read all.
        with contextlib.suppress(ConnectionResetError):
            self.connection.recv(1)
        self.server.left.set()

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(machine):
    with machine.serving("mine", Slow, context=4096) as server:
        server.key, server.left, server.waits = "", threading.Event(), threading.Event()
        yield server


def test_ctrl_c_ends_an_answer_and_the_conversation_goes_on(server) -> None:
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        terminal.type("long\n")
        terminal.wait_for("word of long")
        terminal.type("\x03")
        terminal.wait_for("> ")
        # The engine does not work for nobody.
        assert server.left.wait(60)
        terminal.type("end\n")
        terminal.wait_for("word of end")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.said


def test_ctrl_c_before_the_first_word_ends_the_wait(server) -> None:
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        terminal.type("silence\n")
        assert server.waits.wait(60)
        terminal.type("\x03")
        terminal.wait_for("> ")
        assert server.left.wait(60)
        terminal.type("\x04")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.said


def test_ctrl_c_reaches_the_wait_and_not_a_thread_beside_it(server) -> None:
    # Of a process that stood still the kernel picks any thread that takes the signal.
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        for _ in range(100):
            server.waits.clear()
            terminal.type("silence\n")
            assert server.waits.wait(60)
            terminal.interrupt_while_it_stands_still()
            terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_ctrl_c_ends_a_single_question_as_a_signal_does(server) -> None:
    with Terminal("chat", "mine", "long") as terminal:
        terminal.wait_for("word of long")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.said


def test_key_is_asked_for_once_and_not_shown(server) -> None:
    server.key = SECRET
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        terminal.type("end\n")
        terminal.wait_for("API key: ")
        terminal.type(f"{SECRET}\n")
        terminal.wait_for("word of end")
        terminal.wait_for("> ")
        terminal.type("end\n")
        terminal.wait_for("word of end")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert SECRET not in terminal.said
    assert terminal.said.count("API key: ") == 1


def test_wrong_key_is_said_and_asked_for_again(server) -> None:
    server.key = SECRET
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        terminal.type("end\n")
        terminal.wait_for("API key: ")
        terminal.type("wrong\n")
        terminal.wait_for("invalid_api_key")
        terminal.wait_for("> ")
        terminal.type("end\n")
        terminal.wait_for("API key: ")
        terminal.type(f"{SECRET}\n")
        terminal.wait_for("word of end")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.parametrize("typed", ["\x03", "\x04", "\n", "ключ\n"])
def test_key_that_is_not_given_does_not_end_the_conversation(server, typed: str) -> None:
    server.key = SECRET
    with Terminal("chat", "mine") as terminal:
        terminal.wait_for("> ")
        terminal.type("end\n")
        terminal.wait_for("API key: ")
        terminal.type(typed)
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.said


CLOSED = {"config.json": b"{}", "model.safetensors": b"x" * 1000}


@pytest.fixture
def hub(machine, monkeypatch, tmp_path):
    """A hub with one repository that takes a token, and the model `closed` that is of it."""
    machine.layout.owner_images.write_text("vllm: {reference: a/b, pinned: false}\n")
    machine.layout.owner_models.mkdir()
    text = "source: {model: acme/closed}\nimage: vllm\nmemory: 1GiB\nport: 18300\n"
    (machine.layout.owner_models / "closed.yaml").write_text(text)
    with Hub({"acme/closed": Repo(CLOSED, token=SECRET)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def test_token_is_asked_for_and_not_shown(hub) -> None:
    with Terminal("pull", "closed") as terminal:
        terminal.wait_for("token of the hub")
        terminal.type(f"{SECRET}\n")
        assert terminal.end() == 0, terminal.said
    assert "acme/closed is whole" in terminal.said
    assert SECRET not in terminal.said


@pytest.mark.parametrize(
    ("typed", "status"),
    [("\n", 1), ("wrong\n", 1), ("schlüssel\n", 1), ("two words\n", 1), ("\x04", 1), ("\x03", 130)],
)
def test_token_that_is_not_given_ends_it_in_one_sentence(hub, typed: str, status: int) -> None:
    with Terminal("pull", "closed") as terminal:
        terminal.wait_for("token of the hub")
        terminal.type(typed)
        assert terminal.end() == status, terminal.said
    assert "Traceback" not in terminal.said
    assert "words" not in terminal.said
    assert terminal.said.count("token of the hub") == 1
