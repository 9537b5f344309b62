"""Reading and remembering: the only module of the catalog that touches files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spark_activator.catalog import (
    clashes,
    document,
    filelist,
    hostfile,
    images,
    modelfile,
    ports,
    retired,
)
from spark_activator.catalog.host import HostSettings
from spark_activator.catalog.model import Image, Model
from spark_activator.errors import FileProblems, Problem
from spark_activator.layout import Layout

# Names that once were models of the catalog, in a file beside them; no model has this name.
RETIRED = "retired"


@dataclass(slots=True)
class Catalog:
    """Every model that is right, and what is wrong with the others.

    Attributes:
        models: By name, each with a port; also those whose status is disabled.
        files: The file of each model that has one, also of broken ones.
        problems: Of all files, in their order.
        ports: Ports to remember (`store_ports`), once these models are applied.
    """

    models: dict[str, Model] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)


def load_catalog(layout: Layout) -> Catalog:
    """Read the vendor's and the owner's model files; nothing is written."""
    catalog = Catalog()
    known, problems = load_images(layout)
    catalog.problems += problems
    families = _families(layout, catalog.problems)
    bases = dict(_documents(layout.vendor_models, catalog.problems))
    wholes = _inherited(bases, families)
    owners = dict(_documents(layout.owner_models, catalog.problems))
    found: dict[str, Model] = {}
    # The owner's file takes the place of the vendor's of that name, also a broken one.
    for name in sorted({*bases, *owners}):
        vendor = name not in owners
        path, values = bases[name] if vendor else owners[name]
        catalog.files[name] = str(path)
        if values is None:
            continue
        try:
            found[name] = modelfile.build(
                name,
                values,
                file=str(path),
                images=known,
                bases=families if vendor else wholes,
                vendor=vendor,
            )
        except FileProblems as error:
            catalog.problems += error.problems
    kept, problems = clashes.resolve(found, catalog.files)
    catalog.problems += problems
    _assign_ports(catalog, kept, load_ports(layout))
    catalog.problems.sort()
    return catalog


def load_host(layout: Layout) -> HostSettings:
    """Read host.yaml; where there is none, everything has its default.

    Raises:
        FileProblems: All that is wrong with it.
    """
    try:
        text = _read(layout.host_file)
    except FileNotFoundError:
        return HostSettings()
    return hostfile.parse(text, str(layout.host_file))


def load_images(layout: Layout) -> tuple[dict[str, Image], list[Problem]]:
    """Read what model files may name, by name; see `load_image_entries`."""
    entries, problems = load_image_entries(layout)
    return {name: entry.image for name, entry in entries.items()}, problems


def load_image_entries(layout: Layout) -> tuple[dict[str, images.Entry], list[Problem]]:
    """Read images.yaml of the catalog and the owner's, whose entries win."""
    known: dict[str, images.Entry] = {}
    problems: list[Problem] = []
    for path in (layout.images_file, layout.owner_images):
        try:
            more, wrong = images.parse(_read(path), str(path))
        except FileNotFoundError:
            continue
        except FileProblems as error:
            more, wrong = {}, list(error.problems)
        known |= more
        problems += wrong
    return known, problems


def load_files(layout: Layout) -> tuple[dict[str, filelist.Fetchable], list[Problem]]:
    """Read what can be fetched, by 'sha256:' and hash."""
    path = layout.files_file
    try:
        return filelist.parse(_read(path), str(path))
    except FileNotFoundError:
        return {}, []
    except FileProblems as error:
        return {}, list(error.problems)


def load_bases(layout: Layout) -> dict[str, dict[str, Any]]:
    """Read what `extends` of the owner's files may name, with families in it."""
    return _inherited(dict(_documents(layout.vendor_models, [])), _families(layout, []))


def check_files(layout: Layout, paths: Iterable[Path]) -> list[Problem]:
    """Say what is wrong with the owner's files at *paths*, wherever they lie.

    Each is checked as if it lay among the owner's models, beside all others.
    """
    problems: list[Problem] = []
    catalog = load_catalog(layout)
    known, _ = load_images(layout)
    families = _families(layout, [])
    bases = _inherited(dict(_documents(layout.vendor_models, [])), families)
    for path in paths:
        vendor = path.resolve().parent == layout.vendor_models.resolve()
        try:
            model = modelfile.parse(
                path.stem,
                _read(path),
                file=str(path),
                images=known,
                bases=families if vendor else bases,
                vendor=vendor,
            )
        except FileNotFoundError:
            problems.append(Problem(str(path), "", "expected a file, there is none"))
            continue
        except FileProblems as error:
            problems += error.problems
            continue
        beside = {**catalog.models, model.name: model}
        _, wrong = clashes.resolve(beside, {**catalog.files, model.name: str(path)})
        problems += [problem for problem in wrong if problem.file == str(path)]
    return sorted(problems)


def load_ports(layout: Layout) -> dict[str, int]:
    """Read the remembered ports; a broken file is as good as none."""
    try:
        body: Any = json.loads(_read(layout.ports_file))
    except (FileNotFoundError, FileProblems, ValueError):
        return {}
    pairs = body.items() if isinstance(body, dict) else ()
    return {name: port for name, port in pairs if type(port) is int}


def store_ports(layout: Layout, remembered: Mapping[str, int]) -> None:
    """Write the remembered ports, whole or not at all."""
    path = layout.ports_file
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(dict(remembered), indent=2, sort_keys=True) + "\n")
    os.replace(beside, path)


def _assign_ports(catalog: Catalog, kept: Mapping[str, Model], remembered: dict[str, int]) -> None:
    taken = {model.port for model in kept.values() if model.port}
    unsaid = [name for name, model in kept.items() if not model.port]
    assignment = ports.assign(unsaid, taken=taken, remembered=remembered)
    catalog.ports = assignment.remembered
    for name in assignment.without:
        message = "no port of 18300 to 18399 is left for it"
        catalog.problems.append(Problem(catalog.files[name], "port", message))
    for name, model in sorted(kept.items()):
        port = model.port or assignment.ports.get(name)
        if port:
            catalog.models[name] = replace(model, port=port)


def load_retired(layout: Layout) -> tuple[dict[str, retired.Retired], list[Problem]]:
    """Read which names were models of the catalog once."""
    path = layout.vendor_models / f"{RETIRED}.yaml"
    try:
        return retired.parse(_read(path), str(path))
    except FileNotFoundError:
        return {}, []
    except FileProblems as error:
        return {}, list(error.problems)


def _families(layout: Layout, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Read what several models of the catalog have in common; no family is a model."""
    documents = _documents(layout.vendor_models / "families", problems)
    return {name: values for name, (_, values) in documents if values is not None}


def _inherited(
    documents: Mapping[str, tuple[Path, dict[str, Any] | None]],
    families: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    return {
        name: modelfile.inherited(values, families)
        for name, (_, values) in documents.items()
        if values is not None
    }


def _documents(
    directory: Path, problems: list[Problem]
) -> Iterator[tuple[str, tuple[Path, dict[str, Any] | None]]]:
    """Read every model file of *directory*; one that cannot be read has no document."""
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(Problem(str(directory), "", f"cannot be read: {error.strerror}"))
        return
    for path in paths:
        if path.suffix == ".yml":
            problems.append(Problem(str(path), "", "expected a name that ends in .yaml"))
        if path.suffix != ".yaml" or path.name.startswith(".") or path.stem == RETIRED:
            continue
        try:
            yield path.stem, (path, document.parse(_read(path), str(path)))
        except FileNotFoundError:
            problems.append(Problem(str(path), "", "cannot be read: it points to nothing"))
            yield path.stem, (path, None)
        except FileProblems as error:
            problems += error.problems
            yield path.stem, (path, None)


def _read(path: Path) -> str:
    """Read a file of settings as UTF-8.

    Raises:
        FileNotFoundError: There is none.
        FileProblems: It cannot be read, or is no such file.
    """
    try:
        # O_NONBLOCK: a FIFO of that name must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileProblems([Problem(str(path), "", "expected a file")])
            # One byte more than is parsed, so that the parser can say that it is too long.
            data = file.read(4 * document.MAX_TEXT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise FileProblems([Problem(str(path), "", message)]) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"line {line}: expected UTF-8, got byte 0x{data[error.start]:02x}"
        raise FileProblems([Problem(str(path), "", message)]) from None
