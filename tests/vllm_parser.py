"""What `vllm serve` of the installed vLLM takes: run by that vLLM's own interpreter.

    PYTHON tests/vllm_parser.py options              its options and registries, as JSON
    PYTHON tests/vllm_parser.py parse <COMMANDS.json  {name: words} in, {name: what is wrong} out

It imports nothing of this project, since that interpreter has none of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from typing import Any


def parser() -> Any:
    """Make the parser as `vllm serve` does."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser())


def options() -> dict[str, Any]:
    """Say of each option what may follow it."""
    return {
        "version": version(),
        "options": sorted(
            (
                {
                    "names": sorted(action.option_strings),
                    "takes": takes(action),
                    "choices": None if action.choices is None else sorted(map(str, action.choices)),
                }
                for action in parser()._actions
                if action.option_strings
            ),
            key=lambda option: option["names"],
        ),
        "registries": registries(),
    }


def takes(action: argparse.Action) -> str:
    """Say how many words follow: none, one, some (as many as there are) or maybe (one or none)."""
    if action.nargs == 0:
        return "none"
    return {None: "one", "?": "maybe", "*": "some", "+": "some"}[action.nargs]


def registries() -> dict[str, list[str]]:
    """Name what the parser would take any word for."""
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    return {
        "--quantization": sorted(QUANTIZATION_METHODS),
        "--reasoning-parser": sorted(ReasoningParserManager.list_registered()),
        "--tool-call-parser": sorted(ToolParserManager.list_registered()),
    }


def version() -> str:
    """Say which vLLM it is."""
    import vllm

    return str(vllm.__version__)


def parse(commands: dict[str, list[str]]) -> dict[str, str]:
    """Have it parse each command line; only those that it refuses are in the answer."""
    made = parser()
    wrong = {}
    for name, words in commands.items():
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                made.parse_args(words)
        except SystemExit:
            wrong[name] = said.getvalue().strip().splitlines()[-1]
    return wrong


if __name__ == "__main__":
    answer = options() if sys.argv[1] == "options" else parse(json.load(sys.stdin))
    sys.stdout.write(json.dumps(answer) + "\n")
