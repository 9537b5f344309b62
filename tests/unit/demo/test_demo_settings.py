"""The demo engine's command line and the directives in prompts."""

import pytest

from spark_activator.demo.faults import Directive, directive
from spark_activator.demo.settings import parse


def test_shares_divide_the_load_time_and_times_stand_for_themselves():
    given = parse(["--port", "0", "--load-time", "10", "--compile-time", "3"])

    assert given.phase_times == pytest.approx({"weights": 6.0, "compile": 3.0, "graphs": 1.5})


@pytest.mark.parametrize(("text", "size"), [("7", 7), ("1.5KiB", 1536), ("2GB", 2 * 10**9)])
def test_sizes(text, size):
    assert parse(["--port", "0", "--hold-memory", text]).faults.hold_memory == size


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--port", "x"],
        ["--port", "0", "--load-time", "-1"],
        ["--port", "0", "--load-time", "nan"],
        ["--port", "0", "--hold-memory", "1 furlong"],
        ["--port", "0", "--never-read"],
        ["--port", "0", "--max-tokens", "0"],
        ["--port", "0", "--weights-share", "0", "--compile-share", "0", "--graphs-share", "0"],
    ],
)
def test_wrong_command_line_is_refused(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        parse(argv)

    assert refused.value.code == 2
    assert "expected" in capsys.readouterr().err or argv[-1] == "--never-read"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("please, fault: die after 3", Directive("die", 3)),
        ("fault: status 503", Directive("status", 503)),
        ("fault: status 200", None),
        ("fault: dance after 3", None),
        ("", None),
    ],
)
def test_directives(text, found):
    assert directive(text) == found
