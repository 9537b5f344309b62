"""A plugin of vLLM: the router of Qwen3-Next is read as the checkpoint stores it.

Some checkpoints quantize the router's weights like all others.  vLLM makes that layer
without a quantization, so that it has no place for them.  This gives the layer the
checkpoint's quantization, which knows for each layer whether it was quantized.

vLLM calls `register` in each of its processes.  The change is made while the module is
imported, and only if it is written as in the releases that this was made for: 0.28.0
and 0.32.0.  Otherwise the import fails.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

MODULE = "vllm.model_executor.models.qwen3_next"
BLOCK = "Qwen3NextSparseMoeBlock"
# The first in 0.28.0, which has `quant_config=None`; the second in 0.32.0, without it.
LAYERS = ("ReplicatedLinear", "GateLinear")


class CannotChange(RuntimeError):
    """This vLLM is written in another way: the engine must not start unchanged."""


def register() -> None:
    """Have the module changed when it is imported.

    Raises:
        CannotChange: It was imported already.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if MODULE in sys.modules:
        raise _cannot(str(sys.modules[MODULE].__file__), "it was imported before this plugin")
    sys.meta_path.insert(0, _Finder())


def change(tree: ast.Module, path: str) -> None:
    """Give the gate in *tree*, the module at *path*, the quantization.

    Raises:
        CannotChange: There is no such gate, or it is made in another way.
    """
    inits = [
        function
        for block in tree.body
        if isinstance(block, ast.ClassDef) and block.name == BLOCK
        for function in block.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    ]
    if len(inits) != 1:
        raise _cannot(path, f"expected one {BLOCK}.__init__, found {len(inits)}")
    if "vllm_config" not in [argument.arg for argument in inits[0].args.args]:
        raise _cannot(path, f"{BLOCK}.__init__ takes no vllm_config")
    gates = [
        node.value
        for node in ast.walk(inits[0])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.gate"
    ]
    if len(gates) != 1:
        raise _cannot(path, f"expected one assignment to self.gate, found {len(gates)}")
    gate = gates[0]
    if not isinstance(gate, ast.Call) or ast.unparse(gate.func) not in LAYERS:
        raise _cannot(path, f"expected {' or '.join(LAYERS)}, found {ast.unparse(gate)}")
    given = [keyword for keyword in gate.keywords if keyword.arg in {"quant_config", None}]
    if [ast.unparse(keyword) for keyword in given] not in ([], ["quant_config=None"]):
        raise _cannot(path, f"expected no quantization, found {ast.unparse(gate)}")
    wanted = ast.Attribute(ast.Name("vllm_config", ast.Load()), "quant_config", ast.Load())
    others = [keyword for keyword in gate.keywords if keyword not in given]
    gate.keywords = [*others, ast.keyword("quant_config", wanted)]
    # What is new lies on the lines of the call: tracebacks go on to name those of the file.
    ast.fix_missing_locations(gate)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        if not isinstance(spec.loader, SourceFileLoader):
            raise _cannot(str(spec.origin), "it has no source")
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        # From the source each time: what Python keeps compiled is unchanged.
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        change(tree, path)
        _say(f"{path}: the gate of {BLOCK} takes the checkpoint's quantization")
        return compile(tree, path, "exec", dont_inherit=True)


def _cannot(path: str, why: str) -> CannotChange:
    words = f"{path}: cannot give the gate of {BLOCK} the checkpoint's quantization: {why}"
    _say(words)
    return CannotChange(words)


def _say(words: str) -> None:
    # vLLM's logging may be off, and this is to be in the log in any case.
    print(f"qwen3_next_gate: {words}", file=sys.stderr, flush=True)
