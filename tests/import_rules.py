"""The direction of imports, checked on the syntax tree without importing anything.

Layers point down only, pure modules reach nothing outside the process, and some
things must not be in reach of a process at all, however many modules away.
Imports inside functions and under `TYPE_CHECKING` count like any other: a rule
with a back door is no rule.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "spark_activator"

# What each part may import of the package, besides itself.  A part that is not
# listed is an error too: a new one has to find its place here first.
_BASE = {
    "errors",
    "facts",
    "protocol",
    "protocol_json",
    "state",
    "layout",
    "hub",
    "notify",
    "listen",
}
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "facts": set(),
    "protocol": {"errors"},
    "protocol_json": {"errors", "protocol"},
    "state": {"errors", "protocol"},
    "layout": {"errors"},
    "hub": set(),
    "notify": {"errors"},
    "listen": {"errors"},
    "catalog": {"errors", "layout"},
    "sizing": {"errors", "catalog"},
    "imports": {"errors", "catalog", "sizing"},
    "migration": {"errors", "catalog", "imports"},
    "render": {"errors", "layout", "catalog"},
    "weights": {"errors", "layout", "hub", "catalog"},
    "http": {"errors", "protocol", "catalog"},
    "activator": _BASE | {"catalog", "render", "http"},
    "runner": _BASE | {"catalog", "render", "http"},
    "doctor": _BASE | {"catalog", "render", "http", "weights"},
    "cli": _BASE
    | {
        "catalog",
        "sizing",
        "imports",
        "migration",
        "render",
        "http",
        "activator",
        "runner",
        "weights",
        "doctor",
    },
    "__main__": {"cli"},
    # The demo engine is also copied into an image, by itself.
    "demo": set(),
}

# These decide and never act: values in, values out.
PURE = (
    "errors", "catalog", "sizing", "imports", "migration", "render", "http",
    "runner.breaker", "runner.clues",
    "runner.plan", "runner.plan_rules", "runner.plan_scene", "runner.plan_values",
    "runner.footprint", "runner.guard_rules", "runner.memory_values",
    "runner.what_if",
)  # fmt: skip
# The one place where the catalog meets the file system.
EDGES = ("catalog.load",)
WORLD = {
    "asyncio", "docker", "fcntl", "glob", "io", "os", "requests", "select", "selectors",
    "shutil", "signal", "socket", "subprocess", "systemd", "tempfile", "threading", "time",
    "trio", "urllib",
}  # fmt: skip

# What must not be reachable from a part, over any number of imports.  The
# activator parses what strangers send: the way to root is not even loaded.
OUT_OF_REACH: dict[str, set[str]] = {
    "activator": {
        "docker",
        "yaml",
        "huggingface_hub",
        f"{PACKAGE}.runner",
        f"{PACKAGE}.cli",
        f"{PACKAGE}.weights",
    },
    "runner": {
        "yaml",
        "huggingface_hub",
        f"{PACKAGE}.activator",
        f"{PACKAGE}.cli",
        f"{PACKAGE}.weights",
    },
}


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package and everything that it imports, by dotted name."""

    name: str
    imports: frozenset[str]

    @property
    def local(self) -> str:
        """The name below the package, empty for the package itself."""
        return self.name.removeprefix(PACKAGE).removeprefix(".")


def violations(root: Path) -> list[str]:
    """Name every import below *root* (the package's directory) that breaks a rule."""
    modules = {module.name: module for module in _read(root)}
    return sorted(
        complaint
        for module in modules.values()
        for complaint in (*_layer(module), *_pure(module), *_reach(module, modules))
    )


def _read(root: Path) -> Iterator[Module]:
    files = sorted(root.rglob("*.py"))
    names = {_dotted(root, file) for file in files}
    for file in files:
        name = _dotted(root, file)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(file.read_text(), str(file))
        yield Module(name, frozenset(_imports(tree, package, names)))


def _dotted(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join([PACKAGE, *(part for part in parts if part != "__init__")])


def _imports(tree: ast.AST, package: str, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                # `from package import module` imports the module, not a name.
                submodule = f"{base}.{alias.name}"
                yield submodule if submodule in names else base


def _part(name: str) -> str:
    return name.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


def _layer(module: Module) -> Iterator[str]:
    part = _part(module.name)
    if part not in MAY_IMPORT:
        yield f"{module.name}: not in the table of layers (tests/import_rules.py)"
        return
    for name in module.imports:
        if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
            continue
        target = _part(name)
        # The package itself holds only the version, which everyone may read.
        if target not in {part, "", *MAY_IMPORT[part]}:
            yield f"{module.name}: imports {name}, which is not below it"


def _pure(module: Module) -> Iterator[str]:
    if _within(module.local, EDGES) or not _within(module.local, PURE):
        return
    for name in module.imports:
        if name.partition(".")[0] in WORLD:
            yield f"{module.name}: is pure, and imports {name}"
        elif _within(name.removeprefix(f"{PACKAGE}."), EDGES):
            yield f"{module.name}: is pure, and imports {name}, which is not"


def _within(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in tops)


def _reach(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    forbidden = OUT_OF_REACH.get(_part(module.name), set())
    if not forbidden:
        return
    seen: set[str] = set()
    waiting = [module.name]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if _within(name, tuple(forbidden)):
            yield f"{module.name}: reaches {name}"
            continue
        # Importing a.b.c runs a and a.b first.
        parent = name.rpartition(".")[0]
        waiting += [parent] if parent in modules else []
        waiting += modules[name].imports if name in modules else ()
