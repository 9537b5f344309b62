"""What a text has to be before anybody looks for keys in it; never a traceback."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_activator.catalog import document, hostfile, images, modelfile
from spark_activator.errors import FileProblems

BAD = {
    "empty": ("", "expected settings, the file is empty"),
    "only a comment": ("# nothing\n", "expected settings, the file is empty"),
    "a list": ("- a\n", "line 1: expected 'key: value' lines, got a list"),
    "a word": ("\nhello\n", "line 2: expected 'key: value' lines, got a single value"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there twice"),
    "a key twice below": ("a:\n  b: 1\n  b: 2\n", "line 3: the key 'b' is there twice"),
    "a key twice, quoted": ("a: 1\n'a': 2\n", "line 2: the key 'a' is there twice"),
    "a number as key": ("1: a\n", "line 1: expected a string as key, got 1 (quote it)"),
    "a list as key": ("? [a]\n: b\n", "line 1: expected a string as key, got ['a'] (quote it)"),
    "a tab": ("a:\n\tb: 1\n", "(indent with spaces, not with tabs)"),
    "an anchor": ("a: &x 1\nb: 2\n", "line 1: anchors and aliases ('&', '*') are not supported"),
    "an alias": ("a: &x [1]\nb: *x\n", "line 1: anchors and aliases"),
    "a recursive alias": ("a: &x [*x]\n", "line 1: anchors and aliases"),
    "a tag": ("a: 1\nb: !!python/object:os.system x\n", "line 2: expected a plain value"),
    "a tagged list": ("a: !!set {b}\n", "line 1: tags"),
    "a false tag": ("a: !!int x\n", "line 1: expected a plain value"),
    "a number without end": ("a: 1e999\n", "line 1: expected a plain value"),
    "very many digits": (f"a: {'9' * 5000}\n", "line 1: expected a plain value"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
    "no end": ("a: [1, 2\n", "line 2: "),
    "an open quote": ('a: "b\n', "line 2: "),
    "a colon too much": ("a: b: c\n", "line 1: mapping values are not allowed here"),
    "a control character": ("a: 1\nb: \x07\n", "line 2: expected printable characters"),
    "a NUL": ('a: "\\0"\n', "line 1: expected text without NUL"),
    "half a character": ('a: "\\ud800"\n', "line 1: expected text without NUL"),
    "too deep": ("a: " + "[" * 100 + "]" * 100, "line 1: expected at most 16 levels"),
    "much too deep": ("a: " + "[" * 100_000, "line 1: expected at most 16 levels"),
    "too long": ("a: " + "x" * document.MAX_TEXT, "expected at most 256 KiB"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_text_is_one_problem_that_names_the_line(text: str, message: str) -> None:
    with pytest.raises(FileProblems) as caught:
        document.parse(text, "x.yaml")

    [problem] = caught.value.problems
    assert message in problem.message
    assert problem.file == "x.yaml"
    assert "\n" not in problem.message


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = (
        "{a: no, b: 1:30, c: 2024-01-02, d: 1e3, e: ~, f: TRUE, g: '1', h: 0x10, i: .5, j: '', k: }"
    )

    assert document.parse(text, "x.yaml") == {
        "a": "no", "b": "1:30", "c": "2024-01-02", "d": 1000.0, "e": None, "f": True, "g": "1",
        "h": "0x10", "i": 0.5, "j": "", "k": None,
    }  # fmt: skip


# Pieces that lead further into the parsers than random characters do.
PIECES = st.sampled_from(
    ["a: ", "- ", "{", "}", "[", "]", ", ", ": ", "\n", "  ", "\t", "'", '"', "&x ", "*x", "!!int ",
     "|\n", "? ", "<<: ", "source: ", "{model: a/b}", "memory: ", "1GiB", "args: ", "--port", "\\",
     "presets: ", "null", "true", "1e400", "extends: ", "base", "status: ", "disabled", "---\n"]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS)
@example("{[a]: b}")
@example("? {a: b}\n: c")
@example("!!str {a: b}: c")
def test_no_text_raises_anything_but_our_error(text: str) -> None:
    base = {"base": {"source": {"model": "a/b"}, "memory": [3], "args": {"x": 1}}}
    for read in (
        lambda: modelfile.parse("mine", text, file="x", images={}, bases=base),
        lambda: modelfile.parse("mine", text, file="x", images={}, vendor=True),
        lambda: hostfile.parse(text, "x"),
        lambda: images.parse(text, "x"),
    ):
        with contextlib.suppress(FileProblems):
            read()
