"""Fuzz the parser of heads and chunks: `python tests/fuzz/fuzz_head.py [--keep] [SECONDS]`.

Begins with the corpus that is kept in corpus.json, one input a line; `--keep`
writes it anew with what was found, as few inputs as reach the same code.  Exits
with 1 and prints the input when one breaks what `head_checks` says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.json"
SECONDS = 600


def inputs() -> list[bytes]:
    return [text.encode("latin-1") for text in json.loads(CORPUS.read_text())]


def main(arguments: list[str]) -> int:
    keep = "--keep" in arguments
    seconds = next((int(argument) for argument in arguments if argument.isdigit()), SECONDS)
    with tempfile.TemporaryDirectory(prefix="spark-fuzz-") as directory:
        found, fewest = Path(directory, "found"), Path(directory, "fewest")
        found.mkdir()
        fewest.mkdir()
        for number, raw in enumerate(inputs()):
            (found / f"{number:04}").write_bytes(raw)
        status = fuzz(f"-max_total_time={seconds}", f"-artifact_prefix={directory}/bad-", found)
        for bad in Path(directory).glob("bad-*"):
            print(f"{bad.name}: {bad.read_bytes()!r}")
        if keep and not status:
            status = fuzz("-merge=1", fewest, found)
            write(
                sorted((path.read_bytes() for path in fewest.iterdir()), key=lambda b: (len(b), b))
            )
    return 1 if status else 0


def fuzz(*arguments: object) -> int:
    """Run libFuzzer in a process of its own: it ends the one that it runs in."""
    command = [sys.executable, __file__, "--target", *map(str, arguments)]
    return subprocess.run(command, check=False).returncode


def write(kept: list[bytes]) -> None:
    kept.sort(key=lambda raw: (len(raw), raw))
    lines = [json.dumps(raw.decode("latin-1")) for raw in kept]
    CORPUS.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"kept {len(kept)} inputs in {CORPUS}")


def target(arguments: list[str]) -> None:
    import atheris

    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    with atheris.instrument_imports(include=["spark_activator.http", "spark_activator.errors"]):
        import spark_activator.http.body
        import spark_activator.http.head  # noqa: F401  # what is to be covered
    import head_checks

    # As long as a head may be, and somewhat more.
    options = ["-max_len=20000", "-timeout=10", "-print_final_stats=1", *arguments]
    # To merge it starts what it was started as, in a shell.
    again = f"{sys.executable} {__file__} --target"
    atheris.Setup([again, *options], head_checks.check)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        target(sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
