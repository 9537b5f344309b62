"""A model file's text → a `Model`, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_activator.catalog import document, lease, rules
from spark_activator.catalog.kinds import Whole
from spark_activator.catalog.model import Engine, Image, Keep, Lifecycle, Model
from spark_activator.catalog.names import wrong_name
from spark_activator.catalog.section import Report, Setting, Table
from spark_activator.catalog.settings import MODEL, VENDOR_PORTS
from spark_activator.catalog.words import Words
from spark_activator.errors import FileProblems

# Keys of a catalog file that belong to that one model: who extends it under
# another name would otherwise clash with it at once.
_OWN = ("port", "aliases", "presets")
_VENDOR_PORT = Whole(VENDOR_PORTS.start, VENDOR_PORTS.stop - 1, "a port of the catalog")
_COMMAND = Words()
# Replaced as a whole by a file that extends, because its parts exclude each other.
_WHOLE = ("status",)


def table(*, vendor: bool) -> Table:
    """Say which keys a file may have: the catalog has ports of its own."""
    if not vendor:
        return MODEL
    settings = dict(MODEL.settings)
    settings["port"] = Setting(_VENDOR_PORT, settings["port"].help, required=True)
    return Table(settings)


def parse(
    name: str,
    text: str,
    *,
    file: str,
    images: Mapping[str, Image],
    bases: Mapping[str, Mapping[str, Any]] | None = None,
    vendor: bool = False,
) -> Model:
    """Read the model file of *name*.

    Args:
        name: The stem of the file.
        text: What is in it.
        file: What the owner calls it, for messages.
        images: What `image` may name.
        bases: Documents by name, what `extends` may name: for the owner's files those of
            the catalog with their own families in them (`inherited`), for the catalog's families.
        vendor: Whether the file itself is of the catalog.

    Returns:
        The model; its port is 0 where the file says none, until `ports.assign`.

    Raises:
        FileProblems: All that is wrong with it.
    """
    return build(
        name,
        document.parse(text, file),
        file=file,
        images=images,
        bases=bases or {},
        vendor=vendor,
    )


def build(
    name: str,
    values: Mapping[str, Any],
    *,
    file: str,
    images: Mapping[str, Image],
    bases: Mapping[str, Mapping[str, Any]],
    vendor: bool,
) -> Model:
    """Do what `parse` does, for a document that was read already."""
    report = Report(file)
    wrong = wrong_name(name)
    if wrong:
        report.add("", wrong)
    whole = resolve(name, values, bases=bases, report=report)
    # A file that changes a model of the catalog under its own name keeps its port,
    # which it could not choose itself.
    inherited = None if vendor or "port" in values else whole.pop("port", None)
    fields = table(vendor=vendor).read(whole, "", report)
    rules.check(whole, report)
    if not isinstance(fields, dict) or report.problems:
        if not any(problem.key == "image" for problem in report.problems):
            _image(whole.get("image"), images, report)
        raise FileProblems(sorted(report.problems))
    if inherited is not None:
        fields["port"] = _VENDOR_PORT.read(inherited, "port", report)
    model = _model(name, fields, images, report, vendor=vendor)
    _beyond_schema(model, report)
    if report.problems:
        raise FileProblems(sorted(report.problems))
    return model


def resolve(
    name: str,
    values: Mapping[str, Any],
    *,
    bases: Mapping[str, Mapping[str, Any]],
    report: Report,
) -> dict[str, Any]:
    """Put *values* over what they extend; a null stays, and means that the default is back."""
    extends = values.get("extends")
    base: Mapping[str, Any] = {}
    if isinstance(extends, str):
        if extends not in bases:
            report.add("extends", f"expected a readable model of the catalog, got {extends!r}")
        base = bases.get(extends, {})
        if extends != name:
            base = {key: value for key, value in base.items() if key not in _OWN}
    return _with_extra(merge(_with_extra(base), values))


def inherited(
    values: Mapping[str, Any], families: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Put a document of the catalog over its family, for those who extend it in turn."""
    extends = values.get("extends")
    family = families.get(extends, {}) if isinstance(extends, str) else {}
    merged = _with_extra(merge(_with_extra(family), values))
    merged.pop("extends", None)
    return merged


def _with_extra(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put `extra_args` behind `args`; what is no command line stays, for the reader to report."""
    result = dict(values)
    both = [result.get(key) for key in ("args", "extra_args")]
    parts = [() if part is None else _COMMAND.read(part, "", Report("")) for part in both]
    if "extra_args" in result and all(isinstance(part, tuple) for part in parts):
        del result["extra_args"]
        result["args"] = [word for part in parts if isinstance(part, tuple) for word in part]
    return result


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Change single keys of *base*: mappings go deep, all else is replaced, also by null."""
    result = dict(base)
    for key, value in patch.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and key not in _WHOLE:
            result[key] = merge(below, value)
        else:
            result[key] = value
    return result


def _model(
    name: str,
    fields: dict[str, Any],
    images: Mapping[str, Image],
    report: Report,
    *,
    vendor: bool,
) -> Model:
    fields.pop("extends", None)
    fields.pop("extra_args", None)
    probe = fields.pop("readiness", {}).get("generate", True)
    image = _image(fields.pop("image", None), images, report)
    if fields.get("lifecycle") is Lifecycle.UTILITY:
        # As in every installation that this catalog comes from: a helper stays.
        fields.setdefault("keep", Keep.ALWAYS)
    fields = {"engine": Engine.VLLM, "port": 0, **fields}
    return Model(name=name, image=image, probe=probe, vendor=vendor, **fields)


def _image(name: object, images: Mapping[str, Image], report: Report) -> Image | None:
    if not isinstance(name, str):
        return None
    if name not in images:
        known = ", ".join(sorted(images)) or "none"
        report.add("image", f"expected an image of images.yaml ({known}), got {name!r}")
    return images.get(name)


def _beyond_schema(model: Model, report: Report) -> None:
    """Check what a schema cannot compare: one value with another."""
    twice = {word for word in model.names if model.names.count(word) > 1}
    for word in sorted(twice):
        report.add(
            "aliases", f"the name {word!r} is there twice, with that of the model and presets"
        )
    for key in ("context", "output"):
        told = getattr(model.client, key)
        if told and model.context and told > model.context:
            report.add(f"client.{key}", f"expected at most context, {model.context}, got {told}")
    if model.engine is Engine.SGLANG:
        for word in (word for word in model.names if ":" in word):
            report.add("aliases", f"SGLang would take the end of {word!r} for a LoRA adapter")
    lease.check(model, report)
