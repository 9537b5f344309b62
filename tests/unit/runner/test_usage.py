"""What keys have had: added up on disk, whatever is there already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_activator.protocol import MAX_LINE, USAGE_KEYS, Busy, ProtocolError
from spark_activator.protocol_json import decode_from_activator, encode
from spark_activator.runner import usage


def test_adds_up_over_processes_and_models(tmp_path: Path) -> None:
    usage.add(tmp_path / "a.json", {"laptop": (1, 20, 5)})
    usage.add(tmp_path / "a.json", {"laptop": (2, 1, 1), "tablet": (1, 0, 0)})
    usage.add(tmp_path / "b.json", {"laptop": (1, 1, 1)})

    total = usage.read_all(tmp_path)

    assert (total["laptop"].requests, total["laptop"].input, total["laptop"].output) == (4, 22, 7)
    assert total["tablet"].requests == 1
    assert total["tablet"].last > 1_700_000_000


@pytest.mark.parametrize("text", ["", "[]", '{"keys": 1}', '{"keys": {"a": {"requests": "x"}}}'])
def test_broken_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)

    usage.add(file, {"laptop": (1, 2, 3)})

    assert usage.read(file)["laptop"].output == 3


def test_file_that_cannot_be_written_is_no_reason_to_die(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file")

    usage.add(tmp_path / "there" / "a.json", {"laptop": (1, 2, 3)})


def test_names_without_end_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for n in range(0, usage.MOST_KEYS + 100, 50):
        usage.add(file, {f"k{m}": (1, 0, 0) for m in range(n, n + 50)})

    assert len(usage.read(file)) == usage.MOST_KEYS


def test_a_line_has_room_for_the_longest_names() -> None:
    most = {f"{n:064}": (10**15 - 1,) * 3 for n in range(USAGE_KEYS)}
    line = encode(Busy(1, 1, most))  # type: ignore[arg-type]  # mypy does not count the three

    assert len(line) <= MAX_LINE
    assert decode_from_activator(line) == Busy(1, 1, most)  # type: ignore[arg-type]  # as above


def test_a_side_that_knows_nothing_of_usage_is_understood() -> None:
    assert decode_from_activator(b'{"type":"busy","in_flight":1}') == Busy(1)
    assert json.loads(encode(Busy(1))) == {"type": "busy", "in_flight": 1, "held": None}


@pytest.mark.parametrize(
    "counts",
    ["[1,2]", "[1,2,3,4]", '[1,2,"3"]', "[1,2,-3]", "[true,2,3]", "[1,2,1e3]", "3", "[1,2,9e99]"],
)
def test_usage_that_is_none_ends_the_connection(counts: str) -> None:
    with pytest.raises(ProtocolError):
        decode_from_activator(f'{{"type":"busy","in_flight":1,"usage":{{"a":{counts}}}}}'.encode())
