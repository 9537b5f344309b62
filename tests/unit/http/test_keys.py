"""Keys: who has one, for what, and what a damaged file lets in (nobody)."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_activator.errors import Refusal
from spark_activator.http import head as heads
from spark_activator.http import keys
from spark_activator.http.caller import Caller
from spark_activator.http.head import Head
from spark_activator.http.keys import Key, Keys

SECRET = "sk-spark-0123456789abcdef"
SHA = hashlib.sha256(SECRET.encode()).hexdigest()
NAMES = ("gpt-oss-20b", "gpt-oss")
LAPTOP = Key("laptop", bytes.fromhex(SHA), added="2026-11-26")
OTHER = Key("other", hashlib.sha256(b"sk-other-0123456789abcdef").digest(), admin=True)


def request(*lines: str) -> Head:
    first = ["GET /v1/models HTTP/1.1", "Host: localhost"]
    return heads.parse("\r\n".join([*first, *lines, "", ""]).encode("latin-1"))


def admit(found: Keys, *lines: str, peer: str = "172.17.0.2") -> Caller:
    return keys.admit(found, request(*lines), peer=peer, names=NAMES)


def refusal(found: Keys, *lines: str, peer: str = "127.0.0.1") -> Refusal:
    with pytest.raises(Refusal) as refused:
        admit(found, *lines, peer=peer)
    return refused.value


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_without_keys_this_machine_is_served_whatever_it_says(peer: str) -> None:
    assert admit(Keys(), peer=peer) == Caller("", admin=True)
    assert admit(Keys(), "Authorization: Bearer dummy", peer=peer).admin
    assert admit(Keys(), "X-Forwarded-For: 127.0.0.1", peer=peer).admin


@pytest.mark.parametrize(
    "peer", ["172.17.0.2", "192.168.178.20", "fd7a::1", "::ffff:10.0.0.1", "fe80::1%eth0", "?"]
)
def test_without_keys_nobody_else_is(peer: str) -> None:
    assert refusal(Keys(), "Authorization: Bearer dummy", peer=peer).code == "key_required"


@pytest.mark.parametrize("hops", ["192.168.1.5", "127.0.0.1, 10.0.0.1", "10.0.0.1,", "unknown"])
def test_without_keys_a_proxy_of_this_machine_brings_nobody_in(hops: str) -> None:
    assert refusal(Keys(), f"X-Forwarded-For: {hops}").code == "key_required"


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization: bearer {SECRET}",
        f"Authorization: BEARER   {SECRET} ",
        f"X-Api-Key: {SECRET}",
        f"api-key: {SECRET}",
        f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{SECRET}",
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "172.17.0.2"])
def test_a_key_lets_in_however_it_is_said(line: str, peer: str) -> None:
    assert admit(Keys((OTHER, LAPTOP)), line, peer=peer) == Caller("laptop", admin=False)


def test_a_key_lets_in_beside_another_that_is_none() -> None:
    lines = ("Authorization: Bearer dummy", f"x-api-key: {SECRET}")

    assert admit(Keys((LAPTOP,)), *lines).key == "laptop"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Authorization: Bearer",),
        ("Authorization: Bearer wrong",),
        (f"Authorization: Basic {SECRET}",),
        (f"Authorization: {SECRET}",),
        (f"Authorization: Bearer {SECRET} x",),
        (f"Authorization: Bearer {SHA}",),
        ("x-api-key:",),
        (f"Cookie: {SECRET}",),
    ],
)
@pytest.mark.parametrize("found", [Keys((LAPTOP,)), keys.UNREADABLE, Keys((), (3,))])
def test_no_key_no_entry_not_even_for_this_machine(lines: tuple[str, ...], found: Keys) -> None:
    refused = refusal(found, *lines)

    assert refused.code == "invalid_api_key"
    assert refused.kind.status == 401
    assert refused.headers == {"WWW-Authenticate": "Bearer"}


def test_a_key_may_be_for_some_models_by_any_of_their_names() -> None:
    line = f"x-api-key: {SECRET}"

    assert admit(Keys((Key("k", LAPTOP.digest, frozenset({"gpt-oss"})),)), line).key == "k"
    elsewhere = Keys((Key("k", LAPTOP.digest, frozenset({"gpt-oss-120b"})),))
    assert refusal(elsewhere, line).code == "model_not_permitted"
    assert refusal(Keys((Key("k", LAPTOP.digest, frozenset()),)), line).kind.status == 403


def test_all_entries_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = keys.hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return bool(real(one, other))

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)

    assert Keys((LAPTOP, OTHER, OTHER)).find(SECRET) is LAPTOP
    assert len(compared) == 3


def test_the_engine_is_told_no_key() -> None:
    head = request(f"Authorization: Bearer {SECRET}", f"X-Api-Key: {SECRET}", f"api-key: {SECRET}")

    assert SECRET.encode() not in head.for_upstream()


def test_client_cannot_have_its_own_fields_forgotten() -> None:
    head = request("Connection: origin, x-api-key, x-forwarded-for", "Origin: http://evil.example")

    assert (b"origin", b"http://evil.example") in head.fields


def test_reads_what_it_writes() -> None:
    key = Key("laptop", LAPTOP.digest, frozenset({"b", "a"}), admin=True, added="2026-11-26")

    assert keys.read_line(key.line()) == key
    assert json.loads(key.line())["models"] == ["a", "b"]
    assert keys.read_line(LAPTOP.line()) == LAPTOP


@pytest.mark.parametrize(
    "line",
    [
        "sk-spark-plain",
        "[]",
        "{}",
        '{"name": "a"}',
        f'{{"name": "a b", "sha256": "{SHA}"}}',
        f'{{"name": "", "sha256": "{SHA}"}}',
        f'{{"name": "a", "sha256": "{SHA.upper()}"}}',
        f'{{"name": "a", "sha256": "{SHA[:-1]}"}}',
        f'{{"name": "a", "sha256": "{SHA}", "models": "a"}}',
        f'{{"name": "a", "sha256": "{SHA}", "models": [1]}}',
        f'{{"name": "a", "sha256": "{SHA}", "admin": 1}}',
        f'{{"name": "a", "sha256": "{SHA}", "admin": null}}',
        f'{{"name": "a", "sha256": "{SHA}", "added": "today"}}',
        f'{{"name": "a", "sha256": "{SHA}", "expires": "2026-12-01"}}',
        "[" * 10_000,
    ],
)
def test_a_line_that_is_no_key_says_that_there_are_keys(line: str) -> None:
    found = keys.read(f"# keys\n\n{line}\n")

    assert found == Keys((), (3,))
    assert found.exist


def test_a_file_of_comments_has_no_keys() -> None:
    assert not keys.read("\n  # none yet\n\n").exist


@given(st.text())
def test_no_text_opens_anything_by_itself(text: str) -> None:
    found = keys.read(text)

    assert not found.entries
    assert found.exist == any(
        line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()
    )
