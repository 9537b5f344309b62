"""`chat`: what it prints where, remembers and forgets; the server is a script."""

import http.server
import json
import os

import pytest

from spark_activator.cli import chat as chat_command
from spark_activator.cli.conversation import Conversation


class Script(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of the server's answers."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers.get("Authorization")))
        status, text = self.server.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(machine):
    with machine.serving("mine", Script, context=4096, aliases=("other",)) as server:
        server.asked, server.answers = [], []
        yield server


def events(*deltas, finish="stop", tokens=12, end=True):
    lines = [": still loading"]
    lines += [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    lines += [json.dumps({"choices": [{"delta": {}, "finish_reason": finish}]})]
    lines += [json.dumps({"choices": [], "usage": {"total_tokens": tokens}})]
    lines += ["[DONE]"] if end else []
    text = "".join(f"{line}\n\n" if line[0] == ":" else f"data: {line}\n\n" for line in lines)
    return 200, text


def error(status, message, code):
    return status, json.dumps({"error": {"message": message, "code": code}})


def talk(machine, monkeypatch, text):
    """Type *text* at a conversation whose standard input is a pipe."""
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    with open(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        return machine.run("chat", "mine")


def test_one_shot_prints_the_answer_alone(machine, server, capsys):
    server.answers = [events({"reasoning_content": "hm"}, {"content": "Hel"}, {"content": "lo"})]

    assert machine.run("chat", "mine", "Say hello") == 0

    assert capsys.readouterr().out == "Hello\n"
    body, key = server.asked[0]
    assert body["model"] == "mine"
    assert body["messages"] == [{"role": "user", "content": "Say hello"}]
    assert body["stream"] is True
    assert key is None


def test_alias_is_asked_for_by_its_name(machine, server, out):
    server.answers = [events({"content": "yes"})]

    machine.run("chat", "other", "?")

    assert server.asked[0][0]["model"] == "other"


def test_conversation_remembers(machine, server, monkeypatch, out):
    server.answers = [events({"content": "one"}), events({"content": "two"})]

    assert talk(machine, monkeypatch, "first\n\nsecond\n") == 0

    assert out() == "one\ntwo\n"
    assert server.asked[1][0]["messages"] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "second"},
    ]


def test_key_of_a_file_is_sent(machine, server, tmp_path, out):
    server.answers = [events({"content": "yes"})]
    file = tmp_path / "key"
    file.write_text("sk-spark-secret\n")

    machine.run("chat", "mine", "?", "--key-file", str(file))

    assert server.asked[0][1] == "Bearer sk-spark-secret"


def test_without_a_terminal_a_missing_key_is_one_line(machine, server, monkeypatch, capsys):
    server.answers = [error(401, "an API key is needed", "invalid_api_key")]

    assert talk(machine, monkeypatch, "hello\n") == 1

    assert capsys.readouterr().err == (
        "spark-model: an API key is needed [invalid_api_key] "
        "(hint: give the key with --key-file FILE)\n"
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(503, "the image\nis missing", "image_missing"), "the image is missing [image_mis"),
        ((500, "<html>"), "the server answered with status 500"),
        ((200, 'data: {"error": {"message": "it died"}}\n\n'), "it died"),
        (events({"content": "Hel"}, end=False), "the answer broke off before its end"),
        ((200, "data: {no\n\n"), "an event that is no JSON"),
    ],
)
def test_errors_are_one_clear_line(machine, server, capsys, answer, words):
    server.answers = [answer]

    assert machine.run("chat", "mine", "?") == 1

    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_port_that_nobody_listens_on_says_how_to_switch_on(machine, capsys):
    machine.freeze("mine", port=1)
    (machine.layout.markers / "mine").touch()

    assert machine.run("chat", "mine", "?") == 1

    assert "nothing listens on port 1 (hint: is it switched on?" in capsys.readouterr().err


def test_model_that_is_off_or_unknown_is_named(machine, capsys):
    machine.freeze("mine")

    assert machine.run("chat", "mine", "?") == 1
    assert "'mine' is not switched on" in capsys.readouterr().err
    assert machine.run("chat", "mien", "?") == 1
    assert "did you mean mine?" in capsys.readouterr().err


def test_answer_that_was_cut_by_its_limit_is_said(machine, server, capsys):
    server.answers = [events({"content": "Hel"}, finish="length")]

    machine.run("chat", "mine", "?")

    said = capsys.readouterr()
    assert said.out == "Hel\n"
    assert "limit of tokens" in said.err


def test_bad_key_files_are_named(machine, server, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.touch()

    assert machine.run("chat", "mine", "?", "--key-file", str(empty)) == 1
    assert f"in the first line of {empty}" in capsys.readouterr().err
    assert machine.run("chat", "mine", "?", "--key-file", str(tmp_path / "none")) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_model_cannot_move_the_cursor():
    assert "\x1b[2Ja\tb\n\x9b".translate(chat_command._CONTROLS) == "[2Ja\tb\n"


def test_oldest_pairs_are_forgotten_so_that_the_rest_fits():
    # 100 tokens, of which 75 are for what was said: 225 bytes.
    conversation = Conversation(100)
    for _ in range(3):
        conversation.ask("x" * 50)
        conversation.answer("y" * 50)

    forgotten = conversation.ask("z" * 50)

    assert forgotten == 2
    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "user"]


def test_tokens_that_the_server_counts_teach_how_much_fits():
    conversation = Conversation(100)
    conversation.ask("x" * 50)
    conversation.answer("y" * 50, tokens=10)
    conversation.ask("x" * 300)
    conversation.answer("y" * 50, tokens=45)

    # Ten bytes a token here: much more than is assumed before.
    assert conversation.ask("x" * 100) == 0


def test_question_without_an_answer_is_taken_back():
    conversation = Conversation(None)
    conversation.ask("hello")

    conversation.answer("")

    assert conversation.messages == []
