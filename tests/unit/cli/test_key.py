"""`spark-model key`: what is written, printed and told, and to whom."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys

import pytest

from spark_activator.http import keys
from spark_activator.runner import usage


def entries(machine):
    return {key.name: key for key in keys.read(machine.layout.api_keys.read_text()).entries}


@pytest.fixture
def given(monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return give


def test_key_is_printed_once_alone_and_only_its_hash_is_kept(machine, capsys):
    assert machine.run("key", "add", "laptop") == 0

    printed = capsys.readouterr()
    [secret] = printed.out.split()
    assert secret.startswith("sk-spark-")
    assert len(secret) == len("sk-spark-") + 43
    assert "every request needs a key" in printed.err
    assert secret not in printed.err
    text = machine.layout.api_keys.read_text()
    assert secret not in text
    key = entries(machine)["laptop"]
    assert key.digest == hashlib.sha256(secret.encode()).digest()
    assert (key.models, key.admin) == (None, False)
    assert machine.layout.api_keys.stat().st_mode & 0o777 == 0o640


def test_keys_differ_and_may_be_bounded(machine, capsys):
    machine.freeze("story", aliases=("tale",))
    machine.run("key", "add", "a", "--models", "tale, nothing", "--admin")
    machine.run("key", "add", "b")
    printed = capsys.readouterr()

    first, second = printed.out.split()
    assert first != second
    assert entries(machine)["a"].models == {"tale", "nothing"}
    assert entries(machine)["a"].admin
    assert "no model is called 'nothing'" in printed.err
    assert "'tale'" not in printed.err


def test_key_that_exists_is_kept_from_standard_input(machine, capsys, given):
    given("sk-of-an-older-machine\n")

    assert machine.run("key", "add", "old", "--stdin") == 0

    assert capsys.readouterr().out == ""
    assert entries(machine)["old"].digest == keys.digest_of("sk-of-an-older-machine")


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "with a space in the middle", "a\nb\n", "é" * 20]
)
def test_what_is_no_key_is_not_kept_nor_repeated(machine, capsys, given, text):
    given(text)

    assert machine.run("key", "add", "old", "--stdin") == 1

    printed = capsys.readouterr()
    assert "one line of 16 to 512" in printed.err
    assert text.strip() not in printed.err or not text.strip()
    assert not machine.layout.api_keys.exists()


@pytest.mark.parametrize("name", ["", "a b", "../x", "é", "x" * 65, "a\n"])
def test_names_are_plain(machine, name):
    assert machine.run("key", "add", name) == 1
    assert not machine.layout.api_keys.exists()


def test_one_name_is_one_key_and_one_key_has_one_name(machine, capsys, given):
    machine.run("key", "add", "laptop")
    given(capsys.readouterr().out)

    assert machine.run("key", "add", "laptop") == 1
    assert "spark-model key remove laptop" in capsys.readouterr().err
    assert machine.run("key", "add", "again", "--stdin") == 1
    assert "'laptop'" in capsys.readouterr().err
    assert list(entries(machine)) == ["laptop"]


def test_comments_and_what_is_no_key_stay_where_they_are(machine, capsys):
    machine.layout.config.mkdir(parents=True, exist_ok=True)
    machine.layout.api_keys.write_text("# mine\nhalf a line")

    machine.run("key", "add", "laptop")
    assert machine.layout.api_keys.read_text().startswith("# mine\nhalf a line\n{")
    assert machine.run("key", "list") == 0
    assert "line 2 is no key" in capsys.readouterr().err
    machine.run("key", "remove", "laptop")

    assert machine.layout.api_keys.read_text() == "# mine\nhalf a line\n"
    assert "nobody is served" in capsys.readouterr().err


def test_list_has_what_was_used_and_no_secret(machine, out):
    machine.run("key", "add", "laptop", "--models", "story")
    machine.run("key", "add", "unused", "--admin")
    secrets = out().split()
    usage.add(machine.layout.usage("story"), {"laptop": (2, 40, 7), "gone": (1, 1, 1)})
    usage.add(machine.layout.usage("other"), {"laptop": (1, 2, 3)})

    assert machine.run("key", "list") == 0
    text = out()
    lines = [line.split() for line in text.splitlines()]
    assert lines[1][:2] == ["laptop", "story"]
    assert lines[1][2] == "no"
    assert lines[1][4:7] == ["3", "42", "10"]
    assert lines[2][4:] == ["0", "0", "0", "never"]
    assert "gone" not in text
    assert not any(secret in text for secret in secrets)
    assert entries(machine)["laptop"].digest.hex() not in text

    machine.run("key", "list", "--json")
    [laptop, unused] = json.loads(out())
    assert (laptop["requests"], laptop["input_tokens"], laptop["output_tokens"]) == (3, 42, 10)
    assert laptop["models"] == ["story"]
    assert unused["last_use"] is None


def test_removing_says_what_stays_open(machine, out):
    machine.run("key", "add", "a")
    machine.run("key", "add", "b")
    out()

    machine.run("key", "remove", "a")
    assert "1 other key(s) are valid" in out()
    assert list(entries(machine)) == ["b"]
    machine.run("key", "remove", "b")
    assert "this machine alone is served" in out()
    assert not keys.read(machine.layout.api_keys.read_text()).exist


def test_last_key_of_a_machine_that_others_reach(machine, out):
    machine.run("key", "add", "a")
    machine.layout.host_file.write_text("listen: [172.17.0.1]\n")
    out()

    machine.run("key", "remove", "a")

    said = out()
    assert "key_required" in said
    assert "sudo spark-model apply" in said


def test_key_that_is_not_there(machine, capsys):
    machine.run("key", "add", "laptop")

    assert machine.run("key", "remove", "labtop") == 1
    assert "there is laptop" in capsys.readouterr().err


def test_concurrent_adds_do_not_lose_one_another(machine):
    machine.layout.config.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "spark_activator", "--user", "key", "add"]
    adding = [
        subprocess.Popen([*command, f"k{n}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for n in range(8)
    ]

    assert [process.wait(60) for process in adding] == [0] * 8
    assert sorted(entries(machine)) == [f"k{n}" for n in range(8)]


def test_hosts_are_added_listed_and_removed(machine, capsys):
    assert machine.run("host", "add", "LLM.Example.org.") == 0
    assert machine.run("host", "add", "llm.example.org") == 0
    assert "allowed already" in capsys.readouterr().out
    assert machine.layout.hosts_file.read_text().splitlines()[-1] == "llm.example.org"
    assert machine.layout.hosts_file.stat().st_mode & 0o777 == 0o644

    machine.run("host", "list")
    text = capsys.readouterr().out
    assert "host.docker.internal" in text
    assert "llm.example.org" in text

    assert machine.run("host", "remove", "llm.example.org") == 0
    assert "llm" not in machine.layout.hosts_file.read_text()
    assert machine.run("host", "remove", "llm.example.org") == 1
    assert "is not in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http://llm.example.org", "without 'http://'"),
        ("llm.example.org:8009", "port"),
        ("*.example.org", "host name"),
        ("", "host name"),
        ("192.168.1.5", "always allowed"),
        ("[fd7a::1]", "always allowed"),
    ],
)
def test_what_is_no_host_name_is_told(machine, capsys, name, words):
    assert machine.run("host", "add", name) == 1
    assert words in capsys.readouterr().err
    assert not machine.layout.hosts_file.exists()


def test_names_that_are_always_allowed_are_not_written(machine, out):
    assert machine.run("host", "add", "localhost") == 0
    assert "anyway" in out()
    assert not machine.layout.hosts_file.exists()


# Where is listened.


def test_addresses_wait_for_a_key(machine, out):
    machine.model_file("mine")
    machine.layout.host_file.write_text("listen: [172.17.0.1, 'fd7a::1']\n")
    port = machine.units / "spark-model@mine.socket.d/10-port.conf"

    assert machine.run("apply") == 0
    said = out()
    assert "host settings: listen (172.17.0.1, fd7a::1) waits for an API key" in said
    assert "172.17.0.1" not in port.read_text()
    assert not machine.layout.nginx_listen.exists()

    machine.run("key", "add", "laptop")
    machine.run("apply")
    assert port.read_text().endswith(
        "[Socket]\nListenStream=127.0.0.1:18300\nListenStream=172.17.0.1:18300\n"
        "ListenStream=[fd7a::1]:18300\nFreeBind=yes\nBindIPv6Only=ipv6-only\n"
    )
    assert "listen 172.17.0.1:8009 " in machine.layout.nginx_listen.read_text()
    socket = (machine.units / "spark-nginx.socket").read_text()
    assert "ListenStream=172.17.0.1:8009\nListenStream=[fd7a::1]:8009\n" in socket
    assert "127.0.0.1:" not in socket
    service = (machine.units / "spark-nginx.service.d/10-listen.conf").read_text()
    assert 'Environment="NGINX=3;4;"' in service
    out()
    machine.run("apply")
    assert out() == "nothing to write\n"

    machine.run("key", "remove", "laptop")
    machine.run("apply")
    assert "172.17.0.1" not in port.read_text()
    assert not machine.layout.nginx_listen.exists()
    assert not (machine.units / "spark-nginx.socket").exists()


def test_a_socket_that_listens_is_left_until_update(machine, out):
    machine.model_file("mine")
    machine.run("apply")
    machine.enable("mine")
    machine.layout.host_file.write_text("listen: [172.17.0.1]\n")
    machine.run("key", "add", "laptop")
    out()

    machine.run("apply")

    assert "mine: pending (run: sudo spark-model update mine)" in out()
    port = machine.units / "spark-model@mine.socket.d/10-port.conf"
    assert "172.17.0.1" not in port.read_text()
    machine.run("update", "mine")
    assert "172.17.0.1" in port.read_text()


def test_address_that_means_all_takes_the_place_of_its_kind(machine):
    machine.model_file("mine")
    machine.layout.host_file.write_text("listen: [0.0.0.0, 172.17.0.1, 'fd7a::1']\n")
    machine.run("key", "add", "laptop")

    machine.run("apply")

    port = (machine.units / "spark-model@mine.socket.d/10-port.conf").read_text()
    assert [line for line in port.splitlines() if line.startswith("Listen")] == [
        "ListenStream=0.0.0.0:18300",
        "ListenStream=[fd7a::1]:18300",
    ]
