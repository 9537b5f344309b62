"""Names that are ours, and pages that may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http import hosts
from spark_activator.http.head import Head
from spark_activator.http.hosts import Hosts

KNOWN = Hosts(
    hosts.machine_names("Spark-1A2B") | {"llm.example.org"},
    frozenset({"https://chat.example.org", "app://obsidian.md"}),
)


def request(*lines: str, first: str = "GET /v1/models HTTP/1.1") -> Head:
    return heads.parse("\r\n".join([first, *lines, "", ""]).encode("latin-1"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8009",
        "chat.localhost:3000",
        "127.0.0.1",
        "192.168.178.20:18100",
        "[::1]:18100",
        "[fd7a:115c::1]",
        "spark-1a2b",
        "SPARK-1A2B.local:18100",
        "spark-1a2b.local.",
        "host.docker.internal:8009",
        "llm.example.org",
    ],
)
def test_asked_by_a_name_of_ours(host: str) -> None:
    KNOWN.check_host(request(f"Host: {host}"), "192.0.2.1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:18100",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::1::]",
        "[127.0.0.1]",
        "spark-1a2b.evil.example",
        "localhost..",
        "other.local",
        "example.org",
    ],
)
def test_asked_by_another_name(host: str) -> None:
    with pytest.raises(Refusal) as refused:
        KNOWN.check_host(request(f"Host: {host}"), "127.0.0.1")

    assert refused.value.code == "invalid_host"
    assert "sudo spark-model host add" in refused.value.message


@given(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,40}", fullmatch=True))
def test_no_name_that_is_not_known_passes_but_addresses_and_localhost(name: str) -> None:
    passes = True
    try:
        Hosts().check_host(request(f"Host: {name}"), "192.0.2.1")
    except Refusal:
        passes = False

    low = name.lower().removesuffix(".")
    numbers = low.split(".")
    is_address = len(numbers) == 4 and all(n.isdigit() and str(int(n)) == n for n in numbers)
    expected = low == "localhost" or low.endswith(".localhost") or low == "host.docker.internal"
    assert passes == (expected or (is_address and all(int(n) < 256 for n in numbers)))


def test_only_programs_of_this_machine_may_name_nobody() -> None:
    old = request(first="GET /v1/models HTTP/1.0")

    KNOWN.check_host(old, "127.0.0.1")
    with pytest.raises(Refusal, match="Host"):
        KNOWN.check_host(old, "192.0.2.1")


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "https://localhost",
        "http://chat.localhost",
        "http://127.0.0.1:8080",
        "http://[::1]:5173",
        "vscode-webview://1a2b3c",
        "https://chat.example.org",
        "HTTPS://Chat.Example.org",
        "app://obsidian.md",
    ],
)
def test_pages_that_may_ask_and_read(origin: str) -> None:
    head = request("Host: localhost", f"Origin: {origin}")

    KNOWN.check_origin(head)
    told = KNOWN.cors(head)
    assert told["Access-Control-Allow-Origin"] == origin
    assert "Retry-After" in told["Access-Control-Expose-Headers"]
    assert told["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in told


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "file://",
        "",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://evil.example:80@localhost",
        "http://localhost:3000/",
        "https://chat.example.org.evil.example",
        "http://chat.example.org",
        "ftp://localhost",
        "vscode-webview://",
        "http://127.0.0.1:80, http://evil.example",
    ],
)
def test_pages_that_may_not(origin: str) -> None:
    head = request("Host: localhost", f"Origin: {origin}")

    with pytest.raises(Refusal) as refused:
        KNOWN.check_origin(head)
    assert refused.value.code == "origin_not_allowed"
    assert "Access-Control-Allow-Origin" not in KNOWN.cors(head)
    preflight = request(
        "Host: localhost",
        f"Origin: {origin}",
        "Access-Control-Request-Method: POST",
        first="OPTIONS /v1/chat/completions HTTP/1.1",
    )
    assert KNOWN.preflight(preflight) is None


def test_two_origins_are_none() -> None:
    with pytest.raises(Refusal):
        request("Host: localhost", "Origin: http://localhost", "Origin: http://localhost")


def test_programs_are_told_nothing_of_pages() -> None:
    head = request("Host: localhost")

    KNOWN.check_origin(head)
    assert KNOWN.cors(head) == {}


def ask(*lines: str, host: str = "localhost") -> Head:
    return request(
        f"Host: {host}",
        "Origin: http://localhost:3000",
        *lines,
        first="OPTIONS /v1/chat/completions HTTP/1.1",
    )


def test_browser_that_asks_whether_it_may_ask_is_answered() -> None:
    wanted = "authorization, content-type, x-stainless-lang"
    told = KNOWN.preflight(
        ask(
            "Access-Control-Request-Method: POST",
            f"Access-Control-Request-Headers: {wanted}",
            "Access-Control-Request-Private-Network: true",
        )
    )

    assert told is not None
    assert told["Access-Control-Allow-Headers"] == wanted
    assert "POST" in told["Access-Control-Allow-Methods"]
    assert told["Access-Control-Allow-Private-Network"] == "true"


def test_what_is_no_field_name_is_not_said_back() -> None:
    told = KNOWN.preflight(
        ask("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: a<b>, c")
    )

    assert told is not None
    assert "Access-Control-Allow-Headers" not in told


def test_what_is_no_preflight_is_not_answered_as_one() -> None:
    assert KNOWN.preflight(ask()) is None
    assert KNOWN.preflight(ask("Access-Control-Request-Method: GET", host="evil.example")) is None
    get = request("Host: a", "Origin: http://localhost", "Access-Control-Request-Method: GET")
    assert KNOWN.preflight(get) is None


def test_hosts_file_has_names_and_comments() -> None:
    text = "# ours\n\nLLM.example.org.\nspark_1  # of a container network\n*.evil\na b\n-x\n"

    assert hosts.read_names(text) == ({"llm.example.org", "spark_1"}, (5, 6, 7))


@pytest.mark.parametrize(
    ("hostname", "names"),
    [
        ("spark", {"spark", "spark.local"}),
        ("Spark.lan.example.org.", {"spark.lan.example.org", "spark", "spark.local"}),
        ("", set()),
    ],
)
def test_names_of_a_machine(hostname: str, names: set[str]) -> None:
    assert hosts.machine_names(hostname) == names
