"""What holds for all heads (tests/head_checks.py), looked for in three ways.

hypothesis makes requests that are nearly right, the corpus of the fuzzer has what
once reached new code, and the fuzzer itself looks on for ten minutes where
`tests/run --long=fuzz` asks for it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import head_checks
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_activator.http import head as heads
from spark_activator.http.head import HOP_BY_HOP, KEY_FIELDS

TESTS = Path(__file__).parents[2]
FUZZ = TESTS / "fuzz/fuzz_head.py"
CORPUS: list[str] = json.loads((TESTS / "fuzz/corpus.json").read_text())

NAMES = st.sampled_from(
    [
        "Accept", "Api-Key", "Authorization", "Connection", "Content-Length", "Content-Type",
        "Expect", "Host", "Origin", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "X",
        "X-Api-Key", "content_length",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            "", "0", "1", "5", "5, 5", "+5", "100-continue", "a", "a:80", "a b", "chunked", "gzip",
            "close", "content-length", "upgrade", "websocket", "x, host", "\t5",
        ]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=12),
)  # fmt: skip
LINES = st.sampled_from(
    [
        "GET /v1/models HTTP/1.1", "POST /v1/completions?a=b HTTP/1.1", "POST / HTTP/1.0",
        "OPTIONS * HTTP/1.1", "get / HTTP/1.1", "GET /a#b HTTP/1.1", "GET / HTTP/2.0",
    ]
)  # fmt: skip
ENDS = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", "\r\n ", "\n\r", "\r\r\n", "\x00\r\n"])
BODIES = st.sampled_from(
    [
        "",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0\r\nX: 1\r\n\r\n",
        "5\nhello",
        "0\r\n",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests of which many pass, and the others nearly."""
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    lines = [draw(LINES), *(f"{name}: {value}" for name, value in [("Host", "a"), *fields])]
    head = "".join(line + draw(ENDS) for line in lines)
    return (head + "\r\n" + draw(BODIES)).encode("latin-1")


@given(requests())
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n")
def test_requests_are_read_alike_in_all_ways(raw: bytes) -> None:
    head_checks.check(raw)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z][0-9A-Za-z_.-]{0,12}", fullmatch=True),
            st.text(
                st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f")
            ),
        ),
        max_size=20,
        unique_by=lambda field: field[0].lower(),
    )
)
def test_no_field_is_lost_changed_or_moved(fields: list[tuple[str, str]]) -> None:
    special = {b"host", b"content-length", b"transfer-encoding", *HOP_BY_HOP, *KEY_FIELDS}
    sent = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in fields
        if name.lower().encode() not in special
        and name.lower() not in ("content_length", "transfer_encoding")
    ]
    raw = b"".join(b"%b: %b\r\n" % field for field in sent)

    head = heads.parse(b"POST / HTTP/1.1\r\nHost: a\r\n" + raw + b"\r\n")

    assert head.fields == ((b"host", b"a"), *sent)
    assert raw in head.for_upstream()


@pytest.mark.parametrize("number", range(0, len(CORPUS), 50))
def test_what_the_fuzzer_has_found_stays_mended(number: int) -> None:
    for text in CORPUS[number : number + 50]:
        head_checks.check(text.encode("latin-1"))


@pytest.mark.long
@pytest.mark.timeout(720)
def test_fuzz_head_parser_for_ten_minutes() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(
            f"atheris has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]} here"
        )
    subprocess.run([sys.executable, FUZZ, "600"], check=True)
