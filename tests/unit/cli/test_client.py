"""`spark-model client`: of which models, and what it says of wrong words."""

import json

import pytest


def names(text: str) -> list[str]:
    return sorted(json.loads(text)["provider"]["spark"]["models"])


def test_models_that_listen_or_will_are_told_of(machine, capsys):
    machine.freeze("a", context=4096, issues=("It is slow.",))
    machine.freeze("b", port=18101)
    machine.freeze("c", port=18102)
    (machine.layout.markers / "a").touch()
    machine.enable("b")

    assert machine.run("client", "opencode", "--url", "http://spark:8009") == 0

    told = capsys.readouterr()
    assert names(told.out) == ["a", "b"]
    assert "http://spark:8009/v1" in told.out
    # JSON has no comments: it is said where it does not become part of the file.
    assert "# a: It is slow." in told.err


def test_all_is_the_catalog_without_what_is_disabled(machine, capsys):
    machine.model_file("a")
    machine.model_file("b", port=18301, status='{disabled: "does not load"}')

    assert machine.run("client", "opencode", "--all") == 0

    assert names(capsys.readouterr().out) == ["a"]


def test_main_model_is_that_of_the_host_or_the_command(machine, capsys):
    for number, name in enumerate("abc"):
        machine.freeze(name, port=18100 + number)
        (machine.layout.markers / name).touch()
    machine.layout.host_file.write_text("default_model: b\n")

    machine.run("client", "opencode")
    assert json.loads(capsys.readouterr().out)["model"] == "spark/b"
    machine.run("client", "opencode", "--main", "c")
    assert json.loads(capsys.readouterr().out)["model"] == "spark/c"
    assert machine.run("client", "opencode", "--main", "d") == 1
    assert "'d' is none of the models: a, b, c" in capsys.readouterr().err


def test_a_key_is_never_printed(machine, capsys):
    machine.freeze("a")
    (machine.layout.markers / "a").touch()
    machine.run("key", "add", "x")
    secret = capsys.readouterr().out.strip()

    for client in ("opencode", "codex", "aider", "litellm", "openwebui", "continue", "cline"):
        machine.run("client", client)
        assert secret not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["opncode"], "no client 'opncode' is known (hint: did you mean opencode?)"),
        (["emacs"], "there are: opencode, cline"),
        (["codex"], "no model that chats is enabled (hint: run: sudo spark-model enable NAME"),
    ],
)
def test_wrong_words_are_a_sentence(machine, capsys, arguments, words):
    assert machine.run("client", *arguments) == 1

    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "spark:8009",
        "http://x y",
        "http://a\n- b",
        "file:///etc",
        "http://",
        "http://-x",
        "http://[",
        "http://me:secret@x",
        "http://$(id)",
        "http://x:123456",
        "http://x/?key=1",
    ],
)
def test_what_is_no_url_is_refused(machine, url):
    with pytest.raises(SystemExit):
        machine.run("client", "codex", "--url", url)


@pytest.mark.parametrize(
    "url",
    ["http://spark.local:8009", "https://a_b/v1", "http://[fd00::1]:8009/", "http://10.0.0.2"],
)
def test_urls_of_every_kind_of_host(machine, capsys, url):
    machine.freeze("a")
    (machine.layout.markers / "a").touch()

    assert machine.run("client", "opencode", "--url", url) == 0

    base = json.loads(capsys.readouterr().out)["provider"]["spark"]["options"]["baseURL"]
    assert base == url.rstrip("/").removesuffix("/v1") + "/v1"
