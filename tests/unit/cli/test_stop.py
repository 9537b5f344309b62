"""`stop` asks a runner that is there, and never wakes one that is not."""

import socket

import pytest
from asked_runner import runner, running

from spark_activator.protocol import Answer
from spark_activator.protocol_json import encode


def test_stop_asks_by_the_control_connection(machine, out):
    running(machine, "a")

    with runner(machine, "a", encode(Answer(ok=True, message="a is stopped"))) as asked:
        assert machine.run("stop", "a") == 0

    hello, control = asked
    assert (hello.role, control.command) == ("control", "stop")
    assert out() == "a is stopped\n"


def test_model_without_a_runner_is_not_woken(machine, out):
    machine.freeze("a")
    path = machine.layout.runner_socket("a")
    path.parent.mkdir()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert machine.run("stop", "a") == 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert out() == "'a' is not running\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (encode(Answer(ok=False, message="not now")), "a was not stopped: not now"),
        (b"", "the runner of 'a' ended without an answer"),
        (b'{"type":"answer","ok":tr', "the runner of 'a' ended without an answer"),
        (b"hello\n", "expected a JSON object"),
    ],
)
def test_what_is_no_good_answer_is_a_sentence(machine, capsys, answer, message):
    running(machine, "a")

    with runner(machine, "a", answer):
        assert machine.run("stop", "a") == 1

    assert capsys.readouterr().err.startswith(f"spark-model: {message}")


def test_runner_that_left_meanwhile_is_a_sentence(machine, capsys):
    running(machine, "a")

    assert machine.run("stop", "a") == 1

    assert "cannot ask the runner of 'a': " in capsys.readouterr().err
