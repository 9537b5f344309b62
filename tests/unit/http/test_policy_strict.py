"""Bodies that mean one thing, and what is left of them after a change."""

from __future__ import annotations

import gzip
import json

import pytest
from policy_requests import HELLO, ask, refusal, sent

from spark_activator.errors import Refusal
from spark_activator.http.endpoints import JSON_BODIES, Endpoint
from spark_activator.http.policy.strict import MOST_LEVELS, read, refuse_encoded

# Each with a word of what the client is told.
MALFORMED = {
    b"": "empty",
    b" \r\n": "empty",
    b"{": "key in double quotes",
    b'{"a"}': "':'",
    b'{"a": }': "value",
    b'{"a": 1,}': "key in double quotes",
    b'{"a": 1 "b": 2}': "','",
    b"{'a': 1}": "key in double quotes",
    b'{"a": 1} x': "more follows",
    b'{"a": 1}{"b": 2}': "more follows",
    b"[1]": "no object",
    b'"a"': "no object",
    b"null": "no object",
    b"nonsense": "value",
    b'{"a": NaN}': "NaN",
    b'{"a": [Infinity]}': "Infinity",
    b'{"a": -Infinity}': "-Infinity",
    b'{"a": 01}': "','",
    b'{"a": +1}': "value",
    b'{"a": .5}': "value",
    b'{"a": 0x10}': "','",
    b'{"a": 1e999}': "larger",
    b'{"a": tru}': "value",
    b'{"a": 1, "a": 1}': '"a" is there twice',
    b'{"a": 1, "\\u0061": 2}': '"a" is there twice',
    b'{"m": [{"role": 1, "role": 2}]}': '"role" is there twice',
    b'{"a": "\\ud800"}': "surrogate",
    b'{"a": ["x", {"b": "\\udc00\\ud800"}]}': "surrogate",
    b'{"\\uD83D": 1}': "surrogate",
    b'{"a": "\xed\xa0\x80"}': "not UTF-8",
    b'{"a": "\xff"}': "not UTF-8",
    b'{"a": "\xc0\xaf"}': "not UTF-8",
    b'{"a": "tab\there"}': "control character",
    b'{"a": "\\x41"}': "escape",
    b'{"a": "open': "unterminated",
    b'\xef\xbb\xbf{"a": 1}': "byte order mark",
    '{"a": 1}'.encode("utf-16"): "UTF-16",
    gzip.compress(b'{"a": 1}'): "gzip",
    b'\x28\xb5\x2f\xfd{"a": 1}': "zstd",
    b'{"a": ' + b"9" * 5000 + b"}": "4300 digits",
    b'{"a": 0.' + b"9" * 5000 + b"}": "4300 digits",
    b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}": "128 levels",
    b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}": "128 levels",
    b'{"a":' * 200_000 + b"1" + b"}" * 200_000: "128 levels",
}


@pytest.mark.parametrize(("body", "told"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_what_parsers_could_read_differently_is_a_400(body: bytes, told: str) -> None:
    for endpoint in JSON_BODIES:
        refused = refusal(body, endpoint)

        assert (refused.code, refused.kind.status) == ("invalid_json", 400)
        assert told in refused.message


def test_client_is_told_where_its_json_breaks() -> None:
    assert "at character 7 of 10" in refusal(b'{"a": oops').message


def test_client_is_not_told_what_it_wrote() -> None:
    assert "secret" not in refusal(b'{"messages": "secret", }').message


def test_levels_are_counted_from_the_outermost_object() -> None:
    deep = MOST_LEVELS - 1

    assert read(b'{"a": ' + b"[" * deep + b"]" * deep + b"}")
    with pytest.raises(Refusal):
        read(b'{"a": ' + b"[" * (deep + 1) + b"]" * (deep + 1) + b"}")


def test_wide_is_not_deep() -> None:
    wide = {"a": [[{"b": []}] for _ in range(1000)]}

    assert read(json.dumps(wide).encode()).fields == wide


def test_million_of_values_is_too_much_but_a_long_text_is_not() -> None:
    assert refusal(b'{"a": [' + b"1," * (1 << 20) + b"1]}").code == "body_too_large"
    assert read(b'{"a": "' + b"A" * (1 << 21) + b'"}').fields


def test_long_bodies_are_looked_at_for_levels_too() -> None:
    deep = b'{"b": "' + b"A" * (1 << 20) + b'", "a": ' + b"[" * 200 + b"]" * 200 + b"}"

    assert "128 levels" in refusal(deep).message


def test_unchanged_requests_are_the_clients_own_bytes() -> None:
    body = b'\n{ "model":"m" ,\t"messages":[ ], "x":1.50,"y":"\\u00e9\\ud83d\\ude00" }\r\n'

    assert ask(body).body is body


def test_forms_are_not_read() -> None:
    assert ask(b"--x\r\n\xff", Endpoint.TRANSCRIPTIONS).body == b"--x\r\n\xff"


def test_unknown_fields_survive_a_change_as_they_were_spelt() -> None:
    body = (
        '{"z": 1.0, "model": "m", "int": 123456789012345678901234567890, "e": 1e5, "half": 0.10,'
        ' "minus": -0.0, "text": "é😀\\u00e9\\/", "strip": 1,'
        ' "none": null, "list": [1.0, {"b": 1E+2}]}'
    )

    after = ask(body, strip=("strip",)).body.decode()

    assert after == (
        '{"z": 1.0, "model": "m", "int": 123456789012345678901234567890, "e": 1e5, "half": 0.10,'
        ' "minus": -0.0, "text": "é😀\\u00e9\\/", "none": null, "list": [1.0, {"b": 1E+2}]}'
    )


def test_numbers_inside_of_what_is_changed_keep_their_text() -> None:
    body = (
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": "é\\n\\u0001"}],'
        ' "x": [0.10, 1e5, 12345678901234567890, -0.0, true, {}, []]}]}'
    )

    after = ask(body, flatten_text=True).body.decode()

    assert after == (
        '{"messages": [{"role": "user", "content": "é\\n\\u0001",'
        ' "x": [0.10, 1e5, 12345678901234567890, -0.0, true, {}, []]}]}'
    )


def test_escaped_backslash_before_ud_is_no_surrogate() -> None:
    body = b'{"a": "\\\\ud800", "b": "\\ud83d\\ude00"}'

    assert ask(body).body is body


def test_letters_of_two_bytes_reach_the_engine_whole() -> None:
    # The seed cut bodies into text at any byte: "é" became two U+FFFD.
    fields = {**HELLO, "messages": [{"role": "user", "content": "é" * 70_000}], "gone": 1}

    assert sent(ask(json.dumps(fields, ensure_ascii=False), strip=("gone",))) == {
        key: value for key, value in fields.items() if key != "gone"
    }


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"identity, gzip", b"deflate"])
def test_compressed_body_is_refused_by_its_head(encoding: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        refuse_encoded([(b"host", b"a"), (b"content-encoding", encoding)])

    assert raised.value.code == "invalid_json"


def test_plain_body_passes_by_its_head() -> None:
    refuse_encoded([(b"host", b"gzip"), (b"content-encoding", b" Identity")])
    refuse_encoded([(b"content-encoding", b"")])
