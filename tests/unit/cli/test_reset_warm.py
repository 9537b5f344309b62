"""`stop --hold`, `warm` and `reset` by the control connection."""

import os

import pytest
from asked_runner import runner, running

from spark_activator.cli import reset
from spark_activator.errors import UserError
from spark_activator.protocol import Answer
from spark_activator.protocol_json import encode

OK = encode(Answer(ok=True, message="done"))


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("stop", "a", "--hold"), "hold"),
        (("reset", "a"), "reset"),
        (("warm", "a"), "warm"),
    ],
)
def test_runner_that_is_not_there_is_asked_too(machine, out, words, command):
    machine.freeze("a")

    with runner(machine, "a", OK) as asked:
        assert machine.run(*words) == 0

    assert asked[1].command == command
    assert out().endswith("done\n")


@pytest.mark.parametrize("words", [("stop", "a", "--hold"), ("reset", "a"), ("warm", "a")])
def test_refusal_is_a_sentence(machine, capsys, words):
    machine.freeze("a")

    with runner(machine, "a", encode(Answer(ok=False, message="not now"))):
        assert machine.run(*words) == 1

    assert "not now" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("stop", "a", "--hold"), ("reset", "a"), ("warm", "a")])
def test_model_that_is_off_is_said(machine, capsys, words):
    machine.freeze("a")

    assert machine.run(*words) == 1

    assert "sudo spark-model enable a" in capsys.readouterr().err


def test_interrupted_warm_says_that_the_load_goes_on(machine, capsys, monkeypatch):
    running(machine, "a")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("select.select", interrupt)
    # No answer: whoever asked has gone by then.
    with runner(machine, "a", b""):
        assert machine.run("warm", "a") == 130

    assert "goes on loading" in capsys.readouterr().err


def test_cache_needs_root(machine, capsys, monkeypatch):
    machine.freeze("a")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert machine.run("reset", "a", "--cache") == 1

    assert "sudo spark-model reset a --cache" in capsys.readouterr().err


def test_cache_goes_and_what_its_links_name_stays(machine):
    parent = machine.layout.state / "cache"
    (parent / "abc/deep").mkdir(parents=True)
    (parent / "other").mkdir()
    (parent / ".removed-abc.1").mkdir()
    precious = machine.layout.state / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (parent / "abc/link").symlink_to(precious)
    (parent / "abc/deep/link").symlink_to(precious / "file")

    reset.remove(machine.layout, "abc", [])

    assert [path.name for path in parent.iterdir()] == ["other"]
    assert (precious / "file").exists()


def test_cache_that_is_a_link_costs_only_the_link(machine):
    parent = machine.layout.state / "cache"
    parent.mkdir()
    precious = machine.layout.state / "precious"
    precious.mkdir()
    (parent / "abc").symlink_to(precious)

    reset.remove(machine.layout, "abc", [])

    assert precious.exists()
    assert not list(parent.iterdir())


def test_cache_in_use_stays_and_its_user_is_named(machine):
    there = machine.layout.state / "cache/abc"
    there.mkdir(parents=True)

    with pytest.raises(UserError, match="in use by 'b'"):
        reset.remove(machine.layout, "abc", ["b"])

    assert there.exists()


def test_cache_that_is_not_there_is_said(machine):
    assert reset.remove(machine.layout, "abc", []) == "there are no caches to remove"
